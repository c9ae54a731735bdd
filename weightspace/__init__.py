"""Learning on neural-network weights: networks become parameter graphs, metanets read or edit them, graphs become
networks again.

Importing `weightspace` imports nothing heavy: every public name is loaded at its first use (PEP 562).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "trace": "weightspace.tracing",
    "specify": "weightspace.tracing",
    "WeightSpace": "weightspace.space",
    "ParameterSpec": "weightspace.space",
    "NeuronGroup": "weightspace.space",
    "GroupElement": "weightspace.group",
    "ParameterGraph": "weightspace.graph",
    "Site": "weightspace.graph",
    "EdgeBlock": "weightspace.graph",
    "Runner": "weightspace.runner",
    "Zoo": "weightspace.zoo",
    "WeightspaceError": "weightspace.errors",
    "TraceError": "weightspace.errors",
    "UnsupportedOperationError": "weightspace.errors",
    "SpecificationError": "weightspace.errors",
    "VerificationError": "weightspace.errors",
    "CanonicalizationError": "weightspace.errors",
    "StateDictError": "weightspace.errors",
    "ZooError": "weightspace.errors",
    "CheckpointError": "weightspace.errors",
    "ConfigurationError": "weightspace.errors",
    "GeometryError": "weightspace.errors",
}

__all__ = [*sorted(_LAZY), "__version__"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'weightspace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
