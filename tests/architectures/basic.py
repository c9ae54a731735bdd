"""What the first rules speak of: linear and convolutional layers, norms, flattening, blocks, concatenation."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, image, log_factorial


class BasicBlock(nn.Module):
    """Residual block of He et al. 2016, shortcut by a 1x1 convolution (option B)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        plain = stride == 1 and width_in == width
        down = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.shortcut = nn.Identity() if plain else down

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + self.shortcut(x))


class ResNet(nn.Module):
    """CIFAR ResNet of depth 6n+2."""

    def __init__(self, blocks: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        layers: list[nn.Module] = []
        before = widths[0]
        for stage, width in enumerate(widths):
            for number in range(blocks):
                layers.append(BasicBlock(before, width, 2 if stage and not number else 1))
                before = width
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


class DenseBlock(nn.Module):
    """Concatenations of concatenations, normalised as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(9, 6, 1)
        self.bn, self.head = nn.BatchNorm2d(9), nn.Linear(15, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        y = F.relu(self.bn(torch.cat([x, F.relu(self.b(x))], 1)))
        z = torch.cat([self.c(y), y], 1)
        return self.head(F.adaptive_avg_pool2d(z, 1).flatten(1))


class TwoHeads(nn.Module):
    """Flattened maps of two sizes, concatenated; PReLU per channel and with one slope; a scale of one entry."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.bn, self.head = nn.BatchNorm1d(4 * 36 + 6 * 64), nn.Linear(4 * 36 + 6 * 64, 3)
        self.slopes, self.slope, self.scale = nn.PReLU(6), nn.PReLU(), nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.avg_pool2d(F.relu(self.a(x)), 3, 1), self.slopes(self.b(x))
        return self.slope(self.head(self.bn(torch.cat([a.flatten(1), b.flatten(1)], 1))) * self.scale)


class Siamese(nn.Module):
    """One branch for two inputs, its middle layer used twice; the branches meet in a product."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)

    def branch(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(torch.relu(self.b(torch.relu(self.a(x))))))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.c(self.branch(x) * self.branch(y))


class SqueezeExcite(nn.Module):
    """A gate per channel, LayerNorm over a whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 6, 3), nn.LayerNorm([6, 6, 6]), nn.Conv2d(6, 2, 1)
        self.down, self.up = nn.Linear(6, 4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        gate = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        return self.out(x * gate.unsqueeze(-1).unsqueeze(-1)).mean((2, 3)).softmax(-1)


class Mixer(nn.Module):
    """Token mixing and channel features (Tolstikhin et al. 2021), one block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)
        self.tokens1, self.tokens2 = nn.Linear(9, 7), nn.Linear(7, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.tokens2(F.gelu(self.tokens1(self.norm(x).transpose(1, 2)))).transpose(1, 2)
        return self.head((x + y).mean(1))


class Unflatten(nn.Module):
    """A linear layer whose result is read as maps; a layer that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c, self.idle = nn.Linear(4, 54), nn.Conv2d(6, 3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.a(x)).view(-1, 6, 3, 3))


class Unknown(nn.Module):
    """A cumulative sum has no rule: it depends on the order of the neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.cumsum(torch.relu(self.a(x)), -1))))


class Tied(nn.Module):
    """One weight under two names, and a buffer that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.c.weight = self.b.weight
        self.register_buffer("shift", torch.linspace(0, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.d(torch.tanh(self.c(torch.relu(self.b(torch.relu(self.a(x)))) + self.shift)))


class PreActivation(nn.Module):
    """The value before the activation is used again, so the activation is no label of its site."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.c(h + self.b(torch.relu(h)) - 0.5 * h / 2)


class Scalars(nn.Module):
    """A parameter without dimensions, a squeezed result, a sine network, a result of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.scale = nn.Linear(4, 1), nn.Parameter(torch.tensor(2.0))
        self.hidden, self.out = nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.line(x).squeeze(-1) * self.scale + self.out(torch.sin(30 * self.hidden(x))).squeeze(-1)).sum()


class Shuffle(nn.Module):
    """Channel shuffle between two convolution groups (Zhang et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.a(x))))
        b, c, h, w = x.shape
        return self.c(x.view(b, 2, 4, h, w).transpose(1, 2).reshape(b, c, h, w))


class OptionA(nn.Module):
    """A shortcut without weights: every second pixel, zero channels around (He et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, 1)
        self.bn, self.c = nn.BatchNorm2d(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        h = F.relu(self.bn(self.b(a)) + F.pad(a[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        return self.c(F.pad(h, (1, 1, 0, 2)).mean((2, 3)))


class GatedLinear(nn.Module):
    """Halves of one linear layer, multiplied (Dauphin et al. 2017); one further output is a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.scale = nn.Linear(4, 12), nn.Linear(6, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.a(x).chunk(2, -1)
        first, rest = self.scale(x).split([1, 2], -1)
        return self.b(value * torch.sigmoid(gate)) * first + rest + self.scale(x)[..., 2].unsqueeze(-1)


def mlp() -> Case:
    """Hidden layers of 8 and 6."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    return net, (torch.zeros(1, 4),), log_factorial(8) + log_factorial(6)


def cnn_flatten() -> Case:
    """Channels 4 and 6, the latter with the pixels behind the flatten, and the hidden 5."""
    features = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2)]
    net = nn.Sequential(*features, nn.Flatten(), nn.Linear(24, 5), nn.GELU(), nn.Linear(5, 3))
    return net, image(1), log_factorial(4) + log_factorial(6) + log_factorial(5)


def resnet() -> Case:
    """In each stage the stream and the hidden channels: 3, 4, 5."""
    order = sum(2 * log_factorial(n) for n in (3, 4, 5))
    return ResNet(1, (3, 4, 5)), image(3, 8), order


def grouped_groupnorm() -> Case:
    """Four groups, and inside each 3 channels before and 2 behind the grouped convolution."""
    net = nn.Sequential(nn.Conv2d(3, 12, 3), nn.GroupNorm(4, 12), nn.ReLU(), nn.Conv2d(12, 8, 3, groups=4), nn.ReLU())
    net.append(nn.Conv2d(8, 5, 1))
    return net, image(), log_factorial(4) + 4 * log_factorial(3) + 4 * log_factorial(2)


def nested_blocks() -> Case:
    """Four normalisation groups inside two convolution groups: S_3 wr S_2 wr S_2, then S_4 for each of the two."""
    net = nn.Sequential(nn.Conv2d(3, 12, 3), nn.GroupNorm(4, 12), nn.ReLU(), nn.Conv2d(12, 8, 3, groups=2))
    net.append(nn.Conv2d(8, 5, 1))
    order = log_factorial(2) + 2 * log_factorial(2) + 4 * log_factorial(3) + 2 * log_factorial(4)
    return net, image(), order


def grouped_input() -> Case:
    """The groups of the first layer are those of the input, which is fixed; channels inside each are free."""
    net = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 3, 1))
    return net, image(4), 2 * log_factorial(3)


def depthwise() -> Case:
    """8 channels; 5 channels, each with 2 behind it."""
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8))
    net += nn.Sequential(nn.Conv2d(8, 5, 1), nn.ReLU6(), nn.Conv2d(5, 10, 3, groups=5), nn.Conv2d(10, 4, 1))
    return net, image(), log_factorial(8) + log_factorial(5) + 5 * log_factorial(2)


def dense_block() -> Case:
    """Channels 4, 5, 6, side by side."""
    return DenseBlock(), image(), log_factorial(4) + log_factorial(5) + log_factorial(6)


def two_heads() -> Case:
    """Channels 4 and 6."""
    return TwoHeads(), image(3, 8, 2), log_factorial(4) + log_factorial(6)


def siamese() -> Case:
    """The 5 on both sides of the middle layer, which is used again and again."""
    return Siamese(), (torch.zeros(1, 4), torch.zeros(1, 4)), log_factorial(5)


def squeeze_excite() -> Case:
    """Channels 6 and the 4 of the gate."""
    return SqueezeExcite(), image(), log_factorial(6) + log_factorial(4)


def mixer() -> Case:
    """The tokens' hidden 7 and the 6 features."""
    return Mixer(), (torch.zeros(1, 9, 4),), log_factorial(7) + log_factorial(6)


def unflatten() -> Case:
    """Channels 6."""
    return Unflatten(), (torch.zeros(2, 4),), log_factorial(6)


def unknown() -> Case:
    """The hidden 6; the 5 before the cumulative sum stay."""
    return Unknown(), (torch.zeros(1, 4),), log_factorial(6)


def tied() -> Case:
    """The 5 on both sides of the shared weight."""
    return Tied(), (torch.zeros(1, 3),), log_factorial(5)


def pre_activation() -> Case:
    """The stream of 6."""
    return PreActivation(), (torch.zeros(1, 4),), log_factorial(6)


def conv1d() -> Case:
    """Channels 5 and 4."""
    net = nn.Sequential(nn.Conv1d(2, 5, 3), nn.InstanceNorm1d(5, affine=True), nn.ELU(), nn.Conv1d(5, 4, 3))
    net += nn.Sequential(nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 2))
    return net, (torch.zeros(1, 2, 8),), log_factorial(5) + log_factorial(4)


def conv3d() -> Case:
    """Channels 5."""
    net = nn.Sequential(nn.Conv3d(1, 5, 3, padding="same"), nn.BatchNorm3d(5), nn.SiLU(), nn.AdaptiveAvgPool3d(1))
    net += nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(5, 2))
    return net, (torch.zeros(1, 1, 4, 4, 4),), log_factorial(5)


def scalars() -> Case:
    """The hidden 6."""
    return Scalars(), (torch.zeros(2, 4),), log_factorial(6)


def shuffle() -> Case:
    """The two groups of the convolution, and 4 channels before and behind in each."""
    return Shuffle(), image(3, 4), log_factorial(2) + 4 * log_factorial(4)


def option_a() -> Case:
    """Channels 4, in the middle of the next layer, and the 2 and 2 on either side of them, which are zero before it."""
    return OptionA(), image(), log_factorial(4) + log_factorial(4)


def gated_linear() -> Case:
    """The gated 6, on both halves of their layer."""
    return GatedLinear(), (torch.zeros(1, 4),), log_factorial(6)


CASES: tuple[Callable[[], Case], ...] = (
    mlp, cnn_flatten, resnet, grouped_groupnorm, nested_blocks, grouped_input, depthwise, dense_block, two_heads,
    siamese, squeeze_excite, mixer, unflatten, unknown, tied, pre_activation, conv1d, conv3d, scalars, shuffle,
    option_a, gated_linear,
)  # fmt: skip
