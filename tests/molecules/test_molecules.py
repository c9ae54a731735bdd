import pytest
import torch

from weightspace.errors import MoleculeError
from weightspace.molecules import Molecules, concatenate


def some(seed: int, sizes: list[int], *, cell: bool = False) -> Molecules:
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    return Molecules(
        z=torch.randint(1, 9, (n,), generator=generator),
        pos=torch.randn(n, 3, generator=generator, dtype=torch.float64),
        ptr=torch.tensor([0, *torch.tensor(sizes).cumsum(0).tolist()]),
        values={"energy": torch.randn(len(sizes), generator=generator, dtype=torch.float64)},
        atom_values={"forces": torch.randn(n, 3, generator=generator, dtype=torch.float64)},
        cell=torch.eye(3).expand(len(sizes), 3, 3) if cell else None,
    )


@pytest.mark.parametrize("index", [[2, 0, 2], slice(1, None), torch.tensor([True, False, True]), -1])
def test_a_selection_keeps_each_molecule_whole(index):
    data = some(0, [3, 1, 4])
    rows = torch.arange(3)[index].reshape(-1).tolist()
    chosen = data[index]
    assert len(chosen) == len(rows)
    for k, row in enumerate(rows):
        mine, theirs = chosen.batch == k, data.batch == row
        assert torch.equal(chosen.z[mine], data.z[theirs]) and torch.equal(chosen.pos[mine], data.pos[theirs])
        assert torch.equal(chosen.forces[mine], data.forces[theirs]) and chosen.energy[k] == data.energy[row]


def test_the_parts_of_a_concatenation_come_back():
    first, second = some(0, [2, 3]), some(1, [1])
    both = concatenate([first, second])
    assert torch.equal(both[:2].pos, first.pos) and torch.equal(both[2].forces, second.forces)


def test_what_does_not_fit_is_named():
    data = some(0, [2])
    with pytest.raises(MoleculeError, match=r"found 3 rows of 'energy', wanted 1"):
        Molecules(data.z, data.pos, data.ptr, values={"energy": torch.zeros(3)})
    with pytest.raises(MoleculeError, match="that ends at N"):
        Molecules(data.z, data.pos, torch.tensor([0, 5]))
    with pytest.raises(MoleculeError, match="all with cells or all without"):
        concatenate([data, some(1, [2], cell=True)])
