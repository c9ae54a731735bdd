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
        if tensor is None:
            continue
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
