"""A backbone and a head trained together, from images."""

import copy
import os
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._progress import Progress
from .._validation import as_integer, as_labels, as_numeric
from ..data.images import Images
from ..features.backbones import Backbone
from ..features.imports import import_torch
from ..features.loading import default_workers
from ..features.network import resolve_device
from ..features.weights import checksum
from .fitting import Material, compact, learn
from .hashers import NeuralHasher

FINETUNED = "finetuned"

# Held-out images that search, and images that they search, after each epoch: all of them are decoded again.
MOST_QUERIES, MOST_GALLERY = 500, 2_000

_WHERE = "finetune"
_MOST_RATE = 1e3


def finetune(
    hasher: NeuralHasher,
    images: Images,
    labels: ArrayLike | None,
    backbone: Backbone,
    *,
    rows: ArrayLike | None = None,
    learning_rate: float = 1e-5,
    augment: bool = True,
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Backbone:
    """Train a hasher on images together with the backbone that makes features of them.

    The hasher is fitted as `fit` would; it takes features of the backbone that is returned, and needs no torch to
    encode them. How long, how fast, and where to train are its own arguments. After each epoch `map` on held-out images
    (at most 500, which search 2,000) says which weights to keep. On a CPU the same seed gives the same weights to the
    last bit, whatever the number of workers, and whether or not training was killed and taken up again.

    Parameters
    ----------
    hasher : one of the trained hashers of `lshcore.hashers`
    images : Images
    labels : array_like, (n,) integers or (n, C) bools, or None
        One entry an image; methods without labels ignore them.
    backbone : Backbone
        Stays as it is.
    rows : array_like of int, optional
        The images to train on; all of them if not given.
    learning_rate : float
        Of the backbone, at the beginning; that of the head is the hasher's own.
    augment : bool
        Shift every image by up to an eighth of its sides, and mirror every other one, before the backbone's own
        transform.
    workers : int, optional
        Processes that decode; 0 is none but this one.
    checkpoint : path, optional
        A folder for the state of the training, written every ten seconds (less often where that takes long) and at the
        end; where it holds the state of the same training, that goes on. Of image files, names alone are compared.
    progress : callable, optional
        ``progress(share, text)``.

    Returns
    -------
    Backbone
        With the same name and transform and other weights, on the CPU.

    Raises
    ------
    ImportError
        If torch is missing.
    TypeError, ValueError
        If the hasher is none that is trained, or its method compares images of a batch with others at any time; if
        labels or rows do not fit the images, or an image cannot be decoded; and as `fit`.
    RuntimeError
        If a process that decodes was ended.

    References
    ----------
    H. Liu, R. Wang, S. Shan, X. Chen, "Deep supervised hashing for fast image retrieval", CVPR 2016.
    Z. Cao, M. Long, J. Wang, P. S. Yu, "HashNet: deep learning to hash by continuation", ICCV 2017, where the backbone
    learns at a tenth of the rate of the head.
    """
    if not isinstance(hasher, NeuralHasher):
        raise TypeError(f"{_WHERE}: hasher must be one that is trained (lshcore.hashers.DSH, ...), got {hasher!r}")
    if not isinstance(learning_rate, Real) or isinstance(learning_rate, bool):
        raise TypeError(f"{_WHERE}: learning_rate must be a number, got {learning_rate!r}")
    if not 0 <= learning_rate <= _MOST_RATE:
        raise ValueError(f"{_WHERE}: learning_rate must be from 0 to {_MOST_RATE:g}, got {learning_rate!r}")
    if workers is not None:
        workers = as_integer(workers, _WHERE, "workers", low=0, high=1024)
    chosen = _as_rows(rows, len(images))
    hasher._check_arguments(_WHERE, len(chosen))
    n_bits = hasher._count_bits(backbone.dim, _WHERE)
    known = _labels(hasher, labels, len(images))
    _refuse_others(hasher, known)
    if known is not None:
        known = compact(known[chosen])

    import_torch()
    from . import learners
    from .checkpoints import fingerprint
    from .pictures import Part, Pictures

    part = Part(images, chosen)
    device = resolve_device(hasher.device, _WHERE)
    views = getattr(learners, type(hasher).__name__).views if augment else 1
    count = default_workers(device) if workers is None else workers
    body = copy.deepcopy(backbone.module)
    identity: dict[str, Any] = {}
    if checkpoint is not None:
        identity = {
            "images": part.checksum(),
            "rows": len(part),
            "labels": fingerprint(known),
            "backbone": {name: getattr(backbone, name) for name in ("name", "checksum", "transform", "image_size")},
            "finetune": {"learning_rate": float(learning_rate), "augment": bool(augment)},
        }
    material = Material(
        source=Pictures(part, backbone.prepare, device, count, bool(augment), views),
        dim=backbone.dim,
        labels=known,
        device=device,
        identity=identity,
        most=(MOST_QUERIES, MOST_GALLERY),
        body=body,
        body_learning_rate=float(learning_rate),
    )
    learn(hasher, material, n_bits, None if checkpoint is None else Path(checkpoint), progress, _WHERE)
    hasher.n_features_in_ = backbone.dim
    hasher.n_bits_ = n_bits
    body.eval().cpu()
    for old, new in zip(backbone.module.parameters(), body.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    body.zero_grad()
    return replace(backbone, weights=FINETUNED, checksum=checksum(body), module=body)


def _as_rows(rows: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Numbers of images, checked."""
    if rows is None:
        return np.arange(n)
    found = as_numeric(rows, _WHERE, "rows")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise TypeError(f"{_WHERE}: rows must be integers (n,), got dtype {found.dtype} and shape {found.shape}")
    if len(found) and (found.min() < 0 or found.max() >= n):
        raise ValueError(f"{_WHERE}: rows must be from 0 to {n - 1}, got {found.min()} to {found.max()}")
    if len(np.unique(found)) < len(found):
        raise ValueError(f"{_WHERE}: rows must differ, got {len(found) - len(np.unique(found))} twice")
    return found.astype(np.int64)


def _labels(hasher: NeuralHasher, labels: ArrayLike | None, n: int) -> NDArray[Any] | None:
    """Labels of all images, where the hasher learns from them."""
    if labels is None and hasher._needs_labels:
        raise ValueError(f"{_WHERE}: {type(hasher).__name__} learns from labels, got None")
    if labels is None or not (hasher._needs_labels or hasher._takes_labels):
        return None
    return as_labels(labels, _WHERE, n)


def _refuse_others(hasher: NeuralHasher, labels: NDArray[Any] | None) -> None:
    """Raise ValueError if a method needs features of images outside of the batch."""
    name = type(hasher).__name__
    for argument, works in (("negatives", "all"), ("positives", "label")):
        value = getattr(hasher, argument, works)
        if value != works:
            raise ValueError(
                f"{_WHERE}: {name}({argument}={value!r}) needs features of other images than those of the batch, which "
                f"change with every step: set {argument}={works!r}, or extract features and fit on those"
            )
    if hasher._takes_labels and labels is None:
        raise ValueError(
            f"{_WHERE}: {name} without labels goes by the similarity of features, which change with every step: give "
            f"labels, take BiHalf or CIBHash, or extract features and fit on those"
        )
