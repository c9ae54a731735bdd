"""Metanets: models that read or edit networks as parameter graphs, and the baselines that they have to beat.

A batch is a `ParameterGraph` (one network, or many of one architecture) or a sequence of them; outputs follow the
order graphs, then models.
"""

from pathlib import Path

from torch import nn

from weightspace import pretrained
from weightspace.metanets._coordinate_gmn import CoordinateGMN
from weightspace.metanets._deep_sets import DeepSets
from weightspace.metanets._entry_links import equivariant_dimension
from weightspace.metanets._flattened_mlp import FlattenedMLP
from weightspace.metanets._gmn import GMN, GMNEditor
from weightspace.metanets._input_scales import InputScales, fit_input_scales
from weightspace.metanets._matrix_product_gmn import MatrixProductGMN
from weightspace.metanets._networks import NetworkReader, TracedNetwork
from weightspace.metanets._neural_graphs_gnn import NeuralGraphGNN, NeuralGraphGNNEditor
from weightspace.metanets._neural_graphs_transformer import NeuralGraphTransformer, NeuralGraphTransformerEditor
from weightspace.metanets._probegen import ProbeGen
from weightspace.metanets._probes import input_shapes
from weightspace.metanets._readout import set_execution
from weightspace.metanets._scale_gmn import ScaleGMN, ScaleGMNEditor
from weightspace.metanets._statistics import MeanBaseline, WeightStatistics, weight_statistics
from weightspace.metanets._unf import UNF, UNFEditor
from weightspace.pretrained import save_pretrained

METANETS: tuple[type[nn.Module], ...] = (
    GMN,
    GMNEditor,
    UNF,
    UNFEditor,
    DeepSets,
    NeuralGraphGNN,
    NeuralGraphGNNEditor,
    NeuralGraphTransformer,
    NeuralGraphTransformerEditor,
    ScaleGMN,
    ScaleGMNEditor,
    MatrixProductGMN,
    CoordinateGMN,
    ProbeGen,
    FlattenedMLP,
)
"""The metanets that `from_pretrained` knows."""


def from_pretrained(directory: str | Path) -> nn.Module:
    """The metanet that `save_pretrained` wrote into a directory, whichever of `METANETS` it is.

    Raises:
        CheckpointError: a file is missing or damaged, or its tensors do not fit.
        ConfigurationError: an unknown key.
    """
    return pretrained.from_pretrained(directory, *METANETS)


__all__ = [
    "GMN",
    "METANETS",
    "UNF",
    "CoordinateGMN",
    "DeepSets",
    "FlattenedMLP",
    "GMNEditor",
    "InputScales",
    "MatrixProductGMN",
    "MeanBaseline",
    "NetworkReader",
    "NeuralGraphGNN",
    "NeuralGraphGNNEditor",
    "NeuralGraphTransformer",
    "NeuralGraphTransformerEditor",
    "ProbeGen",
    "ScaleGMN",
    "ScaleGMNEditor",
    "TracedNetwork",
    "UNFEditor",
    "WeightStatistics",
    "equivariant_dimension",
    "fit_input_scales",
    "from_pretrained",
    "input_shapes",
    "save_pretrained",
    "set_execution",
    "weight_statistics",
]
