"""The commands `weightspace zoo ...`."""

import argparse
from pathlib import Path

from weightspace.cli._commands import Commands, add_command


def _zoo_train(arguments: argparse.Namespace) -> None:
    from weightspace.zoo import Zoo, ZooConfig, train_zoo

    given = ("data", "networks", "seed", "families", "activations", "optimisers", "steps", "members")
    config = ZooConfig.from_mapping(
        {key: getattr(arguments, key) for key in given if getattr(arguments, key) is not None}
    )
    train_zoo(
        config,
        arguments.dest,
        data_root=arguments.data_root,
        progress=not arguments.no_progress,
        workers=arguments.workers,
    )
    print(Zoo(arguments.dest).describe())


def _zoo_train_inr(arguments: argparse.Namespace) -> None:
    from weightspace.zoo import InrConfig, Zoo, fit_inrs

    given = ("data", "networks", "seed", "inits", "schedule", "steps")
    config = InrConfig(**{key: getattr(arguments, key) for key in given if getattr(arguments, key) is not None})
    fit_inrs(
        config,
        arguments.dest,
        data_root=arguments.data_root,
        progress=not arguments.no_progress,
        workers=arguments.workers,
    )
    print(Zoo(arguments.dest).describe())


def _zoo_train_sdf(arguments: argparse.Namespace) -> None:
    from weightspace.zoo import SdfConfig, Zoo, fit_sdfs

    given = {key: getattr(arguments, key) for key in ("networks", "seed", "widths", "steps")}
    given = {key: tuple(value) if key == "widths" else value for key, value in given.items() if value is not None}
    fit_sdfs(SdfConfig(**given), arguments.dest, progress=not arguments.no_progress, workers=arguments.workers)
    print(Zoo(arguments.dest).describe())


def _zoo_import(arguments: argparse.Namespace) -> None:
    from weightspace.factory import example_inputs
    from weightspace.zoo import Zoo, import_checkpoints

    import_checkpoints(
        arguments.source,
        arguments.dest,
        module=arguments.module,
        attributes=arguments.attributes,
        inputs=example_inputs(arguments.input) if arguments.input else None,
        progress=not arguments.no_progress,
    )
    print(Zoo(arguments.dest).describe())


def _zoo_info(arguments: argparse.Namespace) -> None:
    from weightspace.zoo import Zoo

    print(Zoo(arguments.zoo).describe())


def add_zoo(commands: Commands) -> None:
    """Train, import, describe."""
    parser = commands.add_parser("zoo", help="train, import or describe a zoo of networks", allow_abbrev=False)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    train = add_command(actions, "train", "train a zoo of networks on images; run again, it goes on", _zoo_train)
    train.add_argument("dest", type=Path, help="folder of the zoo")
    train.add_argument("--networks", type=int, default=600)
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--data", default="digits", help="digits, mnist or mnist14 (8,000 of them at 14x14)")
    train.add_argument("--families", nargs="+", metavar="FAMILY", help="taken in turn (default: cnn resnet cnn mlp)")
    train.add_argument("--activations", nargs="+", metavar="NAME", help="to draw from (default: relu gelu tanh)")
    train.add_argument("--optimisers", nargs="+", metavar="NAME", help="to draw from (default: sgd adam adamw rmsprop)")
    train.add_argument("--steps", nargs="+", type=int, help="numbers of training steps to draw from")
    train.add_argument("--members", type=int, help="networks trained together, of one architecture (default: 32)")
    train.add_argument("--workers", type=int, help="sub-populations trained at the same time (default: one per core)")
    train.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    train.add_argument("--no-progress", action="store_true", help="no progress bars")
    _add_zoo_train_inr(actions)
    _add_zoo_train_sdf(actions)
    load = add_command(
        actions, "import", "make a zoo of a folder of checkpoints (.pt .pth .th .safetensors)", _zoo_import
    )
    load.add_argument("source", type=Path, help="folder of checkpoints")
    load.add_argument("dest", type=Path, help="folder of the zoo")
    load.add_argument("--module", required=True, help="package.module:factory of their architecture")
    load.add_argument("--input", action="append", metavar="SHAPE", help="e.g. 1,3,32,32; guessed where it can be")
    load.add_argument(
        "--attributes", type=Path, metavar="FILE", help="CSV with a column `file` and what is known of each network"
    )
    load.add_argument("--no-progress", action="store_true", help="no progress bars")
    info = add_command(actions, "info", "describe a zoo: architectures, sizes, attributes", _zoo_info)
    info.add_argument("zoo", type=Path)


def _add_zoo_train_inr(actions: Commands) -> None:
    inr = add_command(
        actions, "train inr", "fit a small SIREN to each image of a data set; run again, it goes on", _zoo_train_inr
    )
    inr.add_argument("dest", type=Path, help="folder of the zoo")
    inr.add_argument("--networks", type=int, help="how many; at most --inits per image (default: 1024)")
    inr.add_argument("--seed", type=int, help="of the images' order and of all initial weights (default: 0)")
    inr.add_argument("--data", help="digits, mnist or mnist14 (default: digits)")
    inr.add_argument("--inits", type=int, help="networks per image, each with its own initial weights (default: 1)")
    inr.add_argument("--schedule", help="fast, or plain for Adam with one learning rate (default: fast)")
    inr.add_argument("--steps", type=int, help="of Adam on all pixels (default: 300, plain 1000)")
    inr.add_argument("--workers", type=int, help="shards fitted at the same time (default: one per core)")
    inr.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    inr.add_argument("--no-progress", action="store_true", help="no progress bars")


def _add_zoo_train_sdf(actions: Commands) -> None:
    words = "fit a small ReLU network to the signed distance of each of many random solids; run again, it goes on"
    sdf = add_command(actions, "train sdf", words, _zoo_train_sdf)
    sdf.add_argument("dest", type=Path, help="folder of the zoo")
    sdf.add_argument("--networks", type=int, help="how many (default: 1024)")
    sdf.add_argument("--seed", type=int, help="of solids, points and initial weights (default: 0)")
    sdf.add_argument("--widths", nargs="+", type=int, help="of the hidden layers (default: 32 32)")
    sdf.add_argument("--steps", type=int, help="of Adam, with 256 points each (default: 800)")
    sdf.add_argument("--workers", type=int, help="shards fitted at the same time (default: one per core)")
    sdf.add_argument("--no-progress", action="store_true", help="no progress bars")
