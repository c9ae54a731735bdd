"""Where other people's repositories lie, and how their modules are imported."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from weightspace.errors import ConfigurationError

VARIABLE = "WEIGHTSPACE_OTHERS"
PACKAGES = "lib"
WANTED = {
    PACKAGES: "pip install --no-deps --target FOLDER/lib mace-torch==0.3.16 nequip==0.6.2 torch-ema torch-runstats "
    "opt_einsum_fx matscipy configargparse lmdb prettytable torchmetrics h5py warp-lang==1.19.0",
    "torchmd-net": "github.com/torchmd/torchmd-net at 833c077",
    "egnn": "github.com/vgsatorras/egnn at e9ca6c0",
    "ponita": "github.com/ebekkers/ponita at a584aa2",
}


def other_module(name: str, *folders: str) -> Any:
    """A module of other people's code; importing it runs it.

    Args:
        name: such as "mace.modules.models".
        folders: of `WANTED`, in which it and what it imports are looked for first.

    Raises:
        ConfigurationError: the folder is not there, or lacks the module.
    """
    root = os.environ.get(VARIABLE)
    for folder in folders:
        path = Path(root or "") / folder
        if root is None or not path.is_dir():
            raise ConfigurationError(
                f"{VARIABLE}: found {root!r}, wanted a FOLDER that holds {folder}/: {WANTED[folder]}; run it only "
                "where you would run any code of theirs"
            )
        if str(path.resolve()) not in sys.path:
            sys.path.insert(0, str(path.resolve()))
    sys.modules.setdefault("torch_scatter", _scatter_module())
    sys.modules.setdefault("mace.cli.visualise_train", _empty("mace.cli.visualise_train", "TrainingPlotter"))
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"{name}: cannot be imported ({error}); wanted {WANTED[folders[0]]}") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing that other people's code prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _scatter_module() -> ModuleType:
    """The one function of torch_scatter that PONITA calls."""
    module = ModuleType("torch_scatter")

    def scatter_mean(source: Tensor, index: Tensor, dim: int = 0) -> Tensor:
        from torch_geometric.utils import scatter  # whose import changes torch so that nequip cannot be compiled

        return scatter(source, index, dim=dim, reduce="mean")

    vars(module)["scatter_mean"] = scatter_mean
    return module


def _empty(name: str, *attributes: str) -> ModuleType:
    """In place of a module that draws, and asks for packages to draw with."""
    module = ModuleType(name)
    vars(module).update(dict.fromkeys(attributes))
    return module
