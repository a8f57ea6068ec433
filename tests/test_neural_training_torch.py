"""Training, through `fit`: seeds, what is held out, which weights are kept, when it stops, and what it tells."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import reference
from lshcore import hashers
from lshcore.hashers import Hasher
from neural_cases import (
    EVERY,
    UNSUPERVISED,
    clusters,
    make,
    maps,
    several,
    slow_map,
    split,
    weights,
)

torch = pytest.importorskip("torch")
training = pytest.importorskip("lshcore.neural.training")

X, Y = clusters()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "1")


# -- seeds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_seed_is_a_result(name: str) -> None:
    before, state, threads = X.tobytes(), torch.get_rng_state(), torch.get_num_threads()
    first = make(name, random_state=7).fit(X, Y)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert X.tobytes() == before
    torch.rand(3)
    np.random.seed(5)  # noqa: NPY002
    frozen = X.copy()
    frozen.setflags(write=False)
    second = make(name, random_state=np.int64(7)).fit(frozen, Y)
    assert weights(first) == weights(second)
    assert first.history_ == second.history_
    other = make(name, random_state=8).fit(X, Y)
    assert not set(weights(first)) - {b"", b"relu", b"unit"} & set(weights(other))
    assert first.history_ != other.history_


def test_seeds_of_any_kind() -> None:
    first, second, third = (
        weights(make("OrthoHash", random_state=state).fit(X, Y))
        for state in (np.random.default_rng(1), np.random.default_rng(1), 2**64 - 1)
    )
    assert first == second != third
    assert weights(make("BiHalf", random_state=None).fit(X)) != weights(make("BiHalf", random_state=None).fit(X))


# -- what is held out --------------------------------------------------------------------------------------------------


def test_split() -> None:
    rows, queries, gallery = split(240, 0.1, 3)
    assert (len(rows), len(queries)) == (216, 24)
    assert sorted([*rows, *queries]) == list(range(240))
    assert np.array_equal(gallery, rows)
    assert all((np.diff(part) > 0).all() for part in (rows, queries))
    assert np.array_equal(queries, split(240, 0.1, 3)[1])
    assert not np.array_equal(queries, split(240, 0.1, 4)[1])
    assert len(split(19, 0.5, 3)[1]) == 0
    rows, queries, gallery = split(50_000, 0.2, 3)
    assert (len(rows), len(queries), len(gallery)) == (48_000, 2_000, 20_000)
    assert set(gallery) <= set(rows)


@pytest.mark.parametrize(("name", "labels"), [*((name, Y) for name in EVERY), ("CSQ", several(Y)), ("NeuralLSH", None)])
@pytest.mark.parametrize("learning_rate", [1e-3, 0.3])
def test_the_best_weights_are_kept(name: str, labels: np.ndarray | None, learning_rate: float) -> None:
    hasher = make(name, epochs=5, validation=0.2, learning_rate=learning_rate).fit(X, labels)
    wanted = slow_map(hasher, X, None if name in UNSUPERVISED else labels)
    assert max(maps(hasher, hasher.history_[-1]["stage"])) == pytest.approx(wanted, abs=1e-6)


def test_the_best_are_not_always_the_last() -> None:
    """Else the test above could not tell."""
    for name in ("BiHalf", "DSH", "GreedyHash", "OrthoHash"):
        scores = maps(make(name, epochs=5, validation=0.2, learning_rate=0.3).fit(X, Y))
        assert max(scores) > scores[-1] + 1e-3


@pytest.mark.parametrize(
    ("name", "options", "labelled"),
    [
        *((name, {}, True) for name in EVERY if name != "RelevanceLSH"),
        ("NeuralLSH", {"attraction": 1.0}, True),
        ("NeuralLSH", {}, False),
        ("NeuralLSH", {"negatives": "uniform"}, True),
        ("NeuralLSH", {"negatives": "hard"}, True),
        ("NeuralLSH", {"negatives": "hard"}, False),
        ("RelevanceLSH", {}, True),
        ("RelevanceLSH", {}, False),
        ("RelevanceLSH", {"positives": "similarity"}, True),
    ],
)
def test_rows_that_are_held_out_teach_nothing(name: str, options: dict[str, Any], labelled: bool) -> None:
    _, queries, _ = split(len(X), 0.2, 0)
    x, y = X.copy(), Y.copy()
    x[queries] = np.random.default_rng(9).normal(size=(len(queries), X.shape[1])) * 3
    y[queries] = (y[queries] + 1) % 6
    options = {"epochs": 1, "validation": 0.2, **options}
    first = make(name, **options).fit(X, Y if labelled else None)
    second = make(name, **options).fit(x, y if labelled else None)
    assert maps(first) != maps(second)
    assert weights(first) == weights(second)
    x[:] += 1e-3 * X[::-1]
    assert weights(first) != weights(make(name, **options).fit(x, y if labelled else None))


def test_nothing_is_held_out() -> None:
    for x, y, share in ((X, Y, 0), (X[:19], Y[:19], 0.5)):
        hasher = make("DSH", validation=share).fit(x, y)
        assert maps(hasher) == [None] * 3
        assert set(hasher.history_[0]["terms"]) == {"pairs", "quantisation"}


# -- when it stops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["OrthoHash", "GreedyHash", "RelevanceLSH"])
@pytest.mark.parametrize("patience", [1, 3])
def test_patience(name: str, patience: int) -> None:
    hasher = make(name, epochs=60, patience=patience, learning_rate=0.1).fit(X, Y)
    for stage in range(1 + (name == "RelevanceLSH")):
        scores = maps(hasher, stage)
        assert 1 + patience <= len(scores) < 60
        assert int(np.argmax(scores)) == len(scores) - 1 - patience
        waits = [i - int(np.argmax(scores[: i + 1])) for i in range(len(scores))]
        assert max(waits[:-1]) < patience
    assert [epoch["epoch"] for epoch in hasher.history_ if epoch["stage"] == 0] == list(range(len(maps(hasher))))


@pytest.mark.parametrize("patience", [1, 4])
def test_as_good_is_not_better(patience: int) -> None:
    hasher = make("CSQ", epochs=9, patience=patience, learning_rate=1e-12).fit(X, Y)
    assert len(set(maps(hasher))) == 1
    assert len(hasher.history_) == 1 + patience


def test_no_patience() -> None:
    assert len(make("OrthoHash", epochs=12, patience=None, learning_rate=0.3).fit(X, Y).history_) == 12


def test_the_learning_rate_falls_to_zero() -> None:
    rates = [training.rate(done) for done in (0, 1 / 3, 0.5, 2 / 3, 1)]
    np.testing.assert_allclose(rates, [1, 0.75, 0.5, 0.25, 0], atol=1e-12)
    options = {"learning_rate": 0.1, "patience": None, "validation": 0}
    short, long = (make("CSQ", epochs=epochs, **options).fit(X, Y).history_ for epochs in (2, 20))
    assert short[0]["terms"]["centres"] > long[0]["terms"]["centres"]  # it had begun to fall
    moved = [abs(a["terms"]["centres"] - b["terms"]["centres"]) for a, b in pairwise(long)]
    assert moved[-1] < 0.01 * moved[0]


def test_every_step_draws_anew() -> None:
    """Here weights do not change, and a batch is all rows: what differs is the rows drawn to compare them with."""
    options = {"batch_size": 999, "epochs": 4, "learning_rate": 1e-12, "patience": None}
    means = [epoch["terms"]["relevance"] for epoch in make("RelevanceLSH", **options).fit(X, Y).history_[:4]]
    assert min(np.diff(np.sort(means))) > 1e-4


@pytest.mark.parametrize("name", EVERY)
def test_it_learns(name: str) -> None:
    """The sum of the terms falls, and codes get better than those of random planes."""
    x, (rows, queries, _) = X - X.mean(axis=0), split(len(X), 0.2, 0)
    hasher = make(name, epochs=12, patience=None, learning_rate=0.05).fit(x[rows], Y[rows])
    losses = [sum(epoch["terms"].values()) for epoch in hasher.history_ if epoch["stage"] == 0]
    assert losses[-1] < 0.95 * losses[0]
    relevance = Y[queries][:, None] == Y[rows]

    def score(hasher: Hasher) -> float:
        distances = reference.hamming_matrix(hasher.project_query(x[queries]) >= 0, hasher.transform(x[rows]))
        pairs = zip(relevance, distances.tolist(), strict=True)
        return np.mean([reference.expected_metrics(r, d, int(r.sum()), [])["map"] for r, d in pairs])

    assert score(hasher) > score(hashers.RandomHyperplanes(16).fit(x)) + 0.05


@pytest.mark.parametrize("name", ["NeuralLSH", "OrthoHash", "CIBHash", "RelevanceLSH"])
def test_bfloat16(name: str) -> None:
    options = {"epochs": 6, "learning_rate": 0.01}
    full, half = (make(name, bf16=bf16, **options).fit(X, Y) for bf16 in (False, True))
    stage = full.history_[-1]["stage"]
    assert weights(full) != weights(half)
    assert max(maps(half, stage)) > max(maps(full, stage)) - 0.05
    assert {layer.weight.dtype for layer in half.layers_} == {np.dtype(np.float32)}


def test_progress() -> None:
    for name, n_steps in (("OrthoHash", 15), ("RelevanceLSH", 30)):
        told: list[tuple[float, str]] = []
        hasher = make(name, patience=None).fit(X, Y, progress=lambda *args: told.append(args))  # noqa: B023
        assert told.pop() == (1.0, "trained")
        shares = [share for share, _ in told]
        np.testing.assert_allclose(shares, (1 + np.arange(n_steps)) / n_steps)
        for epoch in hasher.history_:
            assert all(any(f"{term} " in text for _, text in told) for term in epoch["terms"])
        for _, text in told[:5]:
            assert text.startswith("epoch 1 of 3, ")
            assert "map" not in text
        assert f"map {hasher.history_[0]['map']:.3f}" in told[5][1]
        last = ", ".join(f"{term} {mean:.3f}" for term, mean in hasher.history_[-1]["terms"].items())
        assert told[-1][1].startswith(f"epoch 3 of 3, {last}, map ")
