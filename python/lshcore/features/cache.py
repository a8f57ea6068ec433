"""Features that were made once and are found again: a folder a configuration, under one cache directory."""

import hashlib
import json
import os
import re
from pathlib import Path

from .._progress import Progress
from ..data.dataset import sha256_of
from ..data.images import ImageSet
from .fingerprint import fingerprint
from .store import FORMAT, VERSION, FeatureStore, read_meta
from .weights import is_published_name

CACHE_VARIABLE = "LSHCORE_CACHE_DIR"


def cache_directory(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where features are kept: under `cache_dir`, else ``LSHCORE_CACHE_DIR``, else ``~/.cache/lshcore``."""
    root = cache_dir or os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "lshcore"
    return Path(root) / "features"


def default_directory(
    image_set: ImageSet,
    backbone: str,
    *,
    weights: str | Path | None = None,
    image_size: int | None = None,
    dtype: str = "float16",
    bf16: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """The folder of features by what they are made from: ``NAME-BACKBONE-<8 hex digits>``. torch is not needed.

    Raises
    ------
    FileNotFoundError
        If `weights` names a file that is not there.
    """
    named = weights is None or weights == "random" or is_published_name(weights)
    if not named and not Path(str(weights)).is_file():
        raise FileNotFoundError(f"weights must be a file, 'random' or left out, and there is no file {str(weights)!r}")
    asked = {
        "format": [FORMAT, VERSION],
        "images": [image_set.name, len(image_set), fingerprint(image_set)],
        "backbone": backbone,
        "weights": weights and str(weights) if named else sha256_of(Path(str(weights))),
        "image_size": image_size,
        "precision": [dtype, bf16],
    }
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
    return cache_directory(cache_dir) / f"{_plain(image_set.name)}-{_plain(backbone)}-{digest}"


def cached(
    image_set: ImageSet,
    backbone: str,
    *,
    weights: str | Path | None = None,
    image_size: int | None = None,
    dtype: str = "float16",
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    bf16: bool | None = None,
    strict: bool = False,
    offline: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FeatureStore:
    """Features of images by a backbone: those in the cache, else made now, or finished.

    Whole features are taken as they are, without torch, whatever device they were made on.

    Parameters
    ----------
    image_set, backbone, weights, image_size, offline
        As `backbone` takes them, the network by its name.
    dtype, batch_size, workers, device, bf16, strict, progress
        As `extract` takes them.
    cache_dir : path, optional
        See `cache_directory`.

    Raises
    ------
    ImportError, FileNotFoundError, ValueError, OSError, RuntimeError
        What `backbone` and `extract` raise.
    """
    folder = default_directory(
        image_set,
        backbone,
        weights=weights,
        image_size=image_size,
        dtype=dtype,
        bf16=bf16,
        cache_dir=cache_dir,
    )
    meta = read_meta(folder)
    if meta is not None and meta["finished"] and not (strict and meta["figures"]["skipped"]):
        return FeatureStore.open(folder)

    from .backbones import backbone as make
    from .extraction import BATCH_SIZE, extract

    return extract(
        image_set,
        make(backbone, weights, image_size, offline=offline),
        folder,
        dtype=dtype,
        batch_size=BATCH_SIZE if batch_size is None else batch_size,
        workers=workers,
        device=device,
        bf16=bf16,
        progress=progress,
        strict=strict,
    )


def _plain(name: str) -> str:
    """What can be part of a file name, on any system."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[-60:] or "images"
