"""What `fit` of neural hashers takes and refuses, and that each argument does something."""

from typing import Any

import numpy as np
import pytest

import reference
from lshcore.index import FlatIndex
from neural_cases import (
    EVERY,
    LABELS_OPTIONAL,
    SUPERVISED,
    UNSUPERVISED,
    check_refused,
    clusters,
    make,
    maps,
    several,
    slow_map,
    weights,
)

torch = pytest.importorskip("torch")
training = pytest.importorskip("lshcore.neural.training")

X, Y = clusters()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "1")


@pytest.mark.parametrize("name", SUPERVISED + LABELS_OPTIONAL)
def test_labels_of_any_kind(name: str) -> None:
    wanted = weights(make(name).fit(X, Y))
    gaps = np.array([-(2**40), -5, 0, 3, 1000, 2**40])
    assert weights(make(name).fit(X, gaps[Y])) == wanted
    assert weights(make(name).fit(X, Y.astype(np.uint8).tolist())) == wanted
    many = make(name).fit(X, several(Y))
    assert weights(many) == weights(make(name).fit(X, several(Y).astype(int)))
    assert weights(many) != wanted
    assert max(maps(many)) > 0.4
    with pytest.raises(ValueError, match=rf"^{name}\.fit: y must have length 240, one for each row, got 239"):
        make(name).fit(X, Y[1:])


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_labels_are_ignored(name: str) -> None:
    wanted = make(name).fit(X)
    for y in (Y, ["any", "thing"], several(Y)):
        assert weights(make(name).fit(X, y)) == weights(wanted)
        assert make(name).fit(X, y).history_ == wanted.history_


@pytest.mark.parametrize("name", LABELS_OPTIONAL)
def test_labels_are_an_option(name: str) -> None:
    without = make(name, epochs=6).fit(X)
    assert weights(without) != weights(make(name, epochs=6).fit(X, Y))
    stage = without.history_[-1]["stage"]
    assert max(maps(without, stage)) == pytest.approx(slow_map(without, X, None, 0.1), abs=1e-6)
    assert max(maps(without, 0)) > 0.4


@pytest.mark.parametrize("name", SUPERVISED)
def test_labels_are_needed(name: str) -> None:
    check_refused(make(name), X, None, rf"^{name}\.fit: it learns from labels and requires y to be passed")


@pytest.mark.parametrize("name", EVERY)
def test_few_rows(name: str) -> None:
    for n in (2, 3, 19, 20, 21):
        hasher = make(name, batch_size=1000).fit(X[:n], Y[:n])
        assert hasher.transform(X[:n]).shape == (n, 16)
        assert (maps(hasher)[0] is None) == (n < 20)
    with pytest.raises(ValueError, match=rf"^{name}\.fit: X must have at least 2 rows .*, got 1"):
        make(name).fit(X[:1], Y[:1])
    one_class = make(name, validation=0).fit(X, np.zeros(240, int))
    assert all(np.isfinite(layer.weight).all() for layer in one_class.layers_)


@pytest.mark.parametrize("name", EVERY)
def test_no_batch_is_a_single_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, seen = training.Features.batches, []

    def look(self: Any, parts: Any, *rest: int) -> Any:
        seen.append(parts)
        return batches(self, parts, *rest)

    monkeypatch.setattr(training.Features, "batches", look)
    for n, batch_size, sizes in ((19, 2, [3] + 8 * [2]), (18, 2, 9 * [2]), (3, 2, [3]), (19, 9, [7, 6, 6])):
        seen.clear()
        assert len(make(name, batch_size=batch_size, epochs=1).fit(X[:n], Y[:n]).layers_) > 0
        assert seen
        for parts in seen:
            assert [len(part) for part in parts] == sizes
            assert sorted(torch.cat(list(parts)).tolist()) == list(range(n))


def test_a_batch_of_all_rows_whatever_its_size() -> None:
    assert weights(make("CSQ", batch_size=216).fit(X, Y)) == weights(make("CSQ", batch_size=10**6).fit(X, Y))
    assert weights(make("CSQ", batch_size=216).fit(X, Y)) != weights(make("CSQ", batch_size=215).fit(X, Y))


@pytest.mark.parametrize("name", ["HashNet", "BiHalf", "OrthoHash"])
def test_hidden_layers(name: str) -> None:
    for hidden in ((), (9,), [9, 5]):
        hasher = make(name, hidden=hidden).fit(X, Y)
        assert [layer.weight.shape for layer in hasher.layers_] == [
            (b, a) for a, b in zip((14, *hidden), (*hidden, 16), strict=True)
        ]
        assert [layer.after for layer in hasher.layers_] == ["relu"] * len(hidden) + [""]


def test_weight_decay() -> None:
    sizes = [np.abs(make("DSH", weight_decay=w, epochs=9).fit(X, Y).layers_[0].weight).mean() for w in (0.0, 3.0)]
    assert sizes[1] < 0.9 * sizes[0]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("NeuralLSH", {"balance": "item"}, {"balance": "bit"}),
        ("NeuralLSH", {"negatives": "all"}, {"negatives": "uniform"}),
        ("NeuralLSH", {"negatives": "hard"}, {"negatives": "uniform"}),
        ("NeuralLSH", {"negatives": "hard"}, {"negatives": "hard", "n_negatives": 3}),
        ("NeuralLSH", {"attraction": 0.0}, {"attraction": 1.0}),
        ("NeuralLSH", {"alpha": 0.1}, {"alpha": 0.2}),
        ("NeuralLSH", {"beta": 0.1}, {"beta": 0.2}),
        ("RelevanceLSH", {"margin": 1.0}, {"margin": 3.0}),
        ("RelevanceLSH", {"collision": 0.1}, {"collision": 0.8}),
        ("RelevanceLSH", {"fence": 0.1}, {"fence": 0.2}),
        ("RelevanceLSH", {"positives": "label"}, {"positives": "similarity"}),
        ("RelevanceLSH", {"positives": "similarity"}, {"positives": "similarity", "key_bits": 4}),
        ("RelevanceLSH", {"cos_to_prob": "shift"}, {"cos_to_prob": "clamp"}),
        ("RelevanceLSH", {"n_corpus": 64}, {"n_corpus": 32}),
        ("DSH", {"penalty": 0.01}, {"penalty": 0.1}),
        ("HashNet", {"scale": 0.1}, {"scale": 0.2}),
        ("BiHalf", {"gamma": 6.0}, {"gamma": 0.0}),
        ("OrthoHash", {"scale": 8.0}, {"scale": 4.0}),
        ("OrthoHash", {"margin": 0.2}, {"margin": 0.0}),
        ("CSQ", {"penalty": 1e-4}, {"penalty": 1.0}),
        ("GreedyHash", {"penalty": 0.1}, {"penalty": 1.0}),
        ("CIBHash", {"temperature": 0.3}, {"temperature": 0.5}),
        ("CIBHash", {"penalty": 1e-3}, {"penalty": 1.0}),
        ("CIBHash", {"dropout": 0.3}, {"dropout": 0.1}),
    ],
)
def test_arguments_are_used(name: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert weights(make(name, **one).fit(X, Y)) != weights(make(name, **other).fit(X, Y))


def test_hashnet_by_its_defaults() -> None:
    """The scale is 10 over bits, and a continuation is seen from step 200 on."""
    assert weights(make("HashNet", scale=10 / 16).fit(X, Y)) == weights(make("HashNet").fit(X, Y))
    options = {"batch_size": 2, "epochs": 5, "validation": 0}
    first, second = (make("HashNet", continuation=c, **options).fit(X[:90], Y[:90]).history_ for c in (0, 0.5))
    assert first[:4] == second[:4]  # 45 steps each
    assert first[4] != second[4]


def test_queries_have_layers_of_their_own() -> None:
    hasher = make("RelevanceLSH").fit(X, Y)
    assert hasher.query_layers_ is not None
    assert hasher.encode_query(X) != hasher.encode(X)
    assert np.array_equal(hasher.encode_query(X).to_bools(), hasher.project_query(X) >= 0)
    assert np.array_equal(hasher.layers_[-1].weight, hasher.query_layers_[-1].weight)
    distances = reference.hamming_matrix(hasher.project_query(X[:9]) >= 0, hasher.transform(X))
    found = FlatIndex(hasher).add(X).search(X[:9], k=20, rank="hamming").distances
    assert np.array_equal(found, np.sort(distances, axis=1)[:, :20])
    for name in EVERY:
        if name != "RelevanceLSH":
            assert make(name).fit(X, Y).query_layers_ is None


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("BiHalf", {"n_bits": 0}, ValueError, "n_bits must be between 1 and"),
        ("BiHalf", {"n_bits": 4.0}, TypeError, "n_bits must be an integer, got 4.0"),
        ("BiHalf", {"hidden": (8, 0)}, ValueError, "each of hidden must be at least 1, got 0"),
        ("BiHalf", {"hidden": (8.0,)}, TypeError, "each of hidden must be an integer, got 8.0"),
        ("BiHalf", {"hidden": 8}, TypeError, "hidden must be a sequence of widths, got 8"),
        ("BiHalf", {"hidden": "8"}, TypeError, "hidden must be a sequence of widths, got '8'"),
        ("BiHalf", {"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ("BiHalf", {"batch_size": 1}, ValueError, "batch_size must be at least 2, got 1"),
        ("BiHalf", {"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
        ("BiHalf", {"learning_rate": 0}, ValueError, "learning_rate must be from 1e-12 to 1000, got 0"),
        ("BiHalf", {"learning_rate": "fast"}, TypeError, "learning_rate must be a number, got 'fast'"),
        ("BiHalf", {"learning_rate": float("nan")}, ValueError, "learning_rate must be from 1e-12 to 1000, got nan"),
        ("BiHalf", {"learning_rate": None}, TypeError, "learning_rate must be a number, got None"),
        ("BiHalf", {"weight_decay": -1}, ValueError, "weight_decay must be from 0 to 1000, got -1"),
        ("BiHalf", {"validation": 0.6}, ValueError, "validation must be from 0 to 0.5, got 0.6"),
        ("BiHalf", {"validation": True}, TypeError, "validation must be a number, got True"),
        ("BiHalf", {"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        ("BiHalf", {"patience": 1.5}, TypeError, "patience must be an integer, got 1.5"),
        ("BiHalf", {"device": "tpu"}, ValueError, "device must be one of 'cpu', 'cuda', None, got 'tpu'"),
        ("BiHalf", {"random_state": "x"}, TypeError, "random_state must be an integer"),
        ("BiHalf", {"random_state": -1}, ValueError, "random_state must be between 0 and"),
        ("BiHalf", {"gamma": -1.0}, ValueError, "gamma must be from 0 to 1e\\+06, got -1.0"),
        ("NeuralLSH", {"alpha": 1.1}, ValueError, "alpha must be from 0 to 1, got 1.1"),
        ("NeuralLSH", {"alpha": 0.6, "beta": 0.5}, ValueError, "alpha \\+ beta must be at most 1, got 0.6 \\+ 0.5"),
        ("NeuralLSH", {"balance": None}, ValueError, "balance must be one of 'item', 'bit', got None"),
        ("NeuralLSH", {"negatives": "few"}, ValueError, "negatives must be one of 'all', 'uniform', 'hard', got 'few'"),
        ("NeuralLSH", {"n_negatives": 0}, ValueError, "n_negatives must be at least 1, got 0"),
        ("NeuralLSH", {"attraction": -0.1}, ValueError, "attraction must be from 0 to 1e\\+06, got -0.1"),
        ("NeuralLSH", {"quantile": 2}, ValueError, "quantile must be from 0 to 1, got 2"),
        ("RelevanceLSH", {"fence": 0.6}, ValueError, "fence \\+ collision must be at most 1, got 0.6 \\+ 0.5"),
        ("RelevanceLSH", {"embedding": 0}, ValueError, "embedding must be at least 1, got 0"),
        ("RelevanceLSH", {"key_bits": 0}, ValueError, "key_bits must be at least 1, got 0"),
        ("RelevanceLSH", {"n_corpus": 0}, ValueError, "n_corpus must be at least 1, got 0"),
        ("RelevanceLSH", {"positives": "x"}, ValueError, "positives must be one of 'label', 'similarity', got 'x'"),
        ("RelevanceLSH", {"cos_to_prob": "x"}, ValueError, "cos_to_prob must be one of 'shift', 'clamp', got 'x'"),
        ("RelevanceLSH", {"margin": -1}, ValueError, "margin must be from 0 to 1e\\+06, got -1"),
        ("DSH", {"penalty": -1}, ValueError, "penalty must be from 0 to 1e\\+06, got -1"),
        ("HashNet", {"scale": 0}, ValueError, "scale must be from 1e-06 to 1e\\+06, got 0"),
        ("HashNet", {"continuation": -1}, ValueError, "continuation must be from 0 to 1e\\+06, got -1"),
        ("OrthoHash", {"scale": None}, TypeError, "scale must be a number, got None"),
        ("CIBHash", {"temperature": 0}, ValueError, "temperature must be from 0.001 to 1000, got 0"),
        ("CIBHash", {"dropout": 1}, ValueError, "dropout must be from 0 to 0.99, got 1"),
    ],
)
def test_bad_arguments(name: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    check_refused(make(name, **options), X, Y, rf"^{name}\.fit: {message}", error)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu() -> None:
    check_refused(make("CSQ", device="cuda"), X, Y, r"^CSQ\.fit: device 'cuda' was asked for, and torch finds no GPU")
    assert weights(make("CSQ", device="cpu").fit(X, Y)) == weights(make("CSQ", device=None).fit(X, Y))


def test_bad_rows() -> None:
    bad = X.copy()
    bad[3, 2] = np.nan
    check_refused(make("CSQ"), bad, Y, r"CSQ\.fit: X")
    check_refused(make("CSQ"), X, Y + 0.5, r"CSQ\.fit: y must be integers", TypeError)
