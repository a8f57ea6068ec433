"""Writing a feature store so that it can be killed at any moment and go on: rows first, then the count of rows."""

import errno
import fcntl
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import lshcore

from ..data.dataset import Extraction, sha256_of
from ..data.images import ImageSet
from . import files
from .imports import installed
from .store import (
    FEATURES,
    FORMAT,
    LABELS,
    META,
    NAMES,
    PROGRESS,
    QUERY,
    ROWS,
    SKIPPED,
    VERSION,
    FeatureStore,
    Skipped,
    check_configuration,
    damaged,
    read_meta,
    read_progress,
    read_skipped,
)

_LOCK = ".lock"
# What the features are called until all of them are there: nobody shall take a file of zeros for features.
_PART = "features.npy.part"
# Whose other versions may give other features.
_PACKAGES = ("torch", "torchvision", "timm", "pillow")


class StoreWriter:
    """A store that is being made; a context manager, since it keeps files open and others out.

    Rows are written and synced before the count of them is replaced, so that what is counted is on the disk: whoever
    is killed loses the batch it was at, and nothing else.

    Parameters
    ----------
    path : Path
        Made if need be.
    configuration : mapping
        Whatever makes features what they are; "images" (how many), "dim" and "dtype" among it.
    measured : mapping
        Figures to keep with a new store.

    Attributes
    ----------
    dim, dtype
        Of the rows.
    done : int
        Images that were looked at; the next batch begins there.
    """

    def __init__(self, path: Path, configuration: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._configuration = dict(configuration)
        self.dim: int = configuration["dim"]
        self.dtype = np.dtype(configuration["dtype"])
        self._row_bytes = self.dim * self.dtype.itemsize
        self._open: list[int] = []
        try:
            with files.explained(path):
                self._begin(measured or {})
        except BaseException:
            self.close()
            raise

    def _begin(self, measured: Mapping[str, Any]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        names = os.listdir(self.path)
        if META not in names and any(not name.startswith(".") for name in names):
            raise ValueError(f"{self.path} holds files that are no features of lshcore: choose an empty folder")
        self._lock()
        meta = read_meta(self.path)
        if meta is None:
            meta = {
                "format": FORMAT,
                "version": VERSION,
                "finished": False,
                "configuration": self._configuration,
                "measured": dict(measured),
                "versions": {"lshcore": lshcore.__version__} | {name: installed(name) for name in _PACKAGES},
            }
            files.replace(self.path / META, _json(meta))
        check_configuration(self.path, meta["configuration"], self._configuration)
        self._meta = meta
        self._progress = read_progress(self.path)
        if self.done < len(self):
            self._features = self._allocate()
            self._skipped = self._open_file(SKIPPED)
            os.truncate(self._skipped, self._progress["skipped_bytes"])

    def _lock(self) -> None:
        # A lock of the process (lockf): workers that outlive a killed parent for a moment do not hold it.
        descriptor = self._open_file(_LOCK)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise RuntimeError(f"another process is extracting features into {self.path}: wait for it") from None
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise

    def _open_file(self, name: str) -> int:
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._open.append(descriptor)
        return descriptor

    def _allocate(self) -> int:
        descriptor = self._open_file(_PART)
        header = self._header(len(self))
        if os.fstat(descriptor).st_size < len(header) + self._progress["rows"] * self._row_bytes and self.done:
            raise ValueError(damaged(self.path, f"{_PART} is shorter than what was written"))
        files.allocate(descriptor, len(header) + len(self) * self._row_bytes)
        files.write_at(descriptor, header, 0)
        files.sync(descriptor)
        files.sync_folder(self.path)
        return descriptor

    def _header(self, rows: int) -> bytes:
        """Of a .npy file; NumPy leaves room for longer numbers, so every number of rows has the same length."""
        content = io.BytesIO()
        description = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (rows, self.dim),
        }
        np.lib.format.write_array_header_1_0(content, description)
        return content.getvalue()

    def __len__(self) -> int:
        images: int = self._configuration["images"]
        return images

    @property
    def done(self) -> int:
        """Images that were looked at."""
        images: int = self._progress["images"]
        return images

    @property
    def skipped(self) -> list[Skipped]:
        """The images so far that could not be decoded."""
        return read_skipped(self.path)

    def append(
        self,
        features: NDArray[Any],
        skipped: Sequence[Skipped],
        *,
        seconds: float = 0.0,
        network_seconds: float = 0.0,
    ) -> None:
        """Add what the next images gave: a row each, but for those skipped. When this returns, it is kept.

        Raises
        ------
        OSError
            If the disk is full, or gone; what was kept before stays kept.
        """
        now = self._progress
        with files.explained(self.path):
            rows = np.ascontiguousarray(features, self.dtype)
            offset = len(self._header(0)) + now["rows"] * self._row_bytes
            files.write_at(self._features, rows.tobytes(), offset)
            files.sync(self._features)
            lines = b"".join(each.line() for each in skipped)
            if lines:
                files.write_at(self._skipped, lines, now["skipped_bytes"])
                files.sync(self._skipped)
            after = {
                "images": now["images"] + len(rows) + len(skipped),
                "rows": now["rows"] + len(rows),
                "skipped": now["skipped"] + len(skipped),
                "skipped_bytes": now["skipped_bytes"] + len(lines),
                "seconds": now["seconds"] + seconds,
                "network_seconds": now["network_seconds"] + network_seconds,
            }
            files.replace(self.path / PROGRESS, _json(after))
        self._progress = after

    def finish(self, image_set: ImageSet) -> FeatureStore:
        """Write what belongs beside the features, and open the whole.

        Raises
        ------
        ValueError
            If no image could be decoded.
        """
        now, made = self._progress, self._configuration
        if now["rows"] == 0:
            first = self.skipped[0]
            (self.path / PROGRESS).unlink()  # so that they are tried again
            raise ValueError(f"none of the {len(self):,} images could be decoded ({first.name}: {first.reason})")
        with files.explained(self.path):
            if (self.path / _PART).exists():  # or killed since
                descriptor = self._open_file(_PART)
                header = self._header(now["rows"])
                files.write_at(descriptor, header, 0)
                os.truncate(descriptor, len(header) + now["rows"] * self._row_bytes)
                files.sync(descriptor)
                files.rename(self.path / _PART, self.path / FEATURES)
            rows = np.delete(np.arange(len(self)), [each.index for each in self.skipped])
            if now["skipped"]:
                files.replace(self.path / ROWS, _npy(rows))
            if image_set.labels is not None:
                files.replace(self.path / LABELS, _npy(image_set.labels[rows]))
            split = image_set.official_split
            if split is not None and image_set.official_gallery is None and sum(map(len, split)) == len(image_set):
                files.replace(self.path / QUERY, _npy(np.flatnonzero(np.isin(rows, split[1]))))
            names = "".join(image_set.images.name(i).replace("\n", " ") + "\n" for i in rows.tolist())
            files.replace(self.path / NAMES, names.encode(errors="surrogateescape"))
            extraction = Extraction(
                backbone=made["backbone"],
                weights=made["weights"],
                checksum=made["checksum"],
                transform=made["transform"],
                milliseconds=1000 * now["seconds"] / len(self),
                skipped=now["skipped"],
            )
            figures = {
                "images": len(self),
                "skipped": now["skipped"],
                "seconds": now["seconds"],
                "images_per_second": len(self) / now["seconds"] if now["seconds"] else None,
                "network_share": now["network_seconds"] / now["seconds"] if now["seconds"] else None,
            }
            whole = self._meta | {
                "finished": True,
                "extraction": asdict(extraction),
                "figures": figures | self._meta["measured"],
                "class_names": image_set.class_names,
                "checksums": {each.name: sha256_of(each) for each in sorted(self.path.glob("*.npy"))},
            }
            files.replace(self.path / META, _json(whole))
        return FeatureStore.open(self.path)

    def close(self) -> None:
        """Close the files; the store can be gone on with."""
        while self._open:
            os.close(self._open.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()
