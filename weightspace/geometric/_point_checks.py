"""Checks of point clouds at the boundary: shapes, dtypes and devices always, values where looking is free."""

import torch
from torch import Tensor

from weightspace.errors import GeometryError

_SHAPES = {
    "z": ("N",),
    "pos": ("N", 3),
    "batch": ("N",),
    "cell": ("G", 3, 3),
    "edge_index": (2, "E"),
    "edge_shift": ("E", 3),
}
_WHOLE = {"z", "batch", "edge_index"}


def check_shapes(owner: str, *, like: Tensor, **tensors: Tensor | None) -> None:
    """Shapes, dtypes and devices against each other and against a tensor of the model.

    Args:
        owner: name of the model, for the message.
        like: a floating tensor of the model.
        tensors: among z, pos, batch, cell, edge_index, edge_shift; None is skipped.

    Raises:
        GeometryError: one does not fit.
    """
    lengths: dict[str, int] = {}
    for name, tensor in tensors.items():
        if tensor is None and name not in ("z", "pos"):
            continue
        if not isinstance(tensor, Tensor):
            raise GeometryError(f"{owner}: {name} is of type {type(tensor).__name__}, wanted torch.Tensor")
        _check_kind(owner, name, tensor, like)
        wanted = _SHAPES[name]
        letters = [size for size in wanted if isinstance(size, str)]
        shape = tuple(lengths.get(size, size) if isinstance(size, str) else size for size in wanted)
        if tensor.dim() != len(shape) or any(
            s != t for s, t in zip(shape, tensor.shape, strict=True) if isinstance(s, int)
        ):
            raise GeometryError(
                f"{owner}: {name} has shape {tuple(tensor.shape)}, wanted {_written(shape)}; " + _advice(name)
            )
        for letter in letters:
            lengths[letter] = tensor.shape[wanted.index(letter)]
    cell = tensors.get("cell")
    if cell is not None and "z" in tensors and tensors.get("batch") is None and len(cell) != 1:
        raise GeometryError(f"{owner}: found {len(cell)} cells and no batch, wanted one cell; pass batch (N,)")
    if "edge_index" in tensors and tensors["edge_index"] is None and tensors.get("edge_shift") is not None:
        raise GeometryError(
            f"{owner}: found edge_shift without edge_index; wanted both or neither "
            "(weightspace.geometric.neighbours returns edge_index and edge_shift)"
        )
    if tensors.get("edge_index") is not None and (cell is None) != (tensors.get("edge_shift") is None):
        given, missing = ("edge_shift", "cell") if cell is None else ("cell", "edge_shift")
        raise GeometryError(
            f"{owner}: found edge_index and {given} without {missing}; "
            "wanted both or neither (weightspace.geometric.neighbours returns edge_index and edge_shift)"
        )


def check_values(
    owner: str,
    *,
    z: Tensor,
    pos: Tensor,
    batch: Tensor,
    num_graphs: int,
    known: Tensor,
    edge_index: Tensor | None = None,
) -> None:
    """Elements, order of the batch, ends of edges, finite positions; on the CPU alone.

    Args:
        owner: name of the model, for the message.
        z, pos, batch, edge_index: what the model was called with.
        num_graphs: how many graphs there may be.
        known: for each atomic number its place among the model's elements, -1 for none (119,).

    Raises:
        GeometryError: a value that does not fit.
    """
    if pos.device.type != "cpu" or torch.compiler.is_compiling() or not len(z):
        return
    low, high = torch.aminmax(z)
    if low < 1 or high >= len(known):
        raise GeometryError(f"{owner}: z holds {int(low) if low < 1 else int(high)}, wanted atomic numbers in 1..118")
    strange = known[z] < 0
    if strange.any():
        elements = (known >= 0).nonzero().flatten().tolist()
        raise GeometryError(
            f"{owner}: atom {int(strange.nonzero()[0])} has z={int(z[strange][0])}, and the model knows the elements "
            f"{elements}; build it with elements=[...] that hold all of the data's"
        )
    if (batch[1:] < batch[:-1]).any() or batch[0] < 0 or batch[-1] >= num_graphs:
        raise GeometryError(
            f"{owner}: batch is not ascending in 0..{num_graphs - 1}, wanted the atoms sorted by graph; "
            "sort them with torch.argsort(batch, stable=True)"
        )
    if not torch.isfinite(pos).all():
        atom = int((~torch.isfinite(pos)).any(1).nonzero()[0])
        raise GeometryError(f"{owner}: pos of atom {atom} is not finite; look at where positions come from")
    if edge_index is not None and edge_index.shape[1]:
        _check_edges(owner, edge_index, batch)


def check_lattice(owner: str, cell: Tensor | None, edge_shift: Tensor | None) -> None:
    """Cells are finite and their rows that are not zero independent, and shifts are whole; on the CPU alone.

    Args:
        owner: name of the model, for the message.
        cell: lattice vectors as rows (G, 3, 3).
        edge_shift: lattice vectors that edges cross (E, 3).

    Raises:
        GeometryError: a value that does not fit.
    """
    if cell is None or cell.device.type != "cpu" or torch.compiler.is_compiling():
        return
    rows = cell.detach().double()
    length = torch.linalg.vector_norm(rows, dim=-1)  # (G, 3)
    rows = rows / length.masked_fill(length == 0, 1)[..., None]
    gram = rows @ rows.transpose(1, 2) + torch.diag_embed((length == 0).double())
    wrong = ~(torch.linalg.det(gram) > 1e-9)  # so written, what is not finite is wrong, too
    if wrong.any():
        graph = int(wrong.nonzero()[0])
        raise GeometryError(
            f"{owner}: cell {graph} is {cell[graph].tolist()}, wanted finite, independent rows (a row of zeros is a "
            "direction without period)"
        )
    if edge_shift is not None and (edge_shift != edge_shift.round()).any():
        edge = int((edge_shift != edge_shift.round()).any(1).nonzero()[0])
        raise GeometryError(
            f"{owner}: edge_shift of edge {edge} is {edge_shift[edge].tolist()}, wanted whole lattice vectors"
        )


def _check_edges(owner: str, edge_index: Tensor, batch: Tensor) -> None:
    low, high = torch.aminmax(edge_index)
    if low < 0 or high >= len(batch):
        raise GeometryError(
            f"{owner}: edge_index holds {int(low) if low < 0 else int(high)}, wanted atoms in 0..{len(batch) - 1}"
        )
    across = batch[edge_index[0]] != batch[edge_index[1]]
    if across.any():
        e = int(across.nonzero()[0])
        raise GeometryError(
            f"{owner}: edge {e} runs from atom {int(edge_index[0, e])} of graph {int(batch[edge_index[0, e]])} to atom "
            f"{int(edge_index[1, e])} of graph {int(batch[edge_index[1, e]])}; wanted edges within a graph"
        )


def _check_kind(owner: str, name: str, tensor: Tensor, like: Tensor) -> None:
    if name in _WHOLE:
        if tensor.dtype != torch.long:
            raise GeometryError(f"{owner}: {name} has dtype {tensor.dtype}, wanted torch.int64; call {name}.long()")
    elif tensor.dtype != like.dtype:
        raise GeometryError(
            f"{owner}: {name} has dtype {tensor.dtype} and the model {like.dtype}, wanted the same; "
            f"call {name}.to({like.dtype}) or model.to({tensor.dtype})"
        )
    if tensor.device != like.device:
        raise GeometryError(
            f"{owner}: {name} is on {tensor.device} and the model on {like.device}, wanted the same; "
            f"call {name}.to({str(like.device)!r}) or model.to({str(tensor.device)!r})"
        )


def _written(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _advice(name: str) -> str:
    return {
        "z": "one atomic number for each atom",
        "pos": "one row for each atom of z",
        "batch": "one graph number for each atom",
        "cell": "three lattice vectors as rows for each graph, cell[None] for one",
        "edge_index": "sources in row 0, targets in row 1",
        "edge_shift": "whole lattice vectors for each edge",
    }[name]
