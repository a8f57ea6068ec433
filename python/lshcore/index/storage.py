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
import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _saving, registry
from lshcore._files import make_folder, remove, sync_folder
from lshcore._state import read_meta, read_state, write_state
from lshcore._validation import check_choice, resolve_jobs

from .segment_file import NAME, TEMPORARY, SegmentFile, is_there, open_segment, write_segment

if TYPE_CHECKING:
    from lshcore.hashers import Hasher

    from .container import Index
    from .rows import Rows

STEM = "index"
LOCK = ".lock"
VERIFY = ("lazy", "full")

_WHAT = "an index"
_HASHER = re.compile(r"hasher_[0-9a-f]{16}", re.ASCII)

# What only a save leaves in a directory, by the name of the generation's own and of others alike.
_OURS = re.compile(
    rf"{NAME.pattern}|{TEMPORARY.pattern}|{_HASHER.pattern}(\.json|-[0-9a-f]{{16}}\.safetensors)"
    rf"|\.(index|{_HASHER.pattern})(\.json|-[0-9a-f]{{16}}\.safetensors)\.\d+",
    re.ASCII,
)

# By the serial number of a segment: its file, and the checksums of its blocks.
Files = dict[int, tuple[SegmentFile, NDArray[np.uint32]]]


@dataclass
class Origin:
    """What of an index is in which directory.

    Parameters
    ----------
    folder : Path
        The directory that it was opened from or saved to last.
    generation : int
        Of that directory, then.
    commits : dict of Path to dict of str to Files
        By directory and commit: the one that was opened or saved there last, and those of saves that failed after it,
        of which one may stand.
    """

    folder: Path
    generation: int
    commits: dict[Path, dict[str, Files]]


def save(index: "Rows", path: str | os.PathLike[str], n_jobs: int | None = None) -> Path:
    """Commit what an index holds now as the next generation of a directory; see `Index.save`."""
    where = f"{type(index).__name__}.save"
    jobs = resolve_jobs(n_jobs)
    folder = Path(path)
    make_folder(folder)
    with _writing(folder, where):
        found = _committed(folder, where)
        place = folder.resolve()
        origin = index._origin or Origin(place, 0, {})
        ours = origin.commits.get(place, {})
        if ours and found is not None and found["commit"] not in ours:
            raise ValueError(
                f"{where}: {folder} is at generation {found['generation']}, and this index came from another: somebody "
                "has saved there since; open it again and repeat the changes"
            )
        known = {} if found is None else ours.get(found["commit"], {})
        segments, next_id = ([], 0) if index._core is None else index._core.state()
        arrays: dict[str, NDArray[Any]] = dict(index._saved_arrays())
        entries, files, rows = [], Files(), 0
        for i, (segment, removed) in enumerate(segments):
            file = known.get(segment.serial)
            if file is None or not is_there(folder, file[0]):
                file = write_segment(folder, segment, jobs)
            files[segment.serial] = file
            entries.append(asdict(file[0]))
            rows += segment.n_rows
            arrays[f"crcs.{i}"] = file[1]
            if removed is not None:
                arrays[f"removed.{i}"] = removed
                rows -= int(np.unpackbits(removed).sum(dtype=np.int64))
        meta: dict[str, Any] = {
            "class": _class_name(index),
            "arguments": index._saved_arguments(),
            "hasher": None if index.hasher is None else _write_hasher(folder, index.hasher, where),
            "generation": 1 if found is None else found["generation"] + 1,
            "rows": rows,  # of these segments: another thread may be adding
            "next_id": next_id,
            "segments": entries,
        }
        commit = meta["commit"] = _digest(arrays, meta)
        # A write that fails at its last step may have been the commit; one that failed before must not stop the next.
        before = ours or ({} if found is None else {found["commit"]: Files()})
        index._origin = replace(origin, commits={**origin.commits, place: {**before, commit: files}})
        write_state(folder, STEM, arrays, meta)
        index._origin = Origin(place, meta["generation"], {**origin.commits, place: {commit: files}})
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
            if read_meta(folder, STEM, _WHAT) == meta:
                raise
            continue  # another process has just saved
        if verify == "full":
            _verify(index, folder, meta, jobs)
        return index


def _restore(folder: Path, arrays: dict[str, NDArray[Any]], meta: Mapping[str, Any], mapped: bool) -> "Index":
    """The index of a manifest, whose checksum has been verified; what it says is checked all the same."""
    try:
        found = {key: value for key, value in meta.items() if key != "commit"}
        if meta["commit"] != _digest(arrays, found):
            raise ValueError("commit must be made of all else")
        cls = registry.load(meta["class"], registry.INDEXES)
        hasher = None if meta["hasher"] is None else _read_hasher(folder, meta["hasher"])
        index: Index = cls._from_saved(meta["arguments"], arrays, hasher)
        next_id, rows = (_whole(meta[name], name) for name in ("next_id", "rows"))
        _whole(meta["generation"], "generation")
        files = Files()
        segments = []
        for i, said in enumerate(meta["segments"]):
            entry = _entry(said, next_id)
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
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder} must hold an index that this lshcore reads, got one that fails: {_line(error)}"
        ) from error
    place = folder.resolve()
    index._origin = Origin(place, meta["generation"], {place: {meta["commit"]: files}})
    return index


def _verify(index: "Index", folder: Path, meta: Mapping[str, Any], jobs: int) -> None:
    """Check every block, and what only all ids together show."""
    if index._core is None:
        return
    for segment, _ in index._core.state()[0]:
        segment.verify(jobs)
    ids = np.sort(index._core.ids)
    if len(ids) > 0 and ((ids[1:] == ids[:-1]).any() or ids[-1] >= meta["next_id"]):
        raise ValueError(f"{folder} must hold each id once, and all below next_id {meta['next_id']}, got others")
    if index._names is not None:
        try:
            index._names.check(ids)
        except ValueError as error:
            raise ValueError(f"{folder} must hold a name for each row, got {_line(error)}") from error


def _entry(said: Mapping[str, Any], next_id: int) -> SegmentFile:
    """What a manifest says of a segment, checked."""
    entry = SegmentFile(**said)
    if not isinstance(entry.name, str) or not NAME.fullmatch(entry.name):
        raise ValueError(f"segments must be named segment-HASH.safetensors, got {reprlib.repr(entry.name)}")
    _whole(entry.n_bytes, "n_bytes"), _whole(entry.n_rows, "n_rows")
    if type(entry.first_id) is not int or entry.first_id + entry.n_rows > max(next_id, entry.n_rows):
        raise ValueError(f"first_id must be below next_id {next_id}, got {reprlib.repr(entry.first_id)}")
    return entry


def _line(error: Exception) -> str:
    """What an error says, in one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else text[:500] + " ..."


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


def _digest(arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> str:
    """16 hexadecimal digits made of all content."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _write_hasher(folder: Path, hasher: "Hasher", where: str) -> str:
    """Write a hasher under a name made of its content, unless it is there, whole; returns the name."""
    arrays, meta = _saving.describe(hasher, where)
    stem = f"hasher_{_digest(arrays, meta)}"
    try:
        there = stem == f"hasher_{_digest(*read_state(folder, stem, 'a hasher'))}"
    except (OSError, ValueError):
        there = False
    if not there:
        write_state(folder, stem, arrays, meta)
    return stem


def _read_hasher(folder: Path, stem: Any) -> Any:
    if not isinstance(stem, str) or not _HASHER.fullmatch(stem):
        raise ValueError(f"the hasher must be named hasher_HASH, got {reprlib.repr(stem)}")
    arrays, meta = read_state(folder, stem, "a hasher")
    if stem != f"hasher_{_digest(arrays, meta)}":
        raise ValueError(f"{folder / stem}.json must hold the hasher that its name was made of, got another")
    return _saving.rebuild("hasher", folder / f"{stem}.json", arrays, meta)


def _committed(folder: Path, where: str) -> dict[str, Any] | None:
    """The manifest that is committed; None where there is no index."""
    try:
        meta = read_meta(folder, STEM, _WHAT)
        if not isinstance(meta["commit"], str):
            raise ValueError("commit must be text")
        _whole(meta["generation"], "generation")
    except FileNotFoundError:
        return None
    except (LookupError, ValueError) as error:  # it may be of a newer lshcore, or somebody may mend it
        raise ValueError(
            f"{where}: {folder} holds an index that cannot be read, and would be lost: {_line(error)}; save elsewhere, "
            "or remove it first"
        ) from error
    return meta


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
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # a child that was forked meanwhile has it open, too
        os.close(handle)


def _sweep(folder: Path, meta: Mapping[str, Any]) -> None:
    """Remove what the committed generation does not name: segments and hashers of older ones, half-written files."""
    keep = {entry["name"] for entry in meta["segments"]}
    hasher = str(meta["hasher"])
    with contextlib.suppress(OSError):  # the new generation stands; the next save tries again
        for entry in list(os.scandir(folder)):
            if _OURS.fullmatch(entry.name) and entry.name not in keep and not entry.name.startswith(hasher):
                remove(Path(entry.path))
        sync_folder(folder)
