"""Weights of the published eSCN."""

from collections.abc import Mapping

import torch
from torch import Tensor

from weightspace.errors import CheckpointError
from weightspace.geometric._escn import ESCN
from weightspace.geometric._escn_grids import PUBLISHED_SAMPLES
from weightspace.geometric._escn_layers import ESCNShape
from weightspace.geometric._published_weights import embedded_elements, load_published, per_element, submodule_count

ENDS = ("source", "target")


def escn_from_published(state_dict: Mapping[str, Tensor], *, cutoff: float = 12.0, rbf_width: float = 2.0) -> ESCN:
    """An `ESCN` with the weights of the published eSCN, whose energies and direct forces (`vectors`) it gives.

    The same where the published code's random angles about edges are those of `edge_frames(-edge_vec, lmax)`: its
    energies depend on them by the error of its grids. Its limit of neighbours is not taken over; its forces do not
    differentiate the energy, so that `ForceField` gives others.

    Args:
        state_dict: of `ocpmodels.models.escn.eSCN` with one resolution, distance_function "gaussian", 128 samples of
            the sphere, with or without forces; the factor 0.001 of its energies becomes `scale`. Row z of its
            embeddings stands for element z.
        cutoff: its cutoff, which the state_dict does not hold.
        rbf_width: its basis_width_scalar.

    Raises:
        CheckpointError: keys or shapes that are not those of that model.
    """
    shape, vectors = _published_shape(state_dict, rbf_width), "force_block.fc3.weight" in state_dict
    elements = embedded_elements(state_dict, "sphere_embedding.weight")
    model = ESCN(shape, cutoff=cutoff, cutoff_fn=None, vectors=vectors, elements=elements)
    found, rows = dict(state_dict), per_element(model)
    names = {"embedding": "sphere_embedding"}
    for mine, block in (("energy", "energy_block"), ("vector", "force_block")):
        names |= {f"{mine}.{2 * k}": f"{block}.fc{k + 1}" for k in range(3)}
    changed = {"embedding.weight": ("sphere_embedding.weight", rows)}
    for k in range(shape.layers):
        theirs, mine = f"layer_blocks.{k}", f"messages.{k}"
        edge = f"{theirs}.message_block.edge_block"
        _join_orders(found, theirs, shape, first=k == 0)
        names |= {f"updates.{k}.mlp.{2 * n}": f"{theirs}.fc{n + 1}_sphere" for n in range(3)}
        names |= {f"{mine}.distance": f"{edge}.fc1_dist", f"{mine}.edge": f"{edge}.fc1_edge_attr"}
        names |= {f"{mine}.radial": f"{theirs}.radial", f"{mine}.orders": f"{theirs}.orders"}
        changed |= {f"{mine}.{end}_element.weight": (f"{edge}.{end}_embedding.weight", rows) for end in ENDS}
    unused = [key for key in found if key.endswith("distance_expansion.offset")]
    unused += [key for key in found if key.startswith("layer_blocks.0.message_block.so2_block_")]
    load_published(model, found, names, changed=changed, unused=[*unused, "sphere_points", "sphharm_weights.0"])
    model.scale.fill_(0.001)
    return model


def _published_shape(state_dict: Mapping[str, Tensor], rbf_width: float) -> ESCNShape:
    first = "layer_blocks.0.message_block"
    samples, components = _entry(state_dict, "sphharm_weights.0").shape
    if samples != PUBLISHED_SAMPLES or "sphharm_weights.1" in state_dict:
        raise CheckpointError(
            f"ESCN from published weights: found {samples} samples of the sphere and "
            f"{submodule_count(state_dict, 'sphharm_weights')} resolutions, wanted {PUBLISHED_SAMPLES} and one"
        )
    hidden, edge = _entry(state_dict, f"{first}.so2_block_source.fc1_dist0.weight").shape
    return ESCNShape(
        channels=_entry(state_dict, "sphere_embedding.weight").shape[1],
        layers=submodule_count(state_dict, "layer_blocks"),
        lmax=round(components**0.5) - 1,
        mmax=submodule_count(state_dict, f"{first}.so2_block_source.so2_conv"),
        hidden_channels=hidden,
        edge_channels=edge,
        num_rbf=_entry(state_dict, f"{first}.edge_block.fc1_dist.weight").shape[1],
        rbf_width=rbf_width,
        activation="published",
    )


def _join_orders(found: dict[str, Tensor], layer: str, shape: ESCNShape, *, first: bool) -> None:
    """Replace a layer's matrices of both ends, and of real and imaginary parts, by those of our orders."""
    radial: dict[str, list[Tensor]] = {"weight": [], "bias": []}
    for m in range(1 if first else shape.mmax + 1):
        outs = []
        for end in ENDS:
            block = f"{layer}.message_block.so2_block_{end}"
            root, kinds = (f"{block}.so2_conv.{m - 1}", ("r", "i")) if m else (block, ("m0",))
            into = torch.cat([_taken(found, f"{root}.fc1_{kind}.weight") for kind in kinds])
            found[f"{layer}.orders.{m}.{end}.weight"] = into[:, : shape.channels] if first else into
            outs += [_taken(found, f"{root}.fc2_{kind}.weight") for kind in kinds]
            for kind, pieces in radial.items():
                pieces.append(_taken(found, f"{root}.fc1_dist{'' if m else 0}.{kind}"))
        found[f"{layer}.orders.{m}.out.weight"] = torch.cat(outs, dim=1)
    found |= {f"{layer}.radial.{kind}": torch.cat(pieces) for kind, pieces in radial.items()}


def _entry(state_dict: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state_dict:
        raise CheckpointError(
            f"ESCN from published weights: {key!r} is missing; hand in the state_dict of the model named in the "
            "function's documentation, without prefixes"
        )
    return state_dict[key]


def _taken(found: dict[str, Tensor], key: str) -> Tensor:
    value = _entry(found, key)
    del found[key]
    return value
