"""Images as rows to train on: decoded by worker processes, shifted and mirrored the same way in every run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.images import ArrayImages, Images, pillow
from ..features.decode import Batch, prepared, stack
from ..features.imports import import_torch
from ..features.loading import load
from ..features.store import Skipped
from .checkpoints import fingerprint

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..features.backbones import Prepare

# An image is shifted by at most one in so many pixels of a side; and images that are decoded as they are at a time.
_SHIFT = 8
_ROWS = 64


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a collection of images.

    Parameters
    ----------
    images : Images
    rows : int64 (n,)
    """

    images: Images
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> "Image":
        return self.images[int(self.rows[i])]

    def name(self, i: int) -> str:
        """What the image is called in the collection."""
        return self.images.name(int(self.rows[i]))

    def checksum(self) -> str:
        """SHA-256 of the pixels, where they are in memory, else of the names."""
        if isinstance(self.images, ArrayImages):
            return fingerprint(self.images.pixels[self.rows])
        names = "\0".join(self.name(i) for i in range(len(self)))
        return fingerprint(np.frombuffer(names.encode(errors="surrogateescape"), np.uint8))


@dataclass(frozen=True, eq=False)
class Views:
    """Batches of images: each of `parts`, once for every view of them, views one after the other.

    Parameters
    ----------
    images : Images
    prepare : callable
        PIL image in mode RGB -> CPU tensor.
    parts : sequence of sequences of int
    count : int
        Views of a row.
    seeds : tuple of int, optional
        What the augmentation depends on beside the row and the view; without it there is none.
    """

    images: Images
    prepare: "Prepare"
    parts: Sequence[Sequence[int]]
    count: int = 1
    seeds: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, b: int) -> Batch:
        found = [prepared(self.images, partial(self._views, i), i) for i in self.parts[b]]
        skipped = [each for each in found if isinstance(each, Skipped)]
        if skipped:
            return None, skipped
        return stack([views[v] for v in range(self.count) for views in found]), []

    def _views(self, i: int, image: "Image") -> list[Any]:
        if self.seeds is None:
            return [self.prepare(image)] * self.count
        return [self.prepare(augmented(image, *self.seeds, i, view)) for view in range(self.count)]


def augmented(image: "Image", *seeds: int) -> "Image":
    """An image shifted by up to an eighth of its sides, with black moving in, and mirrored every other time."""
    draw = np.random.default_rng(seeds)
    width, height = image.size
    x, y = (int(draw.integers(-(side // _SHIFT), side // _SHIFT + 1)) for side in (width, height))
    if draw.random() < 0.5:
        image = image.transpose(pillow().Transpose.FLIP_LEFT_RIGHT)
    return image.crop((x, y, x + width, y + height))


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images, as `training.Source` says.

    Parameters
    ----------
    images : Images
    prepare : callable
        PIL image in mode RGB -> CPU tensor.
    device : {"cpu", "cuda"}
    workers : int
        Processes that decode; with 0, this one does.
    augment : bool
        Whether `batches` shifts and mirrors, by seed, epoch and row alone.
    views : int
        How many views of each row `batches` gives.
    """

    whole: ClassVar[bool] = False

    images: Images
    prepare: "Prepare"
    device: str
    workers: int
    augment: bool
    views: int = 1

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: "Tensor") -> "Tensor":
        """Rows (b, ...)."""
        return import_torch().cat(list(self.blocks(rows)))

    def blocks(self, rows: "Tensor") -> Iterator["Tensor"]:
        """As `training.Source` says."""
        parts = [part.tolist() for part in rows.split(_ROWS)]
        return self._load(Views(self.images, self.prepare, parts))

    def batches(
        self, parts: Sequence["Tensor"], seed: int, epoch: int
    ) -> Iterator[tuple["Tensor", Sequence["Tensor"]]]:
        """As `training.Source` says."""
        seeds = (seed, epoch) if self.augment else None
        views = Views(self.images, self.prepare, [part.tolist() for part in parts], self.views, seeds)
        for rows, x in zip(parts, self._load(views), strict=True):
            yield rows, x.chunk(self.views)

    def _load(self, views: Views) -> Iterator["Tensor"]:
        for x, skipped in load(views, self.workers, self.device):
            if skipped:
                raise ValueError(
                    f"finetune: image {skipped[0].name} cannot be decoded ({skipped[0].reason}), and training needs "
                    f"every one: leave it out of rows"
                )
            assert x is not None
            yield x.to(self.device, non_blocking=True)
