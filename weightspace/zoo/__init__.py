"""Zoos: many networks on disk, imported from checkpoints or trained here, read back as parameter graphs."""

from weightspace.zoo._activations import ACTIVATIONS
from weightspace.zoo._architectures import ARCHITECTURES, build
from weightspace.zoo._checkpoint import Checkpoint, fit_checkpoint, read_checkpoint
from weightspace.zoo._example_inputs import example_inputs_of
from weightspace.zoo._import import ImportSummary, import_checkpoints
from weightspace.zoo._inr import fit_inrs
from weightspace.zoo._inr_fit import SCHEDULES, InrConfig, InrSchedule
from weightspace.zoo._named_network import NamedNetwork, named_network
from weightspace.zoo._optimisers import OPTIMISERS
from weightspace.zoo._population import Schedule, predict_population, train_population
from weightspace.zoo._sampling import SubPopulation, ZooConfig, draw_subpopulation, initial_state
from weightspace.zoo._sdf import fit_sdfs
from weightspace.zoo._sdf_fit import SdfConfig, SdfStack
from weightspace.zoo._sdf_measure import SolidMeasures, measure_solids
from weightspace.zoo._sdf_network import move_coordinates, sdf
from weightspace.zoo._sdf_solids import Solids, random_rotations, random_solids
from weightspace.zoo._shard_run import ZooSummary
from weightspace.zoo._siren import Siren, image_coordinates, siren
from weightspace.zoo._siren_stack import SirenStack
from weightspace.zoo._store import Zoo, ZooBatch, ZooEntry
from weightspace.zoo._subpopulation import TrainedStack, train_subpopulation
from weightspace.zoo._train import train_zoo

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "OPTIMISERS",
    "SCHEDULES",
    "Checkpoint",
    "ImportSummary",
    "InrConfig",
    "InrSchedule",
    "NamedNetwork",
    "Schedule",
    "SdfConfig",
    "SdfStack",
    "Siren",
    "SirenStack",
    "SolidMeasures",
    "Solids",
    "SubPopulation",
    "TrainedStack",
    "Zoo",
    "ZooBatch",
    "ZooConfig",
    "ZooEntry",
    "ZooSummary",
    "build",
    "draw_subpopulation",
    "example_inputs_of",
    "fit_checkpoint",
    "fit_inrs",
    "fit_sdfs",
    "image_coordinates",
    "import_checkpoints",
    "initial_state",
    "measure_solids",
    "move_coordinates",
    "named_network",
    "predict_population",
    "random_rotations",
    "random_solids",
    "read_checkpoint",
    "sdf",
    "siren",
    "train_population",
    "train_subpopulation",
    "train_zoo",
]
