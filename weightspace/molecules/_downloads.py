"""Files from their official place: progress, resume, a check of size and content."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from weightspace.errors import ConfigurationError, MoleculeError

CHUNK = 1 << 18
TRIES = 4
PATIENCE = 30.0  # seconds without a byte
AGAIN = "delete it and run with download=True (--download)"  # files that are there are kept
FEWER = f"ask for fewer (train=, validation=, test=), or where the file is cut off {AGAIN}"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set.

    Args:
        name: in the data set's folder.
        url: its official place.
        size: bytes, where they are known; else what the server says is believed.
        sha256: of its content, where it is known.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


def official_files(
    dataset: str,
    files: Sequence[RemoteFile],
    *,
    root: str | Path | None,
    download: bool = False,
    progress: bool = False,
) -> Path:
    """The folder `root/dataset`, or `root` itself, that holds all files; missing ones are fetched to the former.

    Args:
        dataset: name of the folder.
        files: what is wanted.
        root: data folder; `WEIGHTSPACE_DATA` by default.
        download: whether missing files may be fetched.
        progress: a bar for each file.

    Raises:
        ConfigurationError: no root, or files are missing and may not be or cannot be fetched: which, where from and
            where to.
        MoleculeError: what came is not the file.
    """
    root = root or os.environ.get("WEIGHTSPACE_DATA")
    if not root:
        raise ConfigurationError(
            f"{dataset}: no data folder; give its path (data_root=..., --data-root on the command line) or set "
            f"WEIGHTSPACE_DATA; it is to hold {_where_from(dataset, files, 'ROOT')}"
        )
    for folder in (Path(root) / dataset, Path(root)):
        if all((folder / file.name).is_file() for file in files):
            return folder
    folder = Path(root) / dataset
    missing = [file for file in files if not (folder / file.name).is_file()]
    if not download:
        raise ConfigurationError(
            f"{dataset}: found no {', '.join(file.name for file in missing)} in {folder} or {root}; pass download=True "
            f"(--download), or put {_where_from(dataset, missing, str(root))}"
        )
    for file in missing:
        try:
            fetch(file, folder, progress=progress)
        except (URLError, HTTPException, OSError) as error:
            raise ConfigurationError(
                f"{dataset}: {file.url} cannot be fetched ({error}); what came is kept and continued by the next try. "
                f"Or put {_where_from(dataset, [file], str(root))}"
            ) from error
    return folder


def _where_from(dataset: str, files: Sequence[RemoteFile], root: str) -> str:
    return "; ".join(f"{root}/{dataset}/{file.name} from {file.url}" for file in files)


def fetch(file: RemoteFile, folder: Path, *, progress: bool = False) -> Path:
    """Fetches one file into a folder; a `.part` beside it is continued.

    Raises:
        MoleculeError: what came is empty, or has another size or content, and the `.part` is removed; or the server
            answers with neither the file nor a part of it.
        OSError: no answer, or the connection broke several times without a byte between.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{file.name}.part"
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            wanted = _continue(file, part, progress)
        except HTTPError:
            raise
        except (URLError, HTTPException, OSError):
            failures = 0 if part.is_file() and part.stat().st_size > before else failures + 1
            if failures >= TRIES:
                raise
            continue
        found = part.stat().st_size
        if wanted is not None and found < wanted and found > before:
            continue  # the connection ended early
        _accept(file, part, wanted)
        return part.replace(folder / file.name)


def _continue(file: RemoteFile, part: Path, progress: bool) -> int | None:
    """Appends what the server sends; the size that the file is to have, or None where nobody knows."""
    done = part.stat().st_size if part.is_file() else 0
    if file.size is not None and done == file.size:
        return file.size
    if file.size is not None and done > file.size:
        return _anew(file, part, progress)
    request = Request(file.url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urlopen(request, timeout=PATIENCE)
    except HTTPError as error:
        if error.code != 416 or not done:
            raise
        with error:
            whole = _whole_size(error.headers.get("Content-Range"))
        if whole == done:  # nothing after what is here
            return file.size if file.size is not None else done
        return _anew(file, part, progress)
    with answer:
        if answer.status not in (200, 206):
            raise MoleculeError(f"{file.url}: found an answer of status {answer.status}, wanted 200 or 206; try later")
        resumed = answer.status == 206 and done > 0
        length = answer.headers.get("Content-Length")
        start = done if resumed else 0
        total = file.size if file.size is not None else (None if length is None else start + int(length))
        _copy(answer, part, start, total=total, progress=progress)
    return total


def _anew(file: RemoteFile, part: Path, progress: bool) -> int | None:
    """Begins again where what is here is not the beginning of the file."""
    part.unlink()
    return _continue(file, part, progress)


def _whole_size(content_range: str | None) -> int | None:
    """Of `bytes */1234`."""
    size = (content_range or "").rpartition("/")[2]
    return int(size) if size.isdecimal() else None


def _copy(answer: HTTPResponse, part: Path, start: int, *, total: int | None, progress: bool) -> None:
    bar = tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, disable=not progress)
    with bar, open(part, "ab" if start else "wb") as out:
        while block := answer.read(CHUNK):
            out.write(block)
            bar.update(len(block))


def _accept(file: RemoteFile, part: Path, wanted: int | None) -> None:
    found = part.stat().st_size
    if not found:
        part.unlink()
        raise MoleculeError(f"{file.url}: found an empty answer, wanted the file; look at the place in a browser")
    if wanted is not None and found != wanted:
        part.unlink()
        raise MoleculeError(f"{file.url}: found {found} bytes, wanted {wanted}; the file there is another one")
    if file.sha256 is not None:
        with open(part, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != file.sha256:
            part.unlink()
            raise MoleculeError(
                f"{file.url}: found content with sha256 {digest[:12]}..., wanted {file.sha256[:12]}...; the file there "
                "is another one"
            )
