"""Forces and force training compiled by `torch.compile` against eager, for models at their default sizes.

Batches of 10 frames of ethanol (rMD17), one thread, float32. The time to compile contains the check of the first batch
against eager; artefacts of an earlier run shorten it.

Run: WEIGHTSPACE_DATA=... python experiments/benchmarks/compiled_forces.py [--models SchNet TensorNet]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from _measure import interleaved, medians, ratio, write
from force_training import ethanol

from weightspace.errors import CompilationMismatchError
from weightspace.geometric import MODELS, ForceField

BATCH = 10
NAMES = [model.__name__ for model in MODELS]


def measured(name: str, *, training: bool, repeats: int, backend: str) -> dict[str, Any]:
    """Times of one model, or why it does not compile."""
    torch.manual_seed(0)
    z, pos, _, _ = ethanol(2 * BATCH)
    batch = torch.arange(BATCH).repeat_interleave(len(z))
    model = next(cls for cls in MODELS if cls.__name__ == name)()
    fields = {"compiled": ForceField(model, compile=True, backend=backend), "eager": ForceField(model)}

    def step(field: ForceField) -> Callable[[], None]:
        def run() -> None:
            found = field.train(training)(z.repeat(BATCH), pos[BATCH:].flatten(0, 1), batch)
            if training:
                (found["forces"].square().mean() + found["interaction_energy"].square().mean()).backward()

        return run

    start = time.perf_counter()
    try:
        step(fields["compiled"])()
    except CompilationMismatchError as error:
        return {"refused": str(error).splitlines()[0]}
    seconds = {"to_compile_s": time.perf_counter() - start}
    times = interleaved({kind: step(field) for kind, field in fields.items()}, repeats=repeats)
    return {
        **seconds,
        "ms_per_frame": {kind: 1000 * value / BATCH for kind, value in medians(times).items()},
        "eager over compiled": ratio(times, "eager", "compiled"),
    }


def main(*, models: list[str], repeats: int, backend: str = "inductor") -> None:
    torch.set_num_threads(1)
    figures = {
        name: {
            mode: measured(name, training=mode == "force training", repeats=repeats, backend=backend)
            for mode in ("forces", "force training")
        }
        for name in models
    }
    write("compiled_forces", {"molecule": "ethanol, 9 atoms", "batch_size": BATCH, "models": figures})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one model, two repetitions, no compiler behind the graph")
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    arguments = parser.parse_args()
    if arguments.smoke:
        main(models=["SchNet"], repeats=2, backend="aot_eager")
    else:
        main(models=arguments.models, repeats=9)
