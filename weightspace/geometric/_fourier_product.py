"""The Gaunt product by two-dimensional Fourier series: the published evaluation, as a slow reference."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from weightspace.geometric._quadrature import harmonics


def fourier_gaunt_product(x: Tensor, y: Tensor, lmax_out: int) -> Tensor:
    """Pointwise product of functions on the sphere through Fourier series of both angles.

    A slow, independent twin of `GridTensorProduct` (component normalisation, natural parity, degrees from zero on):
    coefficients of harmonics become coefficients of exp(i u b + i v a) on the torus of both angles, the product is a
    two-dimensional convolution, and the result is projected on harmonics with the integrals of exp(i k b) sin b.

    Source:
        Luo et al. 2024 (arXiv 2401.10216), section 3.2. Deviates: the convolution is a product on a grid of the torus
        by FFT of exact size.

    Args:
        x: coefficients of the first factor.
        y: coefficients of the second factor.
        lmax_out: degrees of the result.

    Shapes:
        x: (..., (L1 + 1)^2); y: (..., (L2 + 1)^2); output: (..., (lmax_out + 1)^2).

    Example:
        >>> one = torch.tensor([1.0, 0, 0, 0])
        >>> fourier_gaunt_product(one, torch.tensor([0.0, 1, 2, 3]), 1).round(decimals=5).abs()
        tensor([0., 1., 2., 3.])
    """
    degrees = [math.isqrt(rows.shape[-1]) - 1 for rows in (x, y)]
    size = 2 * (sum(degrees) + lmax_out) + 1
    factors = [rows.to(torch.float64) @ _on_torus(degree, size) for rows, degree in zip((x, y), degrees, strict=True)]
    series = torch.fft.fft2((factors[0] * factors[1]).unflatten(-1, (size, size))) / size**2
    return (series.flatten(-2) @ _projection(lmax_out, size)).real.to(x.dtype)


@lru_cache(maxsize=32)
def _on_torus(lmax: int, size: int) -> Tensor:
    """Harmonics at (b, a) on the torus ((L + 1)^2, size^2): a polynomial in the point continues to b beyond pi."""
    angles = 2 * math.pi * torch.arange(size, dtype=torch.float64) / size
    b, a = torch.meshgrid(angles, angles, indexing="ij")
    points = torch.stack([b.sin() * a.sin(), b.cos(), b.sin() * a.cos()], dim=-1).reshape(-1, 3)
    return harmonics(points, list(range(lmax + 1))).t().contiguous()


@lru_cache(maxsize=32)
def _projection(lmax: int, size: int) -> Tensor:
    """Mean over the sphere of exp(i u b + i v a) Y_lm for every frequency (size^2, (L + 1)^2)."""
    series = torch.fft.fft2(_on_torus(lmax, size).unflatten(1, (size, size))) / size**2  # Y's own frequencies
    frequencies = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    total = frequencies[:, None] + frequencies[None, :]
    down = _sine_integral(total)  # (u, u')
    around = ((frequencies[:, None] + frequencies[None, :]).abs() < 0.5).to(torch.complex128)
    table = torch.einsum("us,lst,vt->uvl", down, series, around) * (2 * math.pi) / (4 * math.pi)
    return table.flatten(0, 1)


def _sine_integral(k: Tensor) -> Tensor:
    """Integral of exp(i k b) sin b over b from 0 to pi."""
    one = (k.abs() - 1).abs() < 0.5
    even = (k.round() % 2) == 0
    value = torch.where(even, 2 / (1 - k * k).where(~one, torch.ones_like(k)), torch.zeros_like(k))
    return torch.complex(value, torch.where(one, k.sign() * math.pi / 2, torch.zeros_like(k)))
