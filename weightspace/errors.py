"""The errors that weightspace raises at its public boundary: each says where, what was found against what was
wanted, and what to do.
"""


class WeightspaceError(ValueError):
    """Any error of weightspace; a `ValueError`, because each of them speaks of something that was handed in."""


class TraceError(WeightspaceError):
    """A module could not be exported or its operations could not be read."""


class UnsupportedOperationError(TraceError):
    """An operation has no tracing rule and `on_unknown="raise"` was asked for."""


class SpecificationError(WeightspaceError):
    """A weight space by hand, or a permutation specification, does not fit the parameters or contradicts itself."""


class VerificationError(WeightspaceError):
    """A derived symmetry does not keep the function, or the check could not tell."""


class CanonicalizationError(WeightspaceError):
    """Neurons are tied in a way that the canonical form's search could not settle within its budget."""


class StateDictError(WeightspaceError):
    """A state_dict does not fit the space: a missing or extra key, a wrong shape, a value that is not finite."""


class ZooError(WeightspaceError):
    """A zoo on disk is not what it should be: a truncated shard, a sidecar without shard, rows that do not match."""


class CheckpointError(WeightspaceError):
    """A checkpoint cannot be read safely or does not fit the module that should take it."""


class ConfigurationError(WeightspaceError):
    """A configuration holds a key or a value that nothing understands."""


class TrainingError(WeightspaceError):
    """A training whose loss or predictions are not finite."""


class GeometryError(WeightspaceError):
    """A point cloud, an orientation grid or irreps that do not fit: shapes, elements, cells, degrees."""


class MoleculeError(WeightspaceError):
    """Data of molecules that cannot be right: overlapping atoms, wrong units, missing forces, too few frames."""


class CompilationMismatchError(WeightspaceError):
    """A compiled model does not give what the eager one gives, or cannot be compiled."""
