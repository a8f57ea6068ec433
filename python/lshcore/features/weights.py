"""Weights of networks: published, or in a file; never unpickled into anything but tensors."""

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.dataset import sha256_of
from ..data.download import LOCAL_ERRORS, offline_by
from .imports import import_torch

# What a training setup puts before every name: DataParallel and torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
_NESTED = ("state_dict", "model")
# Batches seen in training: a buffer that changes nothing, and that old files lack.
_COUNTER = "num_batches_tracked"
# Published DenseNets have the names of an older torchvision.
_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
# Second classifiers of GoogLeNet and Inception, for training only.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_PUBLISHED_HASH = re.compile(r"-([a-f0-9]{8,})\.")
_PUBLISHED_NAME = re.compile(r"DEFAULT|IMAGENET1K_\w+")


def is_published_name(weights: str | os.PathLike[str] | None) -> bool:
    """Whether that is how torchvision calls published weights; there may be none of that name."""
    return _PUBLISHED_NAME.fullmatch(str(weights)) is not None


def checksum(module: Any) -> str:
    """SHA-256 of a network's weights: names, shapes and bytes, in order of names; the kind of file is no part of it."""
    torch = import_torch()
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not name.endswith(_COUNTER):
            plain = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {tuple(plain.shape)} {plain.dtype}\n".encode())
            digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def published(url: str, what: str, offline: bool) -> Path:
    """The file of published weights, downloaded unless torch's cache has it; its name holds the start of its SHA-256.

    Raises
    ------
    FileNotFoundError
        If it is not there and cannot be downloaded; the message says what to put where.
    ValueError
        If the file is not the published one.
    OSError
        If torch's cache cannot be written, or the disk is full.
    """
    torch = import_torch()
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    match = _PUBLISHED_HASH.search(path.name)
    expected = match[1] if match else ""
    said = offline_by(offline)
    by_hand = f"fetch {url} and put it at {path}, or give other weights (--weights FILE)"
    if not path.exists():
        if said:
            raise FileNotFoundError(f"the weights of {what} are not here, and {said} is set: {by_hand}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), expected or None, progress=False)
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
                raise OSError(
                    f"the weights of {what} cannot be kept in {path.parent} ({os.strerror(error.errno)}): make room, "
                    f"or name another directory with TORCH_HOME"
                ) from error
            reason = " ".join(str(error).split())
            raise FileNotFoundError(f"the weights of {what} could not be downloaded ({reason}): {by_hand}") from error
    elif not sha256_of(path).startswith(expected):
        raise ValueError(f"{path} is not the published file (its SHA-256 does not begin with {expected}): remove it")
    return path


def load(module: Any, path: str | os.PathLike[str], heads: tuple[str, ...] = ()) -> None:
    """Load a file of weights into a network.

    Parameters
    ----------
    module : torch.nn.Module
        Without its classifier.
    path : path
        .safetensors, or what `torch.save` wrote of a state dict (possibly under "state_dict" or "model").
    heads : tuple of str
        Names of the classifiers; what a file holds under them is left out.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it does not fit; the message names the first thing that does not.
    """
    path = Path(path)
    ignored = (*_AUXILIARY, *(f"{head}." for head in heads))
    own = module.state_dict()
    state = {name: tensor for name, tensor in _read(path).items() if name in own or not name.startswith(ignored)}
    for name, tensor in own.items():
        if name not in state and not name.endswith(_COUNTER):
            raise ValueError(f"{path} does not fit the backbone: it holds no {name!r}")
        if name in state and state[name].shape != tensor.shape:
            shapes = f"{tuple(state[name].shape)} where {tuple(tensor.shape)} is needed"
            raise ValueError(f"{path} does not fit the backbone: {name!r} has shape {shapes}")
    for name in state:
        if name not in own:
            raise ValueError(f"{path} does not fit the backbone: it holds {name!r}, which the backbone has not")
    module.load_state_dict(state, strict=False)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"weights must be a file, 'random' or left out, and there is no file {str(path)!r}")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    torch = import_torch()
    names = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{path} must hold a state dict, tensors by name, got {type(tensor).__name__} at {name!r}")
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        names[_DENSENET.sub(r"\1\2.", name)] = tensor
    return names


def _read_safetensors(path: Path) -> Mapping[Any, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Any] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} must be a whole .safetensors file ({error})") from error
    return state


def _read_torch(path: Path) -> Mapping[Any, Any]:
    torch = import_torch()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} must be a whole file of torch.save that holds tensors only; anything else in it is never run"
        ) from error
    for key in _NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} must hold a state dict, tensors by name, got {type(state).__name__}")
    return state
