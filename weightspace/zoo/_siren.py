"""The SIREN of published INR zoos, and the grid of coordinates on which it is an image."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

SPREAD = 6.0  # weights begin uniform in +-sqrt(SPREAD / in_features) / w0


class SineLayer(nn.Module):
    """`sin(w0 (W x + b))`; weights begin uniform in +-sqrt(6 / in_features) / w0, biases at zero.

    Source: Sitzmann et al. 2020, arXiv 2006.09661, sections 3.1 and 3.2. Deviates in the first layer, which begins like
    the others (there: +-1 / in_features), and in the biases (there: PyTorch's), as the INRs of Navon et al. 2023 do.

    Shapes:
        (..., in_features) -> (..., out_features).
    """

    def __init__(self, in_features: int, out_features: int, *, w0: float):
        super().__init__()
        self.w0 = w0
        bound = math.sqrt(SPREAD / in_features) / w0
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.w0 * nn.functional.linear(x, self.weight, self.bias))


class Siren(nn.Module):
    """Sine layers and a linear one, plus 0.5: coordinates in, grey values in [0, 1] (about) out.

    Source: the INRs of Navon et al. 2023, arXiv 2301.12780, section 7: 2-32-32-1 and w0 = 30, with keys
    `seq.{0,1,2}.{weight,bias}`; their published state_dicts load.

    Args:
        widths: of the sine layers.
        w0: frequency of every sine.
        in_features: number of coordinates.
        out_features: 1 for grey values.

    Shapes:
        (..., in_features) -> (..., out_features).

    Example:
        >>> [name for name, value in Siren().named_parameters()][:2], Siren()(torch.zeros(5, 2)).shape
        (['seq.0.weight', 'seq.0.bias'], torch.Size([5, 1]))
    """

    def __init__(
        self, widths: Sequence[int] = (32, 32), *, w0: float = 30.0, in_features: int = 2, out_features: int = 1
    ):
        super().__init__()
        self.in_features = in_features
        sizes = [in_features, *widths]
        layers: list[nn.Module] = [SineLayer(a, b, w0=w0) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.seq = nn.Sequential(*layers, nn.Linear(sizes[-1], out_features))

    @property
    def example_input_array(self) -> Tensor:
        """One point, for whoever traces the module."""
        return torch.zeros(1, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x) + 0.5


def siren(
    *, widths: Sequence[int] = (32, 32), w0: float = 30.0, in_features: int = 2, out_features: int = 1
) -> nn.Module:
    """An implicit neural representation of an image, see `Siren`.

    Args:
        widths: of the sine layers.
        w0: frequency of every sine.
        in_features: number of coordinates.
        out_features: 1 for grey values.

    Example:
        >>> sum(p.numel() for p in siren().parameters())
        1185
    """
    return Siren(widths, w0=w0, in_features=in_features, out_features=out_features)


def image_coordinates(height: int, width: int) -> Tensor:
    """Coordinates of an image's pixels, row after row: (x, y), each from -1 to 1; x runs along a row.

    Source: the grid of Navon et al. 2023 (their `make_coordinates`); others swap the two coordinates.

    Shapes:
        result (height * width, 2).

    Example:
        >>> image_coordinates(2, 2).tolist()
        [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
    """
    x, y = torch.meshgrid(torch.linspace(-1, 1, width), torch.linspace(-1, 1, height), indexing="xy")
    return torch.stack([x.flatten(), y.flatten()], 1)
