"""Rules: operations on image positions (pooling, interpolation, pixel shuffle, patches, sampling)."""

import string
from typing import Any

from weightspace.axes import Axis, Product
from weightspace.tracing._call import Call
from weightspace.tracing._records import Value
from weightspace.tracing._registry import rule

_WINDOW = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override")


@rule(*(f"aten.{kind}_pool{n}d.default" for kind in ("max", "avg") for n in (1, 2, 3)))
def pool(call: Call) -> list[Axis]:
    """Windows over image positions, channel by channel."""
    rank = int(call.target.split("pool")[1][0])
    attributes = {name: call[name] for name in _WINDOW if call.get(name) not in (None, [], False)}
    return _on_positions(call, rank, call.target.split(".")[1][: -len("1d")], attributes)


@rule(*(f"aten.max_pool{n}d_with_indices.default" for n in (2, 3)))
def pool_with_indices(call: Call) -> list[Axis] | None:
    """The same, where the places of the maxima are not read."""
    if call.number:
        return None
    attributes = {name: call[name] for name in _WINDOW if call.get(name) not in (None, [], False)}
    return _on_positions(call, int(call.target.split("pool")[1][0]), "max_pool", attributes)


@rule(*(f"aten.adaptive_{kind}_pool{n}d.default" for kind in ("max", "avg") for n in (1, 2, 3)))
def adaptive_pool(call: Call) -> list[Axis] | None:
    """Windows that leave a given number of positions, channel by channel."""
    if call.number:
        return None
    rank = int(call.target.split("pool")[1][0])
    return _on_positions(call, rank, call.target.split(".")[1][: -len("1d")], {"output_size": call["output_size"]})


_SCALES = ("output_size", "align_corners", "scale_factors")
_MODES = {
    "nearest1d": 1, "nearest2d": 2, "nearest3d": 3, "linear1d": 1, "bilinear2d": 2, "trilinear3d": 3, "bicubic2d": 2,
}  # fmt: skip


@rule(*(f"aten.{name}{mode}.vec" for name in ("upsample_", "_upsample_") for mode in _MODES))
@rule(*(f"aten.upsample_{mode}.default" for mode in _MODES))
@rule(*(f"aten._upsample_{mode}_{aa}.vec" for mode in ("bilinear2d", "bicubic2d") for aa in ("aa",)))
@rule("aten._upsample_nearest_exact1d.vec", "aten._upsample_nearest_exact2d.vec", "aten._upsample_nearest_exact3d.vec")
def interpolate(call: Call) -> list[Axis]:
    """Values between image positions, channel by channel; sizes of the result are data, factors are not."""
    rank = len(call.input.axes) - 2
    attributes = {k: call[k] for k in _SCALES if call.get(k) is not None}
    if "scale_factors" in attributes:
        attributes.pop("output_size", None)
    return _on_positions(call, rank, call.target.split(".")[1].lstrip("_"), attributes)


def _on_positions(call: Call, rank: int, op: str, attributes: dict[str, Any]) -> list[Axis]:
    axes = call.input.axes
    call.spatial(axes[-rank:])
    call.solver.mark_neurons(axes[-rank - 1])
    plain: dict[str, Any] = {
        name: list(value) if isinstance(value, (list, tuple)) else value for name, value in attributes.items()
    }
    return call.function(op, axes=[*axes[:-rank], *call.fixed(call.shape[-rank:])], **plain)


@rule("aten.pixel_shuffle.default", "aten.pixel_unshuffle.default")
def pixel_shuffle(call: Call) -> list[Axis] | None:
    """Blocks of channels become positions (Shi et al. 2016), or positions blocks of channels."""
    axes = call.input.axes
    call.spatial(axes[-2:])
    lead = [*axes[:-3]]
    name = call.target.split(".")[1]
    factor = call.get("upscale_factor", call.get("downscale_factor"))
    if name == "pixel_unshuffle":
        positions = [call.solver.atom(factor, kind="spatial", reason=call.reason, label=f"s{k}") for k in range(2)]
        made: list[Axis] = [*lead, Product((axes[-3], *positions)), *call.fixed(call.shape[-2:])]
        return call.function(name, axes=made, carry=(*range(len(lead)), None, None, None), factor=factor)
    channel = call.new(call.shape[-3])
    positions = [call.solver.atom(factor, kind="spatial", reason=call.reason, label=f"s{k}") for k in range(2)]
    if not call.unify(axes[-3], Product((channel, *positions))):
        return None
    made = [*lead, channel, *call.fixed(call.shape[-2:])]
    return call.function(name, axes=made, carry=(*range(len(lead)), None, None, None), factor=factor)


@rule("aten.channel_shuffle.default", "aten.native_channel_shuffle.default")
def channel_shuffle(call: Call) -> list[Axis] | None:
    """Channels of several groups take turns (Zhang et al. 2018)."""
    axes, groups = call.input.axes, call["groups"]
    group = call.new(groups)
    inside = call.new(call.solver.size(axes[1]) // groups, over=group)
    if not call.unify(axes[1], Product((group, inside))):
        return None
    return call.alias([axes[0], Product((inside, group)), *axes[2:]], carry=(0, None, *range(2, len(axes))))


@rule("aten.im2col.default", "aten.col2im.default")
def patches(call: Call) -> list[Axis] | None:
    """Patches as columns, and back: channels times positions inside a patch."""
    axes = call.input.axes
    window = [
        call.solver.atom(k, kind="spatial", reason=call.reason, label=f"k{d}")
        for d, k in enumerate(call["kernel_size"])
    ]
    names = ("kernel_size", "dilation", "padding", "stride")
    plain: dict[str, Any] = {name: list(call[name]) for name in names}
    if call.target.startswith("aten.im2col"):
        call.spatial(axes[-2:])
        made: list[Axis] = [*axes[:-3], Product((axes[-3], *window)), *call.fixed(call.shape[-1:])]
        return call.function("unfold", axes=made, carry=(*range(len(axes) - 3), None, None), **plain)
    channel = call.new(call.shape[-3])
    call.spatial(axes[-1:])
    if not call.unify(axes[-2], Product((channel, *window))):
        return None
    made = [*axes[:-2], channel, *call.fixed(call.shape[-2:])]
    return call.function("fold", axes=made, carry=(*range(len(axes) - 2), None, None, None), **plain)


@rule("aten.unfold.default")
def windows(call: Call) -> list[Axis]:
    """Sliding windows along a fixed dimension."""
    axes, dim = list(call.input.axes), call["dimension"] % len(call.input.axes)
    call.spatial([axes[dim]])
    carry = [*range(dim), None, *range(dim + 1, len(axes)), None]
    (axes[dim],) = call.fixed([call.shape[dim]])
    made = [*axes, *call.fixed(call.shape[-1:])]
    return call.function("windows", axes=made, carry=carry, size=call["size"], step=call["step"], dim=dim - len(axes))


@rule("aten.grid_sampler.default", "aten.grid_sampler_2d.default", "aten.grid_sampler_3d.default")
def sample(call: Call) -> list[Value]:
    """Values of a map at given places, channel by channel (planes of features of neural fields)."""
    x, grid = list(call.arguments.values())[:2]
    rank = len(x.axes) - 2
    call.spatial([*x.axes[2:], *grid.axes[1:]])
    here, there = string.ascii_lowercase[:rank], string.ascii_uppercase[:rank]
    attributes = {k: call[k] for k in ("interpolation_mode", "padding_mode", "align_corners")}
    texts = ("nc" + here, "n" + there + "z", "nc" + there)
    return [call.contract("grid_sample", (x, grid), texts, types=("function", "index"), **attributes)]
