"""KMeansIndex with residual codes, what tunes it, and rank "ip": against full distance matrices and FlatIndex."""

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import reference
from lshcore import FlatIndex, KMeansIndex, LSHIndex, Preprocess, metrics, open_index
from lshcore.hashers import RandomHyperplanes

RANKS = ("l2", "cosine", "ip")
Array = NDArray[np.float32]


def clustered(seed: int, n: int, dim: int, n_centres: int = 10, noise: float = 0.5) -> Array:
    """Rows around the same centres for every seed."""
    centres = np.random.default_rng(99).normal(size=(n_centres, dim))
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, n_centres, n)] + noise * rng.normal(size=(n, dim))).astype(np.float32)


def data(kind: str, n: int = 400) -> Array:
    rng = np.random.default_rng(4)
    whole = rng.normal(size=(n, 24))
    return {
        "random": whole,
        "clustered": clustered(0, n, 24),
        "duplicated": np.repeat(whole, 5, axis=0)[:n],
        "one column": whole[:, :1],
        "wide": rng.normal(size=(n, 130)),
        "constant": np.full((n, 5), 3.5),
        "zero": np.zeros((n, 5)),
        "some zero": whole * (np.arange(n) % 3 > 0)[:, np.newaxis],
        "lengths": whole * 10.0 ** rng.uniform(-3, 3, (n, 1)),
        "far away": whole + 1000,
        "tiny": 1e-15 * whole,
        "huge": 1e13 * whole,
    }[kind].astype(np.float32)


DATA = ("random", "clustered", "duplicated", "one column", "wide", "constant", "zero", "some zero", "lengths",
        "far away", "tiny", "huge")  # fmt: skip


def asked(x: Array) -> Array:
    rng = np.random.default_rng(5)
    near = x[20:32] + 0.2 * np.abs(x).mean() * rng.normal(size=x[20:32].shape)
    return np.concatenate([x[:12], near]).astype(np.float32)


def same(a: Any, b: Any) -> bool:
    return (
        a.ids.tolist() == b.ids.tolist()
        and a.distances.tobytes() == b.distances.tobytes()
        and a.n_candidates.tolist() == b.n_candidates.tolist()
    )


def shared(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The share of the ids in each row of `wanted` that `found` has."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))


def probed(index: KMeansIndex, queries: Array, probes: int, rank: str) -> tuple[NDArray[np.int64], float]:
    """Clusters that a search with residual codes looks into, and the least gap to those that it does not."""
    order = reference.vector_distances(queries, index.centroids_, "l2") + reference.reluctance(index)
    if rank == "ip":
        order = order - (index.centroids_.astype(np.float64) ** 2).sum(axis=1) - index._trained.spreads
    ascending = np.sort(order, axis=1)
    gap = np.inf if probes == order.shape[1] else float((ascending[:, probes] - ascending[:, probes - 1]).min())
    return order.argsort(axis=1)[:, :probes], gap


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("vectors", ["float32", "float16"])
def test_all_rows_of_all_clusters_in_the_shortlist_are_ranked_exactly(kind: str, vectors: str) -> None:
    x = data(kind)
    if vectors == "float16" and kind in ("huge", "lengths"):
        x = x / np.abs(x).max() * np.float32(1000)
    queries, n = asked(x), len(x)
    index = KMeansIndex(9, codes="residual", vectors=vectors).add(x)
    flat = FlatIndex(vectors=vectors).add(x)
    kept = x.astype(np.float16) if vectors == "float16" else x
    for rank in RANKS:
        found = index.search(queries, n, probes=9, shortlist=n, rank=rank)
        assert same(found, flat.search(queries, n, rank=rank))
        assert same(found, index.search(queries, n, probes=9, shortlist=10**9, rank=rank))
        true = np.take_along_axis(reference.vector_distances(queries, kept, rank), found.ids, axis=1)
        lengths = np.linalg.norm(queries, axis=1).max() * np.linalg.norm(kept.astype(np.float64), axis=1).max()
        scale = {"l2": true.max(), "cosine": 1, "ip": lengths}[rank]
        np.testing.assert_allclose(found.distances, true, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["random", "clustered", "duplicated", "one column", "lengths"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_few_of_them_are_those_of_an_exact_search(kind: str, rank: str, k: int) -> None:
    """All but some that seem 1.9 standard deviations too far to be among the k nearest."""
    x = data(kind)
    queries = asked(x)
    found = KMeansIndex(9, codes="residual").add(x).search(queries, k, probes=9, shortlist=len(x), rank=rank)
    exact = FlatIndex().add(x).search(queries, k, rank=rank)
    assert (found.distances <= exact.distances[:, -1:]).mean() >= 0.95
    assert (found.distances >= exact.distances).all()


@pytest.mark.parametrize("rank", RANKS)
def test_a_larger_k_finds_what_a_smaller_one_does_or_nearer(rank: str) -> None:
    x = clustered(0, 2000, 24)
    index, queries = KMeansIndex(12, codes="residual").add(x), clustered(1, 400, 24)
    few, many = (index.search(queries, k, probes=12, shortlist=2000, rank=rank) for k in (10, 50))
    assert (many.distances[:, :10] <= few.distances).all()
    assert (few.ids == many.ids[:, :10]).mean() >= 0.99


@pytest.mark.parametrize("kind", ["random", "clustered", "wide"])
@pytest.mark.parametrize("rank", RANKS)
def test_what_is_left_unranked_is_next_to_nothing(kind: str, rank: str) -> None:
    x = data(kind, 2000)
    index, queries = KMeansIndex(9, codes="residual").add(x), asked(x)
    exact = FlatIndex().add(x).search(queries, 10, rank=rank)
    found = index.search(queries, 10, probes=9, shortlist=2000, rank=rank)
    assert shared(found.ids, exact.ids) >= 0.97
    assert (found.distances >= exact.distances).all()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    dim=st.integers(1, 70),
    n_clusters=st.integers(1, 16),
    k=st.integers(1, 40),
    probes=st.integers(1, 16),
    shortlist=st.integers(1, 320),
    rank=st.sampled_from(RANKS),
    vectors=st.sampled_from(["float32", "float16"]),
    filtered=st.booleans(),
)
def test_any_search(
    seed: int, n: int, dim: int, n_clusters: int, k: int, probes: int, shortlist: int, rank: str, vectors: str,
    filtered: bool, tmp_path: Path,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    n_clusters = min(n_clusters, n)
    x = (rng.normal(size=(5, dim))[rng.integers(0, 5, n)] + rng.normal(size=(n, dim))).astype(np.float32)
    ids = rng.permutation(1000)[:n]
    queries = (x[rng.integers(0, n, 7)] + rng.exponential() * rng.normal(size=(7, dim))).astype(np.float32)
    mask = rng.random(n) < 0.4 if filtered else np.ones(n, bool)
    options: dict[str, Any] = {"probes": min(probes, n_clusters), "shortlist": shortlist, "rank": rank}
    if filtered:
        options["filter"] = mask
    index = KMeansIndex(n_clusters, codes="residual", vectors=vectors, random_state=seed % 9).add(x, ids)
    found = index.search(queries, k, n_jobs=1, **options)

    # Every hit is a row, once, at its distance, in order; rows are counted that are in the clusters and allowed.
    flat = FlatIndex(vectors=vectors).add(x, ids).search(queries, n, rank=rank)
    clusters, gap = probed(index, queries, options["probes"], rank)
    to_centroids = np.sort(reference.vector_distances(x, index.centroids_, "l2"), axis=1)
    assume(gap > 1e-4)
    assume(n_clusters == 1 or (to_centroids[:, 1] - to_centroids[:, 0]).min() > 1e-4)
    home = reference.vector_distances(x, index.centroids_, "l2").argmin(axis=1)
    for q in range(len(queries)):
        allowed = mask & np.isin(home, clusters[q])
        n_hits = min(k, shortlist, allowed.sum())
        hits = found.ids[q, :n_hits].tolist()
        distance_of = dict(zip(flat.ids[q].tolist(), flat.distances[q].tolist(), strict=True))
        assert found.n_candidates[q] == allowed.sum()
        assert set(hits) <= set(ids[allowed].tolist())
        assert len(set(hits)) == n_hits
        assert found.distances[q, :n_hits].tolist() == [distance_of[hit] for hit in hits]
        assert hits == sorted(hits, key=lambda hit: (distance_of[hit], hit))
        assert found.ids[q, n_hits:].tolist() == [-1] * (k - n_hits)
        assert (found.distances[q, n_hits:] == np.inf).all()
        if k >= min(shortlist, n) >= allowed.sum():  # nothing is left unranked
            assert hits == [hit for hit in flat.ids[q].tolist() if hit in set(ids[allowed].tolist())]

    # Neither threads, nor the batch, nor where the index is kept have a part in it.
    assert same(found, index.search(queries, k, n_jobs=3, **options))
    for q in range(len(queries)):
        alone = index.search(queries[q], k, **options)
        assert alone.ids.tobytes() == found.ids[q].tobytes()
        assert alone.distances.tobytes() == found.distances[q].tobytes()
        assert alone.n_candidates[0] == found.n_candidates[q]
    folder = tmp_path / "index"
    (folder / "index.json").unlink(missing_ok=True)
    index.save(folder)
    others = [copy.copy(index), pickle.loads(pickle.dumps(index)), copy.copy(index).compact()]
    others += [open_index(folder, mmap=mmap, verify=verify) for mmap, verify in ((True, "lazy"), (False, "full"))]
    others += [copy.copy(others[-1]).compact(n_jobs=2)]
    for other in others:
        assert same(found, other.search(queries, k, **options))


def in_pieces(index: KMeansIndex, x: Array, n: int) -> KMeansIndex:
    for rows in np.array_split(np.arange(len(x)), n):
        index.add(x[rows], rows)
    return index


@pytest.mark.parametrize("vectors", ["float32", "float16"])
def test_adding_in_pieces_is_adding_at_once(vectors: str) -> None:
    """As far as all of the shortlist is ranked: what residuals promise has nothing to do with segments."""
    x, queries = clustered(0, 700, 20), clustered(1, 40, 20)
    empty = KMeansIndex(8, codes="residual", vectors=vectors).fit(x)
    whole = copy.copy(empty).add(x)
    changed = (
        copy.copy(empty).add(x[::-1], np.arange(700)).update(x, np.arange(700)).add(x[:9]).remove(700 + np.arange(9))
    )
    for n in (2, 7, 60):
        parts = in_pieces(copy.copy(empty), x, n)
        assert parts._core.n_segments > 1
        for index in (parts, changed, copy.copy(parts).compact(), copy.copy(parts).remove([3]).add(x[3:4], [3])):
            for rank in RANKS:
                for k, shortlist, probes in ((9, 9, 3), (30, 25, 8), (700, 700, 8)):
                    options: dict[str, Any] = {"shortlist": shortlist, "probes": probes, "rank": rank}
                    assert same(index.search(queries, k, **options), whole.search(queries, k, **options))


@pytest.mark.parametrize("rank", RANKS)
def test_adding_in_pieces_is_adding_at_once_where_not_all_is_ranked(rank: str) -> None:
    x, queries = clustered(0, 2000, 24), clustered(1, 200, 24)
    empty = KMeansIndex(12, codes="residual").fit(x)
    whole, parts = copy.copy(empty).add(x), in_pieces(copy.copy(empty), x, 7)
    options: dict[str, Any] = {"probes": 4, "shortlist": 100, "rank": rank}
    before = parts.search(queries, 10, **options)
    assert same(before, whole.search(queries, 10, **options))
    assert same(before, parts.compact().search(queries, 10, **options))


def test_filters_removals_updates_and_texts() -> None:
    x, queries, n = clustered(0, 500, 12), clustered(1, 30, 12), 500
    index = KMeansIndex(8, codes="residual").add(x)
    named = KMeansIndex(8, codes="residual").add(x, [f"row {i:03}" for i in range(n)])
    mask = np.arange(n) % 3 == 0
    lists = [np.arange(q, n, q + 2) for q in range(len(queries))]
    everything: dict[str, Any] = {"probes": 8, "shortlist": n}
    for rank in RANKS:
        flat = FlatIndex().add(x)
        for given_filter in (mask, np.flatnonzero(mask), np.flatnonzero(mask).tolist(), lists, np.arange(0)):
            found = index.search(queries, n, rank=rank, filter=given_filter, **everything)
            assert same(found, flat.search(queries, n, rank=rank, filter=given_filter))
        few = index.search(queries, 20, rank=rank, filter=lists, probes=3, shortlist=20)
        for q, mine in enumerate(lists):
            alone = index.search(queries[q], 20, rank=rank, filter=mine, probes=3, shortlist=20)
            assert alone.ids[0].tolist() == few.ids[q].tolist()
        texts = named.search(queries, n, rank=rank, filter=mask, **everything)
        assert [[int(one[4:]) for one in row if one is not None] for row in texts.ids] == [
            row[row >= 0].tolist() for row in index.search(queries, n, rank=rank, filter=mask, **everything).ids
        ]
    index.remove(np.arange(0, n, 2)).update(x[:50], np.arange(1, 101, 2))
    flat = FlatIndex().add(x).remove(np.arange(0, n, 2)).update(x[:50], np.arange(1, 101, 2))
    assert len(index) == 250
    for rank in RANKS:
        assert same(index.search(queries, n, rank=rank, **everything), flat.search(queries, n, rank=rank))
    assert index.search(x[:50], 1, rank="l2", **everything).ids[:, 0].tolist() == list(range(1, 101, 2))
    index.remove(index.ids)
    assert index.search(queries, 3, **everything).ids.tolist() == [[-1] * 3] * len(queries)


# -- how much is found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("source", ["digits", "clustered"])
def test_recall_rises_with_probes_and_shortlist(source: str, rank: str) -> None:
    x = load_digits().data.astype(np.float32) if source == "digits" else clustered(0, 4000, 64, 40, 0.6)
    x, queries = x[300:], x[:300]
    index = KMeansIndex(32, codes="residual").add(x)
    exact = FlatIndex().add(x).search(queries, 10, rank=rank).ids

    def recall(probes: int, shortlist: int) -> float:
        return shared(index.search(queries, 10, probes=probes, shortlist=shortlist, rank=rank).ids, exact)

    by_probes = [recall(probes, len(x)) for probes in (1, 2, 4, 8, 16, 32)]
    by_length = [recall(32, shortlist) for shortlist in (10, 20, 40, 80, len(x))]
    assert by_probes == sorted(by_probes)
    assert all(a <= b + 0.002 for a, b in itertools.pairwise(by_length))
    assert by_probes[-1] >= 0.99
    assert by_length[0] < by_length[2]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("source", "least"), [("digits", 0.98), ("clustered", 0.9)])
def test_four_times_k_rows_hold_nearly_all_that_probes_reach(source: str, least: float, rank: str) -> None:
    """Of the nearest in the clusters looked into, found by going through them with a filter of their rows."""
    x = load_digits().data.astype(np.float32) if source == "digits" else clustered(0, 4000, 64, 40, 0.6)
    x, queries = x[200:], x[:200]
    index = KMeansIndex(32, codes="residual").add(x)
    home = reference.vector_distances(x, index.centroids_, "l2").argmin(axis=1)
    for probes in (2, 8):
        clusters, _ = probed(index, queries, probes, rank)
        lists = [np.flatnonzero(np.isin(home, mine)) for mine in clusters]
        reached = FlatIndex().add(x).search(queries, 10, rank=rank, filter=lists)
        for shortlist, share in ((40, least), (80, 0.99)):
            found = index.search(queries, 10, probes=probes, shortlist=shortlist, rank=rank)
            assert shared(found.ids, reached.ids) >= share


@pytest.mark.parametrize("noise", [0.1, 0.01, 0.001])
def test_tight_clusters_far_apart_are_told_apart_inside(noise: float) -> None:
    """Estimates are as good as residuals are, however far the centroids are from each other."""
    x, queries = clustered(0, 4000, 64, 20, noise), clustered(1, 200, 64, 20, noise)
    index = KMeansIndex(20, codes="residual", init="k-means++").add(x)
    exact = FlatIndex().add(x).search(queries, 10, rank="l2")
    found = index.search(queries, 10, probes=20, shortlist=40, rank="l2")
    assert shared(found.ids, exact.ids) > 0.8
    found = index.search(queries, 10, probes=20, shortlist=4000, rank="l2")
    assert shared(found.ids, exact.ids) > 0.97


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("probes", "least"), [(1, 0.99), (4, 0.96), (20, 0.85)])
def test_the_clusters_of_many_are_hardly_missed(rank: str, probes: int, least: float) -> None:
    """Of more than 2 probes + 16 clusters, those whose distances are looked at are chosen by codes of their own."""
    x, queries = clustered(0, 3000, 64, 60, 0.6), clustered(1, 100, 64, 60, 0.6)
    index = KMeansIndex(200, codes="residual", sample=15).add(x)
    home = reference.vector_distances(x, index.centroids_, "l2").argmin(axis=1)
    clusters, _ = probed(index, queries, probes, rank)
    found = index.search(queries, 3000, probes=probes, shortlist=3000, rank=rank)
    shares = []
    for mine, ids in zip(clusters, found.ids, strict=True):
        wanted = set(mine) & set(home)
        shares.append(len(wanted & set(home[ids[ids >= 0]])) / max(1, len(wanted)))
    assert np.mean(shares) >= least


def test_spreads_are_mean_squared_distances_and_sizes_counts() -> None:
    x = clustered(0, 900, 10)
    index = KMeansIndex(7, codes="residual", sample=900, max_iter=200, tol=0).fit(x)
    distances = reference.vector_distances(x, index.centroids_, "l2")
    home = distances.argmin(axis=1)
    wanted = [distances[home == c, c].mean() for c in range(7)]
    np.testing.assert_allclose(index._trained.spreads, wanted, rtol=1e-3)
    np.testing.assert_allclose(index._trained.sizes, np.bincount(home), atol=2)  # the last round may move some
    assert index._trained.sizes.sum() == 900


# -- rank "ip" ---------------------------------------------------------------------------------------------------------


def products(kind: str, x: Array) -> tuple[Any, dict[str, Any]]:
    """An index of x, and options that make every row a candidate."""
    if kind == "flat":
        return FlatIndex().add(x), {}
    if kind == "flat, half":
        return FlatIndex(vectors="float16").add(x), {}
    if kind == "lsh":
        return LSHIndex(RandomHyperplanes(12).fit(x), 2, 4, vectors="float32").add(x), {"radius": 4}
    return KMeansIndex(6, codes="residual" if kind == "residual" else None).add(x), {"probes": 6}


PRODUCTS = ("flat", "flat, half", "lsh", "k-means", "residual")


@pytest.mark.parametrize("kind", PRODUCTS)
def test_inner_products(kind: str) -> None:
    x, queries = clustered(0, 300, 12), clustered(1, 20, 12)
    index, options = products(kind, x)
    true = -(queries.astype(np.float64) @ index.reconstruct(np.arange(300)).astype(np.float64).T)
    found = index.search(queries, 300, rank="ip", **options)
    assert found.distances.dtype == np.float32
    np.testing.assert_allclose(found.distances, np.sort(true, axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(true, found.ids, axis=1), np.sort(true, axis=1), rtol=1e-5, atol=1e-5)
    few = index.search(queries, 7, rank="ip", **options)
    assert few.ids.tolist() == found.ids[:, :7].tolist()
    distances, ids = index.kneighbors(queries, 7, rank="ip", **options)
    assert (ids.tolist(), distances.tolist()) == (few.ids.tolist(), few.distances.tolist())
    # Ties go to the lower id; zeros have product 0 with everything.
    assert index.search(np.zeros(12), 300, rank="ip", **options).ids.tolist() == [list(range(300))]


@pytest.mark.parametrize("limit", [-4.0, -1e-3, 0.0, 2.5, float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", PRODUCTS)
def test_ranges_of_inner_products_have_any_sign(kind: str, limit: float) -> None:
    x, queries = clustered(0, 300, 12), clustered(1, 20, 12)
    index, options = products(kind, x)
    whole = index.search(queries, 300, rank="ip", **options)
    found = index.range_search(queries, limit, rank="ip", **options)
    for q in range(len(queries)):
        distances, ids = found[q]
        keep = whole.distances[q] <= limit
        assert ids.tolist() == whole.ids[q][keep].tolist()
        assert distances.tobytes() == whole.distances[q][keep].tobytes()
    if kind != "lsh":  # whose options have a radius of their own
        near, hits = index.radius_neighbors(queries, limit, rank="ip", **options)
        assert [mine.tolist() for mine in hits] == [found[q][1].tolist() for q in range(len(queries))]
        assert [mine.tolist() for mine in near] == [found[q][0].tolist() for q in range(len(queries))]


def test_a_range_of_inner_products_is_a_number() -> None:
    index = FlatIndex().add(np.eye(3))
    with pytest.raises(ValueError, match=r"FlatIndex\.range_search: max_distance must be .*got nan"):
        index.range_search(np.ones(3), float("nan"), rank="ip")


@pytest.mark.parametrize("kind", PRODUCTS)
def test_metrics_of_a_ranking_by_inner_product(kind: str) -> None:
    x, queries = clustered(0, 200, 12), clustered(1, 15, 12)
    labels, asked_labels = np.arange(200) % 4, np.arange(15) % 4
    index, options = products(kind, x)
    true = -(queries @ index.reconstruct(np.arange(200)).T)
    order = np.argsort(true, axis=1, kind="stable")
    relevance = reference.relevance_matrix(asked_labels, labels)
    wanted = reference.mean_metrics(
        reference.strict_metrics(relevance[q][order[q]].tolist(), int(relevance[q].sum()), [5, 20]) for q in range(15)
    )
    report = metrics.evaluate(index, queries, asked_labels, labels, rank="ip", k=[5, 20], **options)
    for name in ("map", "map@5", "p@20", "recall"):
        assert report[name] == pytest.approx(wanted[name], abs=1e-6)
    if kind == "residual":  # a shortlist is the list
        report = metrics.evaluate(
            index, queries, asked_labels, labels, rank="ip", k=[5], shortlist=30, ties="stable", **options
        )
        listed = index.search(queries, 30, rank="ip", shortlist=30, **options).ids
        wanted = reference.mean_metrics(
            reference.strict_metrics(relevance[q][listed[q]].tolist(), int(relevance[q].sum()), [5]) for q in range(15)
        )
        assert report["map@5"] == pytest.approx(wanted["map@5"], abs=1e-6)
        assert report["recall"] == pytest.approx(wanted["recall"], abs=1e-6)


# -- tuning ------------------------------------------------------------------------------------------------------------

ROWS, ASKED = clustered(0, 5000, 32, 60, 0.6), clustered(1, 800, 32, 60, 0.6)


@pytest.mark.parametrize("rank", RANKS)
def test_fresh_queries_find_the_share_asked_for(rank: str) -> None:
    """Measured over twelve such data sets: from 0.018 below the share to 0.054 above, where one probe more is all."""
    exact = FlatIndex().add(ROWS).search(ASKED, 10, rank=rank).ids
    index = KMeansIndex(target_recall=0.8, rank=rank).add(ROWS)
    costs = []
    for share in (0.8, 0.9, 0.95, 0.99):
        tuned = index.tune(share)
        assert tuned is index.tuned_
        assert (tuned.target_recall, tuned.k, tuned.rank, tuned.n_queries) == (share, 10, rank, 500)
        assert share <= tuned.recall <= 1
        found = index.search(ASKED, 10)
        assert share - min(0.04, 1 - share) <= shared(found.ids, exact) <= share + 0.04
        assert found.n_candidates.mean() == pytest.approx(tuned.candidates, rel=0.1)
        costs.append(tuned.candidates + 40 * tuned.shortlist)
    assert costs == sorted(costs)


def test_searches_take_what_was_tuned_unless_told_otherwise() -> None:
    index = KMeansIndex(target_recall=0.9, rank="l2")
    assert index.tuned_ is None
    assert index.residual
    tuned = index.add(ROWS).tuned_
    assert tuned is not None
    assert 1 <= tuned.probes <= index.n_clusters
    probes, shortlist = tuned.probes, tuned.shortlist
    plain = index.search(ASKED)
    assert same(plain, index.search(ASKED, probes=probes, shortlist=shortlist, rank="l2"))
    for options in ({"probes": 7}, {"shortlist": 77}, {"probes": 1, "shortlist": 13}):
        said: dict[str, Any] = {"probes": probes, "shortlist": shortlist, **options}
        assert same(index.search(ASKED, **options), index.search(ASKED, **said))
        assert not same(index.search(ASKED, **options), plain)
    assert index.candidates(ASKED[:9]).ids.tolist() == index.candidates(ASKED[:9], probes=probes).ids.tolist()
    within = index.range_search(ASKED[:9], 30.0)
    assert within.ids.tolist() == index.range_search(ASKED[:9], 30.0, probes=probes).ids.tolist()
    assert f"residual codes, tuned ({tuned}), vectors float32" in repr(index)
    assert str(tuned).startswith(f"probes {probes}, shortlist {shortlist}: recall@10 0.9")
    assert index.add(ROWS[:5]).tuned_ is tuned  # only the first rows are


def test_candidates_are_what_a_search_chooses_from() -> None:
    """And a range search has the same ones."""
    index = KMeansIndex(target_recall=0.9).add(ROWS)
    for rank in ("l2", "cosine"):
        found = index.search(ASKED[:200], 10, rank=rank)
        candidates = index.candidates(ASKED[:200])
        assert np.diff(candidates.offsets).tolist() == found.n_candidates.tolist()
        assert all(set(found.ids[q].tolist()) <= set(candidates[q].tolist()) for q in range(200))
        within = index.range_search(ASKED[:200], 0.1, rank=rank)
        assert within.n_candidates.tolist() == found.n_candidates.tolist()


def test_more_hits_than_were_tuned_for_are_found() -> None:
    """Only where candidates are fewer than k there is no hit."""
    index = KMeansIndex(target_recall=0.9).add(ROWS)
    found = index.search(ASKED[:20], 200)
    assert (found.ids >= 0).sum(axis=1).tolist() == np.minimum(200, found.n_candidates).tolist()


def test_tuning_depends_on_rows_and_share_alone() -> None:
    x = ROWS[:2000]
    index = KMeansIndex(target_recall=0.9).add(x, n_jobs=1)
    first = index.tuned_
    assert KMeansIndex(target_recall=0.9).add(x, n_jobs=3).tuned_ == first
    assert KMeansIndex(codes="residual").add(x).tune(0.9, n_jobs=2) == first
    index.tune(0.99, 3, rank="ip", n_jobs=2)
    assert index.tuned_ != first
    assert index.tune() == first


def test_tuning_does_not_depend_on_segments() -> None:
    x = ROWS[:2000]
    pieces = in_pieces(KMeansIndex(codes="residual").fit(x), x, 5)
    assert pieces.tune(0.9) == pieces.compact().tune(0.9) == KMeansIndex(codes="residual").add(x).tune(0.9)


def test_what_was_tuned_is_saved(tmp_path: Path) -> None:
    for number, index in enumerate(
        (
            KMeansIndex(target_recall=0.8, rank="ip").add(ROWS[:1000]),
            KMeansIndex(8, codes="residual", vectors="float16").add(ROWS[:1000]),
            KMeansIndex(8, codes="residual", init="k-means++", sample=7, max_iter=3).fit(ROWS[:1000]),
            KMeansIndex(target_recall=0.8),
        )
    ):
        folder = tmp_path / str(number)
        index.save(folder)
        for other in (
            open_index(folder),
            open_index(folder, mmap=False, verify="full"),
            copy.copy(index),
            pickle.loads(pickle.dumps(index)),
        ):
            assert repr(other) == repr(index)
            for name in ("tuned_", "target_recall", "residual", "rank", "init", "sample", "max_iter", "n_clusters"):
                assert getattr(other, name) == getattr(index, name), name
            if index.dim is not None:
                for name in ("spreads", "sizes"):
                    assert getattr(other._trained, name).tobytes() == getattr(index._trained, name).tobytes()
                assert same(other.search(ASKED, 5), index.search(ASKED, 5))
            again = [one.add(ROWS[:1000]).tuned_ for one in (copy.copy(index), other)]
            assert again[0] == again[1]
    tuned = open_index(tmp_path / "0")
    tuned.tune(0.99)
    tuned.save(tmp_path / "0")
    assert open_index(tmp_path / "0").tuned_ == tuned.tuned_


def test_tuning_for_a_number_and_a_rank() -> None:
    index = KMeansIndex(8, codes="residual").add(ROWS[:1000])
    assert (index.tune(0.9).rank, index.tune(0.9).k) == ("cosine", 10)
    for rank in RANKS:
        for k in (1, 3, 30):
            tuned = index.tune(0.9, k, rank=rank)
            assert (tuned.rank, tuned.k) == (rank, k)
            assert k <= tuned.shortlist
    assert index.tune(1.0).recall == 1
    assert index.tune(0.9, 5000).k == 999
    few = KMeansIndex(target_recall=0.5).add(ROWS[:2])
    assert (few.tuned_.k, few.tuned_.n_queries, few.tuned_.recall) == (1, 2, 1)
    assert KMeansIndex(target_recall=0.5).add(ROWS[:1]).tuned_ is None
    same_rows = KMeansIndex(4, target_recall=1).add(np.ones((60, 3)))
    assert (same_rows.tuned_.recall, same_rows.tuned_.shortlist) == (1, 10)


def test_duplicates_of_a_query_count_as_its_neighbours() -> None:
    index = KMeansIndex(target_recall=0.95, rank="l2").add(np.repeat(ROWS[:300], 12, axis=0))
    assert index.tuned_.recall >= 0.95
    assert (index.search(ROWS[:300], 10).distances < 1e-3).mean() >= 0.93


# -- training ----------------------------------------------------------------------------------------------------------


def test_clusters_by_default() -> None:
    for n, wanted in ((1, 1), (2, 1), (239, 1), (240, 1), (500, 2), (1000, 4), (5000, 16)):
        index = KMeansIndex(codes="residual").fit(ROWS[:n])
        assert index.n_clusters == len(index.centroids_) == wanted
    from lshcore.index.kmeans import _n_clusters

    for rows in (10**4, 10**5, 10**6, 10**7, 10**9):
        number = _n_clusters(rows)
        assert number & (number - 1) == 0
        wanted = min(rows / 240, 4 * rows**0.5)
        assert wanted / 2**0.5 <= number <= wanted * 2**0.5
    assert KMeansIndex().n_clusters == 100


def test_a_sample_is_trained_on() -> None:
    x = ROWS[:600]
    index = KMeansIndex(5, sample=7, random_state=3).fit(x)
    drawn = np.sort(np.random.default_rng(3).choice(600, 35, replace=False))
    alone = KMeansIndex(5, random_state=3).fit(x[drawn])
    assert index.centroids_.tobytes() == alone.centroids_.tobytes()
    assert (
        index.inertia_
        == alone.inertia_
        == pytest.approx(reference.vector_distances(x[drawn], index.centroids_, "l2").min(axis=1).sum(), rel=1e-5)
    )
    all_of_them = KMeansIndex(5, sample=120, random_state=3).fit(x)
    assert all_of_them.centroids_.tobytes() == KMeansIndex(5, random_state=3).fit(x).centroids_.tobytes()
    assert (KMeansIndex(5).sample, KMeansIndex(5, codes="residual").sample) == (None, 64)


def test_training_for_residual_codes_begins_with_a_quarter_of_the_rows() -> None:
    options: dict[str, Any] = {"init": "random", "sample": 10**6, "random_state": 5}
    short, long = (KMeansIndex(20, max_iter=rounds, **options).fit(ROWS) for rounds in (4, 50))
    warm = KMeansIndex(20, codes="residual", **options).fit(ROWS)
    assert warm.n_iter_ <= 4
    assert long.inertia_ * 0.9 < warm.inertia_ < short.inertia_
    few = KMeansIndex(20, codes="residual", max_iter=1, **options).fit(ROWS[:70])  # a quarter has too few rows
    plain = KMeansIndex(20, max_iter=1, **options).fit(ROWS[:70])
    assert few.centroids_.tobytes() == plain.centroids_.tobytes()
    for n_jobs in (2, 3):
        again = KMeansIndex(20, codes="residual", **options).fit(ROWS, n_jobs=n_jobs)
        assert again.centroids_.tobytes() == warm.centroids_.tobytes()


def test_rows_drawn_at_random_are_where_it_starts() -> None:
    x = ROWS[:500]
    runs = [KMeansIndex(9, init="random", max_iter=4, random_state=seed).fit(x) for seed in (1, 1, 2)]
    assert runs[0].centroids_.tobytes() == runs[1].centroids_.tobytes() != runs[2].centroids_.tobytes()
    far = KMeansIndex(9, init="k-means++", max_iter=4, random_state=1).fit(x)
    assert far.centroids_.tobytes() != runs[0].centroids_.tobytes()
    assert (KMeansIndex().init, KMeansIndex(codes="residual").init) == ("k-means++", "random")
    assert (KMeansIndex().max_iter, KMeansIndex(codes="residual").max_iter) == (25, 4)
    for n_jobs in (2, 3):
        again = KMeansIndex(9, init="random", max_iter=4, random_state=1).fit(x, n_jobs=n_jobs)
        assert again.centroids_.tobytes() == runs[0].centroids_.tobytes()


def test_minibatch_has_residuals_too() -> None:
    x = ROWS[:800]
    index = KMeansIndex(8, codes="residual", algorithm="minibatch").add(x)
    assert same(index.search(ASKED, 800, probes=8, shortlist=800), FlatIndex().add(x).search(ASKED, 800))


def test_residuals_take_memory() -> None:
    x = ROWS[:3200]
    with_, without = (sum(KMeansIndex(4, codes=codes).add(x).nbytes.values()) for codes in ("residual", None))
    assert with_ - without >= 3200 * (64 // 8 + 12)  # a bit a dimension, and three floats


# -- errors ------------------------------------------------------------------------------------------------------------

PLANES = RandomHyperplanes(16).fit(ROWS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"codes": "other"}, ValueError, "codes must be \"residual\", a fitted Hasher or None, got 'other'"),
        ({"codes": "residual", "vectors": None}, ValueError, "residual codes .*need vectors=.*got None"),
        ({"target_recall": 0.9, "vectors": None}, ValueError, ".*target_recall need vectors=.*got None"),
        ({"codes": "residual", "spherical": True}, ValueError, "residual codes need .* got spherical=True"),
        ({"target_recall": 0.9, "spherical": True}, ValueError, "residual codes need .* got spherical=True"),
        ({"codes": "residual", "rank": "hamming"}, ValueError, 'rank "hamming" needs codes'),
        ({"rank": "dot"}, ValueError, "rank must be one of .*'ip', got 'dot'"),
        ({"init": "pca"}, ValueError, r"init must be one of 'k-means\+\+', 'random', got 'pca'"),
        ({"sample": 0}, ValueError, "sample must be at least 1, got 0"),
        ({"sample": 1.5}, TypeError, "sample must be an integer, got 1.5"),
        ({"target_recall": 0}, ValueError, "target_recall must be above 0 and at most 1, got 0"),
        ({"target_recall": 1.5}, ValueError, "target_recall must be above 0 and at most 1, got 1.5"),
        ({"target_recall": float("nan")}, ValueError, "target_recall must be above 0 and at most 1, got nan"),
        ({"target_recall": True}, TypeError, "target_recall must be a number, got True"),
        ({"target_recall": "high"}, TypeError, "target_recall must be a number, got 'high'"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^KMeansIndex: {message}") as raised:
        KMeansIndex(**options)
    assert "\n" not in str(raised.value)


def test_what_a_message_advises_works() -> None:
    with pytest.raises(ValueError, match="Preprocess") as raised:
        KMeansIndex(codes="residual", spherical=True)
    call = str(raised.value).partition("Preprocess")[2]
    step = eval(f"Preprocess{call}", {"Preprocess": Preprocess})
    np.testing.assert_allclose(np.linalg.norm(step.fit(ROWS).transform(ROWS), axis=1), 1, rtol=1e-5)


def test_a_hasher_cannot_be_tuned_and_nothing_is_added() -> None:
    """Refused where it is made, or with nothing added."""
    try:
        index = KMeansIndex(4, codes=PLANES, target_recall=0.9)
    except ValueError:
        return
    with pytest.raises(ValueError, match="residual codes"):
        index.add(ROWS[:100], [f"row {i}" for i in range(100)])
    assert len(index) == 0


def test_too_many_columns_are_refused_in_one_sentence() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4097)).astype(np.float32)
    found = KMeansIndex(2, codes="residual").add(x[:, :4096]).search(x[:, :4096], 1, probes=2, shortlist=20, rank="l2")
    assert found.ids[:, 0].tolist() == list(range(20))
    for call, where in ((lambda index: index.add(x), "add"), (lambda index: index.fit(x), "fit")):
        index = KMeansIndex(2, codes="residual")
        with pytest.raises(ValueError, match=rf"^KMeansIndex\.{where}: X .*4,?096 columns.*got 4,?097") as raised:
            call(index)
        assert "\n" not in str(raised.value)
        assert index.dim is None


@pytest.mark.parametrize(
    ("share", "k", "rank", "error", "message"),
    [
        (0, 10, None, ValueError, "target_recall must be above 0 and at most 1, got 0"),
        (1.5, 10, None, ValueError, "target_recall must be above 0 and at most 1, got 1.5"),
        (True, 10, None, TypeError, "target_recall must be a number, got True"),
        ("high", 10, None, TypeError, "target_recall must be a number, got 'high'"),
        (None, 10, None, ValueError, "target_recall must be given, for this index was made without one"),
        (0.9, 0, None, ValueError, "k must be at least 1, got 0"),
        (0.9, 2.0, None, TypeError, "k must be an integer, got 2.0"),
        (0.9, 10, "hamming", ValueError, 'rank "hamming" needs codes'),
        (0.9, 10, "dot", ValueError, "rank must be one of .* got 'dot'"),
    ],
)
def test_bad_tuning(share: Any, k: Any, rank: Any, error: type[Exception], message: str) -> None:
    index = KMeansIndex(4, codes="residual").add(ROWS[:200])
    with pytest.raises(error, match=rf"^KMeansIndex\.tune: {message}") as raised:
        index.tune(share, k, rank=rank)
    assert "\n" not in str(raised.value)
    assert index.tuned_ is None


def test_what_cannot_be_tuned() -> None:
    for index, message in (
        (KMeansIndex(4).add(ROWS[:200]), "needs residual codes"),
        (KMeansIndex(4, codes=PLANES).add(ROWS[:200]), "needs residual codes"),
        (KMeansIndex(codes="residual"), "at least 2 rows, got 0"),
        (KMeansIndex(codes="residual").add(ROWS[:1]), "at least 2 rows, got 1"),
        (KMeansIndex(codes="residual").add(ROWS[:50]).remove(np.arange(50)), "at least 2 rows, got 0"),
    ):
        with pytest.raises(ValueError, match=rf"^KMeansIndex\.tune: .*{message}"):
            index.tune(0.9)
        assert index.tuned_ is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shortlist": 0}, ValueError, "shortlist must be at least 1, got 0"),
        ({"shortlist": 1.5}, TypeError, "shortlist must be an integer, got 1.5"),
        ({"shortlist": True}, TypeError, "shortlist must be an integer, got True"),
        ({"probes": 5}, ValueError, "probes must be between 1 and 4, got 5"),
        ({"radius": 1}, ValueError, "radius must be None"),
        ({"rank": "margin"}, ValueError, 'rank "margin" needs codes'),
    ],
)
def test_bad_searches(options: dict[str, Any], error: type[Exception], message: str) -> None:
    index = KMeansIndex(4, codes="residual").add(ROWS[:200])
    with pytest.raises(error, match=rf"^KMeansIndex\.search: {message}"):
        index.search(ASKED[:3], **options)


# -- the default rank in the forms of scikit-learn ---------------------------------------------------------------------


def test_neighbours_by_a_default_rank_of_l2_are_not_squared() -> None:
    x, queries = ROWS[:200], ASKED[:9]
    index = KMeansIndex(4, codes="residual", rank="l2").add(x)
    for options in ({"rank": "l2"}, {}):
        distances, ids = index.kneighbors(queries, 5, probes=4, shortlist=200, **options)
        true = np.linalg.norm(queries[:, np.newaxis] - x[ids], axis=2)
        np.testing.assert_allclose(distances, true, rtol=1e-4)
        near, hits = index.radius_neighbors(queries, 6.0, probes=4, **options)
        for q in range(len(queries)):
            all_true = np.linalg.norm(queries[q] - x, axis=1)
            assert set(hits[q].tolist()) == set(np.flatnonzero(all_true <= 6).tolist())
            np.testing.assert_allclose(near[q], np.sort(all_true[all_true <= 6]), rtol=1e-4)
