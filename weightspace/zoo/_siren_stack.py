"""Many SIRENs fitted to many images at once: one matrix of weights, gradients derived by hand, buffers made once.

The first layer sees the coordinates of a grid, so that its sines are those of sums, sin(a_j + b_i): two short vectors
of sines per neuron and an outer product instead of a sine per pixel. Nothing is allocated per step that is as long as
an image.

Legend of shape comments: B networks, H neurons per hidden layer, R rows and C columns of the image, P weights.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from weightspace.errors import ConfigurationError

KEYS = ("seq.0.weight", "seq.0.bias", "seq.1.weight", "seq.1.bias", "seq.2.weight", "seq.2.bias")
OFFSET = 0.5  # added to the output


class SirenStack:
    """SIRENs with two hidden layers as rows of one matrix, with loss and gradient on one image each.

    A row holds, layer by layer, `[weight | bias]` of `siren(widths=(H, H))` for coordinates (x, y) and one output.

    Source: the model is that of Navon et al. 2023 (`weightspace.zoo.siren`); the loss of a network is its mean squared
    error over the pixels.

    Args:
        images: grey values in [0, 1], one image per network.
        width: H.
        w0: frequency of both sines.

    Shapes:
        images (B, R, C).

    Example:
        >>> stack = SirenStack(torch.rand(3, 8, 8), width=4)
        >>> weights = torch.zeros(3, stack.size)
        >>> stack.loss_and_gradient(weights, torch.empty_like(weights)).shape
        torch.Size([3])
    """

    def __init__(self, images: Tensor, *, width: int = 32, w0: float = 30.0):
        count, rows, columns = images.shape
        self.width, self.w0 = width, w0
        self.size = 3 * width + width * (width + 1) + width + 1
        self._target = (images - OFFSET).reshape(count, 1, rows * columns)
        self._x = torch.linspace(-1, 1, columns).to(images)
        self._y = torch.linspace(-1, 1, rows).to(images)
        over_x, over_y = self._x.repeat(rows), self._y.repeat_interleave(columns)
        self._points = torch.stack([over_x, over_y, torch.ones_like(over_x)])  # (3, R*C)
        self._hidden1 = images.new_ones(count, width + 1, rows, columns)  # the last row stays 1, for the biases
        self._hidden2 = images.new_empty(count, width, rows * columns)
        self._slope = images.new_empty(count, width, rows * columns)
        self._output = images.new_empty(count, 1, rows * columns)

    def layers(self, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views of the three layers, `[weight | bias]` each, on the rows of a matrix.

        Shapes:
            matrix (B, P) -> (B, H, 3), (B, H, H + 1), (B, 1, H + 1).
        """
        h = self.width
        first, second, third = matrix.split([3 * h, h * (h + 1), h + 1], 1)
        return first.unflatten(1, (h, 3)), second.unflatten(1, (h, h + 1)), third.unflatten(1, (1, h + 1))

    def loss_and_gradient(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Loss of every network; its gradient is written into `gradient`.

        With h1, h2 the hidden activations, e the error of a pixel times 2 / (R C) and v the last layer: the gradient of
        the second layer's rows is w0 v (e cos z2) h1^T, and (w0 W2)^T (v e cos z2) goes on to the first.

        Shapes:
            weights, gradient (B, P); result (B,).
        """
        first, second, third = self.layers(weights)
        d_first, d_second, d_third = self.layers(gradient)
        first, second, last = first * self.w0, second * self.w0, third[..., :-1]
        waves = self._first_layer(first)
        hidden1 = self._hidden1.flatten(2)
        torch.bmm(second, hidden1, out=self._hidden2)
        torch.cos(self._hidden2, out=self._slope)
        self._hidden2.sin_()
        torch.bmm(last, self._hidden2, out=self._output)
        error = self._output.add_(third[..., -1:]).sub_(self._target)  # (B, 1, R*C)
        loss = error.square().mean((1, 2))
        error.mul_(2 / error.shape[2])
        d_third[..., -1] = error.sum(2)
        d_third[..., :-1] = torch.bmm(self._hidden2, error.mT).mT
        self._slope.mul_(error)
        torch.mul(torch.bmm(self._slope, hidden1.mT), last.mT * self.w0, out=d_second)
        torch.bmm((second[..., :-1] * last.mT).mT, self._slope, out=self._hidden2)
        d_first.copy_(self._first_gradient(waves))
        return loss

    def state_dicts(self, weights: Tensor) -> dict[str, Tensor]:
        """The rows as stacked state_dicts of `siren`.

        Shapes:
            weights (B, P); result: name -> (B, ...).
        """
        parts = [part for layer in self.layers(weights) for part in (layer[..., :-1], layer[..., -1])]
        return {key: part.contiguous() for key, part in zip(KEYS, parts, strict=True)}

    def weights_of(self, stacked: Mapping[str, Tensor]) -> Tensor:
        """Stacked state_dicts of `siren` as rows, the inverse of `state_dicts`.

        Shapes:
            stacked: name -> (B, ...); result (B, P).
        """
        parts = [stacked[key] for key in KEYS]
        if parts[0].shape[1:] != (self.width, 2) or parts[4].shape[1:] != (1, self.width):
            raise ConfigurationError(
                f"SirenStack: found layers {[tuple(part.shape[1:]) for part in parts[::2]]}, wanted "
                f"[({self.width}, 2), ({self.width}, {self.width}), (1, {self.width})]"
            )
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return torch.cat([torch.cat([w, b.unsqueeze(-1)], -1).flatten(1) for w, b in pairs], 1)

    def _first_layer(self, first: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Write sin z1 of every pixel; sin and cos of the part of a column, then of a row."""
        along_x = (first[..., :1] * self._x + first[..., 2:]).unsqueeze(2)  # (B, H, 1, C)
        along_y = (first[..., 1:2] * self._y).unsqueeze(3)  # (B, H, R, 1)
        waves = along_x.sin(), along_x.cos(), along_y.sin(), along_y.cos()
        sin_x, cos_x, sin_y, cos_y = waves
        hidden1 = self._hidden1[:, :-1]
        torch.mul(sin_x, cos_y, out=hidden1)
        hidden1.addcmul_(cos_x, sin_y)
        return waves

    def _first_gradient(self, waves: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Gradient of the first layer (B, H, 3), from that of h1 in `_hidden2`."""
        sin_x, cos_x, sin_y, cos_y = waves
        slope = self._slope.unflatten(2, (cos_y.shape[2], cos_x.shape[3]))
        torch.mul(cos_x, cos_y, out=slope)
        slope.addcmul_(sin_x, sin_y, value=-1)
        passed = self._hidden2.mul_(self._slope).flatten(0, 1)  # (B*H, R*C)
        return (self._points @ passed.mT).mul_(self.w0).mT.unflatten(0, (-1, self.width))
