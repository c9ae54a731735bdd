"""Convolutional classifiers: VGG, Inception, ResNeXt, DenseNet, MobileNet, ShuffleNet, ConvNeXt, and pooling."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, image, log_factorial


def block(before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Four branches that are concatenated (Szegedy et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = block(3, 5), block(5, 3, 1)
        self.b, self.c = nn.Sequential(block(5, 2, 1), block(2, 4)), nn.Sequential(block(5, 3, 1), block(3, 5, 5))
        self.d, self.head = nn.Sequential(nn.MaxPool2d(3, 1, 1), block(5, 6, 1)), nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.cat([self.a(x), self.b(x), self.c(x), self.d(x)], 1).mean((2, 3)))


class ResNeXt(nn.Module):
    """A bottleneck whose middle is a grouped convolution (Xie et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = block(3, 5), block(5, 12, 1), block(12, 12, 3, groups=3)
        self.c, self.head = nn.Conv2d(12, 5, 1), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(F.relu(x + self.c(self.b(self.a(x)))).mean((2, 3)))


class DenseLayer(nn.Module):
    """Norm before convolution, a bottleneck, and the new channels behind the old ones."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, 5, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(5), nn.Conv2d(5, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))], 1)


class Excite(nn.Module):
    """Squeeze and excitation by 1x1 convolutions (Hu et al. 2018)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class InvertedResidual(nn.Module):
    """Expand, convolve each channel alone, project; added where the shapes allow it (Sandler et al. 2018)."""

    def __init__(self, before: int, wide: int, after: int, stride: int = 1, excite: int = 0) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6())
        depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(wide), nn.Hardswish() if excite else nn.ReLU6())
        self.excite = Excite(wide, excite) if excite else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after))
        self.added = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.added else y


class ShuffleUnit(nn.Module):
    """Half of the channels passes, half is convolved, then both are shuffled (Ma et al. 2018)."""

    def __init__(self, half: int) -> None:
        super().__init__()
        middle = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.branch = nn.Sequential(block(half, half, 1), middle, nn.BatchNorm2d(half), block(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm over channels that are last, layer scale (Liu et al. 2022)."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, wide), nn.Linear(wide, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


class ChannelsFirstNorm(nn.Module):
    """LayerNorm over channels, written out for maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * ((x - mean) / torch.sqrt(variance + 1e-6)) + self.bias[:, None, None]


class Attentive(nn.Module):
    """A gate for every pixel from the mean and the maximum over channels (Woo et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(2, 1, 3, padding=1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return self.head((x * torch.sigmoid(self.gate(pooled))).mean((2, 3)))


class Maxout(nn.Module):
    """The maximum of three linear maps (Goodfellow et al. 2013)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 12), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).view(-1, 4, 3).amax(-1))


def vgg() -> Case:
    """Widths 4, 5, 6 and the hidden layer of 7."""
    parts = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    parts += [nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU()]
    parts += [nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*parts, nn.Linear(7, 3)), image(), sum(log_factorial(n) for n in (4, 5, 6, 7))


def inception() -> Case:
    """The stem, and in every branch each width."""
    return Inception(), image(), sum(log_factorial(n) for n in (5, 3, 2, 4, 3, 5, 6))


def resnext() -> Case:
    """The residual stream of 5; S_4 wr S_3 before the grouped layer, and four more for each of the three behind."""
    return ResNeXt(), image(), log_factorial(5) + log_factorial(3) + 3 * log_factorial(4) + 3 * log_factorial(4)


def densenet() -> Case:
    """Stem of 4, three layers with bottlenecks of 5 and growth 3, a transition to 5 channels between."""
    first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), DenseLayer(4), DenseLayer(7), nn.BatchNorm2d(10), nn.ReLU())
    transition = nn.Sequential(nn.Conv2d(10, 5, 1, bias=False), nn.AvgPool2d(2))
    last = nn.Sequential(DenseLayer(5), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    order = log_factorial(4) + 3 * (log_factorial(5) + log_factorial(3)) + log_factorial(5)
    return nn.Sequential(*first, *transition, *last, nn.Linear(8, 3)), image(), order


def mobilenet() -> Case:
    """The stream of 4 and the expanded 12 of the first block, the expanded 10 and the projected 5 of the second."""
    net = nn.Sequential(block(3, 4, 3, 2), InvertedResidual(4, 12, 4), InvertedResidual(4, 10, 5, 2))
    net += nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    return net, image(), sum(log_factorial(n) for n in (4, 12, 10, 5))


def mobilenet_excite() -> Case:
    """The stream of 4, the expanded 10, and the 3 of the squeeze."""
    net = nn.Sequential(block(3, 4, 3, 2), InvertedResidual(4, 10, 4, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return net.append(nn.Linear(4, 3)), image(), log_factorial(4) + log_factorial(10) + log_factorial(3)


def shufflenet() -> Case:
    """One unit of 2 times 4: both halves of the stem, the middle and the end of the branch; all four are apart."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), ShuffleUnit(4), nn.Conv2d(8, 3, 1))
    return net, image(3, 6), 4 * log_factorial(4)


def shufflenet_units() -> Case:
    """Two units of 2 times 4: the second splits each of the two passed and the two convolved quarters of the first.

    Stem: the half that passes splits in 2 and 2, the convolved one is whole; the first branch: a middle of 4, an end
    that splits in 2 and 2; the second branch: 4 and 4.
    """
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), ShuffleUnit(4), ShuffleUnit(4), nn.Conv2d(8, 3, 1))
    return net, image(3, 6), 4 * log_factorial(4) + 4 * log_factorial(2)


def convnext() -> Case:
    """Streams of 4 and 6 and the widened 8 and 9 of their blocks."""
    net = nn.Sequential(nn.Conv2d(3, 4, 2, 2), ChannelsFirstNorm(4), ConvNeXtBlock(4, 8), ChannelsFirstNorm(4))
    net += nn.Sequential(nn.Conv2d(4, 6, 2, 2), ConvNeXtBlock(6, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return net + nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)), image(), sum(map(log_factorial, (4, 8, 6, 9)))


def spatial_gate() -> Case:
    """The six channels; the mean and the maximum have fixed places."""
    return Attentive(), image(), log_factorial(6)


def maxout() -> Case:
    """S_3 wr S_4: the four units, and the three pieces inside each."""
    return Maxout(), (torch.zeros(1, 4),), log_factorial(4) + 4 * log_factorial(3)


def adaptive_max_pool() -> Case:
    """5 channels that are pooled and flattened with the four pixels left, and 4 behind."""
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.LeakyReLU(0.1), nn.AdaptiveMaxPool2d(2), nn.Flatten())
    return (
        net + nn.Sequential(nn.Linear(20, 4), nn.ReLU(), nn.Linear(4, 2)),
        image(),
        log_factorial(5) + log_factorial(4),
    )


def conv_mixer() -> Case:
    """Depthwise residual and pointwise layers (Trockman and Kolter 2022): a stream of 5, then one of 5 more."""

    class Residual(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x

    def mixing() -> list[nn.Module]:
        depthwise = Residual(nn.Conv2d(5, 5, 3, groups=5, padding="same"), nn.GELU(), nn.BatchNorm2d(5))
        return [depthwise, nn.Conv2d(5, 5, 1), nn.GELU(), nn.BatchNorm2d(5)]

    net = nn.Sequential(nn.Conv2d(3, 5, 2, 2), nn.GELU(), nn.BatchNorm2d(5), *mixing(), *mixing())
    net += nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(5, 2))
    return net, image(), 3 * log_factorial(5)


CASES: tuple[Callable[[], Case], ...] = (
    vgg, inception, resnext, densenet, mobilenet, mobilenet_excite, shufflenet, shufflenet_units, convnext,
    spatial_gate, maxout, adaptive_max_pool, conv_mixer,
)  # fmt: skip
