"""QM7: molecules and energies joined by name, and the baseline that sees no positions."""

import io
import os
import tarfile
from pathlib import Path

import pytest
import torch

from weightspace.errors import MoleculeError
from weightspace.molecules import MolecularSplits, Molecules, composition_baseline, load_molecules
from weightspace.molecules._qm7 import read_qm7

ROOT = os.environ.get("WEIGHTSPACE_DATA")
KCAL = 0.0433641
full = pytest.mark.skipif(
    not ROOT or not (Path(ROOT) / "qm7").is_dir(), reason="set WEIGHTSPACE_DATA to a folder that holds qm7/"
)
XYZ = {"0001.xyz": "2\ncharge = 0\n C 0 0 0\n O 1.13 0 0", "0002.xyz": "2\n\n H 0 0 0\n H 0.74 0 0\n"}
LISTED = "0001.xyz -259.0 -270.0\n0002.xyz -109.0 -110.0\n"


def write(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def test_names_join_molecules_and_energies(tmp_path):
    archive = write(tmp_path / "a.tar.gz", {f"x/tests/qm7/{name}": text for name, text in reversed(XYZ.items())})
    listed = tmp_path / "hof.txt"
    listed.write_text(LISTED)
    found = read_qm7(archive, listed)
    assert found.z.tolist() == [6, 8, 1, 1] and found.ptr.tolist() == [0, 2, 4]
    assert torch.allclose(found.energy, torch.tensor([-259.0, -109.0]).double() * KCAL, rtol=1e-14)
    assert torch.allclose(found.values["dftb3_energy"], torch.tensor([-270.0, -110.0]).double() * KCAL, rtol=1e-14)
    whole = {f"q/tests/qm7/{name}": text for name, text in XYZ.items()} | {"q/tests/data/hof_qm7.txt": LISTED}
    assert torch.equal(read_qm7(write(tmp_path / "b.tar.gz", whole), None).energy, found.energy)


@pytest.mark.parametrize(
    ("change", "listed", "words"),
    [
        ({"0002.xyz": None}, LISTED, "found 1 molecules and 2 energies, .* first without partner: 0002.xyz"),
        ({"0002.xyz": "3\n\nH 0 0 0\n"}, LISTED, "0002.xyz is not an XYZ file .names 3 atoms, found 1"),
        ({"0002.xyz": "1\n\nQq 0 0 0\n"}, LISTED, "0002.xyz: found element 'Qq'"),
        ({}, "0001.xyz -259.0\n", "line 1 is '0001.xyz -259.0', wanted a name and two energies"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, listed, words):
    members = {f"qm7/{name}": text for name, text in (XYZ | change).items() if text is not None}
    (tmp_path / "hof.txt").write_text(listed)
    with pytest.raises(MoleculeError, match=words):
        read_qm7(write(tmp_path / "a.tar.gz", members), tmp_path / "hof.txt")


def test_an_archive_that_is_cut_off_says_so(tmp_path):
    archive = write(tmp_path / "a.tar.gz", {f"qm7/{name}": text * 50 for name, text in XYZ.items()})
    archive.write_bytes(archive.read_bytes()[:100])
    (tmp_path / "hof.txt").write_text(LISTED)
    with pytest.raises(MoleculeError, match="a.tar.gz: not a whole archive .*; delete it and run with download=True"):
        read_qm7(archive, tmp_path / "hof.txt")


def test_energies_belong_beside_the_archive(tmp_path):
    (tmp_path / "qm7").mkdir()
    archive = write(tmp_path / "qm7" / "qml_qm7_xyz.tar.gz", {f"qm7/{name}": text for name, text in XYZ.items()})
    with pytest.raises(
        MoleculeError, match=f"hof_qm7.txt: cannot be read .* hof_qm7.txt belongs beside {archive}: put"
    ):
        load_molecules("qm7", data_root=tmp_path)


def test_fewer_molecules_than_the_split_names_are_refused_where_not_all_sizes_are_given(tmp_path):
    (tmp_path / "qm7").mkdir()
    names = [f"{k:04d}.xyz" for k in range(12)]
    write(tmp_path / "qm7" / "qml_qm7_xyz.tar.gz", {f"qm7/{name}": XYZ["0001.xyz"] for name in names})
    (tmp_path / "qm7" / "hof_qm7.txt").write_text("".join(f"{name} -259.0 -270.0\n" for name in names))
    words = (
        "qm7: the split names 7101 molecules, found 12; ask for fewer .train=, validation=, test=.*run with download"
    )
    for sizes in ({}, {"train": 5}, {"validation": 2, "test": 3}):
        with pytest.raises(MoleculeError, match=words):
            load_molecules("qm7", data_root=tmp_path, **sizes)
    splits = load_molecules("qm7", data_root=tmp_path, train=5, validation=3, test=4)
    assert (len(splits.train), len(splits.validation), len(splits.tests["test"])) == (5, 3, 4)


def test_the_baseline_is_a_fit_on_element_counts():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 6, (60,), generator=generator)
    z = torch.tensor([1, 6, 8])[torch.randint(0, 3, (int(sizes.sum()),), generator=generator)]
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    energy = torch.randn(60, generator=generator, dtype=torch.float64)
    both = Molecules(z, torch.zeros(len(z), 3).double(), ptr, {"energy": energy})
    rows = [[*(int((z[a:b] == k).sum()) for k in (1, 6, 8)), 1] for a, b in zip(ptr[:-1], ptr[1:], strict=True)]
    table = torch.tensor(rows).double()
    fit = torch.linalg.pinv(table[:40]) @ energy[:40]
    wanted = (table[40:] @ fit - energy[40:]).abs().mean()
    splits = MolecularSplits("random", both[:40], both[:1], {"test": both[40:]})
    assert composition_baseline(splits)["test"] == pytest.approx(float(wanted), rel=1e-10)


@full
def test_composition_alone_gives_15_kcal_per_mol():
    splits = load_molecules("qm7")
    assert (len(splits.train), len(splits.validation), len(splits.tests["test"])) == (5000, 1000, 1101)
    assert splits.unit == "kcal/mol" and splits.train.elements == (1, 6, 7, 8, 16)
    assert composition_baseline(splits)["test"] / KCAL == pytest.approx(15.0, abs=0.1)
