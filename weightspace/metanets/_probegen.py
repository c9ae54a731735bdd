"""ProbeGen: what networks answer to inputs that a deep linear generator makes, and nothing of their weights."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.graph import ParameterGraph
from weightspace.metanets._networks import AttachedNetworks, TracedNetwork, batched, listed
from weightspace.metanets._probes import by_architecture, input_shape, run, stacked_states
from weightspace.metanets._union import as_graphs


class ProbeGen(nn.Module):
    """Deep linear probe generator: learned inputs run through every network, their outputs read by an MLP.

    Source: Kahana, Horwitz, Shuval and Hoshen 2024, "Deep Linear Probe Generators for Weight Space Learning", arXiv
    2410.10811. Every probe is a latent code behind a generator without activations, which all probes share: two linear
    maps for networks of coordinates, transposed convolutions from 1x1 to the image's size and a final tanh for networks
    of images. The outputs of a network for all probes, side by side, go through an MLP of 6 layers. What deviates: an
    image generator has as many doublings as the image needs and is cropped at the centre (the published one makes
    32x32); inputs of any other shape get the two linear maps; a network's outputs are flattened, whatever their shape.
    Architectures may differ as long as inputs and the number of outputs are the same. Probes see functions, so every
    symmetry of a network is respected, and a network's unused parts are not seen at all.

    Args:
        out_features: outputs per network.
        input_shape: of the networks' example inputs, batch dimension included; (1, 2) for two coordinates.
        outputs: numbers that a network gives for one example input.
        probes: number of learned inputs.
        channels: of the MLP.
        layers: linear maps of the MLP.
        latent: size of a probe's code.
        width: channels of the image generator, in units of its last layer.

    Shapes:
        graphs of G networks in all -> (G, out_features), in the order graphs, then models.

    Raises:
        ConfigurationError: fewer than two layers.

    Example:
        >>> ProbeGen(1, input_shape=(1, 2), outputs=1, probes=16).config["latent"]
        32
    """

    def __init__(
        self,
        out_features: int,
        *,
        input_shape: Sequence[int],
        outputs: int,
        probes: int = 128,
        channels: int = 256,
        layers: int = 6,
        latent: int = 32,
        width: int = 16,
    ):
        super().__init__()
        if layers < 2:
            raise ConfigurationError(f"ProbeGen: found layers={layers}, wanted at least 2")
        self.config: dict[str, Any] = {
            "out_features": out_features,
            "input_shape": list(input_shape),
            "outputs": outputs,
            "probes": probes,
            "channels": channels,
            "layers": layers,
            "latent": latent,
            "width": width,
        }
        self._shape, self._outputs = tuple(input_shape), outputs
        self.networks = AttachedNetworks("ProbeGen")
        self.codes = nn.Parameter(torch.randn(probes, latent))
        is_image = len(self._shape) == 4 and self._shape[0] == 1
        self.generator = (ImageGenerator if is_image else FlatGenerator)(self._shape, latent, width)
        sizes = [probes * outputs, *[channels] * (layers - 1), out_features]
        maps = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.head = nn.Sequential(*[part for linear in maps for part in (linear, nn.ReLU())][:-1])

    def attach(self, networks: Mapping[str, TracedNetwork] | Iterable[TracedNetwork]) -> None:
        """Make architectures known; see `NetworkReader`.

        Raises:
            WeightspaceError: an input that is not one floating tensor of the wanted shape.
        """
        pairs = listed(networks, owner="ProbeGen")
        for _, network in pairs:
            shape = input_shape(network)
            if shape != self._shape:
                raise WeightspaceError(
                    f"ProbeGen.attach: architecture {network.signature[:12]} takes inputs of shape {shape}, wanted one "
                    f"floating tensor of shape {self._shape} as given by input_shape; token numbers cannot be probed"
                )
        self.networks.add(network for _, network in pairs)

    def probes(self) -> Tensor:
        """The inputs that networks are asked, (P, *input_shape)."""
        return self.generator(self.codes).reshape(-1, *self._shape)

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """One row per network.

        Raises:
            WeightspaceError: an architecture that was not attached, one with another number of outputs, or one with an
                operation that `torch.vmap` cannot run for many networks at once (an LSTM).
        """
        graphs = as_graphs(graphs)
        probes = self.probes()
        answers: dict[int, Tensor] = {}
        for signature, members in by_architecture(graphs).items():
            network = self.networks[signature]
            stacked, sizes = stacked_states(network, [graphs[g] for g in members], probes.dtype)
            with batched("ProbeGen", signature):
                found = run(self.networks.runner(signature, like=probes), stacked, probes)  # (B, P * outputs)
            if found.shape[1] != len(probes) * self._outputs:
                raise WeightspaceError(
                    f"ProbeGen: architecture {signature[:12]} gives {found.shape[1] // len(probes)} numbers for one "
                    f"input, wanted {self._outputs} as given by outputs"
                )
            answers.update(zip(members, found.split(sizes), strict=True))
        return self.head(torch.cat([answers[g] for g in range(len(graphs))]))


class FlatGenerator(nn.Module):
    """Two linear maps from a code to an input.

    Args:
        shape: of an input.
        latent: size of a code.
        width: not used.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int):
        super().__init__()
        self.maps = nn.Sequential(nn.Linear(latent, latent), nn.Linear(latent, math.prod(shape)))

    def forward(self, codes: Tensor) -> Tensor:
        """Flat inputs, (P, numbers)."""
        return self.maps(codes)


class ImageGenerator(nn.Module):
    """Transposed convolutions from a code to an image, doubling the size, linear up to a final tanh.

    Args:
        shape: (1, channels, height, width) of an image.
        latent: size of a code.
        width: channels of the layer before the last.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int):
        super().__init__()
        _, channels, self.height, self.width = shape
        doublings = max(0, math.ceil(math.log2(max(shape[2:]) / 4)))
        wide = [width * 2 ** min(3, doublings - i) for i in range(doublings + 1)]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, wide[0], 4)]
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(wide[:-1], wide[1:], strict=True)]
        layers += [nn.ConvTranspose2d(wide[-1], wide[-1], 3, 1, 1), nn.ConvTranspose2d(wide[-1], channels, 3, 1, 1)]
        self.maps = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Images, (P, channels, height, width)."""
        images = self.maps(codes[:, :, None, None]).tanh()
        top, left = (images.shape[2] - self.height) // 2, (images.shape[3] - self.width) // 2
        return images[:, :, top : top + self.height, left : left + self.width]
