"""What turns images into the vectors of an index, kept beside it so that new images become vectors of the same kind."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ._state import read_state, write_state
from .data.images import PIXELS, pillow

if TYPE_CHECKING:
    from .features import Backbone

STEM = "recipe"
FILE = f"{STEM}.json"

_BATCH = 64


@dataclass(frozen=True)
class Recipe:
    """Where vectors come from.

    Parameters
    ----------
    dataset : str
        The data set that the index was built of.
    backbone : str or None
        The network by its name, "pixels", or None where features were given.
    dim : int
        Columns of what it makes.
    weights : str or None
        As `lshcore.features.backbone` takes them; a file by its path.
    checksum : str or None
        SHA-256 of the weights.
    image_size : int or None
    bf16 : bool
        Whether the network computed in bfloat16.
    shape : tuple of int or None
        Of the images that pixels are of.
    own : bool
        Whether the network itself lies in the directory, because no name stands for it.
    """

    dataset: str
    backbone: str | None
    dim: int
    weights: str | None = None
    checksum: str | None = None
    image_size: int | None = None
    bf16: bool = False
    shape: tuple[int, ...] | None = None
    own: bool = False

    def save(self, folder: Path) -> None:
        """Write ``recipe.json``, with a checksum."""
        write_state(folder, STEM, {}, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """What ``recipe.json`` says; None where there is none.

        Raises
        ------
        ValueError
            If it is damaged, or of another version.
        FileNotFoundError
            If a part of it is missing.
        """
        path = folder / FILE
        if not path.exists():
            return None
        _, content = read_state(folder, STEM, "what an index was made of")
        try:
            if sorted(content) != sorted(field.name for field in fields(cls)):
                raise ValueError(f"fields {', '.join(content)}")
            if content["shape"] is not None:
                content["shape"] = tuple(content["shape"])
            recipe = cls(**content)
            texts = (recipe.backbone, recipe.weights, recipe.checksum)
            if type(recipe.dim) is not int or not all(text is None or isinstance(text, str) for text in texts):
                raise ValueError("values of other types")
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must say what an index was made of, got one that fails: {error}") from error
        return recipe

    def with_weights(self, weights: str | None) -> Self:
        """The same network, its weights looked for elsewhere."""
        return self if weights is None else replace(self, weights=weights)

    def network(self, folder: Path | None, offline: bool = False) -> "Backbone":
        """The network.

        Raises
        ------
        ImportError
            If torch or torchvision is missing.
        FileNotFoundError
            If the weights are not there.
        ValueError
            If they are not those that the index was made with, or there is no network.
        """
        if self.backbone in (None, PIXELS):
            what = "pixels" if self.backbone else "features that were given"
            raise ValueError(f"the index of {self.dataset!r} was made of {what}, and no network turns images into such")
        from .features import backbone, open_backbone

        if self.own and folder is not None:
            return open_backbone(folder)
        made = backbone(str(self.backbone), self.weights, self.image_size, offline=offline)
        if made.checksum != self.checksum:
            raise ValueError(
                f"weights of {self.backbone} must be those that the index was made with, of checksum {self.checksum}, "
                f"got {made.checksum} ({self.weights or 'the best published'})"
            )
        return made

    def vectors(
        self, images: Sequence[Any], folder: Path | None, device: str | None = None, offline: bool = False
    ) -> NDArray[np.float32]:
        """Vectors of images, float32 (n, dim).

        Parameters
        ----------
        images : sequence of path or PIL image
        folder : Path, optional
            Where a network of its own lies.
        device : {"cpu", "cuda"}, optional
        offline : bool

        Raises
        ------
        ImportError, FileNotFoundError, ValueError
            As `network`; and if an image cannot be decoded, or is not of the size that pixels are of.
        """
        given = Given(images)
        given.check()
        if self.backbone == PIXELS:
            return np.stack([self._pixels(given, i) for i in range(len(given))])
        network = self.network(folder, offline)
        from .features.decode import Batches
        from .features.network import Network, resolve_device, threads

        with threads():
            run = Network(network, resolve_device(device), self.bf16)
            parts = [np.empty((0, self.dim), np.float32)]
            batches = Batches(given, network.prepare, _BATCH)
            for b in range(len(batches)):
                tensors, skipped = batches[b]
                for each in skipped:
                    raise ValueError(f"image {each.name} cannot be decoded ({each.reason})")
                # As features are kept, so that an image is at distance 0 from itself.
                parts.append(run(tensors).astype(np.float16).astype(np.float32))
        return np.concatenate(parts)

    def _pixels(self, given: "Given", i: int) -> NDArray[np.float32]:
        shape = self.shape or ()
        with given[i] as image:
            pixels = np.asarray(image.convert("RGB" if len(shape) == 3 else "L"))
        if pixels.shape != shape:
            wanted, came = (" x ".join(map(str, size[1::-1])) for size in (shape, pixels.shape))
            raise ValueError(f"image {given.name(i)} must have {wanted} pixels, as those of the index, got {came}")
        return pixels.reshape(-1).astype(np.float32)


class Given:
    """Images as a caller has them, by path or opened."""

    def __init__(self, images: Sequence[Any]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> Any:
        image = self._images[i]
        return pillow().open(image) if isinstance(image, str | os.PathLike) else image.copy()

    def name(self, i: int) -> str:
        """Its path, or its number."""
        image = self._images[i]
        return os.fspath(image) if isinstance(image, str | os.PathLike) else str(i)

    def check(self) -> None:
        """Raise FileNotFoundError unless every file is there."""
        for image in self._images:
            if isinstance(image, str | os.PathLike) and not os.path.isfile(image):
                raise FileNotFoundError(f"image {os.fspath(image)} was not found")


def is_path(value: Any) -> bool:
    """Whether a value is a path."""
    return isinstance(value, str | os.PathLike)


def is_image(value: Any) -> bool:
    """Whether a value is a path, or an opened image, rather than a vector."""
    return is_path(value) or (hasattr(value, "convert") and hasattr(value, "getbands"))
