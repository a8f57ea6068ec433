"""State on disk: arrays by name and what JSON can hold, in two files that are replaced together or not at all.

``STEM.json`` names the file of the arrays, ``STEM-HASH.safetensors``, with its size and checksum, and holds a checksum
of itself. A new state first writes arrays under another name; replacing the JSON is the commit.
"""

import contextlib
import hashlib
import json
import os
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._files import make_folder, open_regular, remove, sync_folder, write_whole

VERSION = 1

# Large things belong into arrays; a reader need not take in more than this to find that a file is none of ours. An
# object of two bytes takes 64 in memory.
_MAX_JSON_BYTES = 1 << 22

_KEY = re.compile(r"(?!__metadata__$)\w+(\.\w+)*", re.ASCII)
_DAMAGED = "restore it from a copy, or save again"


def write_state(folder: Path, stem: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Write a state in place of any old one of this stem; a crash leaves the old one or this.

    There may be one writer at a time, and any number of readers.

    Parameters
    ----------
    folder : Path
        Made where missing.
    stem : str
        What the files' names start with.
    arrays : mapping of str to ndarray
        Of any shape; bool, integers, float16 to float64 or complex64. Keys are words of ASCII letters, digits and
        underscores, with dots between.
    meta : mapping of str to JSON-able
        Finite numbers alone; tuples come back as lists.

    Raises
    ------
    TypeError, ValueError
        If the arrays or `meta` cannot be kept; nothing is written then.
    OSError
        If writing failed; the old state is still there, unless all that failed was to make the new one durable.
    """
    content = _encode_arrays(arrays)
    digest = hashlib.sha256(content).hexdigest()
    name = f"{stem}-{digest[:16]}.safetensors"
    text = _encode_json(stem, meta, {"file": name, "bytes": len(content), "sha256": digest})
    path = folder / f"{stem}.json"
    make_folder(folder)
    try:
        write_whole(folder / name, content)
        sync_folder(folder)  # the JSON must not outlive, in a power cut, the name that it holds
        write_whole(path, text)
        sync_folder(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            if not path.exists() or name.encode() not in path.read_bytes():
                (folder / name).unlink()
        raise
    with contextlib.suppress(OSError):  # the new state stands; the next save tries again
        _remove_others(folder, stem, name)


def read_meta(folder: Path, stem: str, what: str) -> dict[str, Any]:
    """Meta alone of the last state written; raises what `read_state` raises."""
    path = folder / f"{stem}.json"
    return _decode_json(_read(path, f"to load {what}", limit=_MAX_JSON_BYTES), path, stem, what)[0]


def read_state(folder: Path, stem: str, what: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and meta of the last state written; `what` is what a message calls it, such as ``"a hasher"``.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If a file is damaged, was not written by `write_state`, or is of a version that this lshcore does not read.
    OSError
        If a file cannot be read.
    """
    path = folder / f"{stem}.json"
    text = _read(path, f"to load {what}", limit=_MAX_JSON_BYTES)
    while True:
        meta, entry = _decode_json(text, path, stem, what)
        arrays_path = folder / entry["file"]
        try:
            content = _read(arrays_path, f"as {path.name} names it", size=entry["bytes"])
        except FileNotFoundError:
            before, text = text, _read(path, f"to load {what}", limit=_MAX_JSON_BYTES)
            if text == before:
                raise
            continue  # another process has just saved
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ValueError(
                f"{arrays_path} must have the checksum that {path.name} gives, got another: it is damaged; {_DAMAGED}"
            )
        return _decode_arrays(content, arrays_path), meta


def _encode_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    from safetensors import SafetensorError
    from safetensors.numpy import save

    for key in arrays:
        if not _KEY.fullmatch(key):
            raise ValueError(f"write_state: keys of arrays must be words with dots between, got {key!r}")
    try:
        # safetensors writes memory as it lies, whatever the strides.
        return save({key: np.asarray(array, order="C") for key, array in arrays.items()})
    except SafetensorError as error:
        raise TypeError(f"write_state: arrays must have a dtype that safetensors takes, got {error}") from error


def _decode_arrays(content: bytes, path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold arrays as lshcore writes them, got {error!r}; {_DAMAGED}") from error
    for key, array in arrays.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"{path} must name arrays by words, got {reprlib.repr(key)}; {_DAMAGED}")
        if array.dtype == np.bool_ and array.size > 0 and array.view(np.uint8).max() > 1:
            raise ValueError(f"{path} must hold 0 and 1 alone as bools of {key}, got others; {_DAMAGED}")
    return arrays


def _render(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _indentation(content: Any) -> int:
    """White space in bytes that a content is rendered with; where a text has less, rendering could take gigabytes."""
    total, depth, level = 0, 0, [content]
    while level:
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        depth += 1
        total += depth * len(level)
    return total


def _encode_json(stem: str, meta: Mapping[str, Any], entry: dict[str, Any]) -> bytes:
    content = {"format": f"lshcore.{stem}", "version": VERSION, "meta": dict(meta), "arrays": entry}
    try:
        content["checksum"] = hashlib.sha256(_render(content)).hexdigest()
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"write_state: meta must be what JSON can hold, got {error}") from error
    text = _render(content)
    if len(text) > _MAX_JSON_BYTES:
        raise ValueError(f"write_state: meta must take at most {_MAX_JSON_BYTES} bytes of JSON, got {len(text)}")
    return text


def _decode_json(text: bytes, path: Path, stem: str, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Meta, and what is said of the file of the arrays."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON that lshcore wrote, got {error}; {_DAMAGED}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != f"lshcore.{stem}":
        raise ValueError(
            f"{path} must be of format 'lshcore.{stem}', which holds {what}, got format {reprlib.repr(found)}; "
            "pass the directory that it was saved into"
        )
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(
            f"{path} must be of version {VERSION}, the one that this lshcore reads, got version "
            f"{reprlib.repr(version)}; load it with the lshcore that wrote it, or a newer one"
        )
    checksum = content.pop("checksum", None)
    try:
        # Byte for byte what would be written: no other order, no key twice, no NaN.
        whole = _indentation(content) <= len(text)
        whole = whole and hashlib.sha256(_render(content)).hexdigest() == checksum
        whole = whole and _render({**content, "checksum": checksum}) == text
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise ValueError(f"{path} must have the checksum that it gives, got another: it is damaged; {_DAMAGED}")
    meta, entry = content.get("meta"), content.get("arrays")
    if not isinstance(meta, dict) or not isinstance(entry, dict):
        raise ValueError(f"{path} must hold 'meta' and 'arrays', got {reprlib.repr(list(content))}; {_DAMAGED}")
    digest = str(entry.get("sha256"))
    named = re.fullmatch("[0-9a-f]{64}", digest) and entry.get("file") == f"{stem}-{digest[:16]}.safetensors"
    if not named or type(entry.get("bytes")) is not int:
        raise ValueError(
            f"{path} must name the size and checksum of a file {stem}-CHECKSUM.safetensors beside it, "
            f"got {reprlib.repr(entry)}; {_DAMAGED}"
        )
    return meta, entry


def _read(path: Path, why: str, size: int | None = None, limit: int | None = None) -> bytes:
    """Content of a regular file of exactly `size` bytes, or at most `limit`; nothing else is opened or waited for."""
    try:
        handle = open_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} must be there {why}, got no such file; pass the whole directory that it was saved into"
        ) from None
    with open(handle, "rb") as file:
        found = os.fstat(handle).st_size
        if (size is not None and found != size) or (limit is not None and found > limit):
            wanted = f"at most {limit}" if size is None else f"{size}"
            raise ValueError(f"{path} must have {wanted} bytes, got {found}: it is damaged; {_DAMAGED}")
        return file.read(found)


def _remove_others(folder: Path, stem: str, name: str) -> None:
    """Remove arrays of older states, and what writers that were killed left behind."""
    arrays = re.compile(rf"{re.escape(stem)}-[0-9a-f]{{16}}\.safetensors")
    leftover = re.compile(rf"\.({arrays.pattern}|{re.escape(stem)}\.json)\.\d+")
    for entry in list(os.scandir(folder)):
        if entry.name != name and (arrays.fullmatch(entry.name) or leftover.fullmatch(entry.name)):
            remove(Path(entry.path))
