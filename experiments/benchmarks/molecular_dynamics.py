"""Steps of molecular dynamics per second: many replicas at once against ASE's integrator with the calculator.

Both integrate the same molecule with the same model (TensorNet as the molecular benchmark has it, random weights, which
cost what trained ones cost) at constant energy. Float64 is what the calculator uses; float32 is what training uses.

Run: python experiments/benchmarks/molecular_dynamics.py
"""

import argparse
from typing import Any

import torch
from _measure import interleaved, medians, ratio, write
from ase import Atoms

from weightspace.geometric import TensorNet
from weightspace.molecules import Dynamics, WeightspaceCalculator, load_molecules, run_dynamics, simulate

CHANNELS = 64
COLD = 10.0  # K: with random weights nothing holds a molecule together


def steps_per_second(sample: str, *, replicas: int, steps: int, repeats: int) -> dict[str, Any]:
    """Of one molecule by ASE, and of one and many replicas at once in both precisions."""
    one = load_molecules(f"sample:{sample}").train[0]
    torch.manual_seed(0)
    model = TensorNet(channels=CHANNELS, elements=one.elements)
    models = {"float64": model.double(), "float32": TensorNet(channels=CHANNELS, elements=one.elements)}
    models["float32"].load_state_dict(model.state_dict())
    dynamics = Dynamics(steps, temperature=COLD)
    atoms, calculator = Atoms(one.z.numpy(), one.pos.numpy()), WeightspaceCalculator(models["float64"])

    def at_once(dtype: str, count: int) -> None:
        found = simulate(models[dtype], one[[0] * count], dynamics, generator=torch.Generator().manual_seed(0))
        assert not any(found.failure), found.failure

    names = {"ASE, one": lambda: run_dynamics(atoms, calculator, dynamics, seed=0)}
    for dtype in models:
        for count in (1, replicas):
            names[f"at once, {count}, {dtype}"] = lambda dtype=dtype, count=count: at_once(dtype, count)
    seconds = interleaved(names, repeats=repeats, warmup=1)
    middle = medians(seconds)
    many = f"at once, {replicas}, float64"
    return {
        "atoms": len(one.z),
        "replicas": replicas,
        "ms per step and replica": {
            name: 1000 * middle[name] / steps / (replicas if f", {replicas}," in name else 1) for name in names
        },
        "at once over ASE": replicas * ratio(seconds, "ASE, one", many),
        "float32 over float64": ratio(seconds, many, f"at once, {replicas}, float32"),
    }


def main(*, replicas: int, steps: int, repeats: int) -> None:
    torch.set_num_threads(1)
    sizes = {"replicas": replicas, "steps": steps, "repeats": repeats}
    figures = {name: steps_per_second(name, **sizes) for name in ("ethanol", "acac")}
    write("molecular_dynamics", {**figures, "steps": steps, "repeats": repeats})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps, once")
    smoke = parser.parse_args().smoke
    main(replicas=2 if smoke else 10, steps=2 if smoke else 50, repeats=1 if smoke else 5)
