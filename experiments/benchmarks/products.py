"""Tensor products against e3nn: messages along edges, products of two features, and frames of edges.

One thread on a CPU, float32, forward and backward; for messages with gradients to positions, features and weights.
32 channels, 1,000 edges or rows. Ratios are medians of pairs taken in turn. The floor of a product is what its own
matrix products alone take in the same run (`bare`), and, apart, arithmetic and bytes at the machine's measured rates.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from _measure import interleaved, medians, ratio, write
from e3nn import o3
from torch import Tensor

from weightspace.geometric import (
    EdgeTensorProduct,
    GridTensorProduct,
    SO2TensorProduct,
    edge_frames,
    expressivity,
    fourier_gaunt_product,
    natural_irreps,
)

ROWS, CHANNELS = 1000, 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, device=DEVICE).requires_grad_()


def backward(make: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], None]:
    gradient = torch.randn_like(make())

    def step() -> None:
        for tensor in leaves:
            tensor.grad = None
        make().backward(gradient)

    return step


def machine_rates() -> dict[str, float]:
    """GFLOP/s of a large matrix product and GB/s of a large copy."""
    a, b = torch.randn(1024, 1024, device=DEVICE), torch.randn(64 * 2**20, device=DEVICE)
    target = torch.empty_like(b)
    seconds = medians(interleaved({"mm": lambda: a @ a, "copy": lambda: target.copy_(b)}, repeats=5))
    return {"gflops": 2 * 1024**3 / seconds["mm"] / 1e9, "gbytes": 2 * b.nbytes / seconds["copy"] / 1e9}


def floors(flops: float, numbers: float, rates: dict[str, float]) -> dict[str, float]:
    return {
        "arithmetic_ms": flops / rates["gflops"] / 1e6,
        "bytes_ms": 4 * numbers / rates["gbytes"] / 1e6,
    }


def message_product(lmax: int, repeats: int, rates: dict[str, float]) -> dict[str, Any]:
    irreps, harmonics = natural_irreps(lmax, CHANNELS), natural_irreps(lmax)
    ours, reduced = EdgeTensorProduct(irreps, harmonics, irreps), SO2TensorProduct(irreps, harmonics, irreps)
    instructions = [(p.slot_1, p.slot_2, p.slot_out, "uvu", True) for p in ours.paths]
    peer = o3.TensorProduct(irreps, harmonics, irreps, instructions, shared_weights=False, internal_weights=False)
    peer = peer.to(DEVICE)
    paths, dim = len(ours.paths), (lmax + 1) ** 2
    x, rows, edge_vec = leaf(ROWS, CHANNELS, dim), leaf(ROWS, irreps.dim), leaf(ROWS, 3)
    shared, own = leaf(ROWS, paths), leaf(ROWS, paths, CHANNELS)
    matrix = leaf(ROWS, dim, dim)

    def sh() -> Tensor:
        return o3.spherical_harmonics(list(range(lmax + 1)), edge_vec, True, "component")

    steps = {
        "e3nn": backward(lambda: peer(rows, sh(), shared.repeat_interleave(CHANNELS, 1)), [rows, edge_vec, shared]),
        "e3nn_per_channel": backward(lambda: peer(rows, sh(), own.flatten(1)), [rows, edge_vec, own]),
        "shared": backward(lambda: ours(x, sh(), shared), [x, edge_vec, shared]),
        "shared_mul_ir": backward(lambda: ours(rows, sh(), shared), [rows, edge_vec, shared]),
        "per_channel": backward(lambda: ours(x, sh(), own), [x, edge_vec, own]),
        "so2_shared": backward(lambda: reduced(x, edge_vec, shared), [x, edge_vec, shared]),
        "so2_per_channel": backward(lambda: reduced(x, edge_vec, own), [x, edge_vec, own]),
        "harmonics_alone": backward(sh, [edge_vec]),
        "frames_alone": backward(
            lambda: torch.cat([m.flatten() for m in edge_frames(edge_vec, lmax).matrices]), [edge_vec]
        ),
        "e3nn_frames": backward(lambda: peer_frames(edge_vec, lmax), [edge_vec]),
        "bare_matrix_product": backward(lambda: torch.bmm(x, matrix), [x, matrix]),
    }
    seconds = interleaved(steps, repeats=repeats, warmup=1)
    flops = 3 * 2 * ROWS * (CHANNELS * dim**2 + coupling_flops(ours))
    numbers = 3 * ROWS * (2 * CHANNELS * dim + paths + dim)
    limits = floors(flops, numbers, rates)
    best = medians(seconds)
    return {
        "lmax": lmax,
        "paths": paths,
        "ms": {name: 1e3 * value for name, value in best.items()},
        "ratio": {
            name: ratio(seconds, "e3nn_per_channel" if "per_channel" in name else "e3nn", name)
            for name in ("shared", "shared_mul_ir", "per_channel", "so2_shared", "so2_per_channel")
        },
        "floor": limits,
        "over_floor": 1e3 * best["shared"] / max(limits.values()),
        "over_bare_and_harmonics": best["shared"] / (best["bare_matrix_product"] + best["harmonics_alone"]),
    }


def peer_frames(edge_vec: Tensor, lmax: int) -> Tensor:
    """Wigner matrices of all degrees from angles, as e3nn makes them."""
    a, b = o3.xyz_to_angles(edge_vec)
    return torch.cat([o3.wigner_D(l, a, b, torch.zeros_like(a)).flatten() for l in range(lmax + 1)])


def coupling_flops(product: EdgeTensorProduct) -> int:
    """Multiplications per edge that build its matrix: rows times entries of each block."""
    return sum((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) for l1, l2, l3 in (path.degrees for path in product.paths))


def feature_product(lmax: int, repeats: int, rates: dict[str, float]) -> dict[str, Any]:
    irreps, dim = natural_irreps(lmax, CHANNELS), (lmax + 1) ** 2
    x, y = leaf(ROWS, CHANNELS, dim), leaf(ROWS, CHANNELS, dim)
    rows_x, rows_y = leaf(ROWS, irreps.dim), leaf(ROWS, irreps.dim)
    peer = all_paths(irreps, irreps)
    kinds = {
        "native": GridTensorProduct(irreps, irreps, irreps),
        "not_folded": GridTensorProduct(irreps, irreps, irreps, fold="never"),
        "folded": GridTensorProduct(irreps, irreps, irreps, fold="always"),
        "lebedev": GridTensorProduct(irreps, irreps, irreps, grid="lebedev"),
        "gauss_legendre": GridTensorProduct(irreps, irreps, irreps, grid="gauss_legendre"),
    }
    steps = {"e3nn": backward(lambda: peer(rows_x, rows_y), [rows_x, rows_y])}
    steps |= {name: backward(lambda product=product: product(x, y), [x, y]) for name, product in kinds.items()}
    steps["mul_ir"] = backward(lambda: kinds["native"](rows_x, rows_y), [rows_x, rows_y])
    flat = [leaf(ROWS * CHANNELS, dim), leaf(ROWS * CHANNELS, dim)]
    points = len(kinds["native"].grid.weights)
    to, back = torch.randn(dim, points, device=DEVICE), torch.randn(points, dim, device=DEVICE)
    with torch.no_grad():
        values = flat[0] @ to
    steps["bare_matrix_products"] = lambda: (
        [flat[0].detach() @ to for _ in range(3)] + [values @ back for _ in range(3)]
    )
    if lmax <= 3:
        steps["fourier"] = backward(lambda: fourier_gaunt_product(*flat, lmax), flat)
    if lmax == 3:
        steps |= antisymmetric_steps(irreps, x, y, rows_x, rows_y)
    seconds = interleaved(steps, repeats=repeats, warmup=1)
    best = medians(seconds)
    limits = floors(6 * 2 * ROWS * CHANNELS * dim * points, 6 * ROWS * CHANNELS * dim, rates)
    ratios = {name: ratio(seconds, "e3nn", name) for name in [*kinds, "mul_ir"]}
    if lmax == 3:
        ratios["antisymmetric"] = ratio(seconds, "e3nn_all_paths", "antisymmetric")
    return {
        "lmax": lmax,
        "grid": kinds["native"].grid.name,
        "gauss_legendre_grid": kinds["gauss_legendre"].grid.name,
        "ms": {name: 1e3 * value for name, value in best.items()},
        "ratio": ratios,
        "floor": limits,
        "over_floor": 1e3 * best["native"] / max(limits.values()),
        "over_bare": best["native"] / best["bare_matrix_products"],
    }


def all_paths(irreps: o3.Irreps, irreps_out: o3.Irreps) -> torch.nn.Module:
    instructions = [
        (a, b, c, "uuu", False)
        for a, (_, ir_1) in enumerate(irreps)
        for b, (_, ir_2) in enumerate(irreps)
        for c, (_, ir_3) in enumerate(irreps_out)
        if ir_3 in ir_1 * ir_2
    ]
    return o3.TensorProduct(irreps, irreps, irreps_out, instructions).to(DEVICE)


def antisymmetric_steps(irreps: o3.Irreps, x: Tensor, y: Tensor, rows_x: Tensor, rows_y: Tensor) -> dict[str, Any]:
    out = natural_irreps(irreps.lmax, CHANNELS, both_parities=True)
    peer, ours = all_paths(irreps, out), GridTensorProduct(irreps, irreps, out, antisymmetric=True)
    return {
        "e3nn_all_paths": backward(lambda: peer(rows_x, rows_y), [rows_x, rows_y]),
        "antisymmetric": backward(lambda: ours(x, y), [x, y]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    torch.set_num_threads(1)
    rates = machine_rates()
    degrees = (1, 2) if smoke else (1, 2, 3, 4, 6)
    repeats = {1: 15, 2: 15, 3: 11, 4: 7, 5: 5, 6: 5}
    figures = {
        "rows": ROWS,
        "channels": CHANNELS,
        "rates": rates,
        "message": [message_product(lmax, 2 if smoke else repeats[lmax], rates) for lmax in degrees],
        "features": [
            feature_product(lmax, 2 if smoke else repeats[lmax], rates) for lmax in ((1, 2) if smoke else range(1, 7))
        ],
        "expressivity": {str(lmax): expressivity(lmax) for lmax in range(1, 5 if smoke else 7)},
    }
    write("products" if DEVICE == "cpu" else "products_gpu", figures)


if __name__ == "__main__":
    main()
