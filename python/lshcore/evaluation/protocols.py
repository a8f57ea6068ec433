"""Who queries, who trains, who is searched. No query is ever in the gallery or in anything that is fitted.

Splits are drawn with `numpy.random.RandomState`, whose stream NumPy has frozen: a seed means the same split everywhere.
An item whose label is -1, unknown, takes part in no split.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .._files import write_whole
from ..data import Dataset

Indices = NDArray[np.int64]
Parts = tuple[Indices, Indices, Indices]

UNKNOWN = -1
HOLDOUT_SHARE = 0.2

_SCHEMA = "lshcore.split"
_PARTS = ("queries", "train", "gallery")


class _Unsuitable(Exception):
    """What a data set must have for a protocol, and what it has: "must have ..., got ..."."""


@dataclass(frozen=True, eq=False)
class Split:
    """A data set divided by a protocol.

    Parameters
    ----------
    name : str
        The protocol.
    seed : int
    queries, train, gallery : int64 arrays
        Indices into the data set, ascending.

    Raises
    ------
    ValueError
        If a part is empty or not ascending, or a query is also in the train part or the gallery.
    """

    name: str
    seed: int
    queries: Indices
    train: Indices
    gallery: Indices

    def __post_init__(self) -> None:
        for part, indices in self._parts().items():
            if len(indices) == 0:
                raise ValueError(f"protocol {self.name!r}: {part} must hold at least one item, got none")
            wrong = np.flatnonzero(np.diff(indices, prepend=-1) <= 0)
            if len(wrong):
                raise ValueError(
                    f"protocol {self.name!r}: {part} must be ascending indices from 0 on, "
                    f"got {indices[wrong[0]]} at position {wrong[0]}"
                )
        for part, indices in (("train part", self.train), ("gallery", self.gallery)):
            leaked = np.intersect1d(self.queries, indices)
            if len(leaked):
                raise ValueError(
                    f"protocol {self.name!r}: no query may be in the {part}, got {len(leaked)} such, first {leaked[0]}"
                )

    def _parts(self) -> dict[str, Indices]:
        return {part: getattr(self, part) for part in _PARTS}

    @property
    def train_in_gallery(self) -> bool:
        """Whether items that something was fitted on can be found."""
        return len(np.intersect1d(self.train, self.gallery)) > 0

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the three index lists (name, length, little-endian int64 values)."""
        digest = hashlib.sha256()
        for part, indices in self._parts().items():
            digest.update(f"{part} {len(indices)}\n".encode())
            digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index lists as JSON, with their digest; the file appears whole or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        whole = {"schema": _SCHEMA, "name": self.name, "seed": self.seed, "digest": self.digest}
        whole |= {part: indices.tolist() for part, indices in self._parts().items()}
        write_whole(Path(path), (json.dumps(whole) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str], n_items: int) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
        n_items : int
            Size of the data set that is to be divided.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not such a file, was changed, or divides a larger data set.
        """
        try:
            whole = json.loads(Path(path).read_text(encoding="utf-8"))
            if whole["schema"] != _SCHEMA:
                raise ValueError(f"schema {whole['schema']!r}")
            parts = [np.array(whole[part], dtype=np.int64) for part in _PARTS]
            split = cls(str(whole["name"]), int(whole["seed"]), *parts)
            digest = whole["digest"]
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ValueError(
                f"Split.load: {path} must be a saved split, got {type(error).__name__}: {error}"
            ) from error
        if split.digest != digest:
            raise ValueError(f"Split.load: {path} must have the digest {digest} that it names, got {split.digest}")
        largest = max(int(part[-1]) for part in parts)
        if largest >= n_items:
            raise ValueError(f"Split.load: {path} must divide {n_items} items, got item {largest}")
        return split


@dataclass(frozen=True)
class Protocol:
    """A way to divide a data set, and the metrics it is known for, the headline first.

    Parameters
    ----------
    name, description : str
    draw : callable
        ``draw(dataset, seed)`` gives the queries, the train part and the gallery, each ascending.
    headline : tuple of str
    leak : str
        What of the queries was known beforehand, or left out of the means, where the protocol was published; empty for
        nothing. Such figures are printed beside the right ones.
    """

    name: str
    description: str
    draw: Callable[[Dataset, int], Parts]
    headline: tuple[str, ...] = ("map", "p@10", "p@50")
    leak: str = ""

    @property
    def lengths(self) -> tuple[int, ...]:
        """List lengths that the headline metrics speak of."""
        ends = [name.partition("@")[2] for name in self.headline]
        return tuple(dict.fromkeys(int(end) for end in ends if end.isdigit()))


def _official(dataset: Dataset, seed: int, *, own_gallery: bool = True) -> Parts:
    """The split the data set comes with; searched is its own gallery, or without one the train part."""
    if dataset.official_split is None:
        raise _Unsuitable("must come with a split of its own, got none; use 'holdout'")
    train, queries = (_known(dataset, part) for part in dataset.official_split)
    gallery = dataset.official_gallery if own_gallery else None
    return queries, train, train if gallery is None else _known(dataset, gallery)


def _lists(dataset: Dataset, seed: int, *, otherwise: Callable[[Dataset, int], Parts] | None = None) -> Parts:
    """The lists of queries, train part and gallery that the data set comes with; without all three, `otherwise`."""
    if dataset.official_split is not None and dataset.official_gallery is not None:
        return _official(dataset, seed)
    if otherwise is None:
        raise _Unsuitable("must come with lists of its queries, train part and gallery, got none")
    return otherwise(dataset, seed)


def _holdout(dataset: Dataset, seed: int) -> Parts:
    """A fifth of the items query, the rest trains and is searched.

    Stratified by label: each label gives its fifth, rounded so that the total is right, but never all of its items, so
    that every query has something to find. With several labels an item, the fifth is drawn from all items alike.
    """
    random = np.random.RandomState(seed)
    items = _known(dataset)
    if dataset.multi_label:
        queries = random.permutation(items)[: round(HOLDOUT_SHARE * len(items))]
    else:
        queries = _stratified(list(_by_class(dataset, items).values()), random)
    if len(queries) == 0:
        raise _Unsuitable(f"must have labels that several items share, got none among {len(dataset)} items")
    rest = np.setdiff1d(items, queries)
    return np.sort(queries), rest, rest


def _per_class(dataset: Dataset, seed: int, *, queries: int, train: int, disjoint: bool = False) -> Parts:
    """So many queries and so many train items of each class; all but the queries is searched.

    With `disjoint`, the train part is not searched either, and leaves an item of each class to find. Where an item can
    have several labels, one without any takes no part.
    """
    items = np.flatnonzero(dataset.labels.any(axis=1)) if dataset.multi_label else _known(dataset)
    asked, taught = _quotas(dataset, items, seed, (queries, train), spare=int(disjoint))
    return asked, taught, np.setdiff1d(items, np.union1d(asked, taught) if disjoint else asked)


def _official_per_class(dataset: Dataset, seed: int, *, train: int) -> Parts:
    """The official queries and, searched, the official train part, so many items a class of which train."""
    queries, part, _ = _official(dataset, seed, own_gallery=False)
    return queries, _quotas(dataset, part, seed, (train,))[0], part


def _sampled(dataset: Dataset, seed: int, *, queries: float, train: float) -> Parts:
    """A share of the items query, a share of the rest trains, what is left is searched; drawn from all items alike.

    These are the items that two calls of scikit-learn's `train_test_split` draw, both with this seed.
    """
    asked, rest = _share(_known(dataset), queries, seed)
    taught, rest = _share(rest, train, seed)
    return np.sort(asked), np.sort(taught), np.sort(rest)


def _known(dataset: Dataset, items: Indices | None = None) -> Indices:
    """Those of the items, or of all, whose label is known; ascending."""
    items = np.arange(len(dataset), dtype=np.int64) if items is None else np.sort(items)
    return items if dataset.multi_label else items[dataset.labels[items] != UNKNOWN]


def _by_class(dataset: Dataset, items: Indices) -> dict[int, Indices]:
    """Items of each label, ascending; one with several labels is under each of them."""
    labels = dataset.labels[items]
    if dataset.multi_label:
        return {label: items[labels[:, label]] for label in range(labels.shape[1])}
    order = np.argsort(labels, kind="stable")
    values, first = np.unique(labels[order], return_index=True)
    return {int(label): members for label, members in zip(values, np.split(items[order], first[1:]), strict=False)}


def _stratified(classes: list[Indices], random: np.random.RandomState) -> Indices:
    counts = np.array([len(members) for members in classes], dtype=np.int64)
    shares = HOLDOUT_SHARE * counts
    quota = np.floor(shares).astype(np.int64)
    # Largest remainders first, ties in the order of the labels.
    short = round(HOLDOUT_SHARE * int(counts.sum())) - int(quota.sum())
    quota[np.argsort(quota - shares, kind="stable")[:short]] += 1
    quota = np.minimum(quota, counts - 1)
    chosen = [random.permutation(members)[:n] for members, n in zip(classes, quota, strict=True)]
    return np.concatenate([np.empty(0, np.int64), *chosen])


def _quotas(dataset: Dataset, items: Indices, seed: int, quotas: tuple[int, ...], spare: int = 0) -> list[Indices]:
    """For each quota, so many of the items of each class, leaving `spare` of it; none is drawn twice.

    Class by class in the order of the labels, each from its items that no class before has drawn, all alike: an item
    with several labels stands for the class that drew it.
    """
    random = np.random.RandomState(seed)
    needed = sum(quotas) + spare
    drawn = np.full(len(dataset), -1)
    for label, members in _by_class(dataset, items).items():
        free = members[drawn[members] < 0]
        if len(free) < needed:
            new = " that no class before drew" if dataset.multi_label else ""
            raise _Unsuitable(f"must have at least {needed} items of each class{new}, got {len(free)} of class {label}")
        shuffled = random.permutation(free)[: sum(quotas)]
        drawn[shuffled] = np.repeat(np.arange(len(quotas)), quotas)
    return [np.flatnonzero(drawn == i) for i in range(len(quotas))]


def _share(items: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """A share of the items, rounded up, and the rest, both in the order drawn."""
    shuffled = np.random.RandomState(seed).permutation(items)
    n = math.ceil(share * len(items))
    return shuffled[:n], shuffled[n:]


_ROWS = (
    Protocol("official", "the data set's own: its test part queries, its train part is searched", _official),
    Protocol("holdout", "20 % of the items query, stratified by label, by seed; the rest is searched", _holdout),
    Protocol(
        "cifar10-1",
        "100 items of each class query, 500 train; all but the queries is searched",
        partial(_per_class, queries=100, train=500),
        ("map",),
    ),
    Protocol(
        "cifar10-disjoint",
        "100 items of each class query, 500 train; the rest is searched",
        partial(_per_class, queries=100, train=500, disjoint=True),
        ("map",),
    ),
    Protocol(
        "cifar10-2",
        "the test part queries, the train part trains and is searched",
        partial(_official, own_gallery=False),
        ("map", "map_retrieved@1000"),
    ),
    Protocol(
        "nuswide-21",
        "lists of the data set, or 100 items of each class query, 500 train; all but the queries is searched",
        partial(_lists, otherwise=partial(_per_class, queries=100, train=500)),
        ("map_retrieved@5000",),
    ),
    Protocol("nuswide-81", "lists of the data set", _lists, ("map_retrieved@5000",)),
    Protocol(
        "imagenet100",
        "lists of the data set, or the test part queries, 130 items of each class train, the train part is searched",
        partial(_lists, otherwise=partial(_official_per_class, train=130)),
        ("map_retrieved@1000",),
    ),
    Protocol(
        "grh-tutorial",
        "0.2 % of the items query, 2 % of the others train; the rest is searched",
        partial(_sampled, queries=0.002, train=0.02),
        ("p@10",),
        leak="features are centred on the queries too, and queries that find nothing are left out of p@k",
    ),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ROWS})


def check_protocol(name: str | None) -> None:
    """Raise ValueError, naming what is known, unless `name` is a protocol or None."""
    if name is not None and name not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}")


def draw(dataset: Dataset, protocol: str | None = None, seed: int = 0) -> Split:
    """Divide a data set by a protocol.

    Parameters
    ----------
    dataset : Dataset
    protocol : str, optional
        A name of `PROTOCOLS`; the data set's own default where not given.
    seed : int, default 0

    Raises
    ------
    ValueError
        If the protocol is unknown or cannot divide this data set.
    """
    check_protocol(protocol)
    name = protocol or dataset.protocol
    try:
        queries, train, gallery = PROTOCOLS[name].draw(dataset, seed)
    except _Unsuitable as error:
        raise ValueError(f"protocol {name!r}: dataset {dataset.name!r} {error}") from None
    return Split(name, seed, queries=queries, train=train, gallery=gallery)
