"""What the tests of this room share."""

import pytest
import torch


@pytest.fixture
def float64():
    """The default dtype, which e3nn's constants follow."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)
