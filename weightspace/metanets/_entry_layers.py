"""Equivariant linear layers on the entries of stacked networks, from the links of `_entry_links`.

The features of a piece are a tensor (B, linked coordinates ..., K, C). A layer reads every piece in all ways, joins
what ends in the same blocks into one tensor, applies one matrix to it, and writes the result to every piece in all
ways: one matrix product per kind of blocks, whatever the number of pieces, networks and links.

Legend of shape comments: B networks, K fixed positions of a piece, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightspace.metanets._entry_links import EntryPiece, Kind, Link, diagonal, kind_sizes, readings, writings
from weightspace.space import WeightSpace


@dataclass(frozen=True)
class LinkPlan:
    """How a layer of one weight space reads and writes.

    Args:
        pieces: of the space; those without entries (index features) are read only.
        reads: kind -> readings, in the order of the columns of the joined tensor.
        writes: kind -> writings, in the order of the columns of the product.
        sizes: kind -> sizes of its blocks.
    """

    pieces: tuple[EntryPiece, ...]
    reads: dict[Kind, tuple[Link, ...]]
    writes: dict[Kind, tuple[Link, ...]]
    sizes: dict[Kind, tuple[int, ...]]

    @classmethod
    def of(cls, space: WeightSpace, pieces: Sequence[EntryPiece]) -> "LinkPlan":
        """All links of some pieces."""
        reads: dict[Kind, list[Link]] = {}
        writes: dict[Kind, list[Link]] = {}
        for number, piece in enumerate(pieces):
            for link in readings(piece, number):
                reads.setdefault(link.kind, []).append(link)
            for link in writings(piece, number) if piece.parameter else ():
                writes.setdefault(link.kind, []).append(link)
        return cls(
            tuple(pieces),
            {kind: tuple(reads[kind]) for kind in writes},
            {kind: tuple(links) for kind, links in writes.items()},
            {kind: kind_sizes(kind, space.atoms) for kind in writes},
        )

    def widths(self, links: Sequence[Link], channels: Sequence[int]) -> list[int]:
        """Columns of each link: K C of its piece."""
        return [self.pieces[link.piece].taps * channels[link.piece] for link in links]


class LinkReader(nn.Module):
    """Reads a piece by a link: diagonal over blocks, mean over those that are not kept.

    Args:
        plan: of the weight space.

    Shapes:
        (B, coordinates ..., K, C) -> (B, kept blocks ..., K C)
    """

    def __init__(self, plan: LinkPlan):
        super().__init__()
        self.plan = plan
        links = [link for found in (*plan.reads.values(), *plan.writes.values()) for link in found]
        for link in links:
            flat = diagonal(plan.pieces[link.piece], link.blocks)
            if flat is not None:
                self.register_buffer(_name(link), flat, persistent=False)

    def diagonal(self, link: Link) -> Tensor | None:
        """Flat positions of the link's blocks on the grid of its piece; None where blocks are coordinates."""
        return self._buffers.get(_name(link))

    def sizes(self, link: Link) -> list[int]:
        """Of the link's blocks."""
        piece = self.plan.pieces[link.piece]
        return [piece.coordinates[block[0]].size for block in link.blocks]

    def forward(self, link: Link, values: Tensor) -> Tensor:
        """What the link reads."""
        values = values.flatten(-2)
        flat = self.diagonal(link)
        if flat is not None:
            values = values.flatten(1, -2).index_select(1, flat).unflatten(1, self.sizes(link))
        alone = [1 + i for i in range(len(link.blocks)) if i not in link.kept]
        kept = sorted(link.kept)
        values = values.mean(alone) if alone else values
        return values.permute(0, *(1 + kept.index(i) for i in link.kept), values.dim() - 1)


class EntryLinear(nn.Module):
    """The general linear map of entry features that commutes with the permutations of a weight space.

    Args:
        plan: of the weight space.
        in_channels: of each piece.
        out_channels: of each piece that is written.

    Shapes:
        features of each piece (B, sizes ..., K, C) -> the same with `out_channels`, of pieces that hold entries.
    """

    def __init__(self, plan: LinkPlan, in_channels: Sequence[int], out_channels: int):
        super().__init__()
        self.plan, self.out_channels = plan, out_channels
        outs = [out_channels] * len(plan.pieces)
        self._widths = {kind: plan.widths(links, outs) for kind, links in plan.writes.items()}
        matrices = []
        for kind, links in plan.reads.items():
            wide = sum(plan.widths(links, in_channels))
            matrix = nn.Linear(wide, sum(self._widths[kind]), bias=not kind)  # a constant per piece and partition
            nn.init.normal_(matrix.weight, std=(wide * 2) ** -0.5)
            matrices.append(matrix)
        self.matrices = nn.ModuleList(matrices)
        self.reader = LinkReader(plan)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """New features of the pieces that hold entries, in their order."""
        plan = self.plan
        result: list[Tensor | None] = [None] * len(plan.pieces)
        for kind, matrix in zip(plan.reads, self.matrices, strict=True):
            found = [self.reader(link, features[link.piece]) for link in plan.reads[kind]]
            joined = torch.cat(found, dim=-1) if len(found) > 1 else found[0]
            product = matrix(joined)  # (B, blocks ..., sum K C)
            for link, part in zip(plan.writes[kind], product.split(self._widths[kind], dim=-1), strict=True):
                result[link.piece] = self._write(link, part, result[link.piece])
        return [value for value in result if value is not None]

    def _write(self, link: Link, part: Tensor, result: Tensor | None) -> Tensor:
        """Spread over the piece and added to what was written before."""
        piece = self.plan.pieces[link.piece]
        kept = sorted(link.kept)
        part = part.permute(0, *(1 + link.kept.index(i) for i in kept), part.dim() - 1)
        for i in range(len(link.blocks)):
            if i not in link.kept:
                part = part.unsqueeze(1 + i)
        sizes = self.reader.sizes(link)
        part = part.unflatten(-1, (piece.taps, self.out_channels))
        flat = self.reader.diagonal(link)
        if flat is None:
            if result is not None:
                return result + part
            return part.expand(-1, *sizes, -1, -1) if sizes else part
        spread = part.expand(-1, *sizes, -1, -1).flatten(1, len(sizes))
        shape = (len(part), *piece.sizes, *part.shape[-2:])
        if result is None:
            result = part.new_zeros(shape)
        return result.expand(shape).flatten(1, len(piece.sizes)).index_add(1, flat, spread).view(shape)


class EntryPool(nn.Module):
    """All linear maps of entry features to numbers that the permutations leave alone: means over every piece and its
    diagonals, and one matrix.

    Args:
        plan: of the weight space.
        in_channels: of each piece.
        out_features: of the result.

    Shapes:
        features of each piece (B, sizes ..., K, C) -> (B, out_features)
    """

    def __init__(self, plan: LinkPlan, in_channels: Sequence[int], out_features: int):
        super().__init__()
        self.reader = LinkReader(plan)
        self.links = plan.reads[()]
        self.matrix = nn.Linear(sum(plan.widths(self.links, in_channels)), out_features)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """One row per network."""
        joined = [self.reader(link, features[link.piece]) for link in self.links]
        return self.matrix(torch.cat(joined, dim=-1))


def _name(link: Link) -> str:
    return f"diagonal_{link.piece}_" + "_".join("".join(map(str, block)) for block in link.blocks)
