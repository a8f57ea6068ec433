"""LSHNeighborsTransformer beside scikit-learn's own, and inside its pipelines."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer
from sklearn.pipeline import make_pipeline

import lshcore
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
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        LSHNeighborsTransformer(**arguments).fit(X[:50])


def test_before_fit():
    with pytest.raises(lshcore._validation.NotFittedError, match=r"LSHNeighborsTransformer\.transform"):
        LSHNeighborsTransformer().transform(X)
