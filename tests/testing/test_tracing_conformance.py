"""The conformance class of traced networks on four networks."""

import pytest

from tests.testing import _networks
from weightspace.testing import AbstractTracingConformance

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")


class TestConvolutions(AbstractTracingConformance):
    log10_order = _networks.ORDERS[_networks.cnn]

    def network(self):
        return _networks.cnn()


class TestTransformerLayer(AbstractTracingConformance):
    log10_order = _networks.ORDERS[_networks.transformer]

    def network(self):
        return _networks.transformer()


class TestLSTM(AbstractTracingConformance):
    log10_order = _networks.ORDERS[_networks.lstm]

    def network(self):
        return _networks.lstm()


class TestTiedEmbedding(AbstractTracingConformance):
    log10_order = _networks.ORDERS[_networks.tied_embedding]

    def network(self):
        return _networks.tied_embedding()
