"""Weights of the published NequIP, moved into ours."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from e3nn import o3
from torch import Tensor

from weightspace.geometric._e3nn_weights import Entries
from weightspace.geometric._equivariant_layers import message_paths
from weightspace.geometric._nequip import Convolution, NequIP, reached_irreps
from weightspace.geometric._published_weights import load_published


def nequip_from_published(
    state_dict: Mapping[str, Tensor],
    *,
    elements: Sequence[int],
    cutoff: float,
    average_neighbours: float | None = None,
) -> NequIP:
    """A `NequIP` with the weights of the published code (mir-group/nequip 0.5, 0.6): same energies and forces.

    Args:
        state_dict: of a model built with `SimpleIrrepsConfig` and `EnergyModel`, `parity: true`,
            `nonlinearity_type: gate` with its default functions, `resnet: false`, `use_sc: true` and a cutoff with
            p = 6; with or without shifts and scales by element, and a global scale.
        elements: atomic numbers in the order of its types.
        cutoff: its r_max.
        average_neighbours: its avg_num_neighbors, None where it has none.

    Raises:
        CheckpointError: keys or shapes that are not those of that model, scales that differ by element, or a shift of
            the total energy.
    """
    left = {
        key.removeprefix("model.").removeprefix("model.").removeprefix("func."): value
        for key, value in state_dict.items()
        if value.numel() and "output_mask" not in key and "_w3j" not in key
    }
    entries = Entries("NequIP", left)
    channels, layers, lmax, radial = _shape(entries)
    model = NequIP(
        channels=channels,
        layers=layers,
        lmax=lmax,
        radial=radial,
        cutoff=cutoff,
        average_neighbours=1.0 if average_neighbours is None else average_neighbours,
        elements=elements,
    )
    scale, shifts = _scale_and_shifts(entries)
    ours: dict[str, Tensor] = {
        "rbf.frequencies": entries.take("radial_basis.basis.bessel_weights"),
        "embedding": entries.take("chemical_embedding.linear.weight").view(len(elements), -1),
        "readout.0.weights.0e": entries.take("conv_to_output_hidden.linear.weight").view(channels, -1),
        "readout.1.weights.0e": entries.take("output_hidden_to_scalar.linear.weight").view(-1, 1),
    }
    reached = reached_irreps(lmax, layers)
    for number, irreps in enumerate(zip(reached, reached[1:], strict=False)):
        ours |= _layer(model, entries, number, *irreps)
    entries.finish()
    load_published(model, ours, {})
    model.scale.copy_(scale)
    model.references[list(elements)] = shifts.to(model.references)
    return model


def _layer(
    model: NequIP, entries: Entries, number: int, irreps_in: Sequence[str], irreps_out: Sequence[str]
) -> dict[str, Tensor]:
    """One layer's entries; of the published irreps, in and out, those that the model computes."""
    theirs, mine = f"layer{number}_convnet.conv", f"layers.{number}"
    channels, elements = model.embedding.shape[1], len(model.elements)
    layer = cast(Convolution, model.layers[number])
    kept_in, kept_out = list(layer.before.weights), list(layer.after.weights)
    gated = [ir for ir in irreps_out if not ir.startswith("0")]
    widths = dict.fromkeys(irreps_out, channels) | {"0e": channels * (1 + len(gated))}
    paths = message_paths(irreps_in, model.lmax, irreps_out)
    kept = [paths.index(path) for path in layer.messages.paths]
    into = {ir: [place for place, path in enumerate(paths) if path[2] == ir] for ir in irreps_out}

    def columns(weight: Tensor, ir: str) -> Tensor:
        """Without the gates of irreps that the model leaves out."""
        if ir != "0e":
            return weight
        own, *gates = weight.split(channels, dim=-1)
        return torch.cat([own, *(gate for gate, end in zip(gates, gated, strict=True) if end in kept_out)], dim=-1)

    ours: dict[str, Tensor] = {}
    before = entries.take_blocks(f"{theirs}.linear_1.weight", dict.fromkeys(irreps_in, (channels, channels)))
    ours |= {f"{mine}.before.weights.{ir}": before[ir] for ir in kept_in}
    order = sorted(irreps_out, key=lambda ir: (o3.Irrep(ir).l, o3.Irrep(ir).p))
    shapes = {ir: (len(into[ir]) * channels, widths[ir]) for ir in order}
    after = entries.take_blocks(f"{theirs}.linear_2.weight", shapes)
    for ir in kept_out:
        rows = [
            after[ir].view(len(into[ir]), channels, -1)[into[ir].index(place)] for place in into[ir] if place in kept
        ]
        # its constant is one over the root of all paths, the model's of those that it computes
        scale = math.sqrt(len(rows) / len(into[ir]))
        ours[f"{mine}.after.weights.{ir}"] = scale * columns(torch.cat(rows), ir)
    own = {ir: (channels, elements, widths[ir]) for ir in irreps_in if ir in irreps_out}
    for ir, weight in entries.take_blocks(f"{theirs}.sc.weight", own).items():
        if ir in layer.own.weights:
            ours[f"{mine}.own.weights.{ir}"] = columns(weight.transpose(0, 1), ir)
    last = len(layer.radial.weights) - 1
    for k in range(last + 1):
        weight = entries.take(f"{theirs}.fc.layer{k}.weight")
        if k == 0:  # their Bessel functions have 2 / c where ours have its root
            weight = weight * math.sqrt(2 / model.rbf.cutoff)
        if k == last:  # their edges point the other way: an inversion, which energies do not see
            weight = weight.view(len(weight), len(paths), channels)[:, kept].flatten(1)
        ours[f"{mine}.radial.weights.{k}"] = weight
    return ours


def _shape(entries: Entries) -> tuple[int, int, int, list[int]]:
    """Arguments of the model that the shapes of its entries tell."""
    first = "layer0_convnet.conv.fc.layer{}.weight"
    if first.format(0) not in entries.left or "layer0_convnet.conv.linear_1.weight" not in entries.left:
        raise entries.error(f"{first.format(0)!r} is missing")
    radial = [entries.left[first.format(k)] for k in range(len(entries.left)) if first.format(k) in entries.left]
    channels = math.isqrt(entries.left["layer0_convnet.conv.linear_1.weight"].numel())
    layers = sum(key.endswith("_convnet.conv.linear_1.weight") for key in entries.left)
    lmax = radial[-1].shape[1] // channels - 1  # a path for each degree leads from scalars
    return channels, layers, lmax, [len(weight) for weight in radial]


def _scale_and_shifts(entries: Entries) -> tuple[Tensor, Tensor]:
    """The factor of atomic energies, and what is added to them by element."""
    one = torch.ones(())
    scales = entries.left.pop("per_species_rescale.scales", one)
    shifts = entries.left.pop("per_species_rescale.shifts", torch.zeros(()))
    factor = entries.left.pop("scale_by", one)
    shift = entries.left.pop("shift_by", torch.zeros(()))
    if bool((scales != scales.flatten()[0]).any()):
        raise entries.error(f"scales differ by element: {scales.tolist()}, wanted one for all")
    if bool((shift != 0).any()):
        raise entries.error(
            f"the total energy is shifted by {shift.tolist()}, which no energy of an atom can be: wanted 0"
        )
    return factor.flatten()[0] * scales.flatten()[0], factor * shifts
