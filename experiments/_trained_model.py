"""What experiments with a trained model share: their words, the test frames, and the file that they write."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from weightspace.molecules import Molecules, load_molecules
from weightspace.molecules._ase import ase_module

if TYPE_CHECKING:
    from ase import Atoms


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Words for the model, the data and the file."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a run, or of a model")
    parser.add_argument("--model-class", help="package.module:Class of a model that is not the library's")
    parser.add_argument("--data", default="sample:ethanol", help="as `weightspace bench molecules` takes it")
    parser.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    parser.add_argument(
        "--out", type=Path, help="JSON file (default: named after the experiment, in the model's folder)"
    )
    parser.add_argument("--smoke", action="store_true", help="random weights, in seconds")
    return parser


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The words, with `progress`; a model or --smoke is wanted."""
    given = parser.parse_args(argv)
    given.progress = not given.smoke
    if given.model is None and not given.smoke:
        parser.error("wanted --model FOLDER, or --smoke")
    return given


def smoke_model(folder: Path) -> Path:
    """A folder with a small TensorNet of random weights, for ethanol."""
    from weightspace.geometric import TensorNet

    torch.manual_seed(0)
    TensorNet(channels=8, layers=1, num_rbf=8, elements=[1, 6, 8]).save_pretrained(folder)
    return folder


def first_test_part(data: str, root: Path | None) -> Molecules:
    """Of a data set as `weightspace bench molecules` takes it."""
    return next(iter(load_molecules(data, data_root=root).tests.values()))


def atoms_of(one: Molecules) -> "Atoms":
    """A single molecule for ASE."""
    cell = None if one.cell is None else one.cell[0].numpy()
    return ase_module("ase", "experiments").Atoms(one.z.numpy(), one.pos.numpy(), cell=cell, pbc=cell is not None)


def write_report(report: Any, given: argparse.Namespace, name: str) -> None:
    """Print a report, and write it where it was asked for or beside the model; a smoke run only where asked."""
    text = json.dumps(asdict(report), indent=2, allow_nan=False) + "\n"
    print(text, end="")
    out = given.out if given.smoke or given.out is not None else given.model / name
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
