"""Neural hashers as estimators: scikit-learn's conventions, files that need no torch, and codes worth having."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from conftest import RunPython
from estimator_checks import EXPECTED_FAILURES
from lshcore import Preprocess, hashers, metrics, registry
from lshcore.hashers import ITQ, Hasher, RandomHyperplanes
from neural_cases import EVERY, clusters, make, weights

torch = pytest.importorskip("torch")

X, Y = clusters()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "1")
    with threadpool_limits(1, user_api="blas"):
        yield


def test_they_are_registered() -> None:
    assert set(EVERY) <= set(registry.class_names(registry.HASHERS))
    for name in ("neural-lsh", "relevance-lsh", "dsh", "hashnet", "bihalf", "orthohash", "csq", "greedyhash"):
        assert issubclass(registry.load(name, registry.HASHERS), Hasher)
    assert set(EVERY) <= set(dir(hashers))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["CSQ", "BiHalf"])
def test_scikit_learn_checks_it(name: str) -> None:
    hasher = make(name, 8, epochs=1)
    results = check_estimator(hasher, expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail="raise")
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert len(passed) > 25
    assert not passed & set(EXPECTED_FAILURES)


@pytest.mark.parametrize("name", EVERY)
def test_it_is_an_estimator(name: str) -> None:
    hasher = make(name, 12)
    parameters = hasher.get_params()
    assert getattr(hashers, name)(**parameters).get_params() == parameters
    assert repr(hasher).startswith(f"{name}(")
    assert "epochs=3" in repr(hasher)
    hasher.fit(X, Y)
    copy = clone(hasher)
    assert type(copy) is type(hasher)
    assert copy.get_params() == hasher.get_params() == parameters
    assert not [attribute for attribute in vars(copy) if attribute.endswith("_")]
    codes = hasher.encode(X)
    assert copy.fit(X, Y).encode(X) == codes
    copy.set_params(n_bits=5, hidden=(6,))
    assert copy.encode(X) == codes
    assert copy.fit(X, Y).encode(X).n_bits == 5
    assert hasher != copy  # each is itself, as estimators are
    pipeline = make_pipeline(Preprocess(), make(name, 12))
    prepared = Preprocess().fit_transform(X)
    wanted = make(name, 12).fit(prepared, Y).transform(prepared)
    assert np.array_equal(pipeline.fit(X, Y).transform(X), wanted)
    assert np.array_equal(make(name, 12).fit_transform(prepared, Y), wanted)


@pytest.mark.parametrize("name", EVERY)
def test_margins_do_not_depend_on_the_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = make(name, 12, hidden=(9,)).fit(X, Y)
    margins, codes = hasher.project(X, n_jobs=1), hasher.encode(X, n_jobs=1)
    assert np.array_equal(codes.to_bools(), margins >= 0)
    queries = hasher.encode_query(X, n_jobs=1)
    monkeypatch.setattr("lshcore.hashers._blocks._BLOCK_ENTRIES", 500)
    assert hasher.project(X, n_jobs=2).tobytes() == margins.tobytes()
    for size in (1, 7):
        parts = [X[start : start + size] for start in range(0, 240, size)]
        assert np.concatenate([hasher.project(part) for part in parts]).tobytes() == margins.tobytes()
        assert np.concatenate([hasher.encode(part).words for part in parts]).tobytes() == codes.words.tobytes()
        assert np.concatenate([hasher.encode_query(part).words for part in parts]).tobytes() == queries.words.tobytes()
    assert hasher.encode_query(X[5]) == queries[5]
    assert len(hasher.encode(X[:0])) == 0


# -- files -------------------------------------------------------------------------------------------------------------

WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
import numpy as np
from lshcore import hashers
folder = {folder!r}
x, found = np.load(folder + "/x.npy"), {{}}
for name in {names!r}:
    hasher = hashers.load(folder + "/" + name)
    found[name] = [hasher.encode(x).words.tolist(), hasher.encode_query(x).words.tolist(), hasher.history_]
    try:
        hasher.fit(x, np.arange(len(x)) % 3)
    except ImportError as error:
        found[name].append(str(error))
    assert hasher.encode(x).words.tolist() == found[name][0]
print(json.dumps(found))
"""


def test_what_was_learned_needs_no_torch(tmp_path: Path, run_python: RunPython) -> None:
    fitted: dict[str, Any] = {name: make(name, 70, hidden=(9,)).fit(X, Y) for name in EVERY}
    np.save(tmp_path / "x.npy", X[:40])
    for name, hasher in fitted.items():
        hasher.save(tmp_path / name)
        again = hashers.load(tmp_path / name)
        assert weights(again) == weights(hasher)
        assert again.get_params() == hasher.get_params()
        assert (again.history_, again.constant_bits_) == (hasher.history_, hasher.constant_bits_)
    found = json.loads(run_python(WITHOUT_TORCH.format(folder=str(tmp_path), names=EVERY)))
    for name, hasher in fitted.items():
        codes, query_codes, history, error = found[name]
        assert codes == hasher.encode(X[:40]).words.tolist()
        assert query_codes == hasher.encode_query(X[:40]).words.tolist()
        assert history == hasher.history_
        assert "torch, which is not installed" in error


# -- quality -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    pixels, labels = load_digits(return_X_y=True)
    x = Preprocess().fit(pixels[:1400]).transform(pixels)
    return x[:1400], labels[:1400], x[1400:], labels[1400:]


def quality(hasher: Hasher, digits: tuple[np.ndarray, ...], y: np.ndarray | None = None) -> float:
    x, labels, queries, q_labels = digits
    hasher.fit(x, labels if y is None else y)
    return metrics.hamming_ranking(hasher.encode_query(queries), hasher.encode(x), q_labels, labels)["map"]


QUICK: dict[str, Any] = {"epochs": 8, "batch_size": 100, "learning_rate": 1e-2, "hidden": (96,)}
SETTINGS: dict[str, dict[str, Any]] = {
    "NeuralLSH": {"hidden": (), "attraction": 0.3},
    "BiHalf": {"hidden": ()},
    "RelevanceLSH": {"embedding": 32, "n_corpus": 256},
    "CIBHash": {"hidden": (64,)},
}


def test_digits(digits: tuple[np.ndarray, ...]) -> None:
    """Mean average precision of 32 bits: those that learn from labels are clearly above those that do not."""
    itq, planes = quality(ITQ(32), digits), quality(RandomHyperplanes(32), digits)
    found = {name: quality(make(name, 32, **{**QUICK, **SETTINGS.get(name, {})}), digits) for name in EVERY}
    print("digits, 32 bits, map:", {name: round(score, 3) for name, score in found.items()}, itq, planes)
    for name, score in found.items():
        assert score > (planes + 0.03 if name in ("BiHalf", "CIBHash") else itq + 0.1), (name, score, itq, planes)


def test_digits_with_several_labels(digits: tuple[np.ndarray, ...]) -> None:
    """Each digit, and whether it is odd, or above four."""
    labels = digits[1]
    many = np.concatenate([np.eye(10, dtype=bool)[labels], (labels % 2 == 1)[:, None], (labels > 4)[:, None]], axis=1)
    itq = quality(ITQ(32), digits)
    for name in ("OrthoHash", "CSQ", "GreedyHash"):
        assert quality(make(name, 32, **QUICK), digits, many) > itq + 0.05
