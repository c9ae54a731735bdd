"""Tasks: data module, loss and metrics; training, scoring and predicting by Lightning."""

from weightspace.tasks._accuracy import AccuracyPrediction, predicted_accuracy
from weightspace.tasks._command import run_lightning
from weightspace.tasks._data import AccuracyData, GraphBatch
from weightspace.tasks._folder import (
    checkpoints_in,
    last_checkpoint,
    load_into,
    logger_in,
    read_training_checkpoint,
    run_fit,
    save_best,
    train_in,
    write_json,
)
from weightspace.tasks._predict import predict_network
from weightspace.tasks._results import family_of, results_of, versions
from weightspace.tasks._splits import Split, split_by_run

__all__ = [
    "AccuracyData",
    "AccuracyPrediction",
    "GraphBatch",
    "Split",
    "checkpoints_in",
    "family_of",
    "last_checkpoint",
    "load_into",
    "logger_in",
    "predict_network",
    "predicted_accuracy",
    "read_training_checkpoint",
    "results_of",
    "run_fit",
    "run_lightning",
    "save_best",
    "split_by_run",
    "train_in",
    "versions",
    "write_json",
]
