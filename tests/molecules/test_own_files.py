"""A user's own files: what is read, how it is split, and what is refused."""

import numpy as np
import pytest
import torch

from tests.molecules._extxyz import HEAD, water, write_waters
from weightspace.errors import ConfigurationError, MoleculeError
from weightspace.molecules import load_molecules, read_molecules, require_forces
from weightspace.molecules._ase_files import read_extxyz


def test_frames_come_as_a_ten_line_reader_reads_them(tmp_path):
    path = tmp_path / "w.xyz"
    write_waters(path, 5)
    lines = path.read_text().splitlines()
    rows = [line.split() for k, line in enumerate(lines) if k % 5 > 1]
    found = read_molecules(path)
    assert found.z.tolist() == [8, 1, 1] * 5 and found.ptr.tolist() == [0, 3, 6, 9, 12, 15] and found.cell is None
    assert found.pos.tolist() == [[float(v) for v in row[1:4]] for row in rows]
    assert found.forces.tolist() == [[float(v) for v in row[4:]] for row in rows]
    assert found.energy.tolist() == [float(line.split("energy=")[1].split()[0]) for line in lines[1::5]]


def test_the_test_part_is_the_same_for_every_seed_and_parts_are_disjoint(tmp_path):
    path = tmp_path / "w.extxyz"
    write_waters(path, 40)
    first, second = (load_molecules(str(path), seed=seed) for seed in (0, 1))
    assert (len(first.train), len(first.validation), len(first.tests["test"])) == (32, 4, 4)
    assert torch.equal(first.tests["test"].energy, second.tests["test"].energy)
    assert not torch.equal(first.validation.energy, second.validation.energy)
    parts = torch.cat([first.train.energy, first.validation.energy, first.tests["test"].energy])
    assert torch.equal(parts.sort().values, read_molecules(path).energy.sort().values)
    few = load_molecules(str(path), train=3, validation=2, test=1)
    assert (len(few.train), len(few.validation), len(few.tests["test"])) == (3, 2, 1)
    with pytest.raises(MoleculeError, match=r"names 39 \+ 2 \+ 1 molecules, found 40"):
        load_molecules(str(path), train=39, validation=2, test=1)


def test_other_names_of_labels_and_units_are_converted_once(tmp_path):
    path, same = tmp_path / "ref.xyz", tmp_path / "own.xyz"
    write_waters(path, 4, head='Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy={energy} pbc="F F F"')
    write_waters(same, 4, head='Properties=species:S:1:pos:R:3:pull:R:3 tot={energy} pbc="F F F"')
    first = read_molecules(path)
    second = read_molecules(f"{same}:energy=tot:forces=pull")
    assert torch.equal(first.energy, second.energy) and torch.equal(first.forces, second.forces)
    third = read_molecules(f"{same}:energy=tot:forces=pull:unit=kcal/mol")
    assert torch.allclose(third.energy, first.energy * 0.0433641, rtol=1e-14)
    assert torch.allclose(third.forces, first.forces * 0.0433641, rtol=1e-14)
    with pytest.raises(MoleculeError, match="found no energy under 'total', the first frame has .*tot"):
        read_molecules(f"{same}:energy=total")
    with pytest.raises(ConfigurationError, match="unit: found 'meV', wanted one of eV, kcal/mol, Hartree, kJ/mol"):
        read_molecules(f"{same}:unit=meV")
    with pytest.raises(MoleculeError, match="found no energies, wanted them to train on; name their key"):
        load_molecules(str(same))


def test_a_lattice_counts_where_the_frame_is_periodic_and_half_periodic_is_refused(tmp_path):
    path = tmp_path / "p.xyz"
    lattice = 'Lattice="9 0 0 0 9 0 0 0 9" '
    write_waters(path, 3, head=lattice + HEAD)
    assert read_molecules(path).cell is None
    write_waters(path, 3, head=lattice + HEAD.replace("F F F", "T T T"))
    assert torch.equal(read_molecules(path).cell, 9 * torch.eye(3).double().expand(3, 3, 3))
    write_waters(path, 3, head=lattice + HEAD.replace("F F F", "T T F"))
    with pytest.raises(MoleculeError, match=r"frame 0 is periodic along some directions alone .* for a slab set pbc"):
        read_molecules(path)
    write_waters(path, 1, head=lattice + HEAD.replace("F F F", "T T T"))
    path.write_text(path.read_text() + water(np.random.default_rng(1)))
    with pytest.raises(MoleculeError, match="some frames are periodic and some are not"):
        read_molecules(path)


def test_isolated_atoms_of_a_file_are_references_and_no_frames(tmp_path):
    path = tmp_path / "w.xyz"
    write_waters(path, 20)
    lone = '1\nProperties=species:S:1:pos:R:3 config_type=IsolatedAtom energy={} pbc="F F F"\n{} 0 0 0\n'
    path.write_text(lone.format(-13.6, "H") + lone.format(-2040.0, "O") + path.read_text())
    splits = load_molecules(str(path))
    assert dict(splits.isolated) == {1: -13.6, 8: -2040.0} and len(splits.train) == 16
    require_forces(splits)


def test_a_file_of_isolated_atoms_alone_is_refused(tmp_path):
    path = tmp_path / "atoms.xyz"
    head = 'Properties=species:S:1:pos:R:3:forces:R:3 config_type=IsolatedAtom energy=-13.6 pbc="F F F"'
    path.write_text(f"1\n{head}\nH 0 0 0 0 0 0\n")
    with pytest.raises(
        MoleculeError, match=r"atoms.xyz: found isolated atoms alone \(1\), wanted molecules; add frames"
    ):
        read_molecules(path)
    frames, isolated = read_extxyz(path)
    assert len(frames) == 0 and frames.forces.shape == (0, 3) and frames.energy.shape == (0,) and isolated == {1: -13.6}


def test_files_that_are_cut_off_or_name_unknown_elements_say_where(tmp_path):
    path = tmp_path / "w.xyz"
    write_waters(path, 3)
    whole = path.read_text()
    path.write_text("\n".join(whole.splitlines()[:-1]) + "\n")
    with pytest.raises(MoleculeError, match="frame 2 names 3 atoms, found 2; the file is cut off"):
        read_molecules(path)
    path.write_text(whole[:-30])
    with pytest.raises(MoleculeError, match="w.xyz"):
        read_molecules(path)
    path.write_text(whole.replace("O ", "Xq ", 1))
    with pytest.raises(MoleculeError, match="found element 'Xq', wanted a symbol of the periodic table"):
        read_molecules(path)
    path.write_text("")
    with pytest.raises(MoleculeError, match="found no frames"):
        read_molecules(path)
    path.write_text("hello\n")
    with pytest.raises(MoleculeError, match="line 1 is 'hello', wanted the atom count of frame 0"):
        read_molecules(path)
    with pytest.raises(ConfigurationError, match="no such file"):
        read_molecules(tmp_path / "other.xyz")
    with pytest.raises(ConfigurationError, match=r"found a file of kind '.pkl', wanted one of"):
        read_molecules(tmp_path / "other.pkl")


def test_labels_that_some_frames_lack_are_named(tmp_path):
    path = tmp_path / "w.xyz"
    rng = np.random.default_rng(0)
    path.write_text(water(rng) + water(rng, head=HEAD.replace("energy={energy}", "")))
    with pytest.raises(MoleculeError, match=r"frame 1 has no energy \(1 of 2 have none\)"):
        read_molecules(path)


def test_forces_are_asked_for_by_name(tmp_path):
    path = tmp_path / "w.xyz"
    write_waters(path, 20, head=HEAD.replace("forces", "velo"))
    splits = load_molecules(str(path))
    assert splits.train.forces is None
    with pytest.raises(MoleculeError, match="w.xyz: found no forces in the training part, wanted them for the force"):
        require_forces(splits)


def test_a_period_without_a_lattice_is_refused(tmp_path):
    path = tmp_path / "p.xyz"
    write_waters(path, 2, head=HEAD.replace("F F F", "T T T"))
    with pytest.raises(
        MoleculeError, match=r"frame 0 is periodic with the cell .*wanted three lattice vectors; add Latt"
    ):
        read_molecules(path)
    write_waters(path, 2, head='Lattice="9 0 0 0 9 0 0 0 0" ' + HEAD.replace("F F F", "T T T"))
    with pytest.raises(
        MoleculeError, match=r"frame 0 is periodic with the cell .*0.0, 0.0, 0.0\]\], wanted three lattice"
    ):
        read_molecules(path)


def test_an_unknown_data_set_lists_what_there_is():
    with pytest.raises(ConfigurationError, match="load_molecules: found 'md22:dna', wanted rmd17:<molecule>"):
        load_molecules("md22:dna")


def test_a_name_may_hold_an_at_sign(tmp_path):
    write_waters(tmp_path / "water@300.xyz", 3)
    assert len(read_molecules(tmp_path / "water@300.xyz")) == 3
