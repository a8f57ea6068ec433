"""An index in a directory: immutable segments, and a manifest that names them. Committing is replacing the manifest.

::

    index.json + index-HASH.safetensors      the manifest: what index, which segments with the checksum of every block,
                                             which rows are removed, names of rows; a generation number
    segment-HASH.safetensors                 rows: codes, ids, tables, vectors; never changed
    hasher_HASH.json + ....safetensors       the hasher; never changed
    .lock                                    held by the one who writes

A reader has the generation that it opened for as long as it likes: files that a newer one no longer needs are unlinked,
which maps survive.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _saving, registry
from lshcore._files import make_folder, sync_folder
from lshcore._state import read_state, write_state
from lshcore._validation import check_choice, resolve_jobs

from .segment_file import SegmentFile, open_segment, write_segment

if TYPE_CHECKING:
    from lshcore.hashers import Hasher

    from .container import Index
    from .rows import Rows

STEM = "index"
LOCK = ".lock"
VERIFY = ("lazy", "full")

_WHAT = "an index"


@dataclass
class Origin:
    """Where an index was opened from or saved to last, and which of its segments are there.

    Parameters
    ----------
    folder : Path
    generation : int
    files : dict of int to (SegmentFile, uint32 array)
        By the serial number of the segment: its file, and the checksums of its blocks.
    """

    folder: Path
    generation: int
    files: dict[int, tuple[SegmentFile, NDArray[np.uint32]]] = field(default_factory=dict)


def save(index: "Rows", path: str | os.PathLike[str], n_jobs: int | None = None) -> Path:
    """Commit what an index holds now as the next generation of a directory; see `Index.save`."""
    where = f"{type(index).__name__}.save"
    jobs = resolve_jobs(n_jobs)
    folder = Path(path)
    make_folder(folder)
    with _writing(folder, where):
        origin = index._origin
        same = origin is not None and origin.folder == folder.resolve()
        found = _generation(folder)
        if same and origin is not None and found != origin.generation:
            raise ValueError(
                f"{where}: {folder} is at generation {found}, and this index came from generation "
                f"{origin.generation}: another has saved there since; open it again and repeat the changes"
            )
        known = dict(origin.files) if same and origin is not None else {}
        segments, next_id = ([], 0) if index._core is None else index._core.state()
        arrays: dict[str, NDArray[Any]] = dict(index._saved_arrays())
        entries, files = [], {}
        for i, (segment, removed) in enumerate(segments):
            file = known.get(segment.serial) or write_segment(folder, segment, jobs)
            files[segment.serial] = file
            entries.append(asdict(file[0]))
            arrays[f"crcs.{i}"] = file[1]
            if removed is not None:
                arrays[f"removed.{i}"] = removed
        meta = {
            "class": _class_name(index),
            "arguments": index._saved_arguments(),
            "hasher": None if index.hasher is None else _write_hasher(folder, index.hasher, where),
            "generation": found + 1,
            "rows": len(index),
            "next_id": next_id,
            "segments": entries,
        }
        write_state(folder, STEM, arrays, meta)
        index._origin = Origin(folder.resolve(), found + 1, files)
        _sweep(folder, meta)
    return folder


def open_index(
    path: str | os.PathLike[str], *, mmap: bool = True, verify: str = "lazy", n_jobs: int | None = None
) -> "Index":
    """Open an index that was saved.

    Parameters
    ----------
    path : path
        The directory.
    mmap : bool
        Map the segments, so that opening takes no time, memory is used as rows are looked at, and processes share it;
        or read them into memory. Results are the same.
    verify : {"lazy", "full"}
        Check every block against its checksum when it is first used, or all of them now.
    n_jobs : int, optional
        Threads, for "full".

    Raises
    ------
    FileNotFoundError
        If there is no index.
    ValueError
        If a file is damaged, missing or of a version that this lshcore does not read; the message names it. With "lazy"
        a search may raise it too, before a damaged byte has any influence.
    """
    check_choice(verify, "open_index", "verify", VERIFY)
    jobs = resolve_jobs(n_jobs)
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a directory that an index was saved into, got a file")
    while True:
        arrays, meta = read_state(folder, STEM, _WHAT)
        try:
            index = _restore(folder, arrays, meta, mmap)
        except FileNotFoundError:
            if _generation(folder) == meta["generation"]:
                raise
            continue  # another process has just saved
        if verify == "full" and index._core is not None:
            for segment, _ in index._core.state()[0]:
                segment.verify(jobs)
        return index


def _restore(folder: Path, arrays: dict[str, NDArray[Any]], meta: Mapping[str, Any], mapped: bool) -> "Index":
    """The index of a manifest, whose checksum has been verified; what it says is checked all the same."""
    try:
        cls = registry.load(meta["class"], registry.INDEXES)
        hasher = None if meta["hasher"] is None else _read_hasher(folder, meta["hasher"])
        index: Index = cls._from_saved(meta["arguments"], arrays, hasher)
        entries = [SegmentFile(**entry) for entry in meta["segments"]]
        generation, next_id, rows = (_whole(meta[name], name) for name in ("generation", "next_id", "rows"))
        for entry in entries:
            _whole(entry.n_bytes, "n_bytes"), _whole(entry.n_rows, "n_rows")
            if not entry.name.startswith("segment-") or os.path.basename(entry.name) != entry.name:
                raise ValueError(f"segments must be named segment-HASH.safetensors, got {entry.name!r}")
        files = {}
        segments = []
        for i, entry in enumerate(entries):
            if index._core is None:
                raise ValueError("an index without columns must have no segments")
            crcs = arrays[f"crcs.{i}"]
            segment = open_segment(folder, entry, crcs, index._core, mapped)
            files[segment.serial] = (entry, crcs)
            segments.append((segment, arrays.get(f"removed.{i}")))
        if index._core is not None:
            index._core.restore(segments, next_id)
        if len(index) != rows:
            raise ValueError(f"rows must be {len(index)}, got {rows}")
    except FileNotFoundError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} must hold an index that this lshcore reads, got one that fails: {error}") from error
    index._origin = Origin(folder.resolve(), generation, files)
    return index


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return value


def _class_name(index: "Rows") -> str:
    target = f"{type(index).__module__}:{type(index).__qualname__}"
    for name, known in registry.INDEXES.items():
        if known == target:
            return name
    raise ValueError(f"{type(index).__name__}.save: the class must be in lshcore.registry.INDEXES, got {target}")


def _write_hasher(folder: Path, hasher: "Hasher", where: str) -> str:
    """Write a hasher under a name made of its content, unless it is there; returns the name."""
    arrays, meta = _saving.describe(hasher, where)
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    stem = f"hasher_{digest.hexdigest()[:16]}"
    if not (folder / f"{stem}.json").exists():
        write_state(folder, stem, arrays, meta)
    return stem


def _read_hasher(folder: Path, stem: Any) -> Any:
    if not isinstance(stem, str) or not stem.startswith("hasher_") or not stem.replace("_", "").isalnum():
        raise ValueError(f"the hasher must be named hasher_HASH, got {stem!r}")
    return _saving.rebuild("hasher", folder / f"{stem}.json", *read_state(folder, stem, "a hasher"))


def _generation(folder: Path) -> int:
    """The generation that is committed; 0 where there is no index."""
    try:
        return int(read_state(folder, STEM, _WHAT)[1]["generation"])
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _writing(folder: Path, where: str) -> Iterator[None]:
    """Be the only one who writes into a directory.

    Raises
    ------
    ValueError
        If another process, or another thread, is writing.
    """
    import fcntl

    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{where}: another is saving into {folder} at this moment; try again") from None
        yield
    finally:
        os.close(handle)


def _sweep(folder: Path, meta: Mapping[str, Any]) -> None:
    """Remove what the committed generation does not name: segments and hashers of older ones, half-written files."""
    keep = {entry["name"] for entry in meta["segments"]}
    removed = False
    for entry in list(os.scandir(folder)):
        stale = (
            (entry.name.startswith("segment-") and entry.name not in keep)
            or (entry.name.startswith("hasher_") and not entry.name.startswith(str(meta["hasher"])))
            or entry.name.startswith((".segment.", ".index", ".hasher_"))  # left by one who was killed: only we write
        )
        if stale:
            with contextlib.suppress(OSError):  # the next one tries again
                os.unlink(entry.path)
                removed = True
    if removed:
        sync_folder(folder)
