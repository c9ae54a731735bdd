import pytest
import torch

from weightspace.molecules import MolecularSplits, Molecules


def morse(pos: torch.Tensor) -> torch.Tensor:
    """Energies (G,) in eV of frames (G, n, 3): a Morse potential of every pair."""
    i, j = torch.triu_indices(pos.shape[1], pos.shape[1], 1)
    length = (pos[:, i] - pos[:, j]).norm(dim=-1)
    return (0.2 * (1 - torch.exp(-1.2 * (length - 1.5))) ** 2).sum(1)


def frames(count: int, seed: int) -> Molecules:
    generator = torch.Generator().manual_seed(seed)
    start = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [0.7, 1.3, 0], [0.6, 0.5, 1.3]], dtype=torch.float64)
    pos = start + 0.1 * torch.randn(count, 4, 3, generator=generator, dtype=torch.float64)
    pos.requires_grad_()
    energy = morse(pos)
    [slope] = torch.autograd.grad(energy.sum(), pos)
    return Molecules(
        torch.tensor([8, 6, 1, 1]).repeat(count),
        pos.detach().reshape(-1, 3),
        torch.arange(count + 1) * 4,
        {"energy": energy.detach() - 1000.0},
        {"forces": -slope.reshape(-1, 3)},
    )


@pytest.fixture(scope="session")
def splits() -> MolecularSplits:
    return MolecularSplits("morse", frames(60, 0), frames(10, 1), {"test": frames(20, 2)})
