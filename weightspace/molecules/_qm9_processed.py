"""QM9 as torch_geometric stores it (`processed/data_v3.pt`), read as tensors alone."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import MoleculeError
from weightspace.molecules._molecules import Molecules
from weightspace.molecules._qm9_targets import ATOM_REFERENCES, TARGETS

ATOMISATION = {"U0": 12, "U": 13, "H": 14, "G": 15}  # columns of y
AGREEMENT = 0.02  # eV, of totals in float32 and totals from atomisation energies


def read_processed(path: Path) -> Molecules:
    """All molecules of PyG's file, which are those left after removing the uncharacterised ones; eV as there.

    The file stores single precision, 1 meV at the size of total energies, so that U0, U, H and G are summed from the
    atomisation energies beside them and the energies of free atoms. Only tensors, containers and the class of the data
    object are unpickled.

    Raises:
        MoleculeError: another file, or one that holds anything else.
    """
    fields, slices = _stored(path)
    try:
        z, pos, y, ptr = fields["z"], fields["pos"], fields["y"].double(), slices["z"]
        if y.shape != (len(ptr) - 1, 19) or not torch.equal(slices["pos"], ptr):
            raise ValueError(f"y {tuple(y.shape)} for {len(ptr) - 1} molecules")
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise MoleculeError(f"{path}: not QM9 as torch_geometric stores it ({error})") from error
    molecules = Molecules(z=z.long(), pos=pos.double(), ptr=ptr.long())
    values = {name: y[:, i].clone() for i, name in enumerate(TARGETS)}
    for name, column in ATOMISATION.items():
        total = y[:, column] + _free_atoms(molecules, ATOM_REFERENCES[name])
        worst = float((total - values[name]).abs().max())
        if worst > AGREEMENT:
            raise MoleculeError(f"{path}: {name} and its atomisation energy differ by {worst:.3g} eV; not version 3")
        values[name] = total
    return Molecules(z=molecules.z, pos=molecules.pos, ptr=molecules.ptr, values=values)


def _free_atoms(molecules: Molecules, reference: Mapping[int, float]) -> Tensor:
    table = torch.full((int(molecules.z.max()) + 1,), torch.nan, dtype=torch.float64)
    for z, value in reference.items():
        if z < len(table):
            table[z] = value
    return molecules.pos.new_zeros(len(molecules)).index_add_(0, molecules.batch, table[molecules.z])


def _stored(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    from torch_geometric.data import Data
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    try:
        with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
            data, slices, *_ = torch.load(path, weights_only=True, map_location="cpu")
        return (data if isinstance(data, dict) else data.to_dict()), slices
    except (OSError, RuntimeError, ValueError, TypeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MoleculeError(f"{path}: not a file of torch_geometric's QM9 ({reason})") from error
