"""K-means and its index against scikit-learn and full distance matrices."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_digits, make_blobs

import reference
from lshcore import FlatIndex, KMeansIndex
from lshcore._validation import NotFittedError
from lshcore.hashers import RandomHyperplanes

BLOBS = make_blobs(3000, 16, centers=30, cluster_std=2.0, random_state=0)[0]
DIGITS = load_digits().data


@pytest.mark.parametrize(
    ("x", "n_clusters", "of_ten"), [(BLOBS, 30, np.min), (DIGITS, 10, np.min), (DIGITS, 100, np.median)]
)
def test_inertia_reaches_that_of_scikit_learn(x: NDArray[np.float64], n_clusters: int, of_ten) -> None:
    """Over ten seeds each: the best of them where runs end in a few optima, the median where each has its own."""
    ours = [KMeansIndex(n_clusters, max_iter=100, random_state=seed).fit(x).inertia_ for seed in range(10)]
    theirs = [KMeans(n_clusters, n_init=1, max_iter=100, random_state=seed).fit(x).inertia_ for seed in range(10)]
    assert of_ten(ours) <= 1.005 * of_ten(theirs)


def test_centroids_are_the_means_of_their_rows() -> None:
    index = KMeansIndex(20, max_iter=300, tol=0).fit(BLOBS)
    distances = reference.vector_distances(BLOBS, index.centroids_, "l2")
    home = distances.argmin(axis=1)
    means = np.array([BLOBS[home == c].mean(axis=0) for c in range(20)])
    np.testing.assert_allclose(index.centroids_, means, rtol=1e-4, atol=1e-4)
    assert index.inertia_ == pytest.approx(distances.min(axis=1).sum(), rel=1e-5)
    assert index.centroids_.dtype == np.float32
    assert 1 <= index.n_iter_ < 300


def test_every_round_lowers_the_inertia() -> None:
    rounds: list[tuple[int, float]] = []
    index = KMeansIndex(50, max_iter=12, tol=0).fit(DIGITS, on_round=lambda n, inertia: rounds.append((n, inertia)))
    assert [n for n, _ in rounds] == list(range(rounds[0][0], rounds[0][0] + len(rounds)))
    assert index.n_iter_ <= 12
    inertias = [inertia for _, inertia in rounds]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(inertias))
    assert index.inertia_ == pytest.approx(min(inertias), rel=1e-6)


def test_spherical_clusters_by_angle() -> None:
    x = BLOBS[:1500] + 5
    inertias: list[float] = []
    index = KMeansIndex(12, max_iter=60, tol=0, spherical=True).fit(
        x, on_round=lambda n, inertia: inertias.append(inertia)
    )
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(index.centroids_, axis=1), 1, rtol=1e-6)
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(inertias))
    cosines = unit @ index.centroids_.T.astype(np.float64)
    home = cosines.argmax(axis=1)
    means = np.array([unit[home == c].sum(axis=0) for c in range(12)])
    np.testing.assert_allclose(index.centroids_, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-4)
    assert index.inertia_ == pytest.approx((2 - 2 * cosines.max(axis=1)).sum(), rel=1e-4)
    # Lengths of rows mean nothing: neither to the training nor to where rows and queries are filed.
    lengths = np.random.default_rng(0).uniform(0.1, 10, (len(x), 1))
    again = KMeansIndex(12, max_iter=60, tol=0, spherical=True).fit(unit * lengths)
    np.testing.assert_allclose(again.centroids_, index.centroids_, atol=1e-5)
    buckets = index.add(x * lengths).candidates(3 * x[:200])
    assert all(set(buckets[q].tolist()) == set(np.flatnonzero(home == home[q])) for q in range(200))


def test_spherical_is_not_for_minibatch() -> None:
    with pytest.raises(ValueError, match="spherical needs algorithm"):
        KMeansIndex(3, algorithm="minibatch", spherical=True)


def test_threads_and_layout_change_nothing() -> None:
    wanted = KMeansIndex(25).fit(DIGITS, n_jobs=1)
    for x, n_jobs in ((DIGITS, 2), (DIGITS, 8), (np.asfortranarray(DIGITS), None), (DIGITS.astype(np.float16), 2)):
        found = KMeansIndex(25).fit(x, n_jobs=n_jobs)
        assert found.centroids_.tobytes() == wanted.centroids_.tobytes()
        assert (found.inertia_, found.n_iter_) == (wanted.inertia_, wanted.n_iter_)
    assert KMeansIndex(25, random_state=1).fit(DIGITS).centroids_.tobytes() != wanted.centroids_.tobytes()


def test_minibatch_is_that_of_scikit_learn() -> None:
    index = KMeansIndex(10, max_iter=20, algorithm="minibatch", random_state=3).add(DIGITS)
    oracle = MiniBatchKMeans(10, max_iter=20, random_state=3, n_init="auto").fit(DIGITS.astype(np.float32))
    np.testing.assert_allclose(index.centroids_, oracle.cluster_centers_, rtol=1e-5, atol=1e-5)
    wanted = reference.vector_distances(DIGITS, index.centroids_, "l2").min(axis=1).sum()
    assert index.inertia_ == pytest.approx(wanted, rel=1e-5)
    assert index.search(DIGITS[:50], k=1, rank="l2").distances.max() == 0


@pytest.mark.parametrize("x", [np.ones((40, 3)), np.repeat(np.eye(3), 5, axis=0), np.arange(8.0)[:, None]])
def test_fewer_different_rows_than_clusters(x: NDArray[np.float64]) -> None:
    index = KMeansIndex(8).add(x)
    assert np.isfinite(index.centroids_).all()
    assert index.inertia_ == pytest.approx(0, abs=1e-9)
    found = index.search(x, k=len(x), probes=8, rank="l2")
    assert found.n_candidates.tolist() == [len(x)] * len(x)


@pytest.mark.parametrize("probes", [1, 2, 5, 12])
@pytest.mark.parametrize("vectors", ["float32", None])
def test_candidates_are_the_rows_of_the_nearest_clusters(features, queries, probes: int, vectors: str | None) -> None:
    hasher = RandomHyperplanes(40).fit(features)
    index = KMeansIndex(12, vectors=vectors, codes=hasher).fit(features)
    ids = np.random.default_rng(0).permutation(900)[:300]
    index.add(features[:200], ids[:200]).add(features[200:], ids[200:])
    wanted = reference.cluster_candidates(queries, features, index.centroids_, probes, ids)
    assert [mine.tolist() for mine in index.candidates(queries, probes=probes)] == wanted
    found = index.search(queries, k=5, probes=probes, rank="hamming")
    assert found.n_candidates.tolist() == [len(mine) for mine in wanted]
    row_of = {int(identity): row for row, identity in enumerate(ids)}
    distances = reference.hamming_matrix(hasher.transform(queries), hasher.transform(features))
    for q, mine in enumerate(wanted):
        best = sorted((int(distances[q, row_of[i]]), i) for i in mine)[:5]
        assert found.ids[q, : len(best)].tolist() == [i for _, i in best]
        assert found.distances[q, : len(best)].tolist() == [d for d, _ in best]


@pytest.mark.parametrize("rank", ["cosine", "l2"])
def test_looking_into_every_cluster_is_exhaustive(features, queries, rank: str) -> None:
    exact = FlatIndex().add(features).search(queries, k=20, rank=rank)
    found = KMeansIndex(12).add(features).search(queries, k=20, probes=12, rank=rank)
    assert found.ids.tobytes() == exact.ids.tobytes()
    assert found.distances.tobytes() == exact.distances.tobytes()


def test_a_shortlist_needs_codes(features, queries) -> None:
    hasher = RandomHyperplanes(40).fit(features)
    index = KMeansIndex(6, codes=hasher).add(features)
    found = index.search(queries, k=9, probes=2, shortlist=9)
    nearest = index.search(queries, k=9, probes=2, rank="hamming")
    assert np.sort(found.ids, axis=1).tolist() == np.sort(nearest.ids, axis=1).tolist()
    assert found.n_candidates.tolist() == nearest.n_candidates.tolist()
    with pytest.raises(ValueError, match=r"KMeansIndex\.search: shortlist needs codes, and this index has no hasher"):
        KMeansIndex(6).add(features).search(queries, shortlist=5)
    with pytest.raises(ValueError, match=r"KMeansIndex\.search: radius must be None, for only the keys of an LSHIndex"):
        index.search(queries, radius=1)


def test_adding_trains_and_is_all_or_nothing(features) -> None:
    index = KMeansIndex(6)
    with pytest.raises(ValueError, match="7"):
        index.add(features[:10], ids=[7] * 10)
    assert not hasattr(index, "centroids_")
    assert index.dim is None
    assert len(index.add(features[:0])) == 0
    with pytest.raises(NotFittedError, match=r"KMeansIndex\.search: this KMeansIndex is not trained; call fit"):
        index.search(features)
    index.add(features)
    assert len(index) == sum(index.bucket_sizes()) == 300
    assert index.centroids_.tobytes() == KMeansIndex(6).fit(features).centroids_.tobytes()
    with pytest.raises(ValueError, match=r"KMeansIndex\.fit: the index must be empty to be trained, got one of 300"):
        index.fit(features)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_clusters": 0}, ValueError, "n_clusters must be at least 1, got 0"),
        ({"n_clusters": 2.0}, TypeError, "n_clusters must be an integer, got 2.0"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1, got 0"),
        ({"tol": -1.0}, ValueError, "tol must be finite and at least 0, got -1.0"),
        ({"tol": float("nan")}, ValueError, "tol must be finite and at least 0, got nan"),
        ({"tol": "small"}, TypeError, "tol must be a number, got 'small'"),
        ({"algorithm": "elkan"}, ValueError, "algorithm must be one of 'lloyd', 'minibatch', got 'elkan'"),
        ({"vectors": "float64"}, ValueError, "vectors must be one of None, 'float32', 'float16', got 'float64'"),
        ({"vectors": None}, ValueError, 'needs vectors="float32" or a hasher in codes'),
        ({"codes": RandomHyperplanes()}, NotFittedError, "this RandomHyperplanes is not fitted"),
        (
            {"codes": "random-hyperplanes"},
            ValueError,
            'codes must be "residual", a fitted Hasher or None, got \'random-',
        ),
        ({"codes": 3}, TypeError, "hasher must be a lshcore.hashers.Hasher, got int"),
    ],
)
def test_bad_options(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"KMeansIndex: {message}"):
        KMeansIndex(**options)


def test_bad_calls(features) -> None:
    with pytest.raises(ValueError, match=r"KMeansIndex\.fit: X must have at least n_clusters = 6 rows, got 5"):
        KMeansIndex(6).fit(features[:5])
    with pytest.raises(TypeError, match=r"KMeansIndex\.fit: random_state must be an integer"):
        KMeansIndex(6, random_state="x").fit(features)
    index = KMeansIndex(6).add(features)
    for probes in (0, 7):
        with pytest.raises(ValueError, match=rf"KMeansIndex\.search: probes must be between 1 and 6, got {probes}"):
            index.search(features, probes=probes)
    with pytest.raises(TypeError, match=r"KMeansIndex\.search: probes must be an integer"):
        index.search(features, probes=1.0)
    with pytest.raises(ValueError, match=r'KMeansIndex\.search: rank "hamming" needs codes'):
        index.search(features, rank="hamming")
    with pytest.raises(ValueError, match=r"KMeansIndex\.add: X must have 24 columns, got 3"):
        index.add(features[:, :3])
    hasher = RandomHyperplanes(8).fit(features)
    with pytest.raises(ValueError, match=r"KMeansIndex\.fit: X must have 24 columns, got 3"):
        KMeansIndex(2, codes=hasher).fit(features[:, :3])
