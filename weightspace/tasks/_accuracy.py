"""The task "predict a network's test accuracy from its weights"."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from weightspace.graph import ParameterGraph
from weightspace.measures import METRICS, bootstrap
from weightspace.metanets import InputScales, fit_input_scales
from weightspace.tasks._data import GraphBatch

SCALES = "input_scales"


def predicted_accuracy(metanet: nn.Module, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
    """Accuracy in (0, 1) that a metanet with one output predicts: the sigmoid of the output.

    Shapes:
        result (B,), in the order of graphs, then networks.
    """
    return torch.sigmoid(metanet(graphs)[:, 0])


class AccuracyPrediction(LightningModule):
    """Trains any metanet with one output to predict accuracies.

    AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with warm-up and cosine decay; cross-entropy between the true
    accuracy and the predicted one. Before the first step the metanet's input scales are set to the spread of the
    training networks' parameters; the checkpoint keeps them.

    Args:
        metanet: a module that takes a `ParameterGraph` or a sequence of them and returns (B, 1).
        learning_rate: after the warm-up.
        weight_decay: of AdamW, on matrices.
        warmup: fraction of the steps in which the learning rate rises.
        scale_inputs: set the metanet's `input_scales`; only for metanets that have them.

    After a test, `results` holds the scores with their intervals and every prediction; `history` has a row per epoch.
    """

    def __init__(
        self,
        metanet: nn.Module,
        *,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        warmup: float = 0.15,
        scale_inputs: bool = True,
    ):
        super().__init__()
        self.metanet = metanet
        self.learning_rate, self.weight_decay, self.warmup = learning_rate, weight_decay, warmup
        self.scale_inputs = scale_inputs
        self.history: list[dict[str, float]] = []
        self.results: dict[str, Any] = {}
        self._losses: list[Tensor] = []
        self._row: dict[str, float] = {}
        self._outputs: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, graphs: ParameterGraph | Sequence[ParameterGraph]) -> Tensor:
        """Predicted accuracies (B,)."""
        return predicted_accuracy(self.metanet, graphs)

    def on_fit_start(self) -> None:
        """Set the metanet's input scales, unless a checkpoint brought them."""
        if self.scale_inputs and not self._scales().per_role:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.metanet.input_scales = fit_input_scales(  # type: ignore[assignment]
                graph for batch in data.whole("train") for graph in batch.graphs
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; the learning rate rises linearly, then falls along a cosine, over all steps."""
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay, betas=(0.9, 0.99))
        total = max(1, int(self.trainer.estimated_stepping_batches))
        rise = max(1, round(self.warmup * total))

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / (rise + 1)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        output = self.metanet(batch.graphs)[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(output, batch.target)
        self._losses.append(loss.detach())
        self.log("train_loss", loss, batch_size=len(batch.target), on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        """Keep the predictions of a batch."""
        self._outputs.append((self(batch.graphs), batch.target, batch.index))

    test_step = validation_step

    def predict_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        """Predictions of a batch."""
        return self(batch.graphs)

    def on_validation_epoch_end(self) -> None:
        """Log loss, tau, Spearman, R2 and MAE of the validation networks."""
        prediction, target, _ = self._collected()
        values = {"val_loss": float(torch.nn.functional.binary_cross_entropy(prediction, target))}
        values |= {f"val_{name}": metric(prediction, target) for name, metric in METRICS.items()}
        self.log_dict(values, batch_size=len(target))
        self.log("tau", values["val_kendall_tau"], prog_bar=True, logger=False)
        self._row = values

    def on_train_epoch_end(self) -> None:
        """Add a row to the history."""
        row = {"epoch": self.current_epoch, "train_loss": float(torch.stack(self._losses).mean())}
        self.history.append(row | self._row)
        self._losses, self._row = [], {}

    def on_test_epoch_end(self) -> None:
        """Scores of the test networks, with bootstrap intervals."""
        prediction, target, index = self._collected()
        scores = {name: astuple(bootstrap(name, prediction, target)) for name in METRICS}
        self.results = {
            "scores": scores,
            "target": target.tolist(),
            "prediction": prediction.tolist(),
            "index": index.tolist(),
        }
        for name, (value, low, high) in scores.items():
            self.log_dict({f"test_{name}": value, f"test_{name}_low": low, f"test_{name}_high": high})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Input scales and history travel with the weights."""
        checkpoint[SCALES] = self._scales().to_dict() if self.scale_inputs else None
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Input scales and history of the checkpoint."""
        self.restore_input_scales(checkpoint)
        self.history = list(checkpoint.get("history", []))

    def restore_input_scales(self, checkpoint: Mapping[str, Any]) -> None:
        """Input scales of a checkpoint, where it has any."""
        if self.scale_inputs and checkpoint.get(SCALES):
            self.metanet.input_scales = InputScales.from_dict(checkpoint[SCALES])  # type: ignore[assignment]

    def _scales(self) -> InputScales:
        return self.metanet.input_scales  # type: ignore[return-value]

    def _collected(self) -> tuple[Tensor, Tensor, Tensor]:
        outputs, self._outputs = self._outputs, []
        prediction, target, index = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
        return prediction, target, index
