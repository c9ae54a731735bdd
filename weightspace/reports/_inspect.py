"""A network's weight space as text and files: what `weightspace trace` shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from weightspace.block_stream import edge_count
from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.space import WeightSpace
from weightspace.tracing import trace
from weightspace.zoo import named_network

PICTURES = (".png", ".svg", ".pdf")
MAX_SITES = 60


@dataclass(frozen=True)
class SpaceFiles:
    """Files to write; None where one is not wanted.

    Args:
        json: the weight space.
        graphml: the parameter graph's topology.
        picture: the parameter graph, drawn; .png, .svg or .pdf.
        weights: numbers in the GraphML file, too.
    """

    json: Path | None = None
    graphml: Path | None = None
    picture: Path | None = None
    weights: bool = False


def inspect_network(
    name: str,
    *,
    module: str | None = None,
    inputs: Sequence[str] = (),
    everything: bool = False,
    meta: bool = False,
    files: SpaceFiles | None = None,
) -> str:
    """Trace a network that a text names, write the files that are asked for, and describe its weight space.

    Args:
        name, module, inputs, meta: as in `weightspace.zoo.named_network`.
        everything: a line for each parameter, also of repeated layers.
        files: to write.

    Returns:
        The table, and a line for each file.

    Raises:
        WeightspaceError: whatever does not fit: the factory, the checkpoint, an input, a graph that is too large.
    """
    files = files or SpaceFiles()
    _check_files(files)
    network = named_network(name, module=module, inputs=inputs, meta=meta)
    space = trace(network.module, *network.inputs)
    lines = [space.describe(everything=everything)]
    if any(value.is_meta for value in network.module.state_dict().values()):
        lines.append("\nnot verified: the module is on the meta device")
    if files.json is not None:
        files.json.write_text(space.to_json(), encoding="utf-8")
    if files.graphml is not None:
        _write_graphml(space, network.state_dict, files)
    if files.picture is not None:
        _write_picture(space, network.state_dict, files.picture, name)
    written = [str(path) for path in (files.json, files.graphml, files.picture) if path is not None]
    return "\n".join([*lines, *(["", f"wrote {', '.join(written)}"] if written else [])])


def _check_files(files: SpaceFiles) -> None:
    """What can be seen to be wrong before minutes of work."""
    if files.picture is not None and files.picture.suffix not in PICTURES:
        raise ConfigurationError(f"picture: found {files.picture}, wanted a name that ends in {', '.join(PICTURES)}")
    if files.weights and files.graphml is None:
        raise ConfigurationError("weights: there is no file to write them to; give --graphml FILE, too")
    for path in (files.json, files.graphml, files.picture):
        if path is not None and not path.parent.is_dir():
            raise ConfigurationError(f"{path}: the folder {path.parent} does not exist; make it first")


def _write_graphml(space: WeightSpace, state: Mapping[str, Tensor] | None, files: SpaceFiles) -> None:
    from weightspace.reports._graphml import check_graphml_size, write_graphml

    if state is None and files.weights:
        raise WeightspaceError(
            "graphml: a module on the meta device has no weights; leave out --weights or --meta, or give a checkpoint"
        )
    nodes = sum(prod(space.atoms[name].size for name in site.atoms) for site in space.sites)
    check_graphml_size(nodes, edge_count(space))
    assert files.graphml is not None
    write_graphml(space.to_graph(_zeros(space) if state is None else state), files.graphml, weights=files.weights)


def _zeros(space: WeightSpace) -> dict[str, Tensor]:
    """A state_dict for a graph of which nobody reads the numbers."""
    found = {key: space.parameters.get(space.tied.get(key, key)) for key in space.keys}
    return {key: torch.zeros(() if spec is None else spec.shape) for key, spec in found.items()}


def _write_picture(space: WeightSpace, state: Mapping[str, Tensor] | None, path: Path, title: str) -> None:
    from weightspace.reports._drawing import draw_parameter_graph

    if state is None:
        raise WeightspaceError(
            "picture: its colours are weights, and a module on the meta device has none; leave out --meta, or give a "
            "checkpoint"
        )
    if len(space.sites) > MAX_SITES:
        raise WeightspaceError(
            f"picture: the parameter graph has {len(space.sites)} sites, at most {MAX_SITES} fit in a picture; trace a "
            "part of the module, or write --graphml and draw that"
        )
    draw_parameter_graph(space.to_graph(state), title=title).savefig(path)
