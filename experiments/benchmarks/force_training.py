"""One epoch of force training on 950 ethanol frames of rMD17: ms per frame and peak memory of every model.

Each model of `weightspace.geometric.MODELS` at its default (the paper's) size, one thread, float32, Adam, loss on
energies and forces in eV and Å, in a process of its own, so that peak memory is its own. The memory of a process that
loads library and data and builds the model, without a step, is given beside it.

Run: WEIGHTSPACE_DATA=... python experiments/benchmarks/force_training.py [--frames 100] [--models SchNet EGNN --keep]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _measure import RESULTS, write

from weightspace.geometric import MODELS, ForceField

KCAL_PER_MOL = 0.0433641  # eV
FRAMES, BATCH = 950, 10
NAMES = [model.__name__ for model in MODELS]


def ethanol(frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Atomic numbers (n,), positions (F, n, 3) in Å, energies (F,) in eV, float64, and forces (F, n, 3) in eV/Å."""
    root = os.environ.get("WEIGHTSPACE_DATA")
    file = Path(root or ".") / "rmd17" / "rmd17_ethanol_train_01.npz"
    if not root or not file.is_file():
        print(f"skipped: {file} not found: set WEIGHTSPACE_DATA to the folder of full data sets (docs/data.md)")
        raise SystemExit(0)
    data = np.load(file)
    z, pos = torch.as_tensor(data["nuclear_charges"].astype(np.int64)), torch.as_tensor(data["coords"]).float()
    energies = torch.as_tensor(data["energies"]).double() * KCAL_PER_MOL
    forces = torch.as_tensor(data["forces"]).float() * KCAL_PER_MOL
    return z, pos[:frames], energies[:frames], forces[:frames]


def epoch(name: str, frames: int, batch_size: int) -> dict[str, Any]:
    """What one model needs; run in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    z, pos, energies, forces = ethanol(frames)
    model = next(cls for cls in MODELS if cls.__name__ == name)()
    field = ForceField(model).train()
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-3)
    n = len(z)
    model.fit_references(z.repeat(len(pos)), torch.arange(len(pos)).repeat_interleave(n), energies)
    model.fit_scale(forces)
    targets = (energies - model.reference_energy(z)).float()
    seconds, before = [], _peak()
    for step, frame in enumerate(torch.randperm(len(pos)).split(batch_size)):
        start = time.perf_counter()
        batch = torch.arange(len(frame)).repeat_interleave(n)
        out = field(z.repeat(len(frame)), pos[frame].flatten(0, 1), batch)
        energy_error = (out["interaction_energy"] - targets[frame]).square().mean()
        loss = energy_error / n + 100 * (out["forces"] - forces[frame].flatten(0, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step or len(pos) <= batch_size:  # the first step warms up
            seconds.append((time.perf_counter() - start) / len(frame))
    return {
        "ms_per_frame": 1000 * median(seconds),
        "ms_per_frame_mean": 1000 * sum(seconds) / len(seconds),
        "peak_memory_mb": _peak(),
        "memory_before_mb": before,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "frames": len(pos),
        "batch_size": batch_size,
        "last_loss_is_finite": bool(torch.isfinite(loss)),
        "cutoff": model.cutoff,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(*, models: list[str], frames: int, batch_size: int, keep: bool = False) -> None:
    ethanol(1)  # says at once where data are missing
    rows = json.loads((RESULTS / "force_training.json").read_text())["models"] if keep else {}
    for name in models:
        command = [sys.executable, __file__, "--one", name, "--frames", str(frames), "--batch-size", str(batch_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr or done.stdout}")
        rows[name] = json.loads(done.stdout.splitlines()[-1])
    torch.set_num_threads(1)
    write("force_training", {"molecule": "ethanol, 9 atoms", "models": rows})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="twenty frames of one model")
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--keep", action="store_true", help="keep the other models' rows of the result file")
    parser.add_argument("--one", choices=NAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(epoch(arguments.one, arguments.frames, arguments.batch_size)))
    elif arguments.smoke:
        main(models=NAMES[:1], frames=20, batch_size=BATCH)
    else:
        main(models=arguments.models, frames=arguments.frames, batch_size=arguments.batch_size, keep=arguments.keep)
