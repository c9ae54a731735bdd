"""`weightspace fit|validate|test|predict`: Lightning's command line on any task."""

import csv
import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from jsonargparse import ArgumentError
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from torch import Tensor, nn

from weightspace import metanets
from weightspace.errors import ConfigurationError, WeightspaceError
from weightspace.tasks._data import AbstractNetworkData
from weightspace.tasks._folder import (
    checkpoints_in,
    last_checkpoint,
    load_into,
    logger_in,
    quiet_lightning,
    read_training_checkpoint,
    run_fit,
    save_best,
    write_json,
)
from weightspace.tasks._optimisation import Optimisation
from weightspace.tasks._results import results_of, table_of
from weightspace.tasks._splits import SplitRule
from weightspace.tasks._task import AbstractMetanetTask, concatenated

FOLDER = "runs/fit"


class TaskCLI(LightningCLI):
    """Lightning's command line for any task on any data of networks, with errors in this library's words.

    Args:
        arguments: the command line, the subcommand first; parsers of other subcommands are not built.
    """

    summary = ""

    def __init__(self, arguments: Sequence[str]):
        self._command = arguments[0]
        strict = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            AbstractMetanetTask,
            AbstractNetworkData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=list(arguments),
            seed_everything_default=0,
            parser_kwargs={**strict, self._command: dict(strict)},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_callback=SaveConfigCallback if self._command == "fit" else None,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that is run, and what of it is no option."""
        return {self._command: LightningCLI.subcommands()[self._command]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; an unknown key is reported together with the keys that come close."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            subparser = self._subcommand_parsers.get(args[0] if args else "")
            raise ConfigurationError(explain_key_error(str(error), subparser)) from error
        if path := self.config[self.config.subcommand].get("ckpt_path"):
            read_training_checkpoint(path)

    def instantiate_classes(self) -> None:
        """Data, task and trainer; a value that a constructor refuses is an error of the configuration."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError) as error:
            if isinstance(error, WeightspaceError):
                raise
            raise ConfigurationError(f"configuration: {_shortest(str(error))}") from error

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """The trainer, with CSV logs and checkpoints in its folder."""
        config = self._get(self.config_init, "trainer")
        self.folder = Path(config["default_root_dir"] or FOLDER)
        if config["logger"] is None:
            options["logger"] = logger_in(self.folder) if self.subcommand == "fit" else False
        self.checkpoints = checkpoints_in(self.folder, self.model.monitor)
        options["callbacks"] = [*(config["callbacks"] or []), *self.checkpoints.callbacks]
        return super().instantiate_trainer(**options)

    def fit(self, **options: Any) -> None:
        """Train, and save the best model."""
        found = last_checkpoint(self.folder)
        if found and not options.get("ckpt_path"):
            raise ConfigurationError(
                f"{self.folder}: holds an earlier run; go on with --ckpt_path {found}, "
                "or give another folder with --trainer.default_root_dir"
            )
        run_fit(self.trainer, self.model, self.datamodule, ckpt_path=options.get("ckpt_path"))
        path = save_best(self.model, self.checkpoints, self.folder)
        score = float(self.checkpoints.best.best_model_score or float("nan"))
        self.summary = f"best model (validation {self.model.monitor.label} {score:.3f}): {path}"

    def validate(self, **options: Any) -> None:
        """Scores of the validation networks."""
        [scores] = self.trainer.validate(**self._loaded(options) | {"verbose": False})
        width = max(14, *(len(name) for name in scores))
        self.summary = "\n".join(f"{name:<{width}} {value:.4f}" for name, value in scores.items())

    def test(self, **options: Any) -> None:
        """Scores of the test networks with intervals; `results.json` for the report."""
        self.trainer.test(**self._loaded(options) | {"verbose": False})
        path = write_json(self.folder / "results.json", results_of(self.model, self.datamodule))
        self.summary = f"{table_of(self.model.results['scores'])}\n{path}"

    def predict(self, **options: Any) -> None:
        """Predictions of the test networks as `predictions.csv`."""
        batches = self.trainer.predict(**self._loaded(options))
        kept = concatenated(cast(list[dict[str, Tensor]], batches))
        columns = {"network": kept["index"].tolist(), **self.model.columns(kept)}
        path = self.folder / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        self.summary = str(path)

    def _loaded(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a run without training, after its checkpoint was compared with the task."""
        if path := options.get("ckpt_path"):
            self.model.prepare(self.datamodule)
            load_into(self.model, path)
        return {**options, "weights_only": True}


def run_lightning(arguments: Sequence[str]) -> str:
    """Run `fit`, `validate`, `test` or `predict` and return what there is to say about it.

    Task and data are named by their class paths, and may be anybody's: `model.class_path` a final subclass of
    `AbstractMetanetTask`, `data.class_path` one of `AbstractNetworkData`.

    Args:
        arguments: the command line, the subcommand first.

    Raises:
        ConfigurationError: an unknown key or a value without sense.
        CheckpointError: a checkpoint that cannot be read or does not fit.
    """
    with quiet_lightning():
        return TaskCLI(arguments).summary


def explain_key_error(message: str, parser: LightningArgumentParser | None) -> str:
    """A parser's message, and for an unknown key the known ones that come close."""
    message = " ".join(message.split())
    listed = "`--help-all` and `--model.help CLASS` after the command list the keys"
    unknown = re.findall(r"unrecognized arguments: --([\w.]+)|[Oo]ption '([\w.]+)'", message)
    names = [name for pair in unknown for name in pair if name]
    if names and parser is not None:
        return f"configuration: {' '.join(_hint(name, _known_keys(parser)) for name in names)} {listed}"
    text = _shortest(message)
    if "arguments are required" in message:
        return f"configuration: {text}; give them, e.g. with --config experiments/configs/accuracy.yaml --data.path ZOO"
    return f"configuration: {text}; {listed}"


def _shortest(message: str) -> str:
    """What a parser says of a value, without the types that it tried in vain and the rest of the configuration."""
    message = " ".join(message.split())
    message, _, given = message.partition(" Given value type: ")
    message = re.sub(r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: ", "", message)
    message = re.sub(
        r"- (Expected a <class 'NoneType'>|Expected a path but \S+ either not accessible or invalid)", "", message
    )
    message = re.sub(r"(^|: )(- )+", r"\1", " ".join(message.split())).strip()
    value = re.search(r"Given value: (\S{1,40})$", given)
    return message if value is None or f" {value[1]}" in message else f"{message}, found {value[1]}"


def _hint(name: str, known: Sequence[str]) -> str:
    short = {key.rsplit(".", 1)[-1]: key for key in reversed(known)}
    close = difflib.get_close_matches(name, known, n=3) or [
        short[s] for s in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(short), n=3)
    ]
    near = f"did you mean {', '.join(close)}?" if close else "no known key comes close;"
    return f"unknown key {name!r}: {near}"


def _known_keys(parser: LightningArgumentParser) -> list[str]:
    """Keys of the trainer and of every task, data module and metanet of the library, as the command line takes them."""
    keys = [key for key in parser.get_defaults(skip_validation=True).keys() if not key.startswith(("data", "model"))]
    keys += [f"data.{name}" for cls in AbstractNetworkData.__subclasses__() for name in _arguments(cls)]
    keys += [f"data.split.{name}" for name in _arguments(SplitRule)]
    keys += [f"model.{name}" for cls in AbstractMetanetTask.__subclasses__() for name in _arguments(cls)]
    keys += [f"model.optimisation.{name}" for name in _arguments(Optimisation)]
    exported = [getattr(metanets, name) for name in metanets.__all__]
    nets = [cls for cls in exported if inspect.isclass(cls) and issubclass(cls, nn.Module)]
    return list(dict.fromkeys(keys + [f"model.metanet.{name}" for cls in nets for name in _arguments(cls)]))


def _arguments(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)
