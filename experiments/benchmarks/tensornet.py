"""A force training step of TensorNet beside torchmd-net's own, which runs on its warp kernels.

TensorNet with 2 layers and 128 channels, cutoff 4.5 Å, batches of 8 frames of naphthalene (18 atoms, rMD17), float32,
one thread: energy, forces, and the gradient of a loss on both. The peer runs where the package `torchmdnet` and its
dependency warp-lang can be imported; without it only our time is written.

Run: WEIGHTSPACE_DATA=... [PYTHONPATH=<checkout of torchmd-net>] python experiments/benchmarks/tensornet.py
"""

import argparse
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import interleaved, medians, ratio, write
from torch import Tensor

from weightspace.geometric import ForceField, TensorNet

PUBLISHED = {
    "model": "tensornet",
    "embedding_dimension": 128,
    "num_layers": 2,
    "num_rbf": 32,
    "rbf_type": "expnorm",
    "trainable_rbf": False,
    "activation": "silu",
    "cutoff_lower": 0.0,
    "cutoff_upper": 4.5,
    "max_z": 128,
    "max_num_neighbors": 64,
    "equivariance_invariance_group": "O(3)",
    "derivative": True,
    "output_model": "Scalar",
    "reduce_op": "add",
    "precision": 32,
    "static_shapes": False,
    "prior_model": None,
    "atom_filter": -1,
    "check_errors": True,
    "vector_cutoff": False,
    "neighbor_embedding": True,
    "num_heads": 8,
    "distance_influence": "both",
    "attn_activation": "silu",
    "aggr": "add",
    "output_mlp_num_layers": 1,
    "charge": False,
    "spin": False,
}
"""torchmd-net's configuration of the same size."""


def frames(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Atomic numbers, positions in Å and graph of every atom."""
    root = os.environ.get("WEIGHTSPACE_DATA")
    file = Path(root or ".") / "rmd17" / "rmd17_naphthalene_train_01.npz"
    if not root or not file.is_file():
        print(f"skipped: {file} not found: set WEIGHTSPACE_DATA to the folder of full data sets (docs/data.md)")
        raise SystemExit(0)
    data = np.load(file)
    z = torch.as_tensor(data["nuclear_charges"].astype(np.int64))
    pos = torch.as_tensor(data["coords"][:count]).float()
    return z.repeat(count), pos.flatten(0, 1), torch.arange(count).repeat_interleave(len(z))


def ours(inputs: tuple[Tensor, Tensor, Tensor]) -> Callable[[], None]:
    field = ForceField(TensorNet()).train()

    def step() -> None:
        found = field(*inputs)
        (found["interaction_energy"].square().mean() + found["forces"].square().mean()).backward()

    return step


def published(inputs: tuple[Tensor, Tensor, Tensor]) -> Callable[[], None]:
    model = importlib.import_module("torchmdnet.models.model").create_model(dict(PUBLISHED)).train()

    def step() -> None:
        energy, forces = model(*inputs)
        (energy.square().mean() + forces.square().mean()).backward()

    return step


def main(*, batch: int, repeats: int) -> None:
    torch.set_num_threads(1)
    inputs = frames(batch)
    steps = {"TensorNet": ours(inputs)}
    if importlib.util.find_spec("torchmdnet"):
        steps["torchmd-net"] = published(inputs)
    seconds = interleaved(steps, repeats=repeats)
    figures: dict[str, Any] = {
        "molecule": "naphthalene, 18 atoms",
        "batch_size": batch,
        "ms_per_molecule": {name: 1000 * value / batch for name, value in medians(seconds).items()},
    }
    if "torchmd-net" in steps:
        figures["ours over torchmd-net"] = ratio(seconds, "TensorNet", "torchmd-net")
    write("tensornet", figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one molecule, once")
    smoke = parser.parse_args().smoke
    main(batch=1 if smoke else 8, repeats=1 if smoke else 9)
