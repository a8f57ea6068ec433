"""Networks that make features: torchvision's classifiers without their last layer, timm's, DSH's, and one's own."""

import difflib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from . import weights as weights_files
from .imports import import_torch, import_torchvision

if TYPE_CHECKING:
    from PIL.Image import Image

    Prepare = Callable[[Image], Any]

TIMM = "timm:"
DSH_CNN = "dsh-cnn"
RANDOM = "random"


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network, and what is done to an image before it; `backbone` and `Backbone.of` make one.

    Parameters
    ----------
    name : str
        A name of torchvision, "timm:NAME", or of one's own.
    weights : str
        Which weights it has: the name of a published set, a file, "random", or "finetuned".
    checksum : str
        SHA-256 of the weights (`weights.checksum`).
    dim : int
        Features an image.
    transform : str
        What is done to an image, in words.
    image_size : int or None
        As asked for; None is what the weights were made for.
    module : torch.nn.Module
        In evaluation mode: (b, ...) of what `prepare` makes -> (b, dim).
    prepare : callable
        PIL image in mode RGB -> CPU tensor.
    """

    name: str
    weights: str
    checksum: str
    dim: int
    transform: str
    image_size: int | None
    module: Any = field(repr=False)
    prepare: "Prepare" = field(repr=False)

    @classmethod
    def of(
        cls,
        module: Any,
        prepare: "Prepare",
        *,
        name: str = "own",
        weights: str = "given",
        transform: str | None = None,
        image_size: int | None = None,
    ) -> Self:
        """A backbone of one's own network, which is put into evaluation mode.

        Parameters
        ----------
        module : torch.nn.Module
            Gives (b, d) for a batch of b.
        prepare : callable
            PIL image in mode RGB -> CPU tensor, every one of the same shape. Where processes cannot be forked it must
            be possible to pickle it.
        name, weights : str
            What tables call it.
        transform : str, optional
            What `prepare` does, in words; features made with other words are never taken for these. Its ``repr`` if
            not given, of a function its name.
        image_size : int, optional

        Raises
        ------
        ValueError
            If a probe image does not come out as (1, d).
        """
        torch = import_torch()
        from PIL import Image

        module = module.eval()
        device = next((each.device for each in module.parameters()), "cpu")
        try:
            with torch.inference_mode():
                features = module(prepare(Image.new("RGB", (256, 256))).unsqueeze(0).to(device))
        except (AssertionError, RuntimeError, ValueError) as error:
            size = f" at image size {image_size}" if image_size else ""
            reason = " ".join(str(error).split())
            raise ValueError(f"backbone {name!r} does not run{size}: {reason}") from error
        if not isinstance(features, torch.Tensor) or features.ndim != 2:
            shape = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            raise ValueError(f"backbone {name!r} must give a matrix (images, features), got {shape}")
        return cls(
            name=name,
            weights=weights,
            checksum=weights_files.checksum(module),
            dim=features.shape[1],
            transform=transform or _in_words(prepare),
            image_size=image_size,
            module=module,
            prepare=prepare,
        )


def backbone(
    name: str, weights: str | Path | None = None, image_size: int | None = None, *, offline: bool = False
) -> Backbone:
    """A network by name, without its classifier.

    Parameters
    ----------
    name : str
        A classifier of torchvision ("resnet18", "vit_b_16", "alexnet", ...), whose features are the input of its last
        layer, "timm:NAME", or "dsh-cnn", the small network of deep supervised hashing, for 32 x 32 pixels.
    weights : str or path, optional
        A file, "random" (always the same ones, for tests), or published ones: by their name in torchvision
        ("IMAGENET1K_V1", ...), whose transform is then used, or None for the best ("dsh-cnn" has none: None is
        "random"). They are downloaded into torch's cache unless they are there.
    image_size : int, optional
        Side of what the network sees, in pixels; as published if not given.
    offline : bool
        Nothing is downloaded.

    Raises
    ------
    ImportError
        If torch, torchvision or timm is missing, or they do not fit each other.
    ValueError
        If the name is unknown, the network cannot take the size, or the weights do not fit.
    FileNotFoundError
        If the weights are not there and cannot be downloaded; the message says what to put where.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    if name.startswith(TIMM):
        from .timm_models import timm_backbone

        return timm_backbone(name, weights, image_size, offline=offline)
    if name == DSH_CNN:
        from .dsh_cnn import dsh_cnn

        return dsh_cnn(weights, image_size)
    return _torchvision_backbone(name, weights, image_size, offline)


def blank(name: str, image_size: int | None, transform: str) -> Backbone:
    """A network by name with random weights, and of the transforms of its published ones that of these words."""
    if name.startswith(TIMM) or name == DSH_CNN:
        return backbone(name, RANDOM, image_size)
    return _torchvision_backbone(name, RANDOM, image_size, True, transform)


def _torchvision_backbone(
    name: str, weights: str | Path | None, image_size: int | None, offline: bool, transform: str | None = None
) -> Backbone:
    models = import_torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, [*known, DSH_CNN], 3)
        also = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"backbone must be a classifier of torchvision, {DSH_CNN} or {TIMM}NAME, got {name!r}{also}")
    offered = models.get_model_weights(name)
    named = weights is None or str(weights) in offered.__members__
    chosen = offered[str(weights)] if named and weights is not None else offered.DEFAULT
    if not named and weights_files.is_published_name(weights):
        known = [each.name for each in offered]
        raise ValueError(f"weights of {name} must be {', '.join(known)}, a file or {RANDOM!r}, got {str(weights)!r}")
    if transform is not None:
        chosen = next((each for each in offered if _said(_transform(each, image_size)) == transform), chosen)
    prepare = _transform(chosen, image_size)
    with seeded():
        module = models.get_model(name, weights=None, **_arguments(name, prepare.crop_size[0]))
    head = remove_classifier(module)
    if named:
        weights_files.load(module, weights_files.published(chosen.url, name, offline), (head,))
    elif weights is not None and weights != RANDOM:
        weights_files.load(module, weights, (head,))
    return Backbone.of(
        module,
        prepare,
        name=name,
        weights=chosen.name if weights is None or named else Path(weights).name,
        transform=_said(prepare),
        image_size=image_size,
    )


def _transform(published: Any, image_size: int | None) -> Any:
    """What torchvision does to an image before a network with published weights."""
    prepare = published.transforms()
    if image_size is None:
        return prepare
    resize = round(image_size * prepare.resize_size[0] / prepare.crop_size[0])
    return published.transforms(crop_size=image_size, resize_size=resize)


def _said(prepare: Any) -> str:
    return (
        f"resize {prepare.resize_size[0]} ({prepare.interpolation.value}), crop {prepare.crop_size[0]}, "
        f"mean {_numbers(prepare.mean)}, std {_numbers(prepare.std)}"
    )


def _arguments(name: str, size: int) -> dict[str, Any]:
    """What some constructors need to be what their published weights are for."""
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit"):
        return {"input_size": (size, size)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "transform_input": True, "init_weights": False}
    return {}


def remove_classifier(module: Any) -> str:
    """Take the last linear layer out of a network, and return its name.

    SqueezeNet has none: its classifier, a convolution, makes way for the mean over all places.
    """
    nn = import_torch().nn
    linear: list[str] = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        module.classifier = nn.AdaptiveAvgPool2d(1)
        return "classifier"
    parent, _, last = linear[-1].rpartition(".")
    setattr(module.get_submodule(parent), last, nn.Identity())
    return linear[-1]


@contextmanager
def seeded() -> Iterator[None]:
    """Within, random weights are always the same; torch's own generator stays as it was."""
    torch = import_torch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _in_words(prepare: "Prepare") -> str:
    """``repr``, without the addresses that make it another text in another process."""
    name = getattr(prepare, "__qualname__", None) or repr(prepare)
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(name.split()))


def _numbers(values: Any) -> str:
    return "/".join(f"{value:g}" for value in values)
