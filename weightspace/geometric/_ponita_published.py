"""Weights of the published PONITA code for our models."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from weightspace.errors import CheckpointError
from weightspace.geometric._pair_invariants import monomial_places
from weightspace.geometric._point_cloud import PonitaPointCloud
from weightspace.geometric._ponita import Ponita

_RENAMED = {
    "basis_fn.1.bias": "kernel.pair.0.bias",
    "basis_fn.3.weight": "kernel.pair.2.weight",
    "basis_fn.3.bias": "kernel.pair.2.bias",
    "fiber_basis_fn.1.bias": "kernel.fiber.0.bias",
    "fiber_basis_fn.3.weight": "kernel.fiber.2.weight",
    "fiber_basis_fn.3.bias": "kernel.fiber.2.bias",
}
_FOLDED = {"basis_fn.1.weight": "kernel.pair.0.weight", "fiber_basis_fn.1.weight": "kernel.fiber.0.weight"}
_WINDOW = ("windowing_fn.p", "windowing_fn.r_max")


def load_published_ponita(model: Ponita | PonitaPointCloud, state_dict: Mapping[str, Tensor]) -> None:
    """Fill a model with a state_dict of the published code (repository ebekkers/ponita), in place.

    The published grid is random and not in the state_dict: pass `transform.transforms[0].ori_grid_s2` of the published
    model as rows (`grid=ori_grid.tolist()`). Elements of `Ponita` stand in the order of the published one-hot columns,
    input features of `PonitaPointCloud` as scalars, then vectors. With weights equal over the grid, outputs agree to
    rounding. Columns of monomials that the published code repeats are added up, a layer scale is multiplied into the
    linear map before it, and a single readout at the end becomes the last of our readouts.

    Args:
        model: of the same sizes, grid and cutoff.
        state_dict: of the published `PonitaFiberBundle`, or `PonitaPointCloud` with num_ori = 0.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape, or the window is another one.
    """
    rest = dict(state_dict)
    _check_window(model, rest)
    embedding = _take(rest, "x_embedder.weight")
    found = {"embedding.weight": embedding.t() if isinstance(model, Ponita) else embedding}
    for name, ours in _FOLDED.items():
        if name in rest:
            found[f"trunk.{ours}"] = _folded(rest.pop(name))
    for name, ours in _RENAMED.items():
        if name in rest:
            found[f"trunk.{ours}"] = rest.pop(name)
    layers = len(model.trunk.blocks)
    single = layers > 1 and "read_out_layers.0.weight" not in rest
    for i in range(layers):
        found |= {f"trunk.blocks.{i}.{name}": tensor for name, tensor in _block(rest, i).items()}
        found |= {f"trunk.readouts.{i}.{name}": tensor for name, tensor in _readout(rest, i, layers).items()}
    if single:  # our readouts are averaged
        for part in ("weight", "bias"):
            found[f"trunk.readouts.{layers - 1}.{part}"] = layers * found[f"trunk.readouts.{layers - 1}.{part}"]
    _fill(model, found, rest)


def _check_window(model: Ponita | PonitaPointCloud, rest: dict[str, Tensor]) -> None:
    p, radius = (float(rest.pop(name, torch.tensor(torch.nan))) for name in _WINDOW)
    cutoff = model.cutoff if isinstance(model, Ponita) else model.edges
    if not isinstance(cutoff, float):
        cutoff = torch.nan
    same = (radius == cutoff and p == 6) or (math.isnan(radius) and math.isnan(cutoff))
    if not same or model.config.get("window", "polynomial") != "polynomial":
        raise CheckpointError(
            f"load_published_ponita: found a window of radius {radius} and power {p}, wanted {cutoff} (nan for none) "
            "and 6; build the model with the published radius and window='polynomial'"
        )


def _folded(weight: Tensor) -> Tensor:
    """Columns of ordered products of up to three of d invariants, added up over their orders."""
    total = weight.shape[1]
    entries = next((d for d in range(1, 4) if d + d**2 + d**3 == total), None)
    if entries is None:
        raise CheckpointError(
            f"load_published_ponita: found {total} polynomial features, wanted 3, 14 or 39 (degree 3)"
        )
    places = {p: k for k, p in enumerate(monomial_places(entries, 3))}
    ordered: list[tuple[int, ...]] = []
    current: list[tuple[int, ...]] = [()]
    for _ in range(3):
        current = [(*p, k) for p in current for k in range(entries)]
        ordered += current
    index = torch.tensor([places[tuple(sorted(p))] for p in ordered], device=weight.device)
    return weight.new_zeros(len(weight), len(places), dtype=torch.float64).index_add(1, index, weight.double())


def _block(rest: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    prefix = f"interaction_layers.{i}."
    rest.pop(f"{prefix}conv.callibrated", None)
    found = {"conv.pair.linear.weight": _take(rest, f"{prefix}conv.kernel.weight")}
    if f"{prefix}conv.fiber_kernel.weight" in rest:
        found["conv.fiber.weight"] = rest.pop(f"{prefix}conv.fiber_kernel.weight")
    for name in ("conv.bias", "norm.weight", "norm.bias", "linear_1.weight", "linear_1.bias"):
        found[name] = _take(rest, prefix + name)
    scale = rest.pop(f"{prefix}layer_scale", None)
    weight, bias = _take(rest, f"{prefix}linear_2.weight"), _take(rest, f"{prefix}linear_2.bias")
    found["linear_2.weight"] = weight if scale is None else scale.double()[:, None] * weight
    found["linear_2.bias"] = bias if scale is None else scale.double() * bias
    return found


def _readout(rest: dict[str, Tensor], i: int, layers: int) -> dict[str, Tensor]:
    name = f"read_out_layers.{i}."
    last = f"read_out_layers.{layers - 1}."
    if i < layers - 1 and name + "weight" not in rest:
        return {part: torch.zeros_like(rest[last + part]) for part in ("weight", "bias") if last + part in rest}
    return {part: _take(rest, name + part) for part in ("weight", "bias")}


def _take(rest: dict[str, Tensor], name: str) -> Tensor:
    if name not in rest:
        raise CheckpointError(f"load_published_ponita: {name!r} is missing; wanted a state_dict of the published code")
    return rest.pop(name)


def _fill(model: nn.Module, found: Mapping[str, Tensor], rest: Mapping[str, Tensor]) -> None:
    if rest:
        raise CheckpointError(f"load_published_ponita: found unknown {sorted(rest)[0]!r} ({len(rest)} in all)")
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if name not in found or found[name].shape != parameter.shape:
            shape = tuple(found[name].shape) if name in found else "nothing"
            raise CheckpointError(
                f"load_published_ponita: found {shape} for {name!r}, wanted {tuple(parameter.shape)}; "
                "build the model with the published sizes, grid and outputs"
            )
    unused = sorted(set(found) - set(parameters))
    if unused:
        raise CheckpointError(f"load_published_ponita: the model has no {unused[0]!r} ({len(unused)} such in all)")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(found[name])
