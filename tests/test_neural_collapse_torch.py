"""Training that comes to nothing, through `fit`: what it says, and that it leaves the hasher as it was."""

from typing import Any

import numpy as np
import pytest

from neural_cases import (
    EVERY,
    check_refused,
    clusters,
    make,
    split,
)

torch = pytest.importorskip("torch")
training = pytest.importorskip("lshcore.neural.training")

X, Y = clusters()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "1")


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("GreedyHash", "quantisation"),
        ("DSH", "pairs"),
        ("RelevanceLSH", "relevance"),
        *((name, None) for name in ("NeuralLSH", "HashNet", "BiHalf", "CSQ", "CIBHash")),
    ],
)
def test_a_learning_rate_that_is_too_high(name: str, term: str | None) -> None:
    """Terms of some have bounds, or look at signs alone: their margins tell."""
    hasher = make(name, epochs=5, learning_rate=1e3, hidden=(16,) * 8)
    what = rf"in epoch \d: the term '{term}' of the loss is (nan|inf)"
    if term is None:
        what = r"after epoch \d: margins are beyond 1e\+15, though the terms of the loss are finite"
    help_ = "; lower learning_rate, and give features that are centred and of length 1$"
    check_refused(hasher, X, Y, rf"^training {name} stopped {what}{help_}", training.Collapse)


@pytest.mark.parametrize("bad", [2e15, -2e15, np.inf, -np.inf, np.nan])
def test_margins_that_codes_cannot_be_made_of(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    call, epochs = training.Validation.__call__, []

    def spoil(*args: Any, **options: Any) -> tuple[float, np.ndarray]:
        score, margins = call(*args, **options)
        epochs.append(0)
        margins[7, 3] = bad if len(epochs) == 2 else np.copysign(1e15, margins[7, 3])
        return score, margins

    monkeypatch.setattr(training.Validation, "__call__", spoil)
    with pytest.raises(training.Collapse, match=r"^training DSH stopped after epoch 2: margins are beyond 1e\+15"):
        make("DSH").fit(X, Y)


COLLAPSING = {"alpha": 0.45, "beta": 0.45, "hidden": (32, 32), "learning_rate": 0.1, "epochs": 9}


def test_a_collapse_names_a_term_and_what_helps() -> None:
    message = (
        r"^training NeuralLSH stopped after epoch \d: all codes are equal \(terms of the loss: balance \S+, fence \S+, "
        r"repulsion \S+\); the term '(balance|fence)' is met without telling rows apart: "
        r"balance and fence are met by one code for everything: lower alpha and beta, or set balance='bit'$"
    )
    check_refused(make("NeuralLSH", **COLLAPSING), X, Y, message, training.Collapse)
    make("NeuralLSH", **{**COLLAPSING, "alpha": 0.01, "beta": 0.01, "learning_rate": 1e-3}).fit(X, Y)
    blind = make("NeuralLSH", **COLLAPSING, validation=0).fit(X, Y)  # held nothing out, and so does not notice
    assert blind.constant_bits_ == list(range(16))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("NeuralLSH", {"alpha": 0.5, "beta": 0.5, "learning_rate": 0.01}, "lower alpha and beta"),
        ("CIBHash", {"penalty": 1e6, "learning_rate": 0.1}, "lower penalty"),
        ("GreedyHash", {"penalty": 1e4, "learning_rate": 0.1}, "lower penalty"),
    ],
)
def test_a_collapse_names_the_right_term(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(training.Collapse) as raised:
        make(name, **{"hidden": (32, 32), "epochs": 30, "patience": None, **options}).fit(X, Y)
    assert message in str(raised.value)


@pytest.mark.parametrize("patience", [None, 10, 1])
@pytest.mark.parametrize("name", EVERY)
def test_rows_that_are_all_the_same(name: str, patience: int | None) -> None:
    message = rf"training {name} stopped after epoch \d: all codes are equal .* is met without telling rows apart: \w+"
    with pytest.raises(training.Collapse, match=message):
        make(name, patience=patience).fit(np.ones((100, 8)), Y[:100])


def test_a_collapse_that_passes_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs in a row may be bad, and others later, but not the last."""

    def fit(bad: set[int]) -> int:
        epochs = iter(range(9))
        monkeypatch.setattr(training, "worthless", lambda bits: next(epochs) in bad)
        return len(make("DSH", epochs=9, patience=None).fit(X, Y).history_)

    assert fit({0, 1, 3, 4, 6}) == 9
    for bad, stopped in (({2, 3, 4}, 5), ({8}, 9), ({0, 2, 3, 5, 6, 7}, 8)):
        with pytest.raises(training.Collapse, match=f"after epoch {stopped}:"):
            fit(bad)


def test_worthless_codes() -> None:
    bits = np.random.default_rng(0).random((50, 8)) < 0.5
    assert not training.worthless(bits)
    bits[:, :6] = bits[0, :6]
    assert not training.worthless(bits)  # three quarters
    bits[:, 6] = False
    assert training.worthless(bits)


def constant(bits: np.ndarray) -> list[int]:
    return [j for j in range(bits.shape[1]) if len(set(bits[:, j].tolist())) == 1]


def test_constant_bits() -> None:
    hasher = make("NeuralLSH", **{**COLLAPSING, "hidden": (32,), "epochs": 30, "alpha": 0.5, "beta": 0.4}).fit(X, Y)
    assert hasher.constant_bits_ == constant(hasher.transform(X[split(len(X), 0.1, 0)[0]]))
    assert 0 < len(hasher.constant_bits_) < 16
    assert make("NeuralLSH").fit(X, Y).constant_bits_ == []


def test_bits_of_a_rare_class_are_not_constant() -> None:
    rare = np.flatnonzero(Y == 1)[:10]
    rows = np.concatenate([np.flatnonzero(Y == 0), np.flatnonzero(Y == 0), np.flatnonzero(Y == 0), rare])
    x, y = X[rows], Y[rows]
    hasher = make("CSQ", epochs=15, learning_rate=0.05, validation=0).fit(x, y)
    bits = hasher.transform(x)
    shares = np.maximum(bits.mean(axis=0), 1 - bits.mean(axis=0))
    assert ((shares > 0.9) & (shares < 1)).any()
    assert hasher.constant_bits_ == constant(bits)


def test_a_fit_that_is_interrupted() -> None:
    def interrupt(share: float, text: str) -> None:
        raise KeyboardInterrupt

    hasher = make("CSQ")
    with pytest.raises(KeyboardInterrupt):
        hasher.fit(X, Y, progress=interrupt)
    assert not [name for name in vars(hasher) if name.endswith("_")]
