"""Signed-distance networks: the architecture, and rigid motions of the shape as motions of the first layer."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from weightspace.errors import ConfigurationError


def sdf(*, widths: Sequence[int] = (32, 32), out_features: int = 1) -> nn.Module:
    """A ReLU network from a point in space to its signed distance: coordinates (..., 3) in, (..., 1) out.

    Source: the form of Park et al. 2019 (DeepSDF, arXiv 1901.05103), small, without latent code, skip and tanh.

    Args:
        widths: of the hidden layers.
        out_features: 1 for a distance.

    Raises:
        ConfigurationError: no hidden layer.

    Example:
        >>> import torch
        >>> sum(p.numel() for p in sdf().parameters()), sdf()(torch.zeros(5, 3)).shape
        (1217, torch.Size([5, 1]))
    """
    if not widths:
        raise ConfigurationError("sdf: found no widths, wanted at least one hidden layer")
    sizes = [3, *widths]
    layers: list[nn.Module] = []
    for before, after in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], out_features))


def move_coordinates(
    state: Mapping[str, Tensor],
    rotation: Tensor,
    translation: Tensor,
    *,
    weight: str = "0.weight",
    bias: str = "0.bias",
) -> dict[str, Tensor]:
    """The networks of moved shapes: f'(x) = f(R^T (x - t)), exactly, by their first layer alone.

    With rows w_i of the weight, w_i' = R w_i and b_i' = b_i - w_i' . t. The other entries stay.

    Args:
        state: one state_dict, or a stack.
        rotation: R, orthogonal (reflections too); one, or one per network.
        translation: t, likewise.
        weight: name of the layer that reads the coordinates.
        bias: of the same layer.

    Shapes:
        state[weight] (..., H, 3); rotation (..., 3, 3); translation (..., 3).

    Raises:
        ConfigurationError: the layer does not read three coordinates.

    Example:
        >>> import torch
        >>> net, turn = sdf(widths=(4,)), torch.tensor([[0., -1, 0], [1, 0, 0], [0, 0, 1]])
        >>> moved = move_coordinates(net.state_dict(), turn, torch.tensor([0.0, 0.0, 1.0]))
        >>> x = torch.randn(6, 3)
        >>> there = torch.func.functional_call(net, moved, x @ turn.T + torch.tensor([0.0, 0.0, 1.0]))
        >>> torch.allclose(there, net(x), atol=1e-6)
        True
    """
    found = state[weight]
    if found.shape[-1] != 3:
        raise ConfigurationError(
            f"move_coordinates: {weight!r} has shape {tuple(found.shape)}, wanted (..., 3); name the layer that reads "
            "the coordinates"
        )
    turned = found @ rotation.mT
    shift = (turned @ translation[..., None])[..., 0]
    return {**state, weight: turned, bias: state[bias] - shift}
