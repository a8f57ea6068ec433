"""Preprocess against NumPy in double and scikit-learn."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA

from lshcore import Preprocess
from lshcore._validation import NotFittedError


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    """Correlated columns of very different scales and means; one is constant."""
    rows = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 15)) + 0.1 * rng.normal(size=(400, 15))
    rows = rows * 10.0 ** rng.integers(-2, 3, 15) + 5
    rows[:, 4] = 0.1
    return rows


def by_numpy(x: np.ndarray, train: np.ndarray, centre: bool, standardise: bool, l2: bool) -> np.ndarray:
    train, x = train.astype(np.float32).astype(np.float64), x.astype(np.float32).astype(np.float64)
    deviation = np.where(train.std(axis=0) < 1e-9, 1, train.std(axis=0))
    if centre:
        x = x - train.mean(axis=0)
    if standardise:
        x = x / deviation
    if l2:
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        x = x / np.where(norms == 0, 1, norms)
    return x


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("l2", [False, True])
def test_without_pca(x: np.ndarray, centre: bool, standardise: bool, l2: bool) -> None:
    step = Preprocess(centre=centre, standardise=standardise, l2=l2).fit(x[:300])
    found = step.transform(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_numpy(x, x[:300], centre, standardise, l2), rtol=1e-4, atol=1e-4)
    assert step.n_features_in_ == step.n_features_out_ == 15
    assert step.fit_transform(x[:300]).tobytes() == found[:300].tobytes()


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("pca", [1, 5, 15, 0.5, 0.99])
def test_pca_is_that_of_scikit_learn(x: np.ndarray, centre: bool, standardise: bool, pca: float) -> None:
    step = Preprocess(centre=centre, standardise=standardise, pca=pca, l2=False).fit(x[:300])
    prepared = by_numpy(x, x[:300], centre, standardise, l2=False)
    oracle = PCA(pca, svd_solver="full").fit(prepared[:300])
    assert step.n_features_out_ == oracle.n_components_ == len(step.components_)
    np.testing.assert_allclose(step.explained_variance_ratio_, oracle.explained_variance_ratio_, atol=1e-5)
    strong = oracle.explained_variance_ratio_ > 1e-6  # the directions of the rest are arbitrary
    wanted = oracle.transform(prepared)[:, strong]
    found = step.transform(x)[:, strong]
    signs = np.sign((wanted * found).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, rtol=1e-3, atol=2e-4 * np.abs(wanted).max())


def test_far_from_the_origin_pca_still_finds_the_axes(rng: np.random.Generator) -> None:
    x = rng.normal(size=(500, 4)) * [4, 1, 0.5, 0.25] + 1e4
    step = Preprocess(centre=False, pca=2, l2=False).fit(x)
    np.testing.assert_allclose(np.abs(step.components_), np.eye(4)[:2], atol=0.1)
    np.testing.assert_allclose(step.explained_variance_ratio_, x.var(axis=0)[:2] / x.var(axis=0).sum(), atol=0.01)


def test_constant_columns_stay_finite() -> None:
    x = np.full((7, 3), 0.1)
    x[:, 1] = np.arange(7)
    found = Preprocess(standardise=True, l2=False).fit(x).transform(x + np.array([1, 0, 0]))
    np.testing.assert_allclose(found[:, 0], 1, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], (np.arange(7) - 3) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-6)


def test_rows_of_zeros_stay_zero() -> None:
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert Preprocess(centre=False).fit(x).transform(x).tolist() == [[0, 0], [np.float32(0.6), np.float32(0.8)]]


def test_a_row_does_not_depend_on_the_others(x: np.ndarray) -> None:
    step = Preprocess(standardise=True, pca=7).fit(x)
    whole = step.transform(x, n_jobs=2)
    for size in (1, 7, 64, 100):
        parts = [step.transform(x[start : start + size], n_jobs=1) for start in range(0, len(x), size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert step.transform(np.asfortranarray(x)).tobytes() == whole.tobytes()
    assert step.transform(x[:0]).shape == (0, 7)


def test_the_result_is_a_new_array(x: np.ndarray) -> None:
    x = x.astype(np.float32)
    for options in ({"centre": False, "l2": False}, {"l2": False}, {"centre": False}):
        found = Preprocess(**options).fit(x).transform(x)
        before = x.copy()
        found[:] = 0
        assert np.array_equal(x, before)


def test_it_is_an_estimator(x: np.ndarray) -> None:
    step = Preprocess(centre=False, standardise=True, pca=0.9, l2=False)
    copy = clone(step.fit(x))
    assert copy.get_params() == {"centre": False, "standardise": True, "pca": 0.9, "l2": False}
    assert not hasattr(copy, "mean_")
    assert copy.set_params(pca=2) is copy
    assert copy.fit(x).n_features_out_ == 2
    assert repr(copy) == "Preprocess(centre=False, standardise=True, pca=2, l2=False)"
    with pytest.raises(ValueError, match=r"Preprocess\.set_params: name must be one of centre, .* got 'bits'"):
        copy.set_params(l2=True, bits=3)
    assert copy.l2 is False


def test_bad_options(x: np.ndarray) -> None:
    with pytest.raises(NotFittedError, match=r"Preprocess\.transform: this Preprocess is not fitted"):
        Preprocess().transform(x)
    for pca, error, message in [
        (0, ValueError, "between 1 and 15, got 0"),
        (16, ValueError, "between 1 and 15, got 16"),
        (1.0, ValueError, "between 0 and 1, got 1.0"),
        (-0.5, ValueError, "between 0 and 1, got -0.5"),
        (float("nan"), ValueError, "between 0 and 1, got nan"),
        ("all", TypeError, "must be an integer, got 'all'"),
        (True, TypeError, "must be an integer, got True"),
    ]:
        with pytest.raises(error, match=r"Preprocess\.fit: pca .*" + message):
            Preprocess(pca=pca).fit(x)
    with pytest.raises(ValueError, match=r"Preprocess\.fit: pca .*between 1 and 3, got 5"):
        Preprocess(pca=5).fit(x[:3])
    with pytest.raises(ValueError, match=r"Preprocess\.fit: X must have at least 2 rows, got 1"):
        Preprocess(pca=1).fit(x[:1])
    with pytest.raises(ValueError, match=r"Preprocess\.fit: pca needs rows that differ, got 5 equal ones"):
        Preprocess(pca=1).fit(np.ones((5, 3)))
