"""The trained CIFAR-10 ResNets of akamaster/pytorch_resnet_cifar10 as a zoo: import, graphs, and the exact way back.

Architecture: He et al. 2015 (arXiv 1512.03385), section 4.2: 6n+2 layers, widths 16, 32, 64, shortcuts without weights
(option A: every second pixel, new channels filled with zeros, half of them before and half behind).

Run:   python experiments/akamaster_resnet.py            (needs WEIGHTSPACE_DATA or --data-root)
       python experiments/akamaster_resnet.py --smoke    (random weights in the same files, in seconds)
Or:    weightspace zoo import DIR DEST --module experiments.akamaster_resnet:resnet --attributes TABLE.csv
"""

import argparse
import csv
import json
import os
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.zoo import Zoo, import_checkpoints

FOLDER = "checkpoints/akamaster_cifar10_resnet"
DEPTHS = (20, 32, 44, 56)
RESULTS = Path(__file__).parent / "results" / "akamaster_resnet.json"


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.new = stride, width - before

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(h + x)


class ResNet(nn.Module):
    def __init__(self, depth: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks = (depth - 2) // 6
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(*(Block(32 if i else 16, 32, 1 if i else 2) for i in range(blocks)))
        self.layer3 = nn.Sequential(*(Block(64 if i else 32, 64, 1 if i else 2) for i in range(blocks)))
        self.linear = nn.Linear(64, 10)
        self.example_input_array = torch.zeros(1, 3, 32, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet(depth: int = 20) -> nn.Module:
    """ResNet-20, 32, 44 or 56 for 32x32 images."""
    return ResNet(depth)


@dataclass(frozen=True)
class Result:
    """One row per depth."""

    depth: list[int]
    weights: list[int]
    log10_order: list[float]
    frozen_axes: list[int]
    best_prec1: list[float | None]
    exact_way_back: list[bool]
    seconds: float


def table_of(source: Path, path: Path) -> Path:
    """Write the CSV file that tells the import the depth of every checkpoint, read from its name."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "factory_args"])
        for checkpoint in sorted(source.glob("resnet*.th")):
            depth = int(re.match(r"resnet(\d+)", checkpoint.name)[1])
            writer.writerow([checkpoint.name, json.dumps({"depth": depth})])
    return path


def run(source: Path, destination: Path) -> Result:
    start = time.perf_counter()
    destination.mkdir(parents=True, exist_ok=True)
    table = table_of(source, destination / "attributes.csv")
    import_checkpoints(source, destination / "zoo", module=resnet, attributes=table)
    zoo = Zoo(destination / "zoo")
    rows = []
    for entry in zoo:
        space = zoo.spaces[entry.signature]
        back = space.to_state_dict(space.to_graph(entry.state_dict).relabel())
        exact = all(torch.equal(back[key], value) for key, value in entry.state_dict.items())
        rows.append(
            {
                "depth": entry.attributes["factory_args"]["depth"],
                "weights": sum(spec.numel for spec in space.parameters.values()),
                "log10_order": round(space.log10_order, 4),
                "frozen_axes": len(space.frozen),
                "best_prec1": entry.attributes.get("best_prec1"),
                "exact_way_back": exact,
            }
        )
    rows.sort(key=lambda row: row["depth"])
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return Result(**columns, seconds=round(time.perf_counter() - start, 2))


def random_checkpoints(folder: Path) -> Path:
    """Files as the published ones (DataParallel's prefix, no counters), of the smallest depth, with random weights."""
    folder.mkdir(parents=True)
    for depth in DEPTHS[:1]:
        state = {f"module.{k}": v for k, v in resnet(depth).state_dict().items() if "num_batches" not in k}
        torch.save({"state_dict": state, "best_prec1": 10.0}, folder / f"resnet{depth}-00000000.th")
    return folder


def main() -> Result:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="random weights, in seconds, no result file")
    parser.add_argument("--data-root", default=os.environ.get("WEIGHTSPACE_DATA"))
    parser.add_argument("--out", type=Path, help="folder of the zoo; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary) / "out"
        if arguments.smoke:
            result = run(random_checkpoints(Path(temporary) / "checkpoints"), out)
        elif not arguments.data_root:
            raise SystemExit("needs the checkpoints: set WEIGHTSPACE_DATA (datasets/akamaster_cifar10_resnet/CARD.md)")
        else:
            result = run(Path(arguments.data_root) / FOLDER, out)
            RESULTS.parent.mkdir(exist_ok=True)
            figures = asdict(result) | {"hardware": f"{os.cpu_count()} CPU cores", "torch": torch.__version__}
            RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(asdict(result), indent=1))
    return result


if __name__ == "__main__":
    main()
