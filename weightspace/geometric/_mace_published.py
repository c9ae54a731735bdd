"""Weights of the published MACE, moved into ours."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from weightspace.geometric._e3nn_weights import Entries
from weightspace.geometric._mace import MACE, Interaction, MACEShape
from weightspace.geometric._mace_products import product_name
from weightspace.geometric._published_weights import load_published
from weightspace.geometric._symmetric_couplings import monomial_coefficients, symmetric_basis

CONSTANTS = ("output_mask", "_w3j", "_zeroed", "graph_opt", "prefactor", "num_interactions", "bessel_fn.r_max")
CONTRACTIONS = "products.{}.symmetric_contractions.contractions"


def mace_from_published(state_dict: Mapping[str, Tensor], *, average_neighbours: float) -> MACE:
    """A `MACE` with the weights of the published code (ACEsuit/mace): same energies and forces.

    The published product basis is a set of generalised couplings, in part dependent; weights are moved to this
    library's basis of the same space through the published couplings, which the state_dict holds.

    Args:
        state_dict: of its `MACE` or `ScaleShiftMACE` with interactions `RealAgnosticResidualInteractionBlock` (the
            first may be `RealAgnosticInteractionBlock`), Bessel functions without distance transform, gate SiLU, one
            head, hidden irreps 0e, 0e + 1o, 0e + 1o + 2e, ... of one multiplicity, no pair repulsion.
        average_neighbours: its avg_num_neighbors, which the state_dict does not hold.

    Raises:
        CheckpointError: keys or shapes that are not those of that model, several heads, or couplings that are not
            symmetric products.
    """
    entries = Entries(
        "MACE",
        {k: v for k, v in state_dict.items() if v.numel() and not any(constant in k for constant in CONSTANTS)},
    )
    elements = entries.take("atomic_numbers").tolist()
    cutoff = float(entries.take("r_max"))
    model = MACE(
        _shape(entries, len(elements), average_neighbours),
        cutoff=cutoff,
        cutoff_power=int(entries.take("radial_embedding.cutoff_fn.p")),
        elements=elements,
    )
    entries.left.pop("radial_embedding.cutoff_fn.r_max", None)
    channels = model.shape.channels
    ours = {
        "embedding": entries.take("node_embedding.linear.weight").view(len(elements), channels),
        "rbf.frequencies": entries.take("radial_embedding.bessel_fn.bessel_weights") * cutoff,
    }
    for number in range(model.shape.layers):
        ours |= _layer(model, entries, number) | _product(model, entries, number)
        if number < len(model.reads):
            ours[f"reads.{number}.weights.0e"] = entries.take(f"readouts.{number}.linear.weight").view(channels, 1)
    last = f"readouts.{model.shape.layers - 1}"
    for k in range(len(model.readout)):
        theirs = f"{last}.linear_{k + 1}.weight" if len(model.readout) > 1 else f"{last}.linear.weight"
        ours[f"readout.{k}.weights.0e"] = entries.take(theirs).view(channels if k == 0 else model.shape.readout, -1)
    _set_scale(model, entries)
    entries.finish()
    load_published(model, ours, {})
    return model


def _layer(model: MACE, entries: Entries, number: int) -> dict[str, Tensor]:
    """One layer's linear maps and radial network."""
    theirs, mine, channels = f"interactions.{number}", f"layers.{number}", model.shape.channels
    layer = cast(Interaction, model.layers[number])
    square = (channels, channels)
    ours: dict[str, Tensor] = {}
    for key, linear in (("linear_up", layer.before), ("linear", layer.sum)):
        name = "before" if linear is layer.before else "sum"
        shapes = {ir: (len(weight), channels) for ir, weight in linear.weights.items()}
        blocks = entries.take_blocks(f"{theirs}.{key}.weight", shapes)
        ours |= {f"{mine}.{name}.weights.{ir}": weight for ir, weight in blocks.items()}
    own = dict.fromkeys(layer.own.weights, (channels, len(model.elements), channels))
    for ir, weight in entries.take_blocks(f"{theirs}.skip_tp.weight", own).items():
        ours[f"{mine}.own.weights.{ir}"] = weight.transpose(0, 1)
    after = entries.take_blocks(f"products.{number}.linear.weight", dict.fromkeys(layer.after.weights, square))
    ours |= {f"{mine}.after.weights.{ir}": weight for ir, weight in after.items()}
    paths = layer.messages.paths
    # theirs are in the order of loops over irreps in, harmonics and irreps out, then by degree out
    order = sorted(sorted(paths), key=lambda path: int(path[2][:-1]))
    places = [order.index(path) for path in paths]
    last = len(layer.radial.weights) - 1
    for k in range(last + 1):
        weight = entries.take(f"{theirs}.conv_tp_weights.layer{k}.weight")
        if k == last and weight.shape[1] == len(paths) * channels:
            weight = weight.view(len(weight), len(paths), channels)[:, places].flatten(1)
        ours[f"{mine}.radial.weights.{k}"] = weight
    return ours


def _product(model: MACE, entries: Entries, number: int) -> dict[str, Tensor]:
    """One layer's many-body weights."""
    shape = model.shape
    ours: dict[str, Tensor] = {}
    hidden = shape.hidden_lmax if number < shape.layers - 1 else 0
    for l in range(hidden + 1):
        root = f"{CONTRACTIONS.format(number)}.{l}"
        for factors in range(1, shape.correlation + 1):
            place = shape.correlation - 1 - factors
            weight = entries.take(f"{root}.weights_max" if place < 0 else f"{root}.weights.{place}")  # (Z, P, C)
            couplings = entries.take(f"{root}.U_matrix_{factors}").double().movedim(-1, 0)  # (P, [2 l + 1,] D, ...)
            couplings = couplings if l else couplings[:, None]
            basis = symmetric_basis(shape.lmax, l, factors).to(couplings.device)
            found = monomial_coefficients(couplings, factors).flatten(1)  # (P, ...)
            change = found @ basis.flatten(1).t()  # (P, R)
            if bool((found - change @ basis.flatten(1)).abs().max() > 1e-4):
                raise entries.error(f"'{root}.U_matrix_{factors}' is no symmetric product of the model's irreps")
            if len(basis):
                moved = torch.einsum("zpc,pr->zcr", weight.double(), change)
                ours[f"layers.{number}.product.weights.{product_name(l, factors)}"] = moved.to(weight)
    return ours


def _shape(entries: Entries, elements: int, average_neighbours: float) -> MACEShape:
    """What the shapes of its entries tell."""
    left = entries.left
    layers = sum(key.endswith(".linear_up.weight") for key in left)
    first = CONTRACTIONS.format(0) + ".{}.U_matrix_{}"
    radial = [left[key] for k in range(9) if (key := f"interactions.0.conv_tp_weights.layer{k}.weight") in left]
    if first.format(0, 1) not in left or not layers or not radial:
        raise entries.error(f"{first.format(0, 1)!r} is missing")
    channels = left["node_embedding.linear.weight"].numel() // elements
    lmax = round(left[first.format(0, 1)].shape[-2] ** 0.5) - 1
    hidden_lmax = sum(first.format(l, 1) in left for l in range(lmax + 1)) - 1
    readout = left.get(f"readouts.{layers - 1}.linear_2.weight")
    skips = left["interactions.0.skip_tp.weight"].numel() == channels * channels * elements
    return MACEShape(
        channels=channels,
        layers=layers,
        lmax=lmax,
        hidden_lmax=hidden_lmax,
        correlation=sum(first.format(0, k) in left for k in range(1, 9)),
        radial=[len(weight) for weight in radial],
        readout=1 if readout is None else readout.numel(),
        product="clebsch_gordan",
        first_skips=skips,
        average_neighbours=average_neighbours,
    )


def _set_scale(model: MACE, entries: Entries) -> None:
    """The factor of atomic energies, and what is added to them by element."""
    energies = entries.take("atomic_energies_fn.atomic_energies")
    scale = entries.left.pop("scale_shift.scale", torch.ones(()))
    shift = entries.left.pop("scale_shift.shift", torch.zeros(()))
    if energies.numel() != len(model.elements) or scale.numel() > 1 or shift.numel() > 1:
        raise entries.error(f"energies of atoms have shape {tuple(energies.shape)}, wanted one head")
    model.scale.copy_(scale.flatten()[0])
    model.references[list(model.elements)] = (energies.flatten() + shift.flatten()[0]).to(model.references)
