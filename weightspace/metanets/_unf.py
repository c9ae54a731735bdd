"""Universal neural functionals: equivariant linear layers derived from the weight space, one set per architecture."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.axes import FREE
from weightspace.errors import WeightspaceError
from weightspace.graph import ParameterGraph
from weightspace.metanets._encoders import index_features, value_features
from weightspace.metanets._entry_layers import EntryLinear, EntryPool, LinkPlan
from weightspace.metanets._entry_links import Coordinate, EntryPiece, entry_pieces, linked_atoms
from weightspace.metanets._entry_values import EntryRows, edited_graphs, entry_rows
from weightspace.metanets._input_scales import InputScales, as_input_scales
from weightspace.metanets._networks import TracedNetwork, listed
from weightspace.space import WeightSpace

_VALUE_FEATURES = 3
_INDEX_FEATURES = 16


class EntryTrunk(nn.Module):
    """Layers of one architecture: `h <- h + L(relu(norm(h)))`, with L the general equivariant linear map.

    Args:
        space: of the architecture.
        channels: per entry.
        layers: linear maps.
        max_fixed: longest fixed axis of neurons whose positions have weights of their own.

    Shapes:
        scaled entries (B, all entries) -> features of each piece (B, linked coordinates ..., fixed positions, channels)
    """

    address: Tensor

    def __init__(self, space: WeightSpace, channels: int, layers: int, max_fixed: int):
        super().__init__()
        self.entries = sum(spec.numel for spec in space.parameters.values())
        held = entry_pieces(space, max_fixed)
        fixed = [n for n in sorted(linked_atoms(space.atoms, max_fixed)) if space.atoms[n].kind != FREE]
        index = [_index_piece(name, space.atoms[name].size) for name in fixed]
        self.held = len(held)
        self.plan = LinkPlan.of(space, [*held, *index])
        numbers = [_INDEX_FEATURES] * len(index)
        self.first = EntryLinear(self.plan, [_VALUE_FEATURES] * len(held) + numbers, channels)
        self.channels = [channels] * len(held) + numbers
        self.layers = nn.ModuleList(EntryLinear(self.plan, self.channels, channels) for _ in range(layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.register_buffer("address", torch.cat([p.address.flatten() for p in held]), persistent=False)

    def forward(self, entries: Tensor) -> list[Tensor]:
        """Features of every piece, those of index features at the end."""
        index = self._index(entries)
        chosen = entries.index_select(1, self.address)
        values = value_features(chosen.reshape(-1, 1)).view(*chosen.shape, _VALUE_FEATURES)
        values = values.split([piece.address.numel() for piece in self.plan.pieces[: self.held]], dim=1)
        h = [v.unflatten(1, p.address.shape) for v, p in zip(values, self.plan.pieces, strict=False)]
        h = self.first([*h, *index])
        for norm, layer in zip(self.norms, self.layers, strict=False):
            active = [torch.relu(norm(value)) for value in h]
            h = [old + new for old, new in zip(h, layer([*active, *index]), strict=True)]
        return [*(torch.relu(self.norms[-1](value)) for value in h), *index]

    def _index(self, like: Tensor) -> list[Tensor]:
        """Features of the positions on linked fixed axes, (B, size, 1, features) each."""
        found = []
        for piece in self.plan.pieces[self.held :]:
            rows = index_features(torch.arange(*piece.sizes, device=like.device)).to(like.dtype)
            found.append(rows[:, None].expand(len(like), -1, -1, -1))
        return found


class AbstractEntryMetanet(nn.Module):
    """Layers on entries and an end for every architecture that was made known.

    Args:
        arguments: of the model's constructor, JSON values; channels, layers and max_fixed among them.
        spaces: weight spaces to read (or their JSON).
        input_scales: what values are divided by.
    """

    def __init__(
        self,
        *,
        arguments: Mapping[str, Any],
        spaces: Sequence[WeightSpace | Mapping[str, Any]],
        input_scales: InputScales | Mapping[str, Any] | None,
    ):
        super().__init__()
        self._arguments = dict(arguments)
        self._spaces: dict[str, WeightSpace] = {}
        self.input_scales = as_input_scales(input_scales)
        self.trunks, self.ends = nn.ModuleDict(), nn.ModuleDict()
        self.scale = nn.Parameter(torch.ones(()))  # gives dtype and device where no architecture is known
        self._add(s if isinstance(s, WeightSpace) else WeightSpace.from_json(json.dumps(s)) for s in spaces)

    @abstractmethod
    def _end(self, trunk: EntryTrunk) -> nn.Module:
        """What reads the trunk's features."""

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        spaces = [json.loads(space.to_json()) for space in self._spaces.values()]
        return {**self._arguments, "spaces": spaces, "input_scales": self.input_scales.to_dict()}

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Add layers for architectures that are not known yet; before an optimiser is made, and before loading.

        Raises:
            WeightspaceError: a key that is not the network's signature.
        """
        self._add(network.space for _, network in listed(networks, owner=type(self).__name__))

    def _add(self, spaces: Iterable[WeightSpace]) -> None:
        a = self._arguments
        for space in spaces:
            if space.signature not in self._spaces:
                trunk = EntryTrunk(space, a["channels"], a["layers"], a["max_fixed"])
                self._spaces[space.signature] = space
                self.trunks[space.signature] = trunk.to(self.scale)
                self.ends[space.signature] = self._end(trunk).to(self.scale)

    def _trunk(self, signature: str) -> EntryTrunk:
        if signature not in self.trunks:
            raise WeightspaceError(
                f"{type(self).__name__}: found a network of architecture {signature[:12]}, wanted one of the "
                f"{len(self.trunks)} that it has layers for; pass spaces=[...], or call attach before the optimiser is "
                "made"
            )
        return self.trunks[signature]  # type: ignore[return-value]

    def _rows(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> list[EntryRows]:
        return entry_rows(
            graphs, self.input_scales, width=lambda name: self._trunk(name).entries, dtype=self.scale.dtype
        )


class UNF(AbstractEntryMetanet):
    """Universal neural functional: one prediction per network, invariant under every relabelling of its neurons.

    Source: Zhou, Finn and Harrison 2024, "Universal Neural Functionals", arXiv 2402.05232: the general linear map
    between weights that commutes with the permutations, found for any collection of tensors by the partitions of their
    indices, with pointwise non-linearities between. On an MLP it is the layer of Navon et al. 2023 ("Equivariant
    Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780: DWSNets) and of Zhou et al. 2023
    ("Permutation Equivariant Neural Functionals", arXiv 2302.14040: NFN, hidden-neuron permutations), on a CNN that of
    the latter. `weightspace.metanets.equivariant_dimension` gives its dimension.

    What deviates: the specification is derived from the traced weight space, wreath products (heads) included; links
    average in place of summing; an entry enters as its scaled value and two functions of it; layers are residual, with
    a LayerNorm over channels. Fixed axes longer than `max_fixed` are linked like permutable ones and told apart by
    index features (as NFN does for inputs and outputs); without that, the matrices of 784 inputs would not fit.

    Every architecture has layers of its own, the readout is shared. Architectures are made known by `spaces`, or by
    `attach` before the optimiser is made.

    Args:
        out_features: outputs per network.
        channels: per entry.
        layers: linear maps.
        max_fixed: longest fixed axis of neurons whose positions have weights of their own.
        spaces: weight spaces to read (or their JSON).
        input_scales: what values are divided by, from `fit_input_scales`.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Raises:
        WeightspaceError: a network of an architecture that was not made known.

    Example:
        >>> import torch, weightspace as ws
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        >>> space = ws.trace(net, torch.zeros(1, 2))
        >>> UNF(3, channels=4, layers=2, spaces=[space])(space.to_graph(net.state_dict())).shape
        torch.Size([1, 3])
    """

    def __init__(
        self,
        out_features: int,
        *,
        channels: int = 32,
        layers: int = 4,
        max_fixed: int = 16,
        spaces: Sequence[WeightSpace | Mapping[str, Any]] = (),
        input_scales: InputScales | Mapping[str, Any] | None = None,
    ):
        arguments = {"out_features": out_features, "channels": channels, "layers": layers, "max_fixed": max_fixed}
        super().__init__(arguments=arguments, spaces=spaces, input_scales=input_scales)
        hidden = self._width()
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out_features))

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One row per network."""
        found = self._rows(graphs)
        rows = [self.ends[each.signature](self._trunk(each.signature)(each.entries)) for each in found]
        order = torch.argsort(torch.cat([each.place for each in found]))
        return self.head(self.scale * torch.cat(rows)[order.to(rows[0].device)])

    def _end(self, trunk: EntryTrunk) -> nn.Module:
        return EntryPool(trunk.plan, trunk.channels, self._width())

    def _width(self) -> int:
        return 8 * self._arguments["channels"]


class UNFEditor(AbstractEntryMetanet):
    """Universal neural functional that edits: the same networks with a number of its own added to every entry,
    equivariant under relabelling.

    Source and deviations as for `UNF`. The new value is value + gain * scale * (last linear map), with the scale from
    `input_scales`; running statistics stay as they are unless `edit_buffers`.

    Args:
        channels: per entry.
        layers: linear maps before the last one.
        max_fixed: longest fixed axis of neurons whose positions have weights of their own.
        spaces: weight spaces to read (or their JSON).
        input_scales: what values are divided by, from `fit_input_scales`.
        gain: initial size of an edit, in units of the input scale.
        edit_buffers: whether running statistics are edited, too.

    Example:
        >>> UNFEditor(channels=8, layers=2).config["gain"]
        0.1
    """

    def __init__(
        self,
        *,
        channels: int = 32,
        layers: int = 4,
        max_fixed: int = 16,
        spaces: Sequence[WeightSpace | Mapping[str, Any]] = (),
        input_scales: InputScales | Mapping[str, Any] | None = None,
        gain: float = 0.1,
        edit_buffers: bool = False,
    ):
        sizes = {"channels": channels, "layers": layers, "max_fixed": max_fixed}
        arguments = {**sizes, "gain": gain, "edit_buffers": edit_buffers}
        super().__init__(arguments=arguments, spaces=spaces, input_scales=input_scales)
        self.edit_buffers = edit_buffers
        with torch.no_grad():
            self.scale.fill_(gain)

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> ParameterGraph | list[ParameterGraph]:
        """Edited graphs, in the form of the input: one graph, or a list."""
        edits = []
        for rows in self._rows(graphs):
            trunk = self._trunk(rows.signature)
            pieces = self.ends[rows.signature](trunk(rows.entries))
            flat = self.scale * torch.cat([piece.flatten(1) for piece in pieces], dim=1)
            edits.append((rows, torch.zeros_like(rows.entries).index_copy(1, trunk.address, flat)))
        return edited_graphs(graphs, edits, self.input_scales, buffers=self.edit_buffers)

    def _end(self, trunk: EntryTrunk) -> nn.Module:
        return EntryLinear(trunk.plan, trunk.channels, 1)


def _index_piece(atom: str, size: int) -> EntryPiece:
    return EntryPiece("", (Coordinate(atom, size, ()),), torch.zeros(size, 1, dtype=torch.long))
