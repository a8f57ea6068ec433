"""Metrics against their definitions: worked values, every order of short lists, formulas on long ones."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import reference
from lshcore import BinaryCodes, FlatIndex, KMeansIndex, LSHIndex, _core, hamming, metrics
from lshcore.hashers import RandomHyperplanes

COUNTS = ("n_queries", "queries_without_relevant")
LENGTHS = ("candidates_mean", "candidates_median", "candidates_p95", "candidates_share")


def assert_reports(report: dict, wanted: dict, but: tuple[str, ...] = (*COUNTS, *LENGTHS)) -> None:
    """Every metric of the report, and no other, has its wanted value."""
    found = {name: value for name, value in reference.flatten(report).items() if name not in but}
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-10), name


# -- one list ----------------------------------------------------------------------------------------------------------


def test_worked_values_of_the_protocol() -> None:
    report = metrics.ranked_list([1, 0, 0, 1, 0], n_relevant=10, k=5)
    assert report["map_retrieved"] == pytest.approx(0.75)
    assert report["map@5"] == pytest.approx(0.30)
    assert report["map"] == pytest.approx(0.15)
    tied = metrics.ranked_list([1, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 2], k=4)
    assert tied["map"] == pytest.approx(0.7381944, abs=5e-8)
    assert tied["map_retrieved@4"] == pytest.approx(0.7963, abs=5e-5)


SHORT = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=6)


@given(items=SHORT, hidden=st.integers(0, 3), ks=st.sets(st.integers(1, 8), min_size=1, max_size=3))
def test_ties_are_the_mean_over_every_order(items: list, hidden: int, ks: set[int]) -> None:
    relevance, distances = [r for r, _ in items], [d for _, d in items]
    total = sum(relevance) + hidden
    report = metrics.ranked_list(relevance, distances, total, sorted(ks))
    wanted = reference.permuted_metrics(relevance, distances, total, sorted(ks), report["pr_curve"]["rank"])
    assert_reports(report, wanted)
    # The formula that stands in for the permutations of longer lists agrees with them.
    formula = reference.expected_metrics(relevance, distances, total, sorted(ks), report["pr_curve"]["rank"])
    assert formula == pytest.approx(wanted, abs=1e-12)


LONG = {
    "n": st.integers(0, 400),
    "levels": st.sampled_from([1, 2, 3, 10, 300]),
    "share": st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]),
    "hidden": st.sampled_from([0, 1, 50]),
    "seed": st.integers(0, 2**32 - 1),
}


@given(**LONG)
def test_long_lists(n: int, levels: int, share: float, hidden: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    relevance, distances = rng.random(n) < share, rng.integers(0, levels, n) / 7
    total = int(relevance.sum()) + hidden
    ks = [1, 3, 10, 50, 401]
    report = metrics.ranked_list(relevance, distances, total, ks)
    ranks = report["pr_curve"]["rank"]
    assert_reports(report, reference.expected_metrics(relevance.tolist(), distances.tolist(), total, ks, ranks))
    order = np.argsort(distances, kind="stable")
    stable = metrics.ranked_list(relevance, distances, total, ks, ties="stable")
    assert_reports(stable, reference.strict_metrics(relevance[order].tolist(), total, ks, ranks))
    in_order = metrics.ranked_list(relevance[order], None, total, ks)
    assert reference.flatten(in_order) == reference.flatten(stable)


def test_a_long_list_of_ties_keeps_its_precision() -> None:
    """Half a million items at two distances: sums that are formed by an approximation stay exact to 1e-10."""
    rng = np.random.default_rng(0)
    relevance = rng.random(500_000) < 0.01
    distances = (np.arange(500_000) > 200_000).astype(np.float32)
    report = metrics.ranked_list(relevance, distances, k=300_000)
    total, before, hits = 0.0, 0, 0
    for part in (relevance[:200_001], relevance[200_001:]):
        n, m = len(part), int(part.sum())
        t = np.arange(1, n + 1)
        total += (m / n * (hits + 1 + (t - 1) * (m - 1) / (n - 1)) / (before + t)).sum()
        before, hits = before + n, hits + m
    assert report["map"] == pytest.approx(total / hits, rel=1e-10)


def test_distances_closer_than_float32_are_no_ties() -> None:
    report = metrics.ranked_list([0, 1], [1.0 + 1e-12, 1.0])
    assert report["map"] == 1.0
    assert metrics.ranked_list([0, 1], [1.0, 1.0])["map"] == 0.75
    assert metrics.ranked_list([0, 1], [0.0, -0.0])["map"] == 0.75


def test_an_empty_list_counts_zero() -> None:
    report = metrics.ranked_list([], n_relevant=3, k=2)
    assert report["queries_without_relevant"] == 0
    assert {report[name] for name in ("map", "map@2", "p@2", "p@2_returned", "recall", "coverage")} == {0.0}
    assert metrics.ranked_list([0, 0])["queries_without_relevant"] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 2],), ValueError, "relevance must hold only 0 and 1"),
        (([[0, 1]],), ValueError, r"relevance must be 1-d, got shape \(1, 2\)"),
        ((None,), TypeError, "relevance must hold .* got None"),
        (([0, 1], [1.0]), ValueError, r"distances must have shape \(2,\)"),
        (([0, 1], [1.0, np.nan]), ValueError, "distances must not be NaN, got one at place 1"),
        (([0, 1], ["a", "b"]), TypeError, "distances must hold"),
        (([1, 1], None, 1), ValueError, "n_relevant must be at least the 2 relevant items of the list, got 1"),
        (([1, 1], None, 2.5), TypeError, "n_relevant must be an integer"),
        (([1, 1], None, 2, 0), ValueError, "k must be at least 1, got 0"),
        (([1, 1], None, 2, (5, 1.5)), TypeError, "k must be an integer, got 1.5"),
        (([1, 1], None, 2, "10"), TypeError, "k must be an integer, got '10'"),
        (([1, 1], None, 2, 5, "random"), ValueError, "ties must be one of 'expected', 'stable', got 'random'"),
    ],
)
def test_bad_lists(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=r"metrics\.ranked_list: " + message):
        metrics.ranked_list(*arguments)


# -- the whole gallery by Hamming distance -----------------------------------------------------------------------------


def random_task(seed: int, m: int, n: int, n_bits: int, kind: str) -> tuple[BinaryCodes, BinaryCodes, NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    q, codes = (BinaryCodes.from_bools(rng.random((rows, n_bits)) < 0.3) for rows in (m, n))
    if kind == "single":
        return q, codes, rng.integers(-1, 4, m), rng.integers(-1, 3, n)  # label 3 has nothing relevant
    classes = 3 if kind == "multi" else 70
    return q, codes, rng.random((m, classes)) < 2 / classes, rng.random((n, classes)) < 2 / classes


def wanted_report(
    distances: list[list[float]], relevance: list[list[bool]], totals: list[int], report: dict, ks, ties: str, n_bits=0
) -> dict[str, float]:
    """Mean over the queries of the reference metrics of each list."""
    ranks = report["pr_curve"]["rank"]
    rows = []
    for of_query, relevant, total in zip(distances, relevance, totals, strict=True):
        if ties == "stable":
            order = np.argsort(of_query, kind="stable")
            row = reference.strict_metrics([relevant[i] for i in order], total, ks, ranks)
        else:
            row = reference.expected_metrics(relevant, of_query, total, ks, ranks)
        if n_bits:
            row |= reference.radius_metrics(relevant, of_query, total, n_bits)
        rows.append(row)
    return reference.mean_metrics(rows)


@pytest.mark.parametrize("kind", ["single", "multi", "wide multi"])
@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize(("m", "n", "n_bits"), [(9, 120, 6), (5, 40, 130), (3, 1, 1), (4, 700, 12)])
def test_hamming_ranking(kind: str, ties: str, m: int, n: int, n_bits: int) -> None:
    q, codes, q_labels, labels = random_task(n + n_bits, m, n, n_bits, kind)
    ks = (1, 10, 50, 800)
    report = metrics.hamming_ranking(q, codes, q_labels, labels, ks, ties)
    relevance = reference.relevance_matrix(q_labels, labels)
    distances = reference.hamming_matrix(q.to_bools(), codes.to_bools())
    totals = relevance.sum(axis=1).tolist()
    assert_reports(
        report, wanted_report(distances.tolist(), relevance.tolist(), totals, report, ks, ties, n_bits=n_bits)
    )
    assert report["n_queries"] == m
    assert report["queries_without_relevant"] == totals.count(0)
    assert [report[name] for name in LENGTHS] == [n, n, n, 1.0]
    json.dumps(report)


def test_order_of_a_gallery_matters_only_to_stable_ties(rng: np.random.Generator) -> None:
    q, codes, q_labels, labels = random_task(1, 20, 200, 8, "single")
    order = np.argsort(labels, kind="stable")
    expected, shuffled = (
        [
            metrics.hamming_ranking(q, c, q_labels, y, ties=ties)["map"]
            for c, y in ((codes, labels), (codes[order], labels[order]))
        ]
        for ties in ("expected", "stable")
    )
    assert expected[0] == expected[1]
    assert abs(shuffled[0] - shuffled[1]) > 0.005


@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_threads_and_progress_change_nothing(ties: str) -> None:
    q, codes, q_labels, labels = random_task(2, 1500, 90, 20, "single")
    wanted = metrics.hamming_ranking(q, codes, q_labels, labels, ties=ties, n_jobs=1)
    for n_jobs in (2, 8, None):
        calls: list[tuple[int, int]] = []
        found = metrics.hamming_ranking(
            q, codes, q_labels, labels, ties=ties, n_jobs=n_jobs, progress=lambda *now, calls=calls: calls.append(now)
        )
        assert found == wanted
        done = [call[0] for call in calls]
        assert done == sorted(set(done))
        assert 1 < len(calls) < 20
        assert calls[-1] == (1500, 1500)
        assert {call[1] for call in calls} == {1500}


def test_one_call_gives_what_batches_give() -> None:
    q, codes, q_labels, labels = random_task(3, 1300, 120, 30, "multi")
    accumulator = _core.RankingAccumulator([10, 50], metrics._curve_ranks(120), 30)
    for start in range(0, 1300, 512):
        asked, stored = (_core.Labels.multi(np.ascontiguousarray(y)) for y in (q_labels[start : start + 512], labels))
        _core.rank_hamming(accumulator, q.words[start : start + 512], codes.words, 30, asked, stored)
    found = metrics.hamming_ranking(q, codes, q_labels, labels)
    assert found == metrics._report(accumulator.result(), [10, 50], metrics._curve_ranks(120), 120)


def test_what_progress_raises_comes_back() -> None:
    q, codes, q_labels, labels = random_task(2, 30, 90, 20, "single")
    with pytest.raises(ZeroDivisionError):
        metrics.hamming_ranking(q, codes, q_labels, labels, progress=lambda done, total: 1 // 0)


def test_accumulators_merge() -> None:
    q, codes, q_labels, labels = random_task(3, 30, 100, 16, "single")

    def accumulated(*parts: slice) -> dict:
        whole = None
        for rows in parts:
            accumulator = _core.RankingAccumulator([5, 10], [1, 50], 16)
            asked, stored = (_core.Labels.single(np.ascontiguousarray(y)) for y in (q_labels[rows], labels))
            _core.rank_hamming(accumulator, q.words[rows], codes.words, 16, asked, stored)
            if whole is None:
                whole = accumulator
            else:
                whole.merge(accumulator)
        return whole.result()

    one, three = accumulated(slice(0, 30)), accumulated(slice(0, 11), slice(11, 12), slice(12, 30))
    assert one.keys() == three.keys()
    for name in one:
        assert np.asarray(three[name]) == pytest.approx(np.asarray(one[name]), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q_codes": None}, TypeError, "q_codes must be BinaryCodes"),
        ({"codes": random_task(0, 1, 10, 9, "single")[1]}, ValueError, "codes must have 8 bits, got 9"),
        ({"q_labels": [1, 2]}, ValueError, "q_labels must have length 3, one for each row, got 2"),
        ({"labels": [1] * 9}, ValueError, "labels must have length 10, one for each row, got 9"),
        ({"labels": [1.0] * 10}, TypeError, "labels must be integers"),
        ({"labels": ["cat"] * 10}, TypeError, "labels must hold"),
        ({"labels": None}, TypeError, "labels must hold .* got None"),
        ({"labels": np.ones((10, 2), bool)}, ValueError, "q_labels and labels must both be 1-d"),
        ({"q_labels": np.ones((3, 3), bool), "labels": np.ones((10, 2), bool)}, ValueError, "number of classes"),
        ({"q_codes": random_task(0, 0, 1, 8, "single")[0], "q_labels": []}, ValueError, "at least one query"),
        ({"codes": random_task(0, 1, 0, 8, "single")[1], "labels": []}, ValueError, "one gallery item, got 3 and 0"),
        ({"k": (10, 0)}, ValueError, "k must be at least 1, got 0"),
        ({"k": 2.5}, TypeError, "k must be an integer, got 2.5"),
        ({"ties": "none"}, ValueError, "ties must be one of"),
    ],
)
def test_bad_input(change: dict, error: type[Exception], message: str) -> None:
    q, codes, q_labels, labels = random_task(0, 3, 10, 8, "single")
    arguments = {"q_codes": q, "codes": codes, "q_labels": q_labels, "labels": labels, **change}
    with pytest.raises(error, match=r"metrics\.hamming_ranking: .*" + message):
        metrics.hamming_ranking(**arguments)


# -- candidate lists of an index ---------------------------------------------------------------------------------------


INDEXES = {
    "lsh": lambda x, hasher: LSHIndex(hasher, 3, 10, vectors="float32"),
    "lsh, wide keys": lambda x, hasher: LSHIndex(hasher, 2, 64, keys="sample", vectors="float32"),
    "k-means": lambda x, hasher: KMeansIndex(12, codes=hasher),
    "flat": lambda x, hasher: FlatIndex(hasher),
}


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("rank", ["hamming", "cosine", "l2"])
@pytest.mark.parametrize("labels", ["single", "multi"])
@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_evaluate(features, queries, rng: np.random.Generator, kind: str, rank: str, labels: str, ties: str) -> None:
    hasher = RandomHyperplanes(70).fit(features)
    index = INDEXES[kind](features, hasher)
    if kind == "k-means":
        index.fit(features)
    index.add(features[:190]).add(features[190:])
    if labels == "single":
        stored, asked = rng.integers(0, 5, 300), rng.integers(0, 6, len(queries))
    else:
        stored, asked = rng.random((300, 6)) < 0.2, rng.random((len(queries), 6)) < 0.2
    ks = (1, 5, 40, 400)
    report = metrics.evaluate(index, queries, asked, stored, ks, ties, rank=rank)

    # The lists themselves are checked elsewhere: here the metrics of the lists that a full search gives.
    found = index.search(queries, k=300, rank=rank)
    lists = [(d[i >= 0].tolist(), i[i >= 0]) for d, i in zip(found.distances, found.ids, strict=True)]
    relevance = reference.relevance_matrix(asked, stored)
    wanted = wanted_report(
        [distances for distances, _ in lists],
        [relevance[q, ids].tolist() for q, (_, ids) in enumerate(lists)],
        relevance.sum(axis=1).tolist(),
        report,
        ks,
        ties,
        n_bits=70 if rank == "hamming" else 0,
    )
    assert_reports(report, wanted)
    lengths = found.n_candidates
    assert report["candidates_mean"] == pytest.approx(lengths.mean())
    assert report["candidates_median"] == np.median(lengths)
    assert report["candidates_p95"] == pytest.approx(np.percentile(lengths, 95))
    assert report["candidates_share"] == pytest.approx(lengths.mean() / 300)
    for batch_size, n_jobs in ((1, 1), (10, 8)):
        again = metrics.evaluate(index, queries, asked, stored, ks, ties, n_jobs, rank=rank, batch_size=batch_size)
        assert again == report


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lsh", {"probes": 17}),
        ("lsh", {"radius": 2, "rank": "l2"}),
        ("lsh", {"probes": 5, "shortlist": 20, "filter": np.arange(300) % 3 > 0}),
        ("lsh, wide keys", {"probes": 40, "rank": "hamming"}),
        ("k-means", {"probes": 3, "shortlist": 11}),
        ("flat", {"filter": np.arange(0, 300, 7), "rank": "hamming"}),
        ("flat", {"shortlist": 30, "rank": "l2"}),
        ("flat", {"shortlist": 30, "filter": np.arange(0, 300, 2)}),
    ],
)
def test_evaluate_takes_the_options_of_a_search(features, queries, rng, kind: str, options: dict) -> None:
    hasher = RandomHyperplanes(70).fit(features)
    index = INDEXES[kind](features, hasher)
    if kind == "k-means":
        index.fit(features)
    index.add(features[:190]).add(features[190:])
    stored, asked = rng.integers(0, 5, 300), rng.integers(0, 5, len(queries))
    calls: list[tuple[int, int]] = []
    report = metrics.evaluate(
        index, queries, asked, stored, (1, 10), progress=lambda *now: calls.append(now), batch_size=20, **options
    )
    found = index.search(queries, k=300, **options)
    lists = [(d[i >= 0].tolist(), i[i >= 0]) for d, i in zip(found.distances, found.ids, strict=True)]
    relevance = reference.relevance_matrix(asked, stored)
    wanted = wanted_report(
        [distances for distances, _ in lists],
        [relevance[q, ids].tolist() for q, (_, ids) in enumerate(lists)],
        relevance.sum(axis=1).tolist(),
        report,
        (1, 10),
        "expected",
        n_bits=70 if options.get("rank") == "hamming" else 0,
    )
    assert_reports(report, wanted)
    assert report["candidates_mean"] == pytest.approx(np.mean([len(ids) for _, ids in lists]))
    assert [done for done, _ in calls] == [*range(20, len(queries), 20), len(queries)]
    assert metrics.evaluate(index, queries, asked, stored, (1, 10), n_jobs=8, batch_size=7, **options) == report


def test_empty_candidate_lists_count_zero(features) -> None:
    """Queries opposite to every row share no bucket; they stay in the means."""
    x = np.abs(features)
    index = LSHIndex(RandomHyperplanes(64, centre=False).fit(x), 1, 40).add(x)
    asked = np.concatenate([x[:30], -x[:10]])
    report = metrics.evaluate(index, asked, np.zeros(40, dtype=int), np.zeros(300, dtype=int), k=1)
    lengths = index.search(asked).n_candidates
    assert lengths[:30].min() > 0
    assert lengths[30:].tolist() == [0] * 10
    assert report["coverage"] == report["p@1"] == report["map_retrieved"] == 0.75
    assert report["map"] == report["recall"] == pytest.approx(lengths.sum() / 300 / 40)


def test_a_flat_index_ranks_as_hamming_ranking_does(features, queries, rng: np.random.Generator) -> None:
    hasher = RandomHyperplanes(30).fit(features)
    asked, stored = rng.integers(0, 5, len(queries)), rng.integers(0, 5, 300)
    by_index = metrics.evaluate(FlatIndex(hasher, vectors=None).add(features), queries, asked, stored)
    by_codes = metrics.hamming_ranking(hasher.encode(queries), hasher.encode(features), asked, stored)
    assert by_index == by_codes


def test_labels_follow_the_order_of_rows_not_of_ids(features, rng: np.random.Generator) -> None:
    ids = rng.permutation(1000)[:300]
    labels = rng.integers(0, 10, 300)
    index = FlatIndex().add(features[:100], ids[:100]).add(features[100:], ids[100:])
    report = metrics.evaluate(index, features[:290], labels[:290], labels, k=1, rank="l2")
    by_hand = np.mean(
        [labels[np.flatnonzero(ids == found)[0]] for found in index.search(features[:290], 1, rank="l2").ids[:, 0]]
        == labels[:290]
    )
    unique = metrics.evaluate(index, features[10:290], labels[10:290], labels, k=1, rank="l2")
    assert unique["p@1"] == 1.0  # the first ten rows are stored twice
    assert abs(report["p@1"] - by_hand) < 0.05


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"index": "flat"}, TypeError, "index must be an lshcore index, got str"),
        ({"q_labels": [1]}, ValueError, "q_labels must have length 5"),
        ({"labels": [1]}, ValueError, "labels must have length 300"),
        ({"Q": np.ones((5, 3))}, ValueError, "Q must have 24 columns, got 3"),
        ({"Q": np.ones((0, 24)), "q_labels": []}, ValueError, "at least one query"),
        ({"rank": "cosine"}, ValueError, 'make it with vectors="float32"'),
        ({"probes": 2}, ValueError, "probes must be at least 4, one for each table, got 2"),
        ({"radius": -1}, ValueError, "radius must be at least 0, got -1"),
        ({"shortlist": 5}, ValueError, 'shortlist must come before another rank than "hamming", got rank "hamming"'),
        ({"filter": [True]}, ValueError, r"filter must be a mask of shape \(300,\), one for each row, got \(1,\)"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_evaluations(features, change: dict, error: type[Exception], message: str) -> None:
    index = LSHIndex(RandomHyperplanes(32).fit(features), 4, 8).add(features)
    arguments = {"index": index, "Q": features[:5], "q_labels": [0] * 5, "labels": [0] * 300, **change}
    with pytest.raises(error, match=r"metrics\.evaluate: .*" + message):
        metrics.evaluate(**arguments)


def test_precision_and_recall_by_radius_count_the_ball(rng: np.random.Generator) -> None:
    q, codes, q_labels, labels = random_task(4, 6, 90, 10, "single")
    report = metrics.hamming_ranking(q, codes, q_labels, labels)
    sizes = [len(hamming.range_search(q, codes, r).ids) / 6 for r in range(11)]
    assert report["size@r<=2"] == pytest.approx(sizes[2])
    assert report["radius_curve"]["radius"] == list(range(11))
    assert report["radius_curve"]["recall"][-1] == pytest.approx(np.isin(q_labels, labels).mean())
