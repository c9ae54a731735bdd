"""Tasks: data module, loss and metrics; training, scoring and predicting by Lightning."""

from weightspace.tasks._architectures import FactoryRule, traced_networks
from weightspace.tasks._attributes import AttributePrediction, predicted_accuracy
from weightspace.tasks._augmentation import Augmentation
from weightspace.tasks._command import run_lightning
from weightspace.tasks._data import AbstractNetworkData, GraphBatch, ZooData
from weightspace.tasks._domain_adaptation import DomainAdaptation
from weightspace.tasks._embedding import NetworkEmbedding
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
from weightspace.tasks._inr_editing import InrEditing
from weightspace.tasks._optimisation import Optimisation
from weightspace.tasks._predict import predict_network
from weightspace.tasks._prune_mask import PruneMask
from weightspace.tasks._results import family_of, results_of, versions
from weightspace.tasks._retrieval import Embeddings, Neighbours, nearest
from weightspace.tasks._splits import Split, SplitRule, split_by_run, split_zoo
from weightspace.tasks._targets import FittedTarget, Target
from weightspace.tasks._task import AbstractMetanetTask, Monitor

__all__ = [
    "DomainAdaptation",
    "InrEditing",
    "PruneMask",
    "AbstractMetanetTask",
    "AbstractNetworkData",
    "AttributePrediction",
    "Augmentation",
    "Embeddings",
    "FactoryRule",
    "FittedTarget",
    "GraphBatch",
    "Monitor",
    "Neighbours",
    "NetworkEmbedding",
    "Optimisation",
    "Split",
    "SplitRule",
    "Target",
    "ZooData",
    "checkpoints_in",
    "family_of",
    "last_checkpoint",
    "load_into",
    "logger_in",
    "nearest",
    "predict_network",
    "predicted_accuracy",
    "read_training_checkpoint",
    "results_of",
    "run_fit",
    "run_lightning",
    "save_best",
    "split_by_run",
    "split_zoo",
    "traced_networks",
    "train_in",
    "versions",
    "write_json",
]
