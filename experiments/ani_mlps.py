"""The 64 trained atomic networks of the ANI-1x and ANI-1ccx ensembles as a zoo.

The published weights come as one npz file with keys `family/member/element/{w1..w4, b1..b4}`, kernels (out, in). They
are written as one safetensors file per network, with a table of attributes, and imported: 384 inputs, three hidden
layers with CELU(0.1), one output (Smith et al. 2019, doi 10.1038/s41467-019-10827-4; Gao et al. 2020, doi
10.1021/acs.jcim.0c00451).

Run:   python experiments/ani_mlps.py --out DIR      (needs WEIGHTSPACE_DATA or --data-root)
       python experiments/ani_mlps.py --smoke        (random weights of small sizes, in seconds)
Or, after DIR/checkpoints and DIR/attributes.csv have been written:
       weightspace zoo import DIR/checkpoints DEST --module experiments.ani_mlps:ani_mlp --attributes DIR/attributes.csv
"""

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from weightspace.zoo import Zoo, import_checkpoints

FOLDER = "ani_mlps"
RESULTS = Path(__file__).parent / "results" / "ani_mlps.json"


def ani_mlp(dims: tuple[int, ...] = (384, 160, 128, 96, 1)) -> nn.Module:
    """Linear layers with CELU(0.1) between them; the default sizes are those of hydrogen."""
    layers: list[nn.Module] = []
    for before, after in zip(dims[:-1], dims[1:], strict=True):
        layers += [nn.Linear(before, after), nn.CELU(0.1)]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Result:
    """What the zoo holds."""

    networks: int
    architectures: int
    elements: dict[str, str]
    log10_order: dict[str, float]
    exact_way_back: int
    seconds: float


def networks(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[tuple[str, str, str], dict[str, Tensor]]]:
    """(family, member, element) and state_dict of every network."""
    for name in sorted({key.rsplit("/", 1)[0] for key in arrays}):
        state = {}
        for layer in range(1, 5):
            state[f"{2 * layer - 2}.weight"] = torch.from_numpy(np.array(arrays[f"{name}/w{layer}"]))
            state[f"{2 * layer - 2}.bias"] = torch.from_numpy(np.array(arrays[f"{name}/b{layer}"]))
        family, member, element = name.split("/")
        yield (family, member, element), state


def write_checkpoints(arrays: Mapping[str, np.ndarray], folder: Path) -> Path:
    """One safetensors file per network below `folder/checkpoints`, and the table of their attributes."""
    table = folder / "attributes.csv"
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "run", "family", "member", "element", "factory_args"])
        for (family, member, element), state in networks(arrays):
            name = f"{family}-{member}-{element}.safetensors"
            save_file(state, folder / "checkpoints" / name)
            dims = [state["0.weight"].shape[1], *(state[f"{i}.bias"].shape[0] for i in (0, 2, 4, 6))]
            writer.writerow([name, f"{family}-{member}", family, member, element, json.dumps({"dims": dims})])
    return table


def run(arrays: Mapping[str, np.ndarray], folder: Path) -> Result:
    start = time.perf_counter()
    table = write_checkpoints(arrays, folder)
    import_checkpoints(folder / "checkpoints", folder / "zoo", module=ani_mlp, attributes=table)
    zoo = Zoo(folder / "zoo")
    exact, sizes, orders = 0, {}, {}
    for batch in zoo.graphs(64):
        [graph] = batch.graphs
        space = zoo.spaces[graph.signature]
        back, wanted = space.to_state_dict(graph.relabel()), zoo.stacked(batch.index)
        exact += len(batch.index) * all(torch.equal(back[key], wanted[key]) for key in wanted)
        for row in batch.attributes:
            sizes[row["element"]] = "-".join(map(str, row["factory_args"]["dims"]))
            orders[row["element"]] = round(space.log10_order, 2)
    return Result(len(zoo), len(zoo.spaces), sizes, orders, exact, round(time.perf_counter() - start, 2))


def random_arrays() -> dict[str, np.ndarray]:
    """Two members of two elements, small."""
    generator = np.random.default_rng(0)
    arrays = {}
    for member in range(2):
        for element, dims in {"C": (6, 5, 4, 3, 1), "H": (6, 7, 4, 3, 1)}.items():
            for layer in range(4):
                shape = (dims[layer + 1], dims[layer])
                arrays[f"random/{member}/{element}/w{layer + 1}"] = generator.normal(size=shape).astype(np.float32)
                arrays[f"random/{member}/{element}/b{layer + 1}"] = generator.normal(size=shape[0]).astype(np.float32)
    return arrays


def main() -> Result:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="random weights, in seconds, no result file")
    parser.add_argument("--data-root", default=os.environ.get("WEIGHTSPACE_DATA"))
    parser.add_argument("--out", type=Path, help="folder of checkpoints and zoo; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        if arguments.smoke:
            result = run(random_arrays(), out)
        elif not arguments.data_root:
            raise SystemExit("needs the networks: set WEIGHTSPACE_DATA (datasets/ani_mlps/CARD.md)")
        else:
            with np.load(Path(arguments.data_root) / FOLDER / "ani1x_ani1ccx.npz") as arrays:
                result = run(arrays, out)
            RESULTS.parent.mkdir(exist_ok=True)
            figures = asdict(result) | {"hardware": f"{os.cpu_count()} CPU cores", "torch": torch.__version__}
            RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(asdict(result), indent=1))
    return result


if __name__ == "__main__":
    main()
