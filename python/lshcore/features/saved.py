"""Backbones in a folder, beside the hasher that goes with them."""

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._state import read_state, write_state
from .backbones import Backbone, blank
from .imports import import_torch
from .weights import checksum

STEM = "backbone"

_KEPT = ("name", "weights", "checksum", "dim", "transform", "image_size")


def save_backbone(backbone: Backbone, folder: str | os.PathLike[str]) -> Path:
    """Save a backbone into a directory, in place of what was saved there before.

    With ``hasher.save(folder)`` the directory holds everything that it takes to encode new images.

    Parameters
    ----------
    backbone : Backbone
    folder : path
        Made where missing. What else is in it stays.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    TypeError, ValueError
        If a weight is of a type or a name that cannot be kept.
    OSError
        If writing failed; what was saved there before still is.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in backbone.module.state_dict().items()}
    write_state(Path(folder), STEM, arrays, {name: getattr(backbone, name) for name in _KEPT})
    return Path(folder)


def open_backbone(folder: str | os.PathLike[str], like: Backbone | None = None) -> Backbone:
    """The backbone that was saved in a directory.

    Parameters
    ----------
    folder : path
    like : Backbone, optional
        One with the same network and transform and any weights, which stays as it is; needed for networks of one's own,
        which have no name that `backbone` knows.

    Raises
    ------
    ImportError
        If what makes the network is not installed.
    FileNotFoundError
        If no backbone is there.
    ValueError
        If a file is damaged, or this library makes another network or another transform of the name.
    """
    arrays, meta = read_state(Path(folder), STEM, "a backbone")
    path = Path(folder) / f"{STEM}.json"
    if sorted(meta) != sorted(_KEPT):
        raise ValueError(f"{path} must say {', '.join(_KEPT)} of a backbone, got {', '.join(meta)}")
    if like is None:
        try:
            like = blank(meta["name"], meta["image_size"], meta["transform"])
        except ValueError as error:
            raise ValueError(
                f"{path} holds backbone {meta['name']!r}, which cannot be made by that name ({error}): pass one like it"
            ) from error
    for name in ("dim", "transform"):
        if getattr(like, name) != meta[name]:
            raise ValueError(f"{path} must hold a backbone with {name} {getattr(like, name)!r}, got {meta[name]!r}")
    module = _filled(like.module, arrays, path)
    if checksum(module) != meta["checksum"]:
        raise ValueError(f"{path} must hold weights of checksum {meta['checksum']}, got {checksum(module)}")
    return replace(like, module=module, **meta)


def _filled(module: Any, arrays: dict[str, Any], path: Path) -> Any:
    """A copy of a network with these weights."""
    torch = import_torch()
    module = copy.deepcopy(module).cpu()
    try:
        module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} must hold weights of the network, got others ({reason})") from error
    return module.eval()
