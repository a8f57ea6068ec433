"""What hashers have in common: scikit-learn's conventions, labels, and the order the literature has them in."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from estimator_checks import EXPECTED_FAILURES
from lshcore import Preprocess, data, hashers, metrics, registry
from lshcore.data.dataset import DatasetNotFound
from lshcore.hashers import GRH, ITQ, ITQCCA, SDH, Hasher, PCARandomRotation, RandomHyperplanes

UNSUPERVISED = ["RandomHyperplanes", "PCAHashing", "PCARandomRotation", "ITQ", "SpectralHashing"]
SUPERVISED = ["ITQCCA", "SDH", "GRH"]
EVERY = UNSUPERVISED + SUPERVISED
LATTICES = ["CrossPolytope", "PStable"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices here are small: threads of BLAS would mostly wait for one another."""
    with threadpool_limits(1):
        yield


def make(name: str, n_bits: int = 8, **options) -> Hasher:
    size = "n_hashes" if name in LATTICES else "n_bits"
    return getattr(hashers, name)(**{size: n_bits}, **options)


@pytest.fixture
def labels(features: NDArray[np.float32]) -> NDArray[np.int64]:
    return ((features[:, 0] > 0) + 2 * (features[:, 1] + features[:, 2] > 0.3)).astype(np.int64)


def test_they_are_registered() -> None:
    assert set(EVERY) <= set(registry.class_names(registry.HASHERS))
    for name in ("pca-hashing", "pca-random-rotation", "itq", "itq-cca", "spectral-hashing", "sdh", "grh"):
        assert issubclass(registry.load(name, registry.HASHERS), Hasher)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EVERY + LATTICES)
def test_scikit_learn_checks_it(name: str) -> None:
    results = check_estimator(make(name, 1), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail="raise")
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert len(passed) > 25
    # Nothing is expected to fail that does not.
    assert not passed & set(EXPECTED_FAILURES)


@pytest.mark.parametrize("name", EVERY)
def test_it_is_an_estimator(name: str, features: NDArray[np.float32], labels: np.ndarray) -> None:
    hasher = make(name, 12).fit(features, labels)
    copy = clone(hasher)
    assert type(copy) is type(hasher)
    assert copy.get_params() == hasher.get_params()
    assert not hasattr(copy, "n_bits_")
    codes = hasher.encode(features)
    assert copy.fit(features, labels).encode(features) == codes
    assert codes.n_bits == 12
    copy.set_params(n_bits=5)
    assert copy.encode(features) == codes
    assert copy.fit(features, labels).encode(features).n_bits == 5
    pipeline = make_pipeline(Preprocess(), make(name, 12))
    prepared = Preprocess().fit_transform(features)
    wanted = make(name, 12).fit(prepared, labels).transform(prepared)
    assert np.array_equal(pipeline.fit(features, labels).transform(features), wanted)


@pytest.mark.parametrize("name", EVERY)
def test_learned_arrays_are_float32_and_margins_do_not_depend_on_the_batch(
    name: str, features: NDArray[np.float32], labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = make(name, 12).fit(features, labels)
    for attribute in ("weights_", "bias_", "axes_", "offset_", "mean_"):
        array = getattr(hasher, attribute, None)
        assert array is None or array.dtype == np.float32
        assert array is None or array.flags.c_contiguous
    margins, codes = hasher.project(features, n_jobs=1), hasher.encode(features, n_jobs=1)
    assert margins.dtype == np.float32
    assert np.array_equal(hasher.transform(features), margins >= 0)
    assert np.array_equal(codes.to_bools(), margins >= 0)
    monkeypatch.setattr("lshcore.hashers._blocks._BLOCK_ENTRIES", 1000)
    assert hasher.project(features, n_jobs=2).tobytes() == margins.tobytes()
    for size in (1, 7, 65):
        parts = [features[start : start + size] for start in range(0, 300, size)]
        assert np.concatenate([hasher.project(part) for part in parts]).tobytes() == margins.tobytes()
        assert np.concatenate([hasher.encode(part).words for part in parts]).tobytes() == codes.words.tobytes()
    assert hasher.project(features[:0]).shape == (0, 12)
    assert len(hasher.encode(features[:0])) == 0
    assert hasher.encode_query(features[5]) == codes[5]


@pytest.mark.parametrize("name", SUPERVISED)
def test_labels_are_needed(name: str, features: NDArray[np.float32], labels: np.ndarray) -> None:
    hasher = make(name).fit(features, labels)
    codes = hasher.encode(features)
    with pytest.raises(ValueError, match=rf"^{name}\.fit: it learns from labels and requires y to be passed, but"):
        hasher.fit(features)
    with pytest.raises(ValueError, match=rf"^{name}\.fit: y must have length 300, one for each row, got 299"):
        hasher.fit(features, labels[1:])
    with pytest.raises(TypeError, match=rf"^{name}\.fit: y must be integers \(n,\) or bools \(n, classes\)"):
        hasher.fit(features, labels + 0.5)
    assert hasher.encode(features) == codes
    one_hot = np.eye(4, dtype=bool)[labels]
    margins = make(name).fit(features, one_hot).project(features)
    np.testing.assert_allclose(margins, hasher.project(features), atol=1e-4)


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_others_ignore_labels(name: str, features: NDArray[np.float32]) -> None:
    assert make(name).fit(features, ["any", "thing"]).encode(features) == make(name).fit(features).encode(features)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("PCAHashing", "SpectralHashing")])
def test_seeds(name: str, features: NDArray[np.float32], labels: np.ndarray) -> None:
    def codes(random_state: object) -> bytes:
        return make(name, 16, random_state=random_state).fit(features, labels).encode(features).words.tobytes()

    assert codes(3) == codes(np.int64(3)) != codes(4)
    assert codes(np.random.default_rng(1)) == codes(np.random.default_rng(1)) != codes(np.random.default_rng(2))


def fashion(n_rows: int, n_queries: int):
    try:
        pixels = data.load("fashion-mnist")
    except DatasetNotFound as error:
        pytest.skip(str(error))
    preprocess = Preprocess().fit(pixels.features[:n_rows])
    gallery, queries = slice(0, n_rows), slice(60_000, 60_000 + n_queries)
    x, q = (preprocess.transform(pixels.features[rows]) for rows in (gallery, queries))
    return x, pixels.labels[gallery], q, pixels.labels[queries]


def check_order(n_rows: int, n_queries: int, methods: list[Hasher]) -> None:
    """Mean average precision of 32 bits over the whole gallery: each method clearly above the one before."""
    x, y, q, q_y = fashion(n_rows, n_queries)
    found = {}
    for hasher in methods:
        hasher.fit(x, y)
        found[type(hasher).__name__] = metrics.hamming_ranking(hasher.encode_query(q), hasher.encode(x), q_y, y)["map"]
    print(f"Fashion-MNIST, {n_rows} rows, 32 bits, map:", json.dumps({k: round(v, 4) for k, v in found.items()}))
    planes, turned, itq, *supervised = found.values()
    assert planes + 0.02 < turned < itq - 0.02
    assert min(supervised) > itq + 0.1


def test_the_order_of_the_literature() -> None:
    check_order(
        3000,
        500,
        [RandomHyperplanes(32), PCARandomRotation(32), ITQ(32), ITQCCA(32), SDH(32, 300), GRH(32, max_samples=300)],
    )


@pytest.mark.long
def test_the_order_of_the_literature_on_all_of_fashion_mnist() -> None:
    methods = [RandomHyperplanes(32), PCARandomRotation(32), ITQ(32), ITQCCA(32), SDH(32), GRH(32)]
    check_order(60_000, 10_000, methods)
