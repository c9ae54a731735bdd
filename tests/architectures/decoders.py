"""Networks that make images, volumes and signals: U-Net, autoencoder, upsampling, transposed convolutions, WaveNet."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, image, log_factorial


class UNet(nn.Module):
    """Two levels, transposed convolutions upwards, maps of the way down behind those of the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)
        self.middle, self.up1 = nn.Conv2d(6, 8, 3, padding=1), nn.ConvTranspose2d(8, 5, 2, 2)
        self.c, self.up2 = nn.Conv2d(11, 7, 3, padding=1), nn.ConvTranspose2d(7, 3, 2, 2)
        self.d, self.head = nn.Conv2d(7, 5, 3, padding=1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.norm(self.a(x)))
        b = F.relu(self.b(F.max_pool2d(a, 2)))
        x = F.relu(self.middle(F.max_pool2d(b, 2)))
        x = F.relu(self.c(torch.cat([self.up1(x), b], 1)))
        return self.head(F.relu(self.d(torch.cat([self.up2(x), a], 1))))


class Upsampling(nn.Module):
    """A decoder without transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 3, 2, 1), nn.Conv2d(5, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(F.relu(self.a(x)), scale_factor=2, mode="bilinear", align_corners=False)
        x = F.interpolate(F.relu(self.b(x)), size=(12, 12), mode="nearest")
        return self.last(F.relu(self.c(x)))


class WaveLayer(nn.Module):
    """Dilated causal convolution, tanh times sigmoid, a residual and a skip (van den Oord et al. 2016)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv, self.stay, self.skip = nn.Conv1d(4, 10, 2, dilation=dilation), nn.Conv1d(5, 4, 1), nn.Conv1d(5, 6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.conv(F.pad(x, (self.dilation, 0))).chunk(2, 1)
        h = torch.tanh(a) * torch.sigmoid(b)
        return x + self.stay(h), self.skip(h)


class WaveNet(nn.Module):
    """Two layers and a head on the sum of skips."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layers = nn.Conv1d(2, 4, 1), nn.ModuleList(WaveLayer(2**k) for k in range(2))
        self.a, self.b = nn.Conv1d(6, 7, 1), nn.Conv1d(7, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.stem(x), torch.zeros(())
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        return self.b(F.relu(self.a(F.relu(total))))


class Variational(nn.Module):
    """Mean and log-variance of a latent vector; the sample is the mean, as in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.mean, self.spread = nn.Linear(8, 7), nn.Linear(7, 4), nn.Linear(7, 4)
        self.decode, self.last = nn.Linear(4, 6), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.encode(x))
        mean, spread = self.mean(h), self.spread(h)
        return self.last(torch.relu(self.decode(mean))), 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(-1)


def unet() -> Case:
    """Widths down 4, 6, 8, up 5, 7, 3, 5."""
    return UNet(), image(), sum(log_factorial(n) for n in (4, 6, 8, 5, 7, 3, 5))


def autoencoder() -> Case:
    """Convolutions of 4 and 6, a code of 5, and the decoder's 6 and 4."""
    encoder = [nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    decoder = [nn.Linear(5, 24), nn.ReLU(), nn.Unflatten(1, (6, 2, 2)), nn.ConvTranspose2d(6, 4, 3, 2, 1, 1), nn.ReLU()]
    last = [nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 1, 3, 2, 1, 1), nn.Sigmoid()]
    net = nn.Sequential(*encoder, nn.Linear(24, 5), *decoder, *last)
    return net, image(1), sum(log_factorial(n) for n in (4, 6, 5, 6, 4))


def transposed_groups() -> Case:
    """Two groups of 3 channels before and of 4 channels behind a transposed convolution."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 8, 2, 2, groups=2), nn.ReLU())
    order = log_factorial(2) + 2 * log_factorial(3) + 2 * log_factorial(4)
    return net.append(nn.Conv2d(8, 3, 1)), image(3, 6), order


def transposed_1d_3d() -> Case:
    """A signal upwards: 5 channels, 4 behind a transposed convolution, and 3 more of a volume."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(2, 5, 3), nn.ConvTranspose1d(5, 4, 3, 2)
            self.c, self.d = nn.ConvTranspose3d(4, 3, 2), nn.Conv3d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.b(F.relu(self.a(x))))
            return self.d(F.relu(self.c(x[..., :8].reshape(-1, 4, 2, 2, 2))))

    return Net(), (torch.zeros(1, 2, 8),), sum(log_factorial(n) for n in (5, 4, 3))


def super_resolution() -> Case:
    """6 channels, then 4 channels of 2x2 pixels each: the places of the pixels are fixed (Shi et al. 2016)."""
    net = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 16, 3, padding=1), nn.PixelShuffle(2))
    net += nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.PixelShuffle(2))
    return net, image(1, 5), log_factorial(6) + log_factorial(4)


def upsampling() -> Case:
    """Widths 5, 6, 4."""
    return Upsampling(), image(), sum(log_factorial(n) for n in (5, 6, 4))


def wavenet() -> Case:
    """The stream of 4, the gated 5 of both layers, the skips' 6, the head's 7."""
    order = log_factorial(4) + 2 * log_factorial(5) + log_factorial(6) + log_factorial(7)
    return WaveNet(), (torch.zeros(1, 2, 8),), order


def variational() -> Case:
    """Encoder 7, latent vector 4, decoder 6."""
    return Variational(), (torch.zeros(1, 8),), sum(log_factorial(n) for n in (7, 4, 6))


def volume_unet() -> Case:
    """Volumes: 4 channels down and up, as the skip is a sum, and 5 at the bottom."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Conv3d(1, 4, 3, padding=1), nn.GroupNorm(1, 4)
            self.b, self.up, self.head = nn.Conv3d(4, 5, 2, 2), nn.ConvTranspose3d(5, 4, 2, 2), nn.Conv3d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = F.elu(self.norm(self.a(x)))
            return self.head(a + F.elu(self.up(F.elu(self.b(a)))))

    return Net(), (torch.zeros(1, 1, 4, 4, 4),), log_factorial(4) + log_factorial(5)


CASES: tuple[Callable[[], Case], ...] = (
    unet, autoencoder, transposed_groups, transposed_1d_3d, super_resolution, upsampling, wavenet, variational,
    volume_unet,
)  # fmt: skip
