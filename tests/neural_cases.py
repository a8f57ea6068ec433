"""Data and settings that the tests of neural hashers share: small, and quick to learn."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import reference
from lshcore import hashers
from lshcore.hashers import Hasher

SUPERVISED = ["DSH", "HashNet", "OrthoHash", "CSQ", "GreedyHash"]
LABELS_OPTIONAL = ["NeuralLSH", "RelevanceLSH"]
UNSUPERVISED = ["BiHalf", "CIBHash"]
EVERY = LABELS_OPTIONAL + SUPERVISED + UNSUPERVISED

_OPTIONS: dict[str, dict[str, Any]] = {
    "RelevanceLSH": {"embedding": 12, "n_corpus": 64},
    "CIBHash": {"hidden": (24,)},
}


def make(name: str, n_bits: int = 16, **options: Any) -> Hasher:
    """A hasher that learns in a few hundredths of a second."""
    quick = {"epochs": 3, "batch_size": 48, "hidden": (), "device": "cpu", **_OPTIONS.get(name, {})}
    return getattr(hashers, name)(n_bits, **{**quick, **options})


def clusters(n: int = 240, seed: int = 0, spread: float = 0.6) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows (n, 14) about six centres, away from 0, and which they are about."""
    rng = np.random.default_rng(seed)
    centres, labels = rng.normal(size=(6, 14)), rng.integers(0, 6, n)
    x = centres[labels] + spread * rng.normal(size=(n, 14)) + 1
    return x.astype(np.float32), labels


def several(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Two labels of seven for every row, but for some that have none."""
    many = np.eye(7, dtype=bool)[labels] | np.eye(7, dtype=bool)[(labels // 2 + 3) % 7]
    many[::25] = False
    return many


def weights(hasher: Any) -> list[bytes]:
    """All that was learned, as bytes."""
    layers = [*hasher.layers_, *(hasher.query_layers_ or [])]
    return [part for layer in layers for part in (layer.weight.tobytes(), layer.bias.tobytes(), layer.after.encode())]


def split(n: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on, those that are held out, and what they search: as `fit` does it."""
    from lshcore.neural import fitting

    return fitting.split(n, share, seed, (2_000, 20_000))


def maps(hasher: Any, stage: int = 0) -> list[float]:
    """`map` of each epoch of a stage."""
    return [epoch["map"] for epoch in hasher.history_ if epoch["stage"] == stage]


def slow_map(hasher: Hasher, x: NDArray[Any], labels: NDArray[Any] | None, share: float = 0.2) -> float:
    """`map` of the rows that were held out, among the others, from the definitions."""
    rows, queries, _ = split(len(x), share, 0)
    if labels is None:
        unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        near = np.argsort(-unit[queries] @ unit[rows].T, axis=1)[:, :50]
        relevance = np.zeros((len(queries), len(rows)), bool)
        np.put_along_axis(relevance, near, True, axis=1)
    else:
        relevance = reference.relevance_matrix(labels[queries], labels[rows])
    bits, gallery = hasher.project_query(x[queries]) >= 0, hasher.project(x[rows]) >= 0
    distances = reference.hamming_matrix(bits, gallery)
    every = [
        reference.expected_metrics(relevant, distance, int(relevant.sum()), [])["map"]
        for relevant, distance in zip(relevance.tolist(), distances.tolist(), strict=True)
        for relevant in [np.array(relevant)]
    ]
    return float(np.mean(every))


def check_refused(hasher: Hasher, x: NDArray[Any], y: Any, message: str, error: type[Exception] = ValueError) -> None:
    """A fit that fails leaves the hasher unfitted, or as it was."""
    options = hasher.get_params()
    with pytest.raises(error, match=message):
        hasher.fit(x, y)
    assert not [name for name in vars(hasher) if name.endswith("_")]
    hasher.set_params(**make(type(hasher).__name__).get_params()).fit(*clusters())
    before = {name: value for name, value in vars(hasher).items() if name.endswith("_")}
    learned = weights(hasher)
    with pytest.raises(error, match=message):
        hasher.set_params(**options).fit(x, y)
    after = {name: value for name, value in vars(hasher).items() if name.endswith("_")}
    assert all(after[name] is before[name] for name in {**after, **before})
    assert weights(hasher) == learned
