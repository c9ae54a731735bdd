"""`weightspace fit|validate|test|predict`: Lightning's command line on the accuracy task."""

import csv
import difflib
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from torch import Tensor

from weightspace import metanets
from weightspace.errors import ConfigurationError
from weightspace.tasks._accuracy import AccuracyPrediction
from weightspace.tasks._data import AccuracyData
from weightspace.tasks._folder import (
    checkpoints_in,
    last_checkpoint,
    logger_in,
    quiet_lightning,
    read_training_checkpoint,
    run_fit,
    save_best,
    write_json,
)
from weightspace.tasks._results import results_of, table_of

SUBCOMMANDS = ("fit", "validate", "test", "predict")
FOLDER = "runs/fit"


class AccuracyCLI(LightningCLI):
    """Lightning's command line for `AccuracyPrediction` on `AccuracyData`, with errors in this library's words."""

    summary = ""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; an unknown key is reported together with the keys that come close."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            subparser = self._subcommand_parsers.get(args[0] if args else "")
            raise ConfigurationError(explain_key_error(str(error), subparser)) from error
        if path := self.config[self.config.subcommand].get("ckpt_path"):
            read_training_checkpoint(path)

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """The trainer, with CSV logs and checkpoints in its folder."""
        config = self._get(self.config_init, "trainer")
        self.folder = Path(config["default_root_dir"] or FOLDER)
        if config["logger"] is None:
            options["logger"] = logger_in(self.folder) if self.subcommand == "fit" else False
        self.checkpoints = checkpoints_in(self.folder)
        options["callbacks"] = [*(config["callbacks"] or []), self.checkpoints]
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
        score = float(self.checkpoints.best_model_score or float("nan"))
        self.summary = f"best model (validation tau {score:.3f}): {path}"

    def validate(self, **options: Any) -> None:
        """Scores of the validation networks."""
        [scores] = self.trainer.validate(**options | {"weights_only": True, "verbose": False})
        self.summary = "\n".join(f"{name:<14} {value:.4f}" for name, value in scores.items())

    def test(self, **options: Any) -> None:
        """Scores of the test networks with intervals; `results.json` for the report."""
        self.trainer.test(**options | {"weights_only": True, "verbose": False})
        path = write_json(self.folder / "results.json", results_of(self.model, self.datamodule))
        self.summary = f"{table_of(self.model.results['scores'])}\n{path}"

    def predict(self, **options: Any) -> None:
        """Predictions of the test networks as `predictions.csv`."""
        batches = self.trainer.predict(**options | {"weights_only": True})
        values = torch.cat([batch for batch in batches or [] if isinstance(batch, Tensor)]).tolist()
        path = self.folder / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        index = self.datamodule.split.test
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["network", "target", "prediction"])
            rows = zip(index.tolist(), self.datamodule.target[index].tolist(), values, strict=True)
            writer.writerows(rows)
        self.summary = str(path)


def run_lightning(arguments: Sequence[str]) -> str:
    """Run `fit`, `validate`, `test` or `predict` and return what there is to say about it.

    Args:
        arguments: the command line, the subcommand first.

    Raises:
        ConfigurationError: an unknown key or a value without sense.
        CheckpointError: a checkpoint that cannot be read or does not fit.
    """
    strict = {"exit_on_error": False, "allow_abbrev": False}
    with quiet_lightning():
        cli = AccuracyCLI(
            AccuracyPrediction,
            AccuracyData,
            args=list(arguments),
            seed_everything_default=0,
            parser_kwargs={**strict, **{name: dict(strict) for name in SUBCOMMANDS}},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_callback=SaveConfigCallback if arguments[0] == "fit" else None,
        )
    return cli.summary


def explain_key_error(message: str, parser: LightningArgumentParser | None) -> str:
    """A parser's message, and for an unknown key the known ones that come close."""
    message = " ".join(message.split())
    unknown = re.findall(r"unrecognized arguments: --([\w.]+)|[Oo]ption '([\w.]+)'", message)
    names = [name for pair in unknown for name in pair if name]
    if not names or parser is None:
        return f"configuration: {message}; `--help-all` after the command lists every key"
    known = _known_keys(parser)
    hints = []
    for name in names:
        short = {key.rsplit(".", 1)[-1]: key for key in reversed(known)}
        close = difflib.get_close_matches(name, known, n=3) or [
            short[s] for s in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(short), n=3)
        ]
        near = f"did you mean {', '.join(close)}?" if close else "no known key comes close;"
        hints.append(f"unknown key {name!r}: {near}")
    return f"configuration: {' '.join(hints)} `--help-all` after the command lists every key"


def _known_keys(parser: LightningArgumentParser) -> list[str]:
    keys = list(parser.get_defaults(skip_validation=True).keys())
    exported = [getattr(metanets, name) for name in metanets.__all__]
    arguments = {name for cls in exported if inspect.isclass(cls) for name in inspect.signature(cls).parameters}
    return keys + [f"model.metanet.init_args.{name}" for name in sorted(arguments)]
