"""Neighbour lists of batched point clouds, open or periodic."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import GeometryError
from weightspace.extras import MOL
from weightspace.geometric._take import take

DENSE_PAIRS = 2**21  # compared at once, and by default at most before vesin takes over


@torch.no_grad()
def neighbours(
    pos: Tensor,
    *,
    cutoff: float | None,
    batch: Tensor | None = None,
    cell: Tensor | None = None,
    num_graphs: int | None = None,
    method: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """All ordered pairs of points of one graph that are at most `cutoff` apart, both directions, sorted by target.

    "dense" compares all pairs of each graph (and all images within reach) on the device of `pos`, in chunks; "vesin"
    uses the cell lists of that package, on the CPU. Points without distance are no neighbours: neither a point of
    itself, nor two that coincide; a point is a neighbour of its own images. Gradients do not pass: distances are
    computed anew from `pos`, `edge_vec = pos[target] - pos[source] + edge_shift @ cell`. There is no largest number
    of neighbours, as a list cut at k jumps when an atom moves.

    Args:
        pos: positions, in the unit of `cutoff`.
        cutoff: largest distance; None for all pairs of a graph, without a cell.
        batch: graph of each point, ascending; None for one graph.
        cell: lattice vectors as rows; a row of zeros is a direction without period.
        num_graphs: how many graphs there are; None to count them, which waits for the device.
        method: "dense" or "vesin"; None takes "dense" up to 2^21 comparisons (16 times that on an accelerator).

    Shapes:
        pos (N, 3), batch (N,), cell (G, 3, 3) -> edge_index (2, E) with sources in row 0 and targets in row 1, and
        edge_shift (E, 3) of the dtype of pos, whole numbers; None without a cell.

    Raises:
        GeometryError: an unknown method, a cutoff that is not positive, a cell without cutoff, or vesin is missing.

    Example:
        >>> pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])
        >>> neighbours(pos, cutoff=2.5)[0].tolist()
        [[1, 0, 2, 1], [0, 1, 1, 2]]
    """
    _check(cutoff, cell, method)
    batch = pos.new_zeros(len(pos), dtype=torch.long) if batch is None else batch
    if num_graphs is None:
        num_graphs = (int(batch.max()) + 1 if len(batch) else 0) if cell is None else len(cell)
    if not len(pos):
        return pos.new_zeros(2, 0, dtype=torch.long), None if cell is None else pos.new_zeros(0, 3)
    sizes = torch.bincount(batch, minlength=num_graphs)
    longest = int(sizes.max())
    reach = _reach(cell, cutoff)
    images = _images(reach)
    limit = DENSE_PAIRS if pos.device.type == "cpu" else 16 * DENSE_PAIRS
    if method == "vesin" or (method is None and cutoff is not None and len(pos) * longest * len(images) > limit):
        return _by_vesin(pos, batch, sizes, cutoff=cutoff, cell=cell)
    return _dense(pos, batch, sizes, longest=longest, cutoff=cutoff, cell=cell, reach=reach, images=images)


def edge_vectors(pos: Tensor, edge_index: Tensor, batch: Tensor, cell: Tensor | None, shift: Tensor | None) -> Tensor:
    """pos[target] - pos[source] + shift @ cell, differentiable in positions and cell."""
    source, target = edge_index[0], edge_index[1]
    vec = take(pos, 0, target) - take(pos, 0, source)  # (E, 3)
    if cell is None or shift is None:
        return vec
    return vec + torch.einsum("ek,ekd->ed", shift, take(cell, 0, take(batch, 0, source)))


def edge_lengths(edge_vec: Tensor) -> Tensor:
    """Lengths; where one is zero, its gradient is zero, too, in place of one that is not a number."""
    square = edge_vec.square().sum(-1)
    zero = square == 0
    return square.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


@torch.no_grad()
def edge_pairs(edge_index: Tensor, shift: Tensor | None, num_points: int) -> tuple[Tensor, Tensor]:
    """Which edges are opposite, so that what reads lengths alone is computed once for both.

    Args:
        edge_index: (2, E).
        shift: whole lattice vectors (E, 3), or None.
        num_points: N.

    Returns:
        One edge of each pair (P,), and the pair of each edge (E,). Where some edge has no opposite, each is a pair of
        its own. Waits for the device.

    Example:
        >>> edge_pairs(torch.tensor([[1, 0, 2, 0], [0, 1, 0, 2]]), None, 3)
        (tensor([1, 3]), tensor([0, 0, 1, 1]))
    """
    source, target = edge_index[0], edge_index[1]
    forward, key = source < target, torch.minimum(source, target) * num_points + torch.maximum(source, target)
    if shift is not None and shift.numel():
        whole = shift.round().long()
        span = 2 * int(whole.abs().max()) + 1
        image = (whole[:, 0] * span + whole[:, 1]) * span + whole[:, 2]  # odd in the shift
        forward = forward | ((source == target) & (image > 0))
        key = key * (2 * span**3) + torch.where(forward, image, -image)
    ahead, back = forward.nonzero().flatten(), (~forward).nonzero().flatten()
    ahead, back = ahead[key[ahead].argsort()], back[key[back].argsort()]
    every = torch.arange(len(source), device=source.device)
    if len(ahead) != len(back) or not torch.equal(key[ahead], key[back]):
        return every, every
    pair = torch.empty_like(every)
    pair[ahead] = pair[back] = every[: len(ahead)]
    return ahead, pair


def _check(cutoff: float | None, cell: Tensor | None, method: str | None) -> None:
    if method not in (None, "dense", "vesin"):
        raise GeometryError(f"neighbours: found method={method!r}, wanted 'dense', 'vesin' or None")
    if cutoff is None and (cell is not None or method == "vesin"):
        raise GeometryError("neighbours: found cutoff=None, wanted a distance, as a periodic system (and vesin) needs")
    if cutoff is not None and not cutoff > 0:
        raise GeometryError(f"neighbours: found cutoff={cutoff}, wanted a positive distance, or None for all pairs")


def _reach(cell: Tensor | None, cutoff: float | None) -> Tensor | None:
    """How many images lie within the cutoff in each direction (G, 3), for points inside the cell."""
    if cell is None or cutoff is None:
        return None
    heights = torch.linalg.pinv(cell).norm(dim=-2)  # 1 / distance of lattice planes, 0 without period
    return torch.where(heights > 0, torch.floor(heights * cutoff * (1 + 1e-6) + 1), 0)


def _images(reach: Tensor | None) -> list[tuple[int, ...]]:
    if reach is None:
        return [(0, 0, 0)]
    most = reach.amax(0).long().tolist()
    axes = [range(-m, m + 1) for m in most]
    return [(a, b, c) for a in axes[0] for b in axes[1] for c in axes[2]]


def _dense(
    pos: Tensor,
    batch: Tensor,
    sizes: Tensor,
    *,
    longest: int,
    cutoff: float | None,
    cell: Tensor | None,
    reach: Tensor | None,
    images: list[tuple[int, ...]],
) -> tuple[Tensor, Tensor | None]:
    """Chunks of targets against all points of their graph and all images."""
    first = sizes.cumsum(0) - sizes
    column = torch.arange(longest, device=pos.device)
    shifts = pos.new_tensor(images)  # (S, 3)
    wraps = torch.zeros_like(pos)
    if cell is not None:
        wraps = torch.floor(torch.einsum("nd,ndk->nk", pos, torch.linalg.pinv(cell)[batch]))
        pos = pos - torch.einsum("nk,nkd->nd", wraps, cell[batch])
    edges, found_shifts = [], []
    rows = max(1, DENSE_PAIRS // (longest * len(images)))
    for targets in torch.arange(len(pos), device=pos.device).split(rows):
        graph = batch[targets]
        valid = column < sizes[graph, None]  # (T, M)
        sources = torch.where(valid, first[graph, None] + column, 0)
        vec = (pos[targets, None] - pos[sources])[:, :, None]  # (T, M, 1, 3)
        near = valid[:, :, None] & ((sources != targets[:, None])[:, :, None] | (shifts != 0).any(-1))  # (T, M, S)
        if cell is not None and reach is not None:
            vec = vec + torch.einsum("sk,tkd->tsd", shifts, cell[graph])[:, None]
            near &= (shifts.abs() <= reach[graph, None]).all(-1)[:, None]
        square = vec.square().sum(-1)  # (T, M, S)
        near &= square > 0
        if cutoff is not None:
            near &= square <= cutoff**2
        row, place, image = near.nonzero(as_tuple=True)
        source, target = sources[row, place], targets[row]
        edges.append(torch.stack([source, target]))
        found_shifts.append(shifts[image] - wraps[target] + wraps[source])
    return torch.cat(edges, dim=1), None if cell is None else torch.cat(found_shifts)


def _by_vesin(
    pos: Tensor, batch: Tensor, sizes: Tensor, *, cutoff: float | None, cell: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Graph by graph with the cell lists of vesin."""
    search = _vesin().NeighborList(cutoff=cutoff, full_list=True)
    edges, shifts, start = [], [], 0
    for g, size in enumerate(sizes.tolist()):
        points = pos[start : start + size].double().numpy(force=True)
        box = torch.zeros(3, 3, dtype=torch.float64) if cell is None else cell[g].detach().double().cpu()
        periodic = (box != 0).any(-1)
        source, target, shift, length = search.compute(
            points=points, box=_completed(box).numpy(), periodic=periodic.tolist(), quantities="ijSd"
        )
        found = torch.as_tensor(target.astype("int64")), torch.as_tensor(source.astype("int64"))
        order = torch.argsort(found[0], stable=True)
        order = order[torch.as_tensor(length)[order] > 0]
        edges.append(start + torch.stack([found[1][order], found[0][order]]))
        shifts.append(torch.as_tensor(shift.astype("float64")).reshape(-1, 3)[order])
        start += size
    edge_index = torch.cat(edges, dim=1).to(pos.device)
    return edge_index, None if cell is None else torch.cat(shifts).to(pos)


def _completed(box: Tensor) -> Tensor:
    """Rows of zeros replaced by unit vectors at right angles to the others."""
    if not bool((box != 0).any()):
        return torch.zeros_like(box)
    _, values, directions = torch.linalg.svd(box)
    box, rest = box.clone(), directions[int((values > 1e-10 * values[0]).sum()) :]
    for row, direction in zip((box == 0).all(-1).nonzero().flatten().tolist(), rest, strict=False):
        box[row] = direction
    return box


def _vesin() -> Any:
    try:
        return import_module("vesin")
    except ImportError as error:
        raise GeometryError(
            "neighbours: a large or periodic system needs the package vesin, which is not installed; "
            f"{MOL}, or pass method='dense' (slower), or edge_index from elsewhere"
        ) from error
