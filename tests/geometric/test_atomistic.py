"""The template of all models of atoms: what goes in is checked, energies are sums, references are fitted."""

import pytest
import torch

from weightspace.errors import GeometryError
from weightspace.geometric._atomistic import AbstractAtomisticModel, PointCloud


class Springs(AbstractAtomisticModel):
    """A tenth of (cutoff^2 - d^2)^3 for each edge, at its target."""

    def __init__(self, cutoff: float | None = 2.0, elements=None):
        super().__init__(cutoff, elements=elements, config={"cutoff": cutoff, "elements": elements})

    def evaluate(self, cloud: PointCloud) -> dict[str, torch.Tensor]:
        reach = 2.0 if self.cutoff is None else self.cutoff
        return {"node_energy": cloud.sum_edges(0.1 * (reach**2 - cloud.edge_len.square()) ** 3)}


def sample(generator, n=6):
    pos = 2 * torch.rand(n, 3, dtype=torch.float64, generator=generator)
    return torch.tensor([1, 6, 8, 1, 6, 7])[:n], pos, torch.tensor([0, 0, 0, 1, 1, 1])[:n]


def test_energies_are_sums_with_scale_and_references(generator):
    z, pos, batch = sample(generator)
    model = Springs().double()
    model.scale.fill_(3)
    model.references[6] = 10.0
    out = model(z, pos, batch)
    bare = [Springs().double()(z[batch == g], pos[batch == g])["energy"] for g in (0, 1)]
    torch.testing.assert_close(out["interaction_energy"], 3 * torch.cat(bare))
    torch.testing.assert_close(out["energy"], 3 * torch.cat(bare) + 10)
    torch.testing.assert_close(out["energy"], torch.stack([out["node_energy"][batch == g].sum() for g in (0, 1)]))


def test_edges_handed_in_are_edges_found(generator):
    z, pos, batch = sample(generator)
    cell = torch.stack([torch.eye(3), 1.4 * torch.eye(3)]).double()
    model = Springs().double()
    found = model.cloud(z, pos, batch, cell=cell)
    again = model(z, pos, batch, found.edge_index, cell, found.edge_shift)
    assert found.edge_index.shape[1] > 100
    torch.testing.assert_close(again["energy"], model(z, pos, batch, cell=cell)["energy"], rtol=0, atol=0)


def test_no_atoms_one_atom_no_edges():
    model = Springs()
    none = torch.zeros(0, dtype=torch.long)
    assert model(none, torch.zeros(0, 3))["energy"].tolist() == [0]
    assert model(none, torch.zeros(0, 3), none)["energy"].shape == (0,)
    assert model(torch.tensor([1]), torch.zeros(1, 3))["energy"].tolist() == [0]
    none = torch.zeros(2, 0, dtype=torch.long)
    assert model(torch.tensor([1, 1]), torch.eye(3)[:2], None, none)["energy"].tolist() == [0]


def test_references_are_fitted(generator):
    z = torch.tensor([1, 1, 8, 6, 1, 1, 1, 1, 6, 8, 6, 6])
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3, 3])
    energies = torch.tensor([2 * -0.5 - 75, -37.8 + 4 * -0.5, -37.8 - 75, -75.6], dtype=torch.float64)
    model = Springs().double()
    model.fit_references(z, batch, energies)
    torch.testing.assert_close(model.references[[1, 6, 8]].tolist(), [-0.5, -37.8, -75.0])
    torch.testing.assert_close(model.reference_energy(z, batch), energies)
    model.fit_references(z[:3], None, energies[:1])  # one equation: the smallest solution
    torch.testing.assert_close(model.reference_energy(z[:3]), energies[:1])
    assert model.references[6] == 0


def test_scale_is_fitted():
    model = Springs()
    model.fit_scale(torch.tensor([[3.0, 4.0, 0.0]]))
    assert model.scale.item() == pytest.approx((25 / 3) ** 0.5)


def test_species_and_saving(tmp_path):
    model = Springs(elements=[8, 1])
    model.references[8] = 5.0
    assert model.cloud(torch.tensor([1, 8, 1]), torch.eye(3)).species.tolist() == [1, 0, 1]
    model.save_pretrained(tmp_path)
    again = Springs.from_pretrained(tmp_path)
    assert again.elements == (8, 1) and again.references[8] == 5


H2 = {"z": torch.tensor([1, 1]), "pos": torch.eye(3)[:2]}
EDGE = torch.tensor([[0], [1]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": torch.tensor([1.0, 1])}, "Springs: z has dtype torch.float32, wanted torch.int64; call z.long()"),
        (
            {"pos": torch.eye(3)},
            "Springs: pos has shape (3, 3), wanted (2, 3); one row for each atom of z",
        ),
        (
            {"pos": torch.eye(3)[:2].double()},
            "Springs: pos has dtype torch.float64 and the model torch.float32, wanted the same; "
            "call pos.to(torch.float32) or model.to(torch.float64)",
        ),
        (
            {"batch": torch.tensor([0])},
            "Springs: batch has shape (1,), wanted (2,); one graph number for each atom",
        ),
        (
            {"batch": torch.tensor([1, 0])},
            "Springs: batch is not ascending in 0..1, wanted the atoms sorted by graph; "
            "sort them with torch.argsort(batch, stable=True)",
        ),
        ({"z": torch.tensor([1, 0])}, "Springs: z holds 0, wanted atomic numbers in 1..118"),
        ({"z": torch.tensor([1, 119])}, "Springs: z holds 119, wanted atomic numbers in 1..118"),
        (
            {"z": torch.tensor([1, 3])},
            "Springs: atom 1 has z=3, and the model knows the elements [1, 6]; "
            "build it with elements=[...] that hold all of the data's",
        ),
        (
            {"pos": torch.tensor([[0.0, 0, 0], [0, float("nan"), 0]])},
            "Springs: pos of atom 1 is not finite; look at where positions come from",
        ),
        ({"edge_index": EDGE + 1}, "Springs: edge_index holds 2, wanted atoms in 0..1"),
        (
            {"edge_index": EDGE[0]},
            "Springs: edge_index has shape (1,), wanted (2, E); sources in row 0, targets in row 1",
        ),
        (
            {"edge_index": EDGE, "batch": torch.tensor([0, 1])},
            "Springs: edge 0 runs from atom 0 of graph 0 to atom 1 of graph 1; wanted edges within a graph",
        ),
        (
            {"cell": torch.eye(3)},
            "Springs: cell has shape (3, 3), wanted (G, 3, 3); "
            "three lattice vectors as rows for each graph, cell[None] for one",
        ),
        (
            {"cell": torch.eye(3).expand(2, 3, 3)},
            "Springs: found 2 cells and no batch, wanted one cell; pass batch (N,)",
        ),
        (
            {"edge_index": EDGE, "cell": torch.eye(3)[None]},
            "Springs: found edge_index and cell without edge_shift; wanted both or neither "
            "(weightspace.geometric.neighbours returns edge_index and edge_shift)",
        ),
        (
            {"cell": torch.eye(3)[None], "edge_shift": torch.zeros(0, 3)},
            "Springs: found edge_shift without edge_index; wanted both or neither "
            "(weightspace.geometric.neighbours returns edge_index and edge_shift)",
        ),
        (
            {"cell": torch.eye(3)[None] * float("nan")},
            "Springs: cell 0 is [[nan, nan, nan], [nan, nan, nan], [nan, nan, nan]], wanted finite, independent rows "
            "(a row of zeros is a direction without period)",
        ),
        (
            {"cell": torch.tensor([[[6.0, 0, 0], [3, 0, 0], [0, 0, 0]]])},
            "Springs: cell 0 is [[6.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]], wanted finite, independent rows "
            "(a row of zeros is a direction without period)",
        ),
        (
            {"edge_index": EDGE, "cell": torch.eye(3)[None], "edge_shift": torch.tensor([[0.0, 0.5, 0]])},
            "Springs: edge_shift of edge 0 is [0.0, 0.5, 0.0], wanted whole lattice vectors",
        ),
        ({"pos": [[0.0, 0, 0]]}, "Springs: pos is of type list, wanted torch.Tensor"),
        ({"z": None}, "Springs: z is of type NoneType, wanted torch.Tensor"),
    ],
)
def test_messages(change, words):
    with pytest.raises(GeometryError) as caught:
        Springs(elements=[1, 6])(**{**H2, **change})
    assert str(caught.value) == words


def test_messages_of_the_constructor():
    with pytest.raises(GeometryError, match="Springs: found cutoff=-1, wanted a positive distance in Å"):
        Springs(cutoff=-1)
    with pytest.raises(GeometryError, match=r"found elements=\[1, 1\], wanted different atomic numbers in 1..118"):
        Springs(elements=[1, 1])


def test_tensors_on_another_device():
    with pytest.raises(GeometryError, match="pos is on meta and the model on cpu, wanted the same; call pos.to"):
        Springs()(H2["z"], torch.zeros(2, 3, device="meta"))
