"""One SHA-256 for a set of images and their labels, so that features are never taken for those of other images."""

import hashlib

import numpy as np

from ..data.images import ArrayImages, ImageSet
from ..data.parquet_images import ParquetImages


def fingerprint(image_set: ImageSet) -> str:
    """SHA-256 of images, in order, and labels: of pixels where they are in memory, else of names and sizes of files.

    The content of image files is not read, which would take as long as decoding them; of Parquet files, the footers.
    """
    digest = hashlib.sha256()
    images = image_set.images
    if isinstance(images, ArrayImages):
        digest.update(f"pixels {images.pixels.shape}\n".encode())
        digest.update(np.ascontiguousarray(images.pixels).data)
    elif isinstance(images, ParquetImages):  # whose names take seconds a million
        digest.update(f"rows {len(images)} {images.column!r} {image_set.source.checksum}\n".encode())
        digest.update(np.ascontiguousarray(images.groups).data)
    else:
        digest.update(f"names {len(images)} {image_set.source.checksum}\n".encode())
        for i in range(len(images)):
            digest.update(images.name(i).encode(errors="surrogateescape") + b"\0")
    labels = image_set.labels
    if labels is not None:
        digest.update(f"labels {labels.shape} {labels.dtype.kind}\n".encode())
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
