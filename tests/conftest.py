"""What all tests share: one thread, and the folder of full data sets where there is one."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator, the same for every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of full data sets; the test is skipped where `WEIGHTSPACE_DATA` does not name one."""
    root = os.environ.get("WEIGHTSPACE_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("needs the full data sets: set WEIGHTSPACE_DATA to their folder (docs/data.md says what it holds)")
    return Path(root)
