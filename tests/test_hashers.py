"""Hashers: planes, margins and codes."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from lshcore import BinaryCodes, Preprocess, hashers
from lshcore._validation import NotFittedError
from lshcore.hashers import Hasher, RandomHyperplanes


def fitted(x: np.ndarray, **options) -> RandomHyperplanes:
    return RandomHyperplanes(**options).fit(x)


def test_planes_are_gaussian_directions_of_length_one(features: NDArray[np.float32]) -> None:
    hasher = fitted(features, n_bits=4096)
    assert hasher.weights_.shape == (4096, 24)
    assert hasher.weights_.dtype == hasher.bias_.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(hasher.weights_, axis=1), 1, rtol=1e-6)
    # On the sphere in 24 dimensions a coordinate has mean 0, variance 1/24 and fourth moment 3 / (24 * 26).
    moments = [(hasher.weights_.astype(np.float64) ** p).mean() for p in (1, 2, 4)]
    np.testing.assert_allclose(moments, [0, 1 / 24, 3 / (24 * 26)], atol=2e-3)
    covariance = hasher.weights_.T.astype(np.float64) @ hasher.weights_ / 4096
    np.testing.assert_allclose(covariance, np.eye(24) / 24, atol=4e-3)


def test_planes_pass_through_the_mean(features: NDArray[np.float32]) -> None:
    x = features + 3
    mean = x.astype(np.float64).mean(axis=0)
    hasher = fitted(x, n_bits=100)
    np.testing.assert_allclose(hasher.bias_, -hasher.weights_.astype(np.float64) @ mean, rtol=1e-6, atol=1e-6)
    plain = fitted(x, n_bits=100, centre=False)
    assert not plain.bias_.any()
    assert np.array_equal(plain.weights_, hasher.weights_)


@pytest.mark.parametrize("n_bits", [1, 7, 64, 65, 130, 512])
@pytest.mark.parametrize("centre", [False, True])
def test_margins_codes_and_bits_agree(features: NDArray[np.float32], n_bits: int, centre: bool) -> None:
    hasher = fitted(features, n_bits=n_bits, centre=centre)
    margins = hasher.project(features)
    wanted = features.astype(np.float64) @ hasher.weights_.T.astype(np.float64) + hasher.bias_
    assert margins.dtype == np.float32
    np.testing.assert_allclose(margins, wanted, atol=1e-5)
    assert np.array_equal(hasher.transform(features), margins >= 0)
    codes = hasher.encode(features)
    assert codes == BinaryCodes.from_bools(margins >= 0)
    assert (codes.n_bits, hasher.n_bits_, hasher.n_features_in_) == (n_bits, n_bits, 24)
    assert hasher.encode_query(features) == codes
    assert hasher.project_query(features).tobytes() == margins.tobytes()
    assert hasher.encode_query(features[3]) == codes[3]
    assert np.array_equal(hasher.fit_transform(features), margins >= 0)


def test_a_margin_of_zero_is_a_one() -> None:
    hasher = fitted(np.ones((3, 5)), n_bits=20, centre=False)
    assert hasher.transform(np.zeros((1, 5))).all()


def test_bits_agree_as_often_as_the_angle_says(rng: np.random.Generator) -> None:
    """P(same bit) = 1 - theta / pi: within four standard deviations of the mean over 4,096 planes."""
    hasher = fitted(rng.normal(size=(10, 50)), n_bits=4096, centre=False)
    axes = np.linalg.qr(rng.normal(size=(50, 2)))[0].T
    for theta in np.linspace(0.05, np.pi - 0.05, 12):
        bits = hasher.transform([axes[0], np.cos(theta) * axes[0] + np.sin(theta) * axes[1]])
        agree = 1 - theta / np.pi
        assert abs((bits[0] == bits[1]).mean() - agree) < 4 * np.sqrt(agree * (1 - agree) / 4096)


def test_margins_do_not_depend_on_batch_or_threads(features: NDArray[np.float32]) -> None:
    hasher = fitted(features, n_bits=200)
    margins, codes = hasher.project(features, n_jobs=1), hasher.encode(features, n_jobs=1)
    for n_jobs in (2, 8, None):
        assert hasher.project(features, n_jobs=n_jobs).tobytes() == margins.tobytes()
        assert hasher.encode(features, n_jobs=n_jobs) == codes
    for size in (1, 7, 64, 65):
        parts = [features[start : start + size] for start in range(0, len(features), size)]
        assert np.concatenate([hasher.project(part) for part in parts]).tobytes() == margins.tobytes()
        assert np.concatenate([hasher.encode(part).words for part in parts]).tobytes() == codes.words.tobytes()
    assert len(hasher.encode(features[:0])) == 0


def test_random_states(features: NDArray[np.float32]) -> None:
    def planes(random_state: object) -> bytes:
        return fitted(features, n_bits=16, random_state=random_state).weights_.tobytes()

    assert planes(3) == planes(3) == planes(np.int64(3)) != planes(4)
    assert planes(None) != planes(None)
    assert planes(np.random.default_rng(1)) == planes(np.random.default_rng(1)) != planes(np.random.default_rng(2))
    assert planes(np.random.RandomState(1)) == planes(np.random.RandomState(1))
    stream = np.random.default_rng(1)
    assert planes(stream) != planes(stream)


def test_more_bits_keep_the_first_planes(features: NDArray[np.float32]) -> None:
    few, many = fitted(features, n_bits=24), fitted(features, n_bits=100)
    assert np.array_equal(many.weights_[:24], few.weights_)
    assert np.array_equal(many.transform(features)[:, :24], few.transform(features))


def test_it_is_an_estimator(features: NDArray[np.float32]) -> None:
    hasher = fitted(features, n_bits=16, centre=False, random_state=7)
    copy = clone(hasher)
    assert copy.get_params() == {"n_bits": 16, "centre": False, "orthogonal": False, "random_state": 7}
    assert repr(copy) == "RandomHyperplanes(n_bits=16, centre=False, orthogonal=False, random_state=7)"
    assert copy.fit(features).encode(features) == hasher.encode(features)
    # New arguments wait for the next fit.
    copy.set_params(n_bits=40)
    assert copy.encode(features) == hasher.encode(features)
    assert copy.transform(features).shape == (300, 16)
    assert copy.fit(features).encode(features).n_bits == 40
    with pytest.raises(ValueError, match=r"RandomHyperplanes\.set_params: name must be one of n_bits, .* got 'bits'"):
        copy.set_params(bits=3)


def test_it_is_a_step_of_a_pipeline(features: NDArray[np.float32]) -> None:
    pipeline = make_pipeline(Preprocess(), RandomHyperplanes(16))
    bits = pipeline.fit_transform(features)
    prepared = Preprocess().fit_transform(features)
    assert np.array_equal(bits, fitted(prepared, n_bits=16).transform(prepared))
    assert np.array_equal(bits, clone(pipeline).fit(features).transform(features))


def test_unfitted(features: NDArray[np.float32]) -> None:
    for method in ("project", "transform", "encode", "project_query", "encode_query"):
        with pytest.raises(
            NotFittedError, match=rf"RandomHyperplanes\.{method}: this RandomHyperplanes is not fitted; call fit\(X\)"
        ):
            getattr(RandomHyperplanes(), method)(features)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_bits": 0}, ValueError, "n_bits must be between 1 and 4096, got 0"),
        ({"n_bits": 4097}, ValueError, "n_bits must be between 1 and 4096, got 4097"),
        ({"n_bits": 64.0}, TypeError, "n_bits must be an integer, got 64.0"),
        ({"random_state": -1}, ValueError, "random_state must be between"),
        ({"random_state": "seed"}, TypeError, "random_state must be an integer, None"),
    ],
)
def test_bad_options(features: NDArray[np.float32], options, error, message) -> None:
    hasher = fitted(features, n_bits=16)
    codes = hasher.encode(features)
    hasher.set_params(**options)
    with pytest.raises(error, match=r"RandomHyperplanes\.fit: " + message):
        hasher.fit(features[:, :5])
    assert hasher.encode(features) == codes


class Asymmetric(Hasher):
    """Queries are hashed by the negated sum, rows by the sum; labels shift it."""

    def __init__(self, n_bits: int = 2) -> None:
        self.n_bits = n_bits

    def _fit(self, x, y, n_bits) -> None:
        self.shift_ = 0.0 if y is None else float(np.mean(y))

    def _project(self, x, n_jobs):
        return np.repeat(x.sum(axis=1, keepdims=True) + np.float32(self.shift_), self.n_bits_, axis=1)

    def _project_query(self, x, n_jobs):
        return -self._project(x, n_jobs)


def test_a_hasher_may_treat_queries_differently() -> None:
    hasher = Asymmetric(3).fit([[1.0, 2.0]], y=[4, 6])
    x = [[-1.0, -1.0], [-9.0, 1.0]]
    assert hasher.project(x).tolist() == [[3.0] * 3, [-3.0] * 3]
    assert hasher.encode(x).to_bools().tolist() == [[True] * 3, [False] * 3]
    assert hasher.encode_query(x).to_bools().tolist() == [[False] * 3, [True] * 3]
    assert hasher.project_query(x[0]).tolist() == [[-3.0] * 3]


def test_hashers_load_by_name() -> None:
    assert hashers.RandomHyperplanes is RandomHyperplanes
    assert "RandomHyperplanes" in dir(hashers)
    with pytest.raises(AttributeError, match=r"'lshcore\.hashers' has no attribute 'Nothing'"):
        hashers.Nothing
