"""The `weightspace` command: reads the command line and hands over; what a command does stands in another room.

Help pages come from the parsers below, which need the standard library only; rooms are imported when a command runs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from weightspace import __version__
from weightspace.cli._commands import Commands, add_command
from weightspace.cli._molecule_commands import add_bench_molecules, add_predict_molecule
from weightspace.cli._zoo_commands import add_zoo
from weightspace.errors import WeightspaceError

LIGHTNING_COMMANDS = ("fit", "validate", "test", "predict")
COMMANDS = (
    "demo",
    "trace",
    "zoo",
    "zoo train",
    "zoo train inr",
    "zoo train sdf",
    "zoo import",
    "zoo info",
    *LIGHTNING_COMMANDS,
    "bench",
    "bench molecules",
    "predict-molecule",
    "report",
)

LIGHTNING_PAGE = """\
examples, with CONFIG for experiments/configs/accuracy.yaml, or that of another task:
  weightspace fit --config CONFIG --data.path runs/zoo
  weightspace fit --config CONFIG --data.path runs/zoo --trainer.max_epochs 50 --seed_everything 1
  weightspace fit --config CONFIG --data.path runs/zoo --ckpt_path runs/fit/checkpoints/last.ckpt
  weightspace test --config CONFIG --data.path runs/zoo --ckpt_path runs/fit/checkpoints/best.ckpt

The configuration is a YAML file with the sections data, model and trainer; every value can be given on the command
line too. `weightspace fit --help-all` lists the trainer's keys, and `--model.help CLASS`, `--data.help CLASS` those of
a task or data module (they load torch and lightning, and take some seconds)."""


TRACE_PAGE = """\
examples:
  weightspace trace torch.nn:Identity --input 1,3
  weightspace trace mynets:resnet20 --input 1,3,32,32 --picture resnet20.svg
  weightspace trace mynets:gpt2 --input int64:1,64 --meta
  weightspace trace best.safetensors --module mynets:resnet20 --json space.json --graphml graph.graphml

Repeated layers of large networks share lines; --all shows each. Nothing in a checkpoint is run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the command line without the program's name; `sys.argv` by default.

    Returns:
        The exit code: 0 done, 1 an error that the message explains, 2 a command line that nothing understands.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if _is_for_lightning(words):
            return _lightning(words)
        arguments = _parser().parse_args(_with_long_names(words))
        arguments.run(arguments)
        return 0
    except WeightspaceError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from what is finished", file=sys.stderr)
        return 130


def _with_long_names(words: Sequence[str]) -> list[str]:
    """`zoo train inr`, `zoo train sdf` and `bench molecules` are commands of their own beside `zoo train FOLDER` and
    `bench FOLDER`.
    """
    if list(words[:2]) == ["bench", "molecules"]:
        return ["bench molecules", *words[2:]]
    own = [list(words[:3]) == ["zoo", "train", kind] for kind in ("inr", "sdf")]
    return ["zoo", f"train {words[2]}", *words[3:]] if any(own) else list(words)


def _is_for_lightning(words: Sequence[str]) -> bool:
    if not words or words[0] not in LIGHTNING_COMMANDS:
        return False
    return not {"--help", "-h", "--module"} & set(words)


def _lightning(words: Sequence[str]) -> int:
    from weightspace.tasks import run_lightning

    print(run_lightning(["--help" if word == "--help-all" else word for word in words]))
    return 0


def _demo(arguments: argparse.Namespace) -> None:
    from weightspace.demo import run_demo

    run_demo(
        arguments.out,
        networks=arguments.networks,
        seed=arguments.seed,
        data=arguments.data,
        data_root=arguments.data_root,
        progress=not arguments.no_progress,
        tell=print,
    )


def _trace(arguments: argparse.Namespace) -> None:
    from weightspace.reports import SpaceFiles, inspect_network

    files = SpaceFiles(arguments.json, arguments.graphml, arguments.picture, arguments.weights)
    text = inspect_network(
        arguments.network,
        module=arguments.module,
        inputs=arguments.input,
        everything=arguments.all,
        meta=arguments.meta,
        files=files,
    )
    print(text)


def _predict(arguments: argparse.Namespace) -> None:
    from weightspace.tasks import predict_network

    print(predict_network(arguments.checkpoint, arguments.module, model=arguments.model, inputs=arguments.input))


def _bench(arguments: argparse.Namespace) -> None:
    from weightspace.bench import run_benchmarks

    run_benchmarks(arguments.folder, smoke=arguments.smoke, tell=print)


def _report(arguments: argparse.Namespace) -> None:
    from weightspace.reports import build_report

    print(build_report(arguments.folder))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weightspace",
        description="Learning on neural-network weights: networks become graphs, metanets read or edit them.",
        epilog="`weightspace COMMAND --help` says more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"weightspace {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_trace(commands)
    add_zoo(commands)
    _add_lightning(commands, "fit", "train a metanet on a zoo")
    _add_lightning(commands, "validate", "score a trained metanet on the validation networks")
    _add_lightning(commands, "test", "score a trained metanet on the test networks, with intervals")
    _add_predict(commands)
    _add_bench(commands)
    add_bench_molecules(commands)
    add_predict_molecule(commands)
    _add_report(commands)
    return parser


def _add_demo(commands: Commands) -> None:
    parser = add_command(commands, "demo", "from a trained zoo to a metanet's report, in a few minutes", _demo)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder; run again, it goes on from there")
    parser.add_argument("--networks", type=int, default=1000, help="size of the zoo")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--data", default="digits", help="images that the networks are trained on: digits or mnist")
    parser.add_argument("--data-root", type=Path, help="folder of full data sets (default: WEIGHTSPACE_DATA)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")


def _add_trace(commands: Commands) -> None:
    parser = add_command(
        commands, "trace", "show a network's weight space: parameters, neuron groups, what is frozen", _trace
    )
    parser.add_argument(
        "network", metavar="NETWORK", help="package.module:factory, or a checkpoint: .pt .pth .th .safetensors"
    )
    parser.add_argument("--module", metavar="FACTORY", help="package.module:factory of the checkpoint's network")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="SHAPE",
        help="e.g. 1,3,32,32 or int64:1,16; once per input, guessed where it can be",
    )
    parser.add_argument("--all", action="store_true", help="a line for each parameter, also of repeated layers")
    parser.add_argument("--meta", action="store_true", help="build the module without weights, for large ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the weight space there")
    parser.add_argument("--graphml", type=Path, metavar="FILE", help="write the parameter graph's topology there")
    parser.add_argument("--weights", action="store_true", help="write the weights into the GraphML file, too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the parameter graph: .png, .svg or .pdf")
    parser.epilog = TRACE_PAGE


def _add_lightning(commands: Commands, name: str, text: str) -> None:
    parser = add_command(commands, name, text, None)
    parser.epilog = LIGHTNING_PAGE
    parser.add_argument("--config", metavar="FILE", help="YAML configuration")
    parser.add_argument("--ckpt_path", metavar="FILE", help="checkpoint to go on from, or to score")
    parser.add_argument(
        "--SECTION.KEY", metavar="VALUE", help="any value of the configuration, e.g. --data.path runs/zoo"
    )
    parser.add_argument("--help-all", action="store_true", help="every key")


def _add_predict(commands: Commands) -> None:
    parser = add_command(commands, "predict", "predict the accuracy of one network of yours", _predict)
    parser.add_argument("checkpoint", type=Path, help="its checkpoint: .pt, .pth, .th or .safetensors")
    parser.add_argument("--module", required=True, help="package.module:factory of its architecture")
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a saved metanet, e.g. runs/demo/metanet/model"
    )
    parser.add_argument(
        "--input", action="append", required=True, metavar="SHAPE", help="e.g. 1,1,28,28; once per input"
    )
    parser.epilog = "With --config instead, predictions for the test networks of a zoo: see `weightspace fit --help`."


def _add_bench(commands: Commands) -> None:
    parser = add_command(commands, "bench", "run the speed comparisons of experiments/benchmarks", _bench)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("experiments/benchmarks"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, in seconds")


def _add_report(commands: Commands) -> None:
    parser = add_command(commands, "report", "rebuild report.html of a finished demo or test", _report)
    parser.add_argument("folder", type=Path, help="holds results.json")
