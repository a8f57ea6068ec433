"""LSHNeighborsTransformer beside scikit-learn's own, and inside its pipelines."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import lshcore
from estimator_checks import EXPECTED_FAILURES
from lshcore.neighbors import LSHNeighborsTransformer

X, Y = load_digits(return_X_y=True)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_with_every_key_looked_into_it_is_exact(metric):
    ours = LSHNeighborsTransformer(7, metric, n_tables=2, key_bits=4, probes=32).fit(X[:600])
    theirs = KNeighborsTransformer(n_neighbors=7, metric=metric, mode="distance").fit(X[:600])
    for part in (X[:600], X[600:700]):
        mine, exact = ours.transform(part), theirs.transform(part)
        assert mine.shape == exact.shape
        np.testing.assert_allclose(
            np.sort(mine.data.reshape(len(part), -1)), np.sort(exact.data.reshape(len(part), -1)), atol=2e-3
        )


def test_most_neighbours_are_found():
    exact = KNeighborsTransformer(n_neighbors=10, mode="distance").fit_transform(X)
    ours = LSHNeighborsTransformer(10, probes=64).fit_transform(X)
    assert (np.diff(ours.indptr) == 11).all()
    shared = sum(len(np.intersect1d(a.indices, b.indices)) for a, b in zip(ours, exact, strict=True))
    assert shared > 0.85 * 11 * len(X)
    assert (np.diff(ours.data.reshape(len(X), 11)) >= 0).all()


def test_rows_with_too_few_candidates_are_searched_exhaustively():
    ours = LSHNeighborsTransformer(20, n_tables=1, key_bits=40).fit(X[:500])
    assert (ours.index_.search(X[500:520], k=21).n_candidates < 21).any()
    assert (np.diff(ours.transform(X[500:520]).indptr) == 21).all()


def test_in_pipelines():
    train, test = slice(0, 1300), slice(1300, None)
    exact = KNeighborsClassifier(5).fit(X[train], Y[train]).score(X[test], Y[test])
    pipeline = make_pipeline(LSHNeighborsTransformer(5), KNeighborsClassifier(5, metric="precomputed"))
    assert clone(pipeline).fit(X[train], Y[train]).score(X[test], Y[test]) > exact - 0.03
    clusters = make_pipeline(LSHNeighborsTransformer(30), DBSCAN(eps=22, metric="precomputed")).fit_predict(X)
    assert len(set(clusters)) > 5


def test_fewer_rows_than_neighbours():
    graph = LSHNeighborsTransformer(5).fit_transform(X[:3])
    assert graph.shape == (3, 3)
    assert (np.diff(graph.indptr) == 3).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_neighbors": 0}, ValueError, "LSHNeighborsTransformer.fit: n_neighbors must be"),
        ({"metric": "hamming"}, ValueError, "LSHNeighborsTransformer.fit: metric must be one of"),
        ({"key_bits": 2.5}, TypeError, "LSHNeighborsTransformer.fit: key_bits must be"),
        ({"key_bits": 300}, ValueError, "LSHNeighborsTransformer.fit: key_bits must be between 1 and 256, got 300"),
        ({"n_tables": 100, "key_bits": 100}, ValueError, r"n_tables \* key_bits must be at most 4096, got 10000"),
        ({"probes": 3}, ValueError, "LSHNeighborsTransformer.fit: probes must be at least 16, got 3"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        LSHNeighborsTransformer(**arguments).fit(X[:50])


def test_too_few_candidates_are_searched_as_a_flat_index_is():
    ours = LSHNeighborsTransformer(20, n_tables=3, key_bits=40).fit(X[:500])
    assert (ours.index_.search(X[500:], k=21).n_candidates < 21).all()
    exact = lshcore.FlatIndex().add(X[:500]).search(X[500:], k=21, rank="l2")
    graph = ours.transform(X[500:])
    assert np.array_equal(graph.indices.reshape(-1, 21), exact.ids)
    np.testing.assert_array_equal(graph.data.reshape(-1, 21), np.sqrt(exact.distances.astype(np.float64)))


def test_pickled_and_cached(tmp_path):
    ours = LSHNeighborsTransformer(5, n_tables=3, key_bits=8).fit(X[:400])
    ours.set_params(n_tables=2)  # waits for the next fit
    again = pickle.loads(pickle.dumps(ours))
    assert (again.transform(X[:50]) != ours.transform(X[:50])).nnz == 0
    assert again.get_params() == ours.get_params()
    assert not hasattr(pickle.loads(pickle.dumps(LSHNeighborsTransformer())), "index_")
    steps = LSHNeighborsTransformer(5), KNeighborsClassifier(5, metric="precomputed")
    cached = make_pipeline(*steps, memory=str(tmp_path)).fit(X[:400], Y[:400])
    plain = make_pipeline(*steps).fit(X[:400], Y[:400])
    assert np.array_equal(cached.fit(X[:400], Y[:400]).predict(X[400:450]), plain.predict(X[400:450]))


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks_it():
    results = check_estimator(
        LSHNeighborsTransformer(2, n_tables=2, key_bits=4),
        expected_failed_checks=EXPECTED_FAILURES,
        on_skip=None,
        on_fail="raise",
    )
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert len(passed) > 25
    assert not passed & set(EXPECTED_FAILURES)


@pytest.mark.parametrize("method", ["fit", "transform"])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (csr_matrix(X[:30]), TypeError, "got an object of type csr_matrix"),
        (np.where(X[:30] > 15, np.nan, X[:30]), ValueError, "expected finite values"),
        (X[0], ValueError, "X must be 2-d"),
    ],
)
def test_bad_rows(method, x, error, message):
    transformer = LSHNeighborsTransformer().fit(X[:50])
    with pytest.raises(error, match=rf"^LSHNeighborsTransformer\.{method}: .*{message}"):
        getattr(transformer, method)(x)


def test_one_row():
    assert LSHNeighborsTransformer().fit_transform(X[:1]).toarray().tolist() == [[0]]
    assert LSHNeighborsTransformer().fit(X[:50]).transform(X[:1]).shape == (1, 50)
    assert LSHNeighborsTransformer().fit(X[:50]).transform(X[:0]).shape == (0, 50)


def test_before_fit():
    with pytest.raises(lshcore._validation.NotFittedError, match=r"LSHNeighborsTransformer\.transform"):
        LSHNeighborsTransformer().transform(X)
