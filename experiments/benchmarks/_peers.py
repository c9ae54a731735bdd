"""The peers' own code, where checkouts of it are at hand: models of the published sizes for the INR 2-32-32-1.

A folder holds checkouts `neural-graphs`, `DWSNets` and `nfn` (each optional). What they import beside torch and
torch_geometric (hydra-core, einops, random-fourier-features-pytorch, PyYAML) has to be on PYTHONPATH; with recent
versions of torch_geometric, neural-graphs needs `torch_geometric.utils.trim_to_layer` under its old name.
"""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 10


@dataclass(frozen=True)
class Peer:
    """A published model.

    Args:
        name: of the model.
        repository: where its code is from.
        commit: of the checkout.
        model: made with the published configuration.
        forward: the model on the batch.
    """

    name: str
    repository: str
    commit: str
    model: nn.Module
    forward: Callable[[], Tensor]


def peers(folder: Path, widths: Sequence[int], models: int) -> list[Peer]:
    """Every peer whose checkout is in the folder, on random MLPs of these widths."""
    known: dict[str, tuple[str, Callable[[Path, Sequence[int], int], dict[str, Made]]]] = {
        "neural-graphs": ("mkofinas/neural-graphs", _neural_graphs),
        "DWSNets": ("AvivNavon/DWSNets", _dwsnets),
        "nfn": ("AllanYangZhou/nfn", _nfn),
    }
    found = []
    for name, (repository, make) in known.items():
        path = folder / name
        if path.is_dir():
            with _importing_from(path):
                made = make(path, widths, models)
            found += [Peer(what, repository, _commit(path), *parts) for what, parts in made.items()]
    return found


Made = tuple[nn.Module, Callable[[], Tensor]]


@contextmanager
def _importing_from(path: Path) -> Iterator[None]:
    """Imports from a checkout; its packages are forgotten afterwards, because several are called `nn`."""
    before = set(sys.modules)
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("nn", "nfn", "experiments"):
                del sys.modules[name]


def _commit(path: Path) -> str:
    command = ["git", "-C", str(path), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _weights(widths: Sequence[int], models: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Weights (B, in, out, 1) and biases (B, out, 1)."""
    pairs = list(zip(widths[:-1], widths[1:], strict=True))
    weights = tuple(torch.randn(models, a, b, 1) for a, b in pairs)
    return weights, tuple(torch.randn(models, b, 1) for _, b in pairs)


def _neural_graphs(path: Path, widths: Sequence[int], models: int) -> dict[str, Made]:
    import yaml

    configurations = path / "experiments" / "inr_classification" / "configs" / "model"
    inputs = _weights(widths, models)
    made: dict[str, Made] = {}
    for name, file, module, kind in (
        ("NG-GNN", "pna", "nn.gnn", "GNNForClassification"),
        ("NG-T", "rtransformer", "nn.relational_transformer", "RelationalTransformer"),
    ):
        values = yaml.safe_load((configurations / f"{file}.yaml").read_text())
        options = _resolved(values, values)
        arguments = {key: value for key, value in options.items() if not key.startswith("_")}
        model = getattr(importlib.import_module(module), kind)(**arguments, layer_layout=list(widths))
        made[name] = (model, lambda model=model: model(inputs))
    return made


def _resolved(value: Any, root: dict[str, Any]) -> Any:
    """Configuration values with `${model.x}` looked up, and what belongs to data left empty."""
    if isinstance(value, dict):
        return {key: _resolved(item, root) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("${model."):
        return root[value.removeprefix("${model.").removesuffix("}")]
    if isinstance(value, str) and value.startswith("${data."):
        return CLASSES if value == "${data.num_classes}" else None
    return value


def _dwsnets(path: Path, widths: Sequence[int], models: int) -> dict[str, Made]:
    module = importlib.import_module("nn.models")
    inputs = _weights(widths, models)
    model = module.DWSModelForClassification(
        weight_shapes=tuple(zip(widths[:-1], widths[1:], strict=True)),
        bias_shapes=tuple((width,) for width in widths[1:]),
        input_features=1,
        hidden_dim=32,
        n_hidden=4,
        reduction="max",
        n_fc_layers=1,
        set_layer="sab",
        n_out_fc=1,
        n_classes=CLASSES,
        bn=True,
    )
    return {"DWSNets": (model, lambda: model(inputs))}


def _nfn(path: Path, widths: Sequence[int], models: int) -> dict[str, Made]:
    """Three layers and an MLP head, as in the repository's README, of about half a million parameters."""
    layers, common = importlib.import_module("nfn.layers"), importlib.import_module("nfn.common")
    weights, biases = _weights(widths, models)
    features = common.WeightSpaceFeatures(
        [weight.permute(0, 3, 2, 1).contiguous() for weight in weights],
        [bias.permute(0, 2, 1).contiguous() for bias in biases],
    )
    spec = common.network_spec_from_wsfeat(features)
    made: dict[str, Made] = {}
    for name, layer, channels, options in (
        ("NFN-HNP", layers.HNPLinear, 44, {}),
        ("NFN-NP", layers.NPLinear, 64, {"io_embed": True}),
    ):
        parts: list[nn.Module] = []
        for width in (1, channels, channels):
            parts += [layer(spec, width, channels, **options), layers.TupleOp(nn.ReLU())]
        pooled = channels * layers.HNPPool.get_num_outs(spec)
        parts += [layers.HNPPool(spec), nn.Flatten(start_dim=-2), nn.Linear(pooled, 200), nn.ReLU()]
        model = nn.Sequential(*parts, nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, CLASSES))
        made[name] = (model, lambda model=model: model(features))
    return made
