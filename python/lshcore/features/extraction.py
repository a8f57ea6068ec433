"""`extract`: the images of a data set through a backbone into a feature store."""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._progress import Progress
from .._validation import as_integer, check_choice
from ..data.images import ImageSet
from .backbones import Backbone
from .decode import Batch, Batches, Unreadable
from .fingerprint import fingerprint
from .loading import default_workers, load
from .network import Network, choose_precision, resolve_device, threads
from .store import FeatureStore, Skipped, check_configuration, read_meta, read_skipped
from .writer import StoreWriter

DTYPES = ("float16", "float32")
BATCH_SIZE = 64
# So many files in a row that the system cannot read are a disk that is gone, not images that are broken.
_GONE = 16


def extract(
    image_set: ImageSet,
    backbone: Backbone,
    directory: str | os.PathLike[str],
    *,
    dtype: str = "float16",
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    device: str | None = None,
    bf16: bool | None = None,
    progress: Progress | None = None,
    strict: bool = False,
) -> FeatureStore:
    """Make features of images, or finish making them.

    Killed or interrupted at any moment and called again, it goes on after the last batch that was finished; with the
    same batch size on the same machine the features are the same, bit for bit, as without the interruption. Images that
    cannot be decoded are left out and listed; see `lshcore.features.decode` for what is done to odd ones.

    Parameters
    ----------
    image_set : ImageSet
    backbone : Backbone
    directory : path
        Empty, or with what an earlier call left.
    dtype : {"float16", "float32"}
        Of the features on disk.
    batch_size : int
    workers : int, optional
        Processes that decode; 0 is none but this one.
    device : {"cpu", "cuda"}, optional
        A GPU if there is one. It is part of the configuration, since it changes the last bits.
    bf16 : bool, optional
        Compute in bfloat16. By default a CPU does where it is over 1.2 times as fast, found out on the first images of
        1,000 and more; what it costs is in the figures of the store. Decided once for a store.
    progress : callable, optional
        Told the share of what was left at the start, and the pace.
    strict : bool
        An image that cannot be decoded is an error.

    Returns
    -------
    FeatureStore

    Raises
    ------
    ValueError
        If the directory holds features of another configuration or other files; if features are not finite or too
        large for float16; if no image can be decoded, or, with `strict`, one cannot.
    OSError
        If the store cannot be written, or image after image cannot be read.
    RuntimeError
        If a process that decodes was ended, or another process writes the same store.
    """
    check_choice(dtype, "extract", "dtype", DTYPES)
    batch_size = as_integer(batch_size, "extract", "batch_size", low=1)
    workers = None if workers is None else as_integer(workers, "extract", "workers", low=0, high=1024)
    if len(image_set) == 0:
        raise ValueError(f"extract: dataset {image_set.name!r} has no images")
    folder = Path(directory)
    stored = read_meta(folder)
    if stored is not None and bf16 is None:
        bf16 = stored["configuration"].get("bf16")
    if device is None and stored is not None and stored["finished"]:
        device = stored["configuration"].get("device")  # nothing will be computed
    else:
        device = resolve_device(device)
    configuration = _configuration(image_set, backbone, dtype, device)
    if stored is not None:  # before any work
        check_configuration(folder, stored["configuration"], configuration | ({} if bf16 is None else {"bf16": bf16}))
        if strict:
            _refuse(read_skipped(folder))
        if stored["finished"]:
            return FeatureStore.open(folder)
    with threads():
        precision, measured = bool(bf16), dict[str, float]()
        if stored is None:
            precision, measured = choose_precision(backbone, image_set.images, device, bf16)
        with StoreWriter(folder, configuration | {"bf16": precision}, measured) as writer:
            if writer.done < len(writer):
                # With the same size, batches keep their boundaries, and every image is in the same company again.
                batches = Batches(image_set.images, backbone.prepare, batch_size, writer.done)
                count = default_workers(device) if workers is None else workers
                _run(load(batches, count, device), Network(backbone, device, precision), writer, strict, progress)
            return writer.finish(image_set)


def _configuration(image_set: ImageSet, backbone: Backbone, dtype: str, device: str) -> dict[str, Any]:
    return {
        "dataset": image_set.name,
        "images": len(image_set),
        "fingerprint": fingerprint(image_set),
        "backbone": backbone.name,
        "weights": backbone.weights,
        "checksum": backbone.checksum,
        "image_size": backbone.image_size,
        "transform": backbone.transform,
        "dim": backbone.dim,
        "dtype": dtype,
        "device": device,
    }


def _run(
    batches: Iterable[Batch], network: Network, writer: StoreWriter, strict: bool, progress: Progress | None
) -> None:
    start, started, unread = writer.done, time.perf_counter(), 0
    before = started
    for tensors, skipped in batches:
        if strict:
            _refuse(skipped)
        gone = tensors is None and all(isinstance(each, Unreadable) for each in skipped)
        unread = unread + len(skipped) if gone else 0
        if unread >= _GONE:
            raise OSError(
                f"{unread} images in a row could not be read, the last of them {skipped[-1].name} "
                f"({skipped[-1].reason}): see that their disk is there, and run the same command again to go on"
            )
        asked = time.perf_counter()
        features = np.empty((0, writer.dim), np.float32) if tensors is None else network(tensors)
        answered = time.perf_counter()
        rows = _storable(features, writer.dtype, writer.done, skipped)
        writer.append(rows, skipped, seconds=answered - before, network_seconds=answered - asked)
        before = answered
        if progress is not None:
            pace = (writer.done - start) / (time.perf_counter() - started)
            text = f"{writer.done:,} of {len(writer):,} images, {pace:,.1f} images/s"
            progress((writer.done - start) / (len(writer) - start), text)


def _refuse(skipped: Sequence[Skipped]) -> None:
    if skipped:
        first = skipped[0]
        raise ValueError(f"image {first.name} cannot be decoded ({first.reason}), and strict extraction skips none")


def _storable(
    features: NDArray[np.float32], dtype: "np.dtype[Any]", first: int, skipped: Sequence[Skipped]
) -> NDArray[Any]:
    """Features as they are stored, checked; `first` is the first image of the batch."""
    with np.errstate(over="ignore"):
        rows = features.astype(dtype)
    if not np.isfinite(rows).all():
        row = int(np.isfinite(rows).all(axis=1).argmin())
        left_out = {each.index for each in skipped}
        image = [i for i in range(first, first + len(rows) + len(skipped)) if i not in left_out][row]
        if np.isfinite(features[row]).all():
            raise ValueError(f"features of image {image} are too large for float16: extract with --dtype float32")
        raise ValueError(f"the backbone gives no finite features for image {image}: its weights cannot be right")
    return rows
