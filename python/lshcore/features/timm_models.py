"""Networks of timm, where it is installed, at their pooled features."""

import importlib
from pathlib import Path
from types import MethodType
from typing import Any

from . import weights as weights_files
from .backbones import RANDOM, TIMM, Backbone, seeded
from .imports import import_torchvision

# The network of the ready-made CIFAR features: the mean over all tokens of the last hidden state, the class token among
# them, of whole images squeezed to 384 x 384 (as `ViTModel` of transformers with its own image processor).
TOKEN_MEANS = "vit_large_patch32_384"


def timm_backbone(name: str, weights: str | Path | None, image_size: int | None, *, offline: bool) -> Backbone:
    """A network by its name in timm, after "timm:"; arguments and errors are those of `backbone`."""
    import_torchvision()
    try:
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ImportError(
            f"backbone {name!r} needs timm, which is not installed: pip install timm", name="timm"
        ) from None
    model_name = name.removeprefix(TIMM)
    if not timm.is_model(model_name):
        near = timm.list_models(f"*{model_name}*")[:3]
        also = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"backbone {name!r} is not known to timm{also}")
    module = _create(timm, name, model_name, weights, image_size, offline)
    if weights is not None and weights != RANDOM:
        head = module.pretrained_cfg.get("classifier") or "head"
        weights_files.load(module, weights, (head,) if isinstance(head, str) else tuple(head))
    config = timm.data.resolve_model_data_config(module)
    if image_size is not None:
        config["input_size"] = (3, image_size, image_size)
    if model_name.split(".")[0] == TOKEN_MEANS:
        _token_means(module)
        config |= {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"}
    return Backbone.of(
        module,
        timm.data.create_transform(**config, is_training=False),
        name=name,
        weights=str(module.pretrained_cfg.get("tag") or "published") if weights is None else Path(weights).name,
        transform=", ".join(f"{key} {value}" for key, value in sorted(config.items())),
        image_size=image_size,
    )


def _create(
    timm: Any, name: str, model_name: str, weights: str | Path | None, image_size: int | None, offline: bool
) -> Any:
    size = {} if image_size is None or not model_name.startswith(("vit_", "deit")) else {"img_size": image_size}
    if weights is None and offline:
        raise FileNotFoundError(
            f"backbone {name!r}: offline is set; give its weights with --weights FILE, or set HF_HUB_OFFLINE=1 in "
            f"its place if the cache of Hugging Face has them"
        )
    try:
        with seeded():
            return timm.create_model(model_name, pretrained=weights is None, num_classes=0, **size)
    except Exception as error:  # timm and the hub raise errors of their own for whatever fails on the way
        if weights is not None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise FileNotFoundError(
            f"the weights of {name!r} could not be had ({reason}): give them with --weights FILE"
        ) from error


def _token_means(module: Any) -> None:
    def forward(module: Any, images: Any) -> Any:
        return module.forward_features(images).mean(dim=1)

    module.forward = MethodType(forward, module)  # a copy of the module gets a method of its own
