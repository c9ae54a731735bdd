"""What is asked of a data set: where its files lie, and how many molecules of each part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightspace.molecules._downloads import RemoteFile, official_files


@dataclass(frozen=True)
class Asked:
    """The options of `load_molecules`, as every reader of a data set takes them.

    Args:
        data_root: folder of full data sets; None for `WEIGHTSPACE_DATA`.
        train, validation, test: numbers of molecules; None for the data set's own.
        seed: draws training and validation molecules.
        download: whether missing files are fetched.
        progress: whether bars are shown.
    """

    data_root: str | Path | None = None
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    seed: int = 0
    download: bool = False
    progress: bool = False

    @property
    def sizes(self) -> tuple[int | None, int | None, int | None]:
        """Of training, validation and test part."""
        return self.train, self.validation, self.test

    def files(self, dataset: str, files: Sequence[RemoteFile]) -> Path:
        """The folder that holds all files of a data set; see `official_files`."""
        return official_files(dataset, files, root=self.data_root, download=self.download, progress=self.progress)
