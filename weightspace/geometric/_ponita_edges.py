"""Which edges a kernel is evaluated on, and how much each counts."""

from dataclasses import dataclass

from torch import Tensor

from weightspace.errors import ConfigurationError
from weightspace.geometric._neighbours import edge_lengths, edge_pairs
from weightspace.geometric._ponita_kernels import KernelEdges
from weightspace.geometric._ponita_layers import PonitaTrunk
from weightspace.geometric._ponita_messages import pair_rows, plain_rows
from weightspace.geometric._radial import AbstractCutoff, MollifierCutoff, PolynomialCutoff
from weightspace.geometric._take import take

WINDOWS = {"polynomial": PolynomialCutoff, "mollifier": MollifierCutoff}


@dataclass(frozen=True)
class EdgeExtras:
    """What an edge may have beside its vector.

    Args:
        attr: attributes that the kernel reads (E, A).
        ori: an orientation at each point (N, d).
        pair_edge: one edge of each pair of opposite ones, or all, from `edge_pairs`, where that is known.
    """

    attr: Tensor | None = None
    ori: Tensor | None = None
    pair_edge: Tensor | None = None


def make_window(name: str, cutoff: float | None) -> AbstractCutoff | None:
    """The window of a name: 1 at no distance, 0 from the cutoff on; None without a cutoff.

    Raises:
        ConfigurationError: an unknown name.
    """
    if name not in WINDOWS:
        raise ConfigurationError(f"window: found {name!r}, wanted one of {', '.join(WINDOWS)}")
    return None if cutoff is None else WINDOWS[name](cutoff)


def kernel_edges(
    trunk: PonitaTrunk,
    edge_index: Tensor,
    edge_vec: Tensor,
    *,
    num_nodes: int,
    window: AbstractCutoff | None,
    extras: EdgeExtras,
) -> KernelEdges:
    """The rows on which a trunk's kernel is evaluated: one for each pair where that is exact, else one for each edge.

    Pairs are shared if the trunk's kernel reads opposite orientations alike, every edge has its reverse, and edges
    have no attributes. Edges without length count nothing, as a point's own term stands for them; where points have
    orientations of their own, that holds for loops alone.
    """
    share = trunk.evaluation.share_pairs and trunk.shares and extras.attr is None and extras.ori is None
    rows = plain_rows(edge_index)
    if share:
        pair_edge = edge_pairs(edge_index, None, num_nodes)[0] if extras.pair_edge is None else extras.pair_edge
        rows = pair_rows(edge_index, pair_edge, num_nodes)
    vec = rows.of_edges(edge_vec)
    edge_len = edge_lengths(vec)
    here = (edge_len > 0 if extras.ori is None else edge_index[0] != edge_index[1]).to(vec.dtype)
    return KernelEdges(
        rows,
        vec,
        here if window is None else here * window(edge_len),
        attr=extras.attr,
        ori_source=None if extras.ori is None else take(extras.ori, 0, edge_index[0]),
        ori_target=None if extras.ori is None else take(extras.ori, 0, edge_index[1]),
    )
