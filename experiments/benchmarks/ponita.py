"""PONITA against the plain evaluation of the same function: time, memory, and how exactly it turns.

One thread, float32, 5 layers, 128 channels, basis 256, the 16-point antipodal grid, molecules of 18 atoms with all
pairs within the cutoff, forward and backward to all parameters, repetitions interleaved. "plain" is the published
evaluation (a kernel for every edge and orientation, loops included, gather, multiply, scatter) with the same weights
(tests/geometric/_ponita_twin.py, where the two are equal to 1e-10 in float64). The floor is every matrix product of
the maps of nodes and of the kernels' MLP with pairs shared, forward and backward, and nothing else. Memory is the peak
of a process of its own above what it held before the step.

Run: python experiments/benchmarks/ponita.py
"""

import argparse
import copy
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _measure import RESULTS, interleaved, medians, ratio, write
from torch import Tensor, nn

from weightspace.geometric import ForceField, Ponita, PonitaExplicitBasis, rotation_error, set_ponita_evaluation

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.geometric._ponita_twin import plain_trunk  # noqa: E402

ATOMS, KERNEL_ROWS = 18, 8192
GRIDS = [
    "fibonacci-16",
    "fibonacci-20",
    "antipodal-16",
    "lebedev-26",
    "icosahedron-dodecahedron-32",
    "lebedev-38",
    "lebedev-50",
]
Inputs = tuple[Tensor, Tensor, Tensor]


def molecules(count: int) -> Inputs:
    """Random atoms in a box whose diagonal is shorter than the cutoff."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(1, 9, (count * ATOMS,), generator=generator)
    pos = 2.8 * torch.rand(count * ATOMS, 3, generator=generator)
    return z, pos, torch.arange(count).repeat_interleave(ATOMS)


def models() -> dict[str, nn.Module]:
    """The two models, and the first with a kernel for every edge."""
    torch.manual_seed(0)
    ponita = Ponita()
    unshared = set_ponita_evaluation(copy.deepcopy(ponita), share_pairs=False)
    return {"shared pairs": ponita, "a kernel for every edge": unshared, "explicit basis": PonitaExplicitBasis()}


def plain_energy(model: Ponita, inputs: Inputs) -> Tensor:
    """Energies by the published evaluation."""
    cloud = model.cloud(*inputs)
    x = model.trunk.lift(model.embedding(cloud.species))
    read = plain_trunk(model.trunk, x, cloud.edge_index, cloud.edge_vec, model.window)
    return cloud.sum_atoms(read[..., 0] @ model.trunk.orientations(x)[1])


def step(model: nn.Module, energy: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        energy().square().sum().backward()

    return run


def force_step(model: nn.Module, inputs: Inputs) -> Callable[[], None]:
    """A step of force training."""
    field = ForceField(model).train()

    def run() -> None:
        model.zero_grad(set_to_none=True)
        found = field(*inputs)
        (found["forces"].square().sum() + found["energy"].square().sum()).backward()

    return run


def floor(model: nn.Module, inputs: Inputs) -> Callable[[], None]:
    """Every product of a linear map in one forward and backward pass: one forward, two backward."""
    shapes: list[tuple[int, int, int]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> None:
        shapes.append((given[0].shape[:-1].numel(), module.in_features, module.out_features))

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Linear)]
    model(*inputs)
    for hook in hooks:
        hook.remove()
    operands = {s: (torch.randn(s[0], s[1]), torch.randn(s[0], s[2]), torch.randn(s[1], s[2])) for s in set(shapes)}

    def run() -> None:
        for shape in shapes:
            x, y, weight = operands[shape]
            x @ weight, y @ weight.t(), x.t() @ y

    return run


def speed(count: int, repeats: int) -> dict[str, Any]:
    """Times of one step of each evaluation, and their ratios."""
    inputs, found = molecules(count), models()
    shared = found["shared pairs"]
    runs = {"plain": step(shared, lambda: plain_energy(shared, inputs))}
    runs |= {name: step(model, lambda model=model: model(*inputs)["energy"]) for name, model in found.items()}
    floors = {f"floor, {name}": floor(found[name], inputs) for name in ("shared pairs", "explicit basis")}
    seconds = interleaved(runs | floors, repeats=repeats)
    forces = {name: force_step(found[name], inputs) for name in ("shared pairs", "explicit basis")}
    return {
        "molecules": count,
        "edges of a molecule": shared.cloud(*inputs).edge_index.shape[1] / count,
        "ms_per_molecule": {name: 1000 * value / count for name, value in medians(seconds).items()},
        "plain over shared pairs": ratio(seconds, "plain", "shared pairs"),
        "plain over a kernel for every edge": ratio(seconds, "plain", "a kernel for every edge"),
        "plain over explicit basis": ratio(seconds, "plain", "explicit basis"),
        "shared pairs over floor": ratio(seconds, "shared pairs", "floor, shared pairs"),
        "explicit basis over its floor": ratio(seconds, "explicit basis", "floor, explicit basis"),
        "ms_per_molecule_force_training": {
            name: 1000 * value / count
            for name, value in medians(interleaved(forces, repeats=max(1, repeats // 2), warmup=1)).items()
        },
    }


def peak(name: str, count: int) -> dict[str, float]:
    """Gigabytes that one step adds to this process, and its energies' sum; run in a process of its own."""
    torch.set_num_threads(1)
    found, inputs = models(), molecules(count)
    model = found["explicit basis" if name.startswith("explicit") else "shared pairs"]
    if "small" in name:
        set_ponita_evaluation(model, kernel_rows=KERNEL_ROWS)
    small = molecules(1)
    step(model, lambda: model(*small)["energy"])()  # libraries are loaded before the step that counts
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    energies: list[Tensor] = []

    def energy() -> Tensor:
        energies.append(plain_energy(model, inputs) if name == "plain" else model(*inputs)["energy"])
        return energies[-1]

    step(model, energy)()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"gigabytes": (after - before) * 1024 / 1e9, "energy": float(energies[-1].detach().sum())}


def memory(count: int) -> dict[str, Any]:
    """Peak memory of each evaluation."""
    names = ["plain", "shared pairs", "small memory", "explicit basis"]
    found = {}
    for name in names:
        command = [sys.executable, __file__, "--peak", name, "--molecules", str(count)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
    return {
        "molecules": count,
        "kernel_rows": KERNEL_ROWS,
        "gigabytes": {name: value["gigabytes"] for name, value in found.items()},
        "sum of energies": {name: value["energy"] for name, value in found.items()},
        "small memory over plain": found["small memory"]["gigabytes"] / found["plain"]["gigabytes"],
    }


def small_memory_time(count: int) -> dict[str, float]:
    """What the recomputation costs in time."""
    inputs, fast = molecules(count), models()["shared pairs"]
    small = set_ponita_evaluation(copy.deepcopy(fast), kernel_rows=KERNEL_ROWS)
    runs = {"fast": step(fast, lambda: fast(*inputs)["energy"]), "small": step(small, lambda: small(*inputs)["energy"])}
    seconds = interleaved(runs, repeats=3, warmup=1)
    return {"small memory over fast, time": ratio(seconds, "small", "fast")}


def rotations(count: int) -> dict[str, Any]:
    """Relative rotation errors of untrained models in float64, means over three initialisations."""
    found: dict[str, Any] = {}
    z, pos, batch = molecules(2)
    inputs = {"z": z, "pos": pos.double(), "batch": batch}
    for cls in (Ponita, PonitaExplicitBasis):
        sums = {grid: {"interaction_energy": 0.0, "vectors": 0.0} for grid in GRIDS}
        for seed in range(3):
            torch.manual_seed(seed)
            model = cls(64, 3, num_vectors=1).double()
            errors = rotation_error(
                model, inputs, grids=GRIDS, rotations=count, generator=torch.Generator().manual_seed(seed)
            )
            for grid, error in errors.items():
                for name in sums[grid]:
                    sums[grid][name] += error.random[name] / 3
        found[cls.__name__] = sums
    return found


SECTIONS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "speed": lambda smoke: speed(1 if smoke else 4, 1 if smoke else 7) | small_memory_time(1 if smoke else 4),
    "memory": lambda smoke: memory(4 if smoke else 96),
    "rotation error": lambda smoke: rotations(1 if smoke else 8),
}


def main(sections: Sequence[str], *, smoke: bool) -> None:
    torch.set_num_threads(1)
    path = RESULTS / "ponita.json"
    old = json.loads(path.read_text()) if path.exists() and not smoke else {}
    kept = {name: old[name] for name in SECTIONS if name in old}
    write("ponita", kept | {name: SECTIONS[name](smoke) for name in sections})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="times only, one molecule, one repetition")
    parser.add_argument("--sections", nargs="*", help="speed, memory, rotation error; what is left out stays as it was")
    parser.add_argument("--peak", help="measure the memory of one evaluation and print it")
    parser.add_argument("--molecules", type=int, default=96)
    arguments = parser.parse_args()
    if arguments.peak:
        print(json.dumps(peak(arguments.peak, arguments.molecules)))
    else:
        main(arguments.sections or list(SECTIONS)[: 1 if arguments.smoke else None], smoke=arguments.smoke)
