"""Every architecture of the tests, traced: the table of docs/architectures.md, and the signatures that tests compare.

For each one: entries, neuron groups, the order of the group against its closed form, the size of the parameter graph,
the time of a first trace without its check, and the error of the function under a random element of the group, in
float64 on random values of every floating entry (on the published weights of the ResNets, where the data are there).

Run:   python -m experiments.architectures                (needs WEIGHTSPACE_DATA for the published weights)
       python -m experiments.architectures --smoke        (three architectures, in seconds, no files)
       python -m experiments.architectures --signatures   (writes tests/tracing/signatures.json and nothing else)
"""

import argparse
import copy
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

import weightspace as ws
from experiments import akamaster_resnet
from tests import architectures
from tests.architectures import Case, published
from weightspace.runner import evaluation_call
from weightspace.symmetry import random_state

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results" / "architectures.json"
PAGE = ROOT / "docs" / "architectures.md"
SIGNATURES = ROOT / "tests" / "tracing" / "signatures.json"
ELEMENTS = 3
SIGNED = (
    "cnn_flatten", "resnet", "nested_blocks", "convnext", "unet", "vit", "mha_packed_cross", "rope_gqa", "lstm",
    "hash_grid",
)  # fmt: skip
HEAD = """# Architectures

The group of every architecture below is compared with a closed form that is written down beside it
(`tests/architectures`), and with the function itself. This page is written by `experiments/architectures.py`; no
number on it was typed by hand.

- **entries**: numbers in the state_dict that may lie on the graph; **groups**: neuron groups.
- **order**: log10 of the order of the permutation group.
- **nodes**, **edges**: of the parameter graph.
- **trace**: seconds of a first trace without its check, on {hardware}.
- **error**: of the function under {elements} random elements of the group, the largest, relative to the largest value
  of the result, in float64.

{count} architectures, {exact} of them with the closed form's order; nothing is frozen in {unfrozen} of them. The
largest error is {worst:.0e}, not counting networks that compute a part in single precision whatever their weights are
({rounded}).
"""
COLUMNS = """| architecture | what moves | entries | groups | order | nodes | edges | trace | error |
|---|---|--:|--:|--:|--:|--:|--:|--:|
"""


@dataclass(frozen=True)
class Row:
    """What was found for one architecture."""

    family: str
    name: str
    group: str
    entries: int
    groups: int
    log10_order: float
    closed_form: float
    frozen: int
    nodes: int
    edges: int
    trace_seconds: float
    error: float


@dataclass(frozen=True)
class Result:
    """One row per architecture."""

    rows: tuple[Row, ...]
    seconds: float


def families() -> dict[str, tuple[str, tuple[Callable[[], Case], ...]]]:
    """Name -> (what the family is, its architectures); the published networks last."""
    found: dict[str, tuple[str, tuple[Callable[[], Case], ...]]] = {}
    for name, cases in {**architectures.FAMILIES, "published": published.CASES}.items():
        module: ModuleType = sys.modules[f"tests.architectures.{name}"]
        found[name] = ((module.__doc__ or "").split("\n\n")[0].replace("\n", " "), cases)
    return found


def weights(
    space: ws.WeightSpace, module: nn.Module, name: str, data_root: str | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """Published weights where there are some, else random ones; float64."""
    values = random_state(space, generator, like=dict(module.named_buffers()))
    if name.startswith("resnet") and name[6:].isdigit() and data_root:
        [path] = (Path(data_root) / akamaster_resnet.FOLDER).glob(f"{name}-*.th")
        stored = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        values |= {key.removeprefix("module."): value.double() for key, value in stored.items()}
    return {key: values.get(space.tied.get(key, key), module.state_dict()[key]) for key in space.keys}


def error_of(
    space: ws.WeightSpace,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    state: Mapping[str, Tensor],
    generator: torch.Generator,
) -> float:
    """Largest change of the result under random elements, relative to its largest value."""
    x = tuple(
        torch.randn(v.shape, generator=generator, dtype=torch.float64) if v.is_floating_point() else v for v in inputs
    )
    module = copy.deepcopy(module).double()
    moved = [space.act(space.random_element(generator), state) for _ in range(ELEMENTS)]
    with torch.no_grad():
        wanted, *found = (evaluation_call(module, s, x, {}) for s in (state, *moved))
        pairs = [pair for results in found for pair in zip(results, wanted, strict=True)]
        return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def row_of(family: str, case: Callable[[], Case], data_root: str | None) -> Row:
    torch.manual_seed(0)
    module, inputs, order = case()
    start = time.perf_counter()
    space = ws.trace(module, *inputs, verify=False)
    seconds = time.perf_counter() - start
    generator = torch.Generator().manual_seed(0)
    state = weights(space, module, case.__name__, data_root, generator)
    graph = space.to_graph(state)
    return Row(
        family=family,
        name=case.__name__,
        group=" ".join((inspect.getdoc(case) or "").split()),
        entries=sum(spec.numel for spec in space.parameters.values()),
        groups=len(space.groups),
        log10_order=round(space.log10_order, 6),
        closed_form=round(order, 6),
        frozen=len(space.frozen),
        nodes=graph.num_nodes,
        edges=graph.num_edges,
        trace_seconds=round(seconds, 3),
        error=error_of(space, module, inputs, state, generator),
    )


def run(names: set[str] | None = None, data_root: str | None = None) -> Result:
    """Trace the named architectures, or all."""
    start = time.perf_counter()
    ws.trace(nn.Linear(2, 1), torch.zeros(1, 2))  # what the first trace of a process imports
    rows = [
        row_of(family, case, data_root)
        for family, (_, cases) in families().items()
        for case in cases
        if names is None or case.__name__ in names
    ]
    return Result(tuple(rows), round(time.perf_counter() - start, 1))


def environment() -> dict[str, str]:
    """Machine, versions and commit."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    hardware = f"{model}, {torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
    return {"hardware": hardware, "torch": torch.__version__, "commit": commit.stdout.strip()}


def page(result: Result, hardware: str) -> str:
    """The page of the docs."""
    rounded = [case.__name__ for case in architectures.ROUNDED]
    exact = sum(abs(row.log10_order - row.closed_form) < 1e-5 for row in result.rows)
    text = HEAD.format(
        hardware=hardware,
        count=len(result.rows),
        exact=exact,
        elements=ELEMENTS,
        worst=max(row.error for row in result.rows if row.name not in rounded),
        rounded=", ".join(rounded),
        unfrozen=sum(not row.frozen for row in result.rows),
    )
    for family, (what, _) in families().items():
        rows = [row for row in result.rows if row.family == family]
        text += f"\n## {family.replace('_', ' ').capitalize()}\n\n{what}\n\n{COLUMNS}" if rows else ""
        for row in rows:
            numbers = f"{row.entries:,} | {row.groups} | {row.log10_order:.2f} | {row.nodes:,} | {row.edges:,}"
            text += f"| {row.name} | {row.group} | {numbers} | {row.trace_seconds:.2f} | {row.error:.0e} |\n"
    return text


def signatures() -> dict[str, str]:
    """Name -> signature of the architectures that the tests compare."""
    cases = {case.__name__: case for _, cases in families().values() for case in cases}
    found = {}
    for name in SIGNED:
        module, inputs, _ = cases[name]()
        found[name] = ws.trace(module, *inputs, verify=False).signature
    return found


def main() -> Result | None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="three architectures, in seconds, no files")
    parser.add_argument("--signatures", action="store_true", help="write tests/tracing/signatures.json")
    parser.add_argument("--data-root", default=os.environ.get("WEIGHTSPACE_DATA"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.signatures:
        SIGNATURES.write_text(json.dumps(signatures(), indent=1) + "\n")
        return None
    result = run({"mlp", "resnet", "siren"} if arguments.smoke else None, arguments.data_root)
    if not arguments.smoke:
        machine = environment()
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(asdict(result) | machine, indent=1) + "\n")
        PAGE.write_text(page(result, machine["hardware"]))
    print(json.dumps(asdict(result), indent=1))
    return result


if __name__ == "__main__":
    main()
