"""An analytic model: atoms on springs."""

import torch

from weightspace.geometric import AbstractAtomisticModel, PointCloud
from weightspace.molecules import Molecules

WATER = torch.tensor([[0.0, 0.0, 0.12], [0.0, 0.56, -0.83], [0.0, -0.56, -0.83]], dtype=torch.float64)  # sides of 1.1


class Springs(AbstractAtomisticModel):
    """k / 2 (r - length)^2 for every pair within the cutoff."""

    def __init__(self, k: float = 20.0, length: float = 1.0, cutoff: float | None = None, elements=None):
        super().__init__(cutoff, elements=elements, config={"k": k, "length": length, "cutoff": cutoff})
        self.k, self.length = k, length
        self.double()

    def evaluate(self, cloud: PointCloud) -> dict[str, torch.Tensor]:
        return {"node_energy": cloud.sum_edges(self.k / 4 * (cloud.edge_len - self.length) ** 2)}


def diatomic(distance: float, copies: int = 1, z: tuple[int, int] = (1, 1)) -> Molecules:
    one = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, distance]], dtype=torch.float64)
    return Molecules(torch.tensor(z).repeat(copies), one.repeat(copies, 1), 2 * torch.arange(copies + 1))


def waters(copies: int = 1) -> Molecules:
    return Molecules(torch.tensor([8, 1, 1]).repeat(copies), WATER.repeat(copies, 1), 3 * torch.arange(copies + 1))
