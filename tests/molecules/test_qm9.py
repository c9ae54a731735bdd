"""QM9: records and table, units, references, published splits, and PyG's file without pickle."""

import pickle
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import _downloads, load_molecules
from weightspace.molecules._qm9 import (
    RECORDS,
    UNCHARACTERISED,
    published_split,
    read_sdf_and_csv,
    target_and_split,
    uncharacterised,
)
from weightspace.molecules._qm9_processed import read_processed
from weightspace.molecules._qm9_targets import ATOM_REFERENCES, TARGETS, UNITS
from weightspace.molecules._sdf import read_sdf

FOLDER = Path(__file__).parents[2] / "datasets" / "qm9"
HARTREE = 27.211386245988
METHANE = """gdb_1
  -OEChem-

  5  4  0     0  0  0  0  0  0999 V2000
   -0.0127    1.0858    0.0080 C   0  0  0  0  0  0  0  0  0  0  0  0
    0.0022   -0.0060    0.0020 H   0  0  0  0  0  0  0  0  0  0  0  0
    1.0117    1.4638    0.0003 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.5408    1.4475   -0.8766 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.5238    1.4379    0.9064 H   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0  0  0  0
  1  3  1  0  0  0  0
  1  4  1  0  0  0  0
  1  5  1  0  0  0  0
M  END
$$$$
"""


def sample():
    return read_sdf_and_csv(FOLDER / "sample.sdf", FOLDER / "sample.sdf.csv")


def test_records_are_read_past_their_bonds(tmp_path):
    path = tmp_path / "two.sdf"
    path.write_text(METHANE + METHANE.replace("gdb_1", "gdb_2"))
    names, z, pos, ptr = read_sdf(path)
    assert names == ["gdb_1", "gdb_2"] and z.tolist() == [6, 1, 1, 1, 1] * 2 and ptr.tolist() == [0, 5, 10]
    assert pos[3].tolist() == [-0.5408, 1.4475, -0.8766] and torch.equal(pos[:5], pos[5:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (METHANE[:300], "found 0 whole records and 300 characters after them; the file is cut off"),
        (METHANE.replace("  5  4", "  9  4"), "record 0 .'gdb_1'. is no V2000 record with 9 atom lines"),
        (METHANE.replace("V2000", "V3000"), "is no V2000 record"),
        (METHANE.replace("1.0117", "1.0x17"), "a coordinate is no number"),
        (METHANE.replace(" C   0", " Xq  0"), "found element 'Xq'"),
    ],
)
def test_damaged_records_are_named(tmp_path, text, words):
    (tmp_path / "a.sdf").write_text(text)
    with pytest.raises(MoleculeError, match=words):
        read_sdf(tmp_path / "a.sdf")


def test_rows_and_records_must_match(tmp_path):
    lines = (FOLDER / "sample.sdf.csv").read_text().splitlines()
    table = tmp_path / "t.csv"
    table.write_text("\n".join([*lines[:4], *lines[5:]]) + "\n")
    with pytest.raises(MoleculeError, match="found 9 rows, wanted one for each of the 10 records .* part at row 3"):
        read_sdf_and_csv(FOLDER / "sample.sdf", table)
    table.write_text("\n".join(lines).replace("u298,", "u299,"))
    with pytest.raises(MoleculeError, match="not the table of QM9 .*u298"):
        read_sdf_and_csv(FOLDER / "sample.sdf", table)


def test_energies_are_in_electronvolt_and_near_their_free_atoms():
    data = sample()
    assert data.values["U0"][0] == pytest.approx(-40.47893 * HARTREE, rel=1e-12)
    assert data.values["gap"][0] == pytest.approx(0.5048 * HARTREE, rel=1e-12) and data.values["alpha"][0] == 13.21
    assert torch.allclose(data.values["lumo"] - data.values["homo"], data.values["gap"], atol=0.01)
    assert UNITS["U0"] == "eV" and UNITS["mu"] == "D" and UNITS["Cv"] == "cal/(mol K)"
    for target in ("U0", "U", "H", "G"):
        free = torch.tensor([ATOM_REFERENCES[target][z] for z in data.z.tolist()]).double()
        bond = (data.values[target] - torch.zeros(10).double().index_add_(0, data.batch, free)) / data.num_atoms
        assert bool(((bond > -6) & (bond < -2)).all())
    splits = load_molecules("sample:qm9")
    assert splits.target == "U0" and splits.unit == "meV" and splits.isolated[1] == pytest.approx(-13.6131218)


def test_published_splits_are_drawn_as_their_authors_draw_them():
    kept = np.random.RandomState(42).permutation(130831)
    train, validation, test = published_split("dimenet")
    assert (len(train), len(validation), len(test)) == (110000, 10000, 10831)
    assert train[:5].tolist() == kept[:5].tolist() and test[-5:].tolist() == kept[-5:].tolist()
    np.random.seed(0)
    kept = np.random.permutation(130831)
    parts = published_split("egnn")
    assert [len(part) for part in parts] == [100000, 17748, 13083]
    assert parts[1][:5].tolist() == kept[100000:100005].tolist()
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(130831))


def test_uncharacterised_molecules_are_counted(tmp_path):
    path = tmp_path / "uncharacterized.txt"
    rows = np.sort(np.random.default_rng(0).choice(133885, 3054, replace=False)) + 1
    path.write_text("Index\n---\n" + "".join(f"  {i}  C  C\n" for i in rows) + "end of list\n")
    assert uncharacterised(path) == (rows - 1).tolist()
    path.write_text("".join(f"  {i}  C\n" for i in rows[1:]))
    with pytest.raises(MoleculeError, match="found 3053 uncharacterised molecules, wanted the 3054"):
        uncharacterised(path)
    with pytest.raises(MoleculeError, match="cannot be read .* belongs beside gdb9.sdf"):
        uncharacterised(tmp_path / "none.txt")


def test_unknown_targets_and_splits_and_short_files_are_refused(tmp_path):
    assert target_and_split("") == ("U0", "dimenet") and target_and_split("gap:egnn") == ("gap", "egnn")
    with pytest.raises(ConfigurationError, match="qm9: found target 'u0', wanted one of mu, alpha, homo"):
        load_molecules("qm9:u0")
    with pytest.raises(ConfigurationError, match="qm9: found split 'mine', wanted one of dimenet, egnn"):
        load_molecules("qm9:U0:mine")
    folder = tmp_path / "qm9"
    folder.mkdir()
    (folder / "gdb9.sdf").write_bytes((FOLDER / "sample.sdf").read_bytes())
    (folder / "gdb9.sdf.csv").write_bytes((FOLDER / "sample.sdf.csv").read_bytes())
    with pytest.raises(ConfigurationError, match="found no uncharacterized.txt in .* from https://ndownloader"):
        load_molecules("qm9:U0", data_root=tmp_path)
    (folder / "uncharacterized.txt").write_text("")
    with pytest.raises(MoleculeError, match="found 10 records, wanted the 133885 that the published splits name"):
        load_molecules("qm9:U0", data_root=tmp_path)
    (folder / "gdb9.sdf.csv").unlink()
    with pytest.raises(ConfigurationError, match="found no qm9.zip in .* pass download=True .*qm9.zip from https://"):
        load_molecules("qm9:U0", data_root=tmp_path)


def test_a_missing_list_is_fetched_beside_records_that_lie_elsewhere(tmp_path, monkeypatch):
    for name in ("sdf", "sdf.csv"):
        (tmp_path / f"gdb9.{name}").write_bytes((FOLDER / f"sample.{name}").read_bytes())
    fetched = []

    def fetch(file, folder, **options):
        folder.mkdir(parents=True)
        (folder / file.name).write_text("")
        fetched.append(file.name)

    monkeypatch.setattr(_downloads, "fetch", fetch)
    with pytest.raises(MoleculeError, match="found 10 records"):
        load_molecules("qm9:U0", data_root=tmp_path, download=True)
    assert fetched == ["uncharacterized.txt"]


@pytest.mark.slow
def test_the_whole_of_qm9_is_split_as_published(tmp_path):
    """Made-up molecules in files as long as the published ones: number k is a row of carbons with the energy of k."""
    folder, atom = tmp_path / "qm9", "{:10.4f}    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0\n"
    folder.mkdir()
    with open(folder / "gdb9.sdf", "w") as file:
        for k in range(RECORDS):
            atoms = "".join(atom.format(1.5 * i) for i in range(1 + k % 3))
            file.write(f"gdb_{k + 1}\n\n\n{1 + k % 3:3d}  0  0     0  0  0  0  0  0999 V2000\n{atoms}M  END\n$$$$\n")
    with open(folder / "gdb9.sdf.csv", "w") as file:
        columns = [column for column, _ in TARGETS.values()]
        file.write(",".join(["mol_id", *columns]) + "\n")
        file.writelines(f"gdb_{k + 1}," + ",".join([str(-1e-4 * k)] * len(columns)) + "\n" for k in range(RECORDS))
    refused = np.sort(np.random.default_rng(0).choice(RECORDS, UNCHARACTERISED, replace=False))
    (folder / "uncharacterized.txt").write_text("".join(f"  {k + 1}  C\n" for k in refused))
    kept = np.setdiff1d(np.arange(RECORDS), refused)
    for name, seed, sizes in (("U0", 42, (110000, 10000, 10831)), ("U0:egnn", 0, (100000, 17748, 13083))):
        splits = load_molecules(f"qm9:{name}", data_root=tmp_path)
        parts = [splits.train, splits.validation, splits.tests["test"]]
        assert tuple(map(len, parts)) == sizes
        order = kept[np.random.RandomState(seed).permutation(len(kept))]
        found = torch.cat([part.values["U0"] for part in parts]) / (-1e-4 * HARTREE)
        assert np.array_equal(found.round().long().numpy(), order)
        assert np.array_equal(torch.cat([part.num_atoms for part in parts]).numpy(), 1 + order % 3)
    few = load_molecules("qm9:U0", data_root=tmp_path, train=5, validation=4, test=3)
    assert [len(part) for part in (few.train, few.validation, few.tests["test"])] == [5, 4, 3]
    with pytest.raises(MoleculeError, match="the split dimenet has 10000 molecules in a part, 10001 were asked for"):
        load_molecules("qm9:U0", data_root=tmp_path, validation=10001)


def test_the_published_archive_is_unpacked_by_name_and_pygs_file_is_counted(tmp_path):
    folder = tmp_path / "qm9"
    folder.mkdir()
    (folder / "uncharacterized.txt").write_text("")
    with ZipFile(folder / "qm9.zip", "w") as packed:
        packed.writestr("../gdb9.sdf", "not this one")
        packed.write(FOLDER / "sample.sdf.csv", "gdb9.sdf.csv")
    with pytest.raises(MoleculeError, match="qm9.zip: found no whole gdb9.sdf and gdb9.sdf.csv"):
        load_molecules("qm9:U0", data_root=tmp_path)
    assert not (tmp_path / "gdb9.sdf").exists()
    with ZipFile(folder / "qm9.zip", "a") as packed:
        packed.write(FOLDER / "sample.sdf", "gdb9.sdf")
    with pytest.raises(MoleculeError, match="gdb9.sdf: found 10 records"):
        load_molecules("qm9:U0", data_root=tmp_path)
    assert (folder / "gdb9.sdf").read_bytes() == (FOLDER / "sample.sdf").read_bytes()
    other = tmp_path / "other" / "QM9" / "processed"
    other.mkdir(parents=True)
    write_processed(other / "data_v3.pt", sample())
    with pytest.raises(MoleculeError, match="data_v3.pt: found 10 molecules, wanted the 130831"):
        load_molecules("qm9:U0", data_root=tmp_path / "other")


def write_processed(path, data):
    """As torch_geometric's own class stores the molecules of `data`."""
    from torch_geometric.data import Data, InMemoryDataset

    free = {
        t: torch.tensor([r.get(z, 0.0) for z in range(10)], dtype=torch.float64) for t, r in ATOM_REFERENCES.items()
    }
    items = []
    for k in range(len(data)):
        one = data[k]
        y = [one.values[name][0] for name in TARGETS]
        y += [one.values[t][0] - free[t][one.z].sum() for t in ("U0", "U", "H", "G")] + [torch.tensor(1.0)] * 3
        items.append(
            Data(z=one.z, pos=one.pos.float(), y=torch.stack(y)[None].float(), name=f"gdb_{k}", smiles="C", idx=k)
        )
    InMemoryDataset.save(items, str(path))


def test_the_file_of_torch_geometric_gives_the_same_molecules(tmp_path):
    data = sample()
    write_processed(tmp_path / "data_v3.pt", data)
    found = read_processed(tmp_path / "data_v3.pt")
    assert torch.equal(found.z, data.z) and torch.equal(found.ptr, data.ptr)
    assert torch.allclose(found.pos, data.pos, atol=1e-6)
    for name in TARGETS:
        assert torch.allclose(found.values[name], data.values[name], rtol=1e-6, atol=1e-5), name
    assert (found.values["U0"] - data.values["U0"]).abs().max() < 1e-5  # a float32 total would be off by 0.5 meV


def test_other_files_of_torch_are_refused_and_nothing_runs(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "ran", "yes"))

    path = tmp_path / "data_v3.pt"
    with open(path, "wb") as file:
        pickle.dump(Trap(), file, protocol=2)
    with pytest.raises(MoleculeError, match="not a file of torch_geometric's QM9"):
        read_processed(path)
    torch.save(({"trap": Trap()}, {}, None), path)
    with pytest.raises(MoleculeError, match="not a file of torch_geometric's QM9"):
        read_processed(path)
    torch.save(({"x": torch.zeros(2)}, {}), path)
    with pytest.raises(MoleculeError, match="not QM9 as torch_geometric stores it"):
        read_processed(path)
    assert not (tmp_path / "ran").exists()
