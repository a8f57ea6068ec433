"""Who queries, who trains, who is searched. No query is ever in the gallery or in anything that is fitted.

Splits are drawn with `numpy.random.RandomState`, whose stream NumPy has frozen: a seed means the same split everywhere.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset

Indices = NDArray[np.int64]

HOLDOUT_SHARE = 0.2


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
        If a part is empty, or a query is also in the train part or the gallery.
    """

    name: str
    seed: int
    queries: Indices
    train: Indices
    gallery: Indices

    def __post_init__(self) -> None:
        for part, indices in (("queries", self.queries), ("train", self.train), ("gallery", self.gallery)):
            if len(indices) == 0:
                raise ValueError(f"protocol {self.name!r}: {part} must hold at least one item, got none")
        for part, indices in (("train part", self.train), ("gallery", self.gallery)):
            leaked = np.intersect1d(self.queries, indices)
            if len(leaked):
                raise ValueError(
                    f"protocol {self.name!r}: no query may be in the {part}, got {len(leaked)} such, first {leaked[0]}"
                )

    @property
    def train_in_gallery(self) -> bool:
        """Whether items that something was fitted on can be found."""
        return len(np.intersect1d(self.train, self.gallery)) > 0

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the three index lists (name, length, little-endian int64 values)."""
        digest = hashlib.sha256()
        for part, indices in (("queries", self.queries), ("train", self.train), ("gallery", self.gallery)):
            digest.update(f"{part} {len(indices)}\n".encode())
            digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Protocol:
    """A way to divide a data set, and the metrics it is known for, the headline first."""

    name: str
    description: str
    draw: Callable[[Dataset, int], Split]
    headline: tuple[str, ...] = ("map", "p@10", "p@50")


def official(dataset: Dataset, seed: int = 0) -> Split:
    """The split the data set comes with: its test part queries, its train part trains and is searched."""
    if dataset.official_split is None:
        raise ValueError(
            f"protocol 'official': dataset {dataset.name!r} must come with a split of its own, got none; use 'holdout'"
        )
    train, queries = dataset.official_split
    return Split("official", seed, queries=queries, train=train, gallery=train)


def holdout(dataset: Dataset, seed: int = 0) -> Split:
    """A fifth of the items query, drawn by `seed`; the rest trains and is searched.

    Stratified by label: each label gives its fifth, rounded so that the total is right, but never all of its items, so
    that every query has something to find. With several labels an item, the fifth is drawn from all items alike.
    """
    random = np.random.RandomState(seed)
    n = len(dataset)
    if dataset.multi_label:
        queries = random.permutation(n)[: round(HOLDOUT_SHARE * n)]
    else:
        queries = _stratified(dataset.labels, random)
    if len(queries) == 0:
        raise ValueError(
            f"protocol 'holdout': dataset {dataset.name!r} must have labels that several items share, got none "
            f"among {n} items"
        )
    queries = np.sort(queries).astype(np.int64)
    rest = np.setdiff1d(np.arange(n, dtype=np.int64), queries)
    return Split("holdout", seed, queries=queries, train=rest, gallery=rest)


def _stratified(labels: NDArray[np.generic], random: np.random.RandomState) -> Indices:
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = HOLDOUT_SHARE * counts
    quota = np.floor(shares).astype(np.int64)
    # Largest remainders first, ties in the order of the labels.
    short = round(HOLDOUT_SHARE * len(labels)) - int(quota.sum())
    quota[np.argsort(quota - shares, kind="stable")[:short]] += 1
    quota = np.minimum(quota, counts - 1)
    chosen = [random.permutation(np.flatnonzero(inverse == c))[: quota[c]] for c in range(len(counts))]
    return np.concatenate(chosen).astype(np.int64) if chosen else np.empty(0, np.int64)


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol("official", "the data set's own: its test part queries, its train part is searched", official),
            Protocol("holdout", "20 % of the items query, stratified by label, by seed; the rest is searched", holdout),
        )
    }
)


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
    return PROTOCOLS[protocol or dataset.protocol].draw(dataset, seed)
