"""What a trained model costs, and how exactly it turns with its input."""

import contextlib
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.geometric import ForceField, rotation_error
from weightspace.molecules import MolecularSplits, Molecules
from weightspace.tasks.molecular._batches import batch_of
from weightspace.tasks.molecular._objectives import AbstractObjective, EnergyObjective
from weightspace.tasks.molecular._scores import moved

ROTATIONS, TURNED = 8, 4
CLEAR, STATUS, MACOS = Path("/proc/self/clear_refs"), Path("/proc/self/status"), platform.system() == "Darwin"


def forget_peak(device: torch.device) -> None:
    """Let `peak_memory` count from here, where the system allows it (Linux and CUDA)."""
    if device.type == "cuda":
        torch.cuda.init()  # which the next call does not do
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        with contextlib.suppress(OSError):
            CLEAR.write_text("5")  # sets the peak of resident memory to what is resident now (proc(5))


def peak_memory(device: torch.device) -> float:
    """Largest memory since `forget_peak` in MB (2^20 bytes): of the process, or of tensors on an accelerator."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    found = [int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if MACOS else 2**10)


def milliseconds(
    objective: AbstractObjective,
    splits: MolecularSplits,
    *,
    batch_size: int,
    device: torch.device,
    precision: str = "32-true",
    repeats: int = 5,
) -> dict[str, float]:
    """Per molecule, in batches of the training's size: "energy", "forces" and "training_step" (loss and gradients).

    CPU time of the process on the CPU, wall time elsewhere; the median of some repetitions after one that warms up. A
    step of the training costs more: the optimiser, the average of weights and Lightning's loop are left out here.
    Steps are taken in the precision of the training, predictions in that of the weights, as tests are.
    """
    part = splits.train[: min(batch_size, len(splits.train))]
    batch, count = moved(batch_of(part), objective), len(part)
    mixed = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)

    def predict() -> None:
        objective.eval()
        with torch.no_grad():
            objective.outputs(batch)

    def step() -> None:
        objective.train()
        objective.zero_grad(set_to_none=True)
        with contextlib.nullcontext() if mixed is None else torch.autocast(device.type, mixed):
            loss = objective.loss(objective.outputs(batch), batch)
        loss.backward()

    calls: dict[str, Callable[[], Any]] = {"training_step": step}
    if isinstance(objective, EnergyObjective):
        model = objective.model

        def energy() -> None:
            model.eval()
            with torch.no_grad():
                model(batch["z"], batch["pos"], batch["batch"], None, batch.get("cell"))

        calls["energy"] = energy
        if objective.forces:
            calls["forces"] = predict
    else:
        calls["positions"] = predict
    found = {name: 1000 * _seconds(call, device, repeats) / count for name, call in calls.items()}
    objective.zero_grad(set_to_none=True)
    objective.eval()
    return found


def _seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.process_time() if device.type == "cpu" else time.perf_counter()

    call()
    taken = []
    for _ in range(repeats):
        start = now()
        call()
        taken.append(now() - start)
    return median(taken)


def equivariance_error(objective: AbstractObjective, molecules: Molecules) -> dict[str, float]:
    """Root mean square change under random rotations, in the precision of the weights.

    "energy" in eV per molecule with "energy_relative" to that of interaction energies, "forces" relative to that of
    forces; or "positions" relative to how far particles move.
    """
    batch = moved(batch_of(molecules[: min(TURNED, len(molecules))]), objective)
    generator = torch.Generator().manual_seed(0)
    objective.eval()
    if isinstance(objective, EnergyObjective):
        called = ForceField(objective.model) if objective.forces else objective.model
        inputs: dict[str, Tensor | None] = {name: batch.get(name) for name in ("z", "pos", "batch", "cell")}
        [found] = rotation_error(called.eval(), inputs, rotations=ROTATIONS, generator=generator).values()
        with torch.no_grad():
            energies = objective.outputs(batch)["energy"]
        relative = found.random["interaction_energy"]
        size = float(energies.double().square().mean().sqrt())
        kept = {"energy": relative * size, "energy_relative": relative}
        return {**kept, "forces": found.random["forces"]} if objective.forces else kept
    moves = _Moves(objective.model)  # type: ignore[arg-type]
    inputs = {"pos": batch["pos"], "vec": batch["velocities"], "charges": batch["charges"], "batch": batch["batch"]}
    [found] = rotation_error(moves, inputs, rotations=ROTATIONS, generator=generator).values()
    return {"positions": found.random["vectors"]}


class _Moves(nn.Module):
    """A model of dynamics, with the names of inputs and outputs that `rotation_error` turns."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pos: Tensor, vec: Tensor, charges: Tensor, batch: Tensor) -> dict[str, Tensor]:
        """How far particles move (N, 3)."""
        return {"vectors": self.model(pos, vec, charges, batch) - pos}


def parameters_of(model: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def device_name(device: torch.device) -> str:
    """Of the accelerator, or the processor's as the operating system gives it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
