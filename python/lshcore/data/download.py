"""Data sets fetched from where their authors or Hugging Face keep them. Nothing here runs unless it is asked for."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..registry import load_target
from .dataset import DatasetNotFound, sha256_of
from .places import DataDir, find, not_found, root

if TYPE_CHECKING:
    from .entries import Entry, Layout

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
REVISION_FILE = ".lshcore-revision"
_UNFINISHED = ".lshcore-unfinished"

_TRUE = ("1", "on", "yes", "true")
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_NO_ENTRY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
# What another source would meet too.
LOCAL_ERRORS = _FULL_DISK + _NO_ENTRY


def offline_by(offline: bool = False) -> str | None:
    """What says that nothing may be downloaded: the option, else the first variable that does; None if nothing."""
    variables = (name for name in OFFLINE_VARIABLES if os.environ.get(name, "").lower() in _TRUE)
    return "offline" if offline else next(variables, None)


def fetch(entry: "Entry", data_dir: DataDir = None, offline: bool = False) -> str | None:
    """Download a data set into the data directory, unless it is there; `lshcore.data.fetch` says the rest."""
    there = find(entry, data_dir)
    if there is not None and not (there[1] / _UNFINISHED).exists():
        return str(there[1])
    layouts = [layout for layout in entry.layouts if layout.download]
    if not layouts:
        return None
    top = root(data_dir)
    said = offline_by(offline)
    if said:
        raise DatasetNotFound(f"{not_found(entry, data_dir)}; nothing was downloaded, as {said} is set")
    if top is None:
        raise not_found(entry, data_dir)
    failures = []
    for layout in layouts:
        kind, _, what = layout.download.partition(":")
        try:
            top.mkdir(parents=True, exist_ok=True)
            _WAYS[kind](top, layout, what)
        except Exception as error:  # torchvision and huggingface_hub have no one error for what can fail
            _raise_if_local(entry, top, error)
            failures.append(f"{layout.download}: {_one_line(error)}")
        else:
            found = find(entry, data_dir)
            if found is not None:
                return str(found[1])
            failures.append(f"{layout.download}: it brought other files than expected")
    raise DatasetNotFound(f"{not_found(entry, data_dir)}; downloading it failed ({'; '.join(failures)})")


def _torchvision(top: Path, layout: "Layout", what: str) -> None:
    """torchvision checks the MD5 of all that it fetches."""
    try:
        dataset = load_target(f"torchvision.datasets:{what}")
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch fails in either way
        raise RuntimeError(f"it needs a torchvision that fits the installed torch: {error}") from error
    dataset(str(top), train=True, download=True)


def _hub(top: Path, layout: "Layout", what: str) -> None:
    """Only the files that the layout needs, at one commit, which is written beside them once their SHA-256 are right.

    huggingface_hub itself looks at their sizes. What was interrupted is marked, so that some of the files are not taken
    for all of them.
    """
    try:
        download = load_target("huggingface_hub:snapshot_download")
        api = load_target("huggingface_hub:HfApi")()
    except ImportError as error:
        raise RuntimeError("it needs huggingface_hub, which is not installed: pip install datasets") from error
    repository, _, revision = what.partition("@")
    info = api.dataset_info(repository, revision=revision or None, files_metadata=True)
    commit = revision or str(info.sha)
    folder = top / layout.folders[0]
    patterns = [pattern for patterns in layout.needs for pattern in patterns.split("|")]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _UNFINISHED).touch()
    download(repository, repo_type="dataset", revision=commit, local_dir=folder, allow_patterns=patterns)
    for each in info.siblings or ():
        path = folder / each.rfilename
        if each.lfs is not None and path.is_file() and sha256_of(path) != each.lfs.sha256:
            path.unlink()  # so that it is fetched again
            raise RuntimeError(f"{each.rfilename} came with a wrong SHA-256, and was removed: run the command again")
    (folder / REVISION_FILE).write_text(f"{repository} {commit}\n", encoding="utf-8")
    (folder / _UNFINISHED).unlink()


_WAYS = {"torchvision": _torchvision, "hub": _hub}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _raise_if_local(entry: "Entry", top: Path, error: BaseException) -> None:
    """Raise what another source would meet too: a full disk, or a directory that cannot be written."""
    number = getattr(error, "errno", None)
    if number in _FULL_DISK:
        _fail(number, f"dataset {entry.name!r}: no space is left in {top}, and it takes {entry.size}", error)
    if number in _NO_ENTRY or isinstance(error, FileExistsError):
        _fail(number, f"dataset {entry.name!r}: nothing can be written into {top}", error)


def _fail(number: int | None, what: str, error: BaseException) -> NoReturn:
    raise OSError(f"{what} ({_one_line(error)}): give another directory with --data-dir") from error
