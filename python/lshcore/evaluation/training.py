"""Fits one method on the train part of a data set, and keeps it in a directory as a model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import registry
from .._files import write_whole
from .._progress import Progress, part
from ..data import Dataset, ImageSet, find
from ..data.images import PIXELS
from ..hashers import Hasher
from ..neural.hashers import NeuralHasher
from ..preprocess import Preprocess
from .builders import build_codes
from .configurations import preprocessing
from .methods import METHODS
from .protocols import Split, draw
from .results import make_folder
from .sources import Sources, gather

HASHER_FILE, TRAINED_FILE = "hasher.json", "trained.json"


@dataclass(frozen=True)
class Wanted:
    """What to fit.

    Parameters
    ----------
    method : str
    bits : int
    arguments : mapping
        Further arguments of the hasher's constructor.
    seed : int
        Of the split and the hasher.
    protocol : str or None
    """

    method: str
    bits: int
    arguments: Mapping[str, Any]
    seed: int = 0
    protocol: str | None = None

    def make(self) -> Hasher:
        """The hasher, not fitted."""
        make = registry.load(self.method, registry.HASHERS)
        arguments = {"n_bits": self.bits, **self.arguments}
        if "random_state" in make().get_params():
            arguments["random_state"] = self.seed
        hasher: Hasher = make(**arguments)
        return hasher


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of it: the fitted hasher of a method, rows it learnt from, and the directory that holds it."""

    method: str
    hasher: Hasher
    n_rows: int
    folder: Path


def check_trainable(method: str) -> None:
    """Raise ValueError, naming those that there are, unless a method is a hasher with codes of any length."""
    known = [name for name, each in METHODS.items() if each.build is build_codes]
    if method not in known:
        raise ValueError(f"method must be one of {', '.join(known)}, got {method}")


def train(sources: Sources, wanted: Wanted, folder: Path, progress: Progress | None = None) -> Trained:
    """Fit a hasher on features, preprocessed as every evaluation does it; a training that was killed goes on.

    Raises
    ------
    ValueError
        If the directory holds a model already, there are features of several kinds, or the hasher cannot learn.
    OSError
        If the directory cannot be written.
    """
    _check_folder(folder)
    datasets = gather(sources, part(progress, 0.0, 0.3))
    if len(datasets) != 1:
        raise ValueError(f"train takes features of one kind, got {', '.join(each.features_name for each in datasets)}")
    data = datasets[0]
    split = draw(data, wanted.protocol, wanted.seed)
    usual: Mapping[str, Any] = preprocessing(None)
    step = Preprocess(**usual).fit(data.features, rows=split.train)
    x, y = step.transform(data.features, rows=split.train), data.labels[split.train]
    hasher = wanted.make()
    if isinstance(hasher, NeuralHasher):
        hasher.fit(x, y, checkpoint=folder, progress=part(progress, 0.3, 1.0))
    else:
        part(progress, 0.3, 1.0)(0.0, f"fitting {wanted.method}")
        hasher.fit(x, y)
    return _keep(folder, wanted, hasher, step, data, split)


def finetune(
    sources: Sources,
    wanted: Wanted,
    folder: Path,
    learning_rate: float,
    augment: bool,
    progress: Progress | None = None,
) -> Trained:
    """Fit a hasher and its backbone together on images; a training that was killed goes on.

    Raises
    ------
    ValueError
        If the directory holds a model already, there are no images, or the method or the backbone cannot learn so.
    OSError
        If the directory cannot be written.
    """
    from ..features import backbone as make_backbone
    from ..features.backbones import DSH_CNN
    from ..features.saved import save_backbone
    from ..neural import finetuning

    if not issubclass(registry.load(wanted.method), NeuralHasher):
        raise ValueError(f"method {wanted.method} cannot be trained together with a network, only on features")
    # A network that learns needs no hidden layers after it, and those that were published have none.
    hasher: Any = replace(wanted, arguments={"hidden": (), **wanted.arguments}).make()
    _check_folder(folder)
    images = find(sources.dataset, sources.data_dir, sources.labels)
    if not isinstance(images, ImageSet) or images.labels is None:
        raise ValueError(f"dataset {sources.dataset!r} must hold images with labels to train a network on them")
    data = images.with_features(np.zeros((len(images), 1), np.float32))  # the split depends on labels alone
    split = draw(data, wanted.protocol, wanted.seed)
    name = sources.backbones[0] if sources.backbones else images.backbone
    if name == PIXELS:  # of images this small a small network makes more
        name = DSH_CNN
    network = finetuning.finetune(
        hasher,
        images.images,
        images.labels,
        make_backbone(name, sources.weights, sources.image_size, offline=sources.offline),
        rows=split.train,
        learning_rate=learning_rate,
        augment=augment,
        checkpoint=folder,
        progress=progress,
    )
    save_backbone(network, folder)
    # The head was trained on features as they come.
    step = Preprocess(centre=False, l2=False).fit(np.zeros((1, network.dim), np.float32))
    return _keep(folder, wanted, hasher, step, data, split)


def _check_folder(folder: Path) -> None:
    if (folder / HASHER_FILE).exists():
        raise ValueError(f"{folder} holds a trained model already: remove it, or name another directory")
    make_folder(folder)


def _keep(folder: Path, wanted: Wanted, hasher: Hasher, step: Preprocess, data: Dataset, split: Split) -> Trained:
    """Write a model; the hasher last, because where that is, all is."""
    about = {
        "dataset": data.name,
        "protocol": split.name,
        "seed": wanted.seed,
        "split": split.digest,
        "rows": len(split.train),
    }
    write_whole(folder / TRAINED_FILE, (json.dumps(about, indent=1) + "\n").encode())
    step.save(folder)
    hasher.save(folder)
    for stale in folder.glob("training*"):
        stale.unlink()
    return Trained(wanted.method, hasher, len(split.train), folder)
