"""eSCN: conformance, the paper's convolution as a tensor product with all paths, and its grids' errors."""

from weightspace.geometric import ESCN
from weightspace.testing import AtomisticModelTests

SMALL = {"channels": 4, "layers": 2, "lmax": 2, "mmax": 1, "hidden_channels": 4, "edge_channels": 4, "num_rbf": 6}
SMALL |= {"rbf_width": 1.0}


class TestGate(AtomisticModelTests):
    """Gates: exact; without imaginary weights under reflections, too."""

    outputs = {"vectors": "1o"}

    def model(self):
        return ESCN({**SMALL, "activation": "gate", "mirror": True}, cutoff=2.5, vectors=True)


class TestGrid(AtomisticModelTests):
    outputs = {"vectors": "1o"}
    rotation_tolerance = 1e-3

    def model(self):
        return ESCN({**SMALL, "mirror": True}, cutoff=2.5, vectors=True)
