"""The runner: grids as asked for, figures that a plain NumPy search gives too, and nothing learnt from queries."""

import importlib.util
import sys

import numpy as np
import pytest

from lshcore import hashers, registry
from lshcore.data import Dataset, Source, load
from lshcore.evaluation import runner
from lshcore.evaluation.configurations import Configuration, Options, preprocessing
from lshcore.evaluation.methods import METHODS, configure
from lshcore.evaluation.prepare import prepare
from lshcore.evaluation.protocols import draw
from lshcore.evaluation.runner import STAGES, run
from lshcore.index import FlatIndex

CLASSICAL = ("exhaustive", "k-means", "random-hyperplanes")
LATTICES = ("cross-polytope", "p-stable")
NETWORKS = tuple(name for name, target in registry.HASHERS.items() if target.startswith("lshcore.neural"))
HAS_TORCH = importlib.util.find_spec("torch") is not None
EVERYTHING = Options(method=CLASSICAL, tables=(3, 6), key_bits=(6, 9), clusters=(4, 16), probes=(1, 3, 6), bits=(32,))


def blobs(n=300, d=12, classes=4, seed=0):
    random = np.random.RandomState(seed)
    labels = np.arange(n) % classes
    centres = random.normal(size=(classes, d))
    features = (centres[labels] + 0.7 * random.normal(size=(n, d)) + 3).astype(np.float32)
    return Dataset("blobs", "", features, labels, Source("made"))


@pytest.fixture(scope="module")
def made():
    return blobs()


@pytest.fixture(scope="module")
def split(made):
    return draw(made, seed=1)


def evaluate(made, split, options, **more):
    configurations, _ = configure(options, len(split.gallery), len(split.train))
    return run(made, split, configurations, k=options.k, **more)


@pytest.fixture(scope="module")
def results(made, split):
    return evaluate(made, split, EVERYTHING)


class TestOptions:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"bits": ()}, "bits must have at least one value, got none"),
            ({"bits": (4097,)}, "bits must be from 1 to 4096, got 4097"),
            ({"key_bits": (8, 257)}, "key-bits must be from 1 to 256, got 257"),
            ({"tables": (0,)}, "tables must be at least 1, got 0"),
            ({"clusters": (-1,)}, "clusters must be at least 1, got -1"),
            ({"probes": (1.5,)}, r"probes must be at least 1, got 1\.5"),
            ({"shortlist": (0,)}, "shortlist must be none or at least 1, got 0"),
            ({"k": (0,)}, "k must be at least 1, got 0"),
            ({"rank": ("dot",)}, "rank must be one of cosine, l2, margin, hamming, got dot"),
            ({"hashes": (0,)}, "hashes must be at least 1, got 0"),
            ({"algorithm": ("elkan",)}, "algorithm must be one of lloyd, spherical, minibatch, got elkan"),
            ({"pca": (0,)}, "pca must be none, a number of dimensions, or a share between 0 and 1, got 0"),
            ({"pca": (1.5,)}, r"got 1\.5"),
        ],
    )
    def test_out_of_range_names_the_option(self, given, message):
        with pytest.raises(ValueError, match=message):
            Options(**given)


class TestGrid:
    def test_default_is_every_method_the_baseline_first(self):
        configurations, notes = configure(Options(), 60_000, 60_000)
        assert notes == []
        several = {"k-means": 3, "k-means-residual": 2, "random-hyperplanes": 10, "cross-polytope": 6, "p-stable": 6}
        expected = [name for name in METHODS for _ in range(several.get(name, 1))]
        assert [each.method for each in configurations] == expected
        assert configurations[1].parameters == {"clusters": 10, "algorithm": "lloyd", "probes": 1, "rank": "cosine"}
        pairs = [(row.parameters["tables"], row.parameters["key_bits"]) for row in configurations[6:15]]
        assert pairs == [(tables, bits) for tables in (3, 6, 12) for bits in (8, 12, 16)]
        assert configurations[-1].parameters == {"bits": 64, "rank": "hamming"}
        assert all(each.preprocess == preprocessing(None) for each in configurations)

    def test_what_makes_no_sense_is_left_out_with_a_note(self):
        options = Options(clusters=(10, 100), probes=(1, 20), tables=(20,), key_bits=(250,))
        configurations, notes = configure(options, 200, 200)
        assert [each.parameters for each in configurations if each.method == "k-means"] == [
            {"clusters": 10, "algorithm": "lloyd", "probes": 1, "rank": "cosine"}
        ]
        assert len(notes) == 3 + len(LATTICES)
        assert "10 clusters and 20 probes" in notes[0]
        assert "100 clusters is left out: it needs 4 items a cluster, and the gallery has 200" in notes[1]
        assert "5000 bits, and a code has at most 4096" in notes[2]

    def test_more_clusters_than_there_is_to_train_on(self):
        assert len(configure(Options(method=("k-means",), clusters=(10,)), 1000, 9)[0]) == 1

    def test_baseline_is_always_there_once(self):
        for method in ((), ("k-means",), ("k-means", "exhaustive")):
            configurations, _ = configure(Options(method=method), 10_000, 10_000)
            assert [each.method for each in configurations].index("exhaustive") == 0
            assert sum(each.method == "exhaustive" for each in configurations) == 1

    def test_each_pca_has_its_baseline(self):
        configurations, _ = configure(Options(method=("k-means",), clusters=(10,), pca=(None, 5, 0.9)), 1000, 1000)
        assert [each.method for each in configurations] == ["exhaustive", "k-means"] * 3
        assert [each.preprocess["pca"] for each in configurations] == [None, None, 5, 5, 0.9, 0.9]

    def test_ranks_span_the_grid_too(self):
        options = Options(clusters=(10,), tables=(3,), key_bits=(8,), bits=(32, 64), rank=("l2", "hamming"))
        rows = [each.parameters for each in configure(options, 1000, 1000)[0] if each.method in CLASSICAL]
        assert [(row.get("clusters"), row["rank"], row.get("bits")) for row in rows[1:]] == [
            (10, "l2", None),
            (10, "hamming", 32),
            (10, "hamming", 64),
            (None, "l2", 24),
            (None, "hamming", 24),
            (None, "hamming", 32),
            (None, "hamming", 64),
        ]

    def test_pca_to_more_than_there_is_is_left_out_unless_alone(self):
        for dim, kept, said in ((50, (None, 50, 0.9), 1), (51, (None, 50, 51, 0.9), 0), (None, (None, 50, 51, 0.9), 0)):
            options = Options(method=("exhaustive",), pca=(None, 50, 51, 0.9))
            configurations, notes = configure(options, 1000, 1000, dim=dim)
            assert tuple(each.preprocess["pca"] for each in configurations) == kept
            assert notes == ["PCA to 51 dimensions is left out: the features have 50"] * said
        configurations, notes = configure(Options(method=("exhaustive",), pca=(51,)), 1000, 1000, dim=50)
        assert ([each.preprocess["pca"] for each in configurations], notes) == ([51], [])

    def test_lattices_rank_by_vectors_only(self):
        options = Options(
            method=("cross-polytope",),
            tables=(2, 4),
            hashes=(1, 3),
            probes=(2, 5),
            rank=("cosine", "l2", "margin", "hamming"),
            shortlist=(None, 10),
        )
        configurations, notes = configure(options, 1000, 1000)
        rows = [tuple(each.parameters.values()) for each in configurations[1:]]
        expected = [(t, h, p) for t in (2, 4) for h in (1, 3) for p in (2, 5) if p >= t]
        assert rows == [(*row, rank) for row in expected for rank in ("cosine", "l2")]
        assert notes == [
            "cross-polytope with rank margin is left out: its codes have no distance",
            "cross-polytope with rank hamming is left out: its codes have no distance",
            "cross-polytope with a shortlist of 10 is left out: its codes have no distance",
            "cross-polytope with 4 tables and probes 2 is left out: it looks into at least one key a table",
        ]

    def test_probes_mean_clusters_or_keys_over_all_tables(self):
        options = Options(CLASSICAL, clusters=(10,), tables=(3, 6), key_bits=(8, 9), bits=(32,), probes=(1, 4, 20))
        configurations, notes = configure(options, 1000, 1000)
        rows = [each.parameters for each in configurations[1:]]
        assert [row["probes"] for row in rows if "clusters" in row] == [1, 4]
        found = [(row["tables"], row["key_bits"], row["probes"]) for row in rows if "tables" in row]
        assert found == [(3, 8, 4), (3, 8, 20), (3, 9, 4), (3, 9, 20), (6, 8, 20), (6, 9, 20)]
        assert notes == [
            "k-means with 10 clusters and 20 probes is left out",
            "random-hyperplanes with 3 tables and probes 1 is left out: it looks into at least one key a table",
            "random-hyperplanes with 6 tables and probes 1 is left out: it looks into at least one key a table",
            "random-hyperplanes with 6 tables and probes 4 is left out: it looks into at least one key a table",
        ]

    def test_without_probes_each_method_has_its_own(self):
        rows = [each.parameters for each in configure(Options(clusters=(10,)), 1000, 1000)[0]]
        assert [row["probes"] for row in rows if "clusters" in row] == [1]
        assert all(row["probes"] == row["tables"] for row in rows if "tables" in row)

    def test_shortlists_are_for_exact_ranks(self):
        options = Options(
            CLASSICAL,
            clusters=(10,),
            tables=(3,),
            key_bits=(8,),
            bits=(32,),
            rank=("cosine", "hamming"),
            shortlist=(None, 50),
        )
        configurations, notes = configure(options, 1000, 1000)
        rows = [each.parameters for each in configurations[1:] if each.method in CLASSICAL]
        assert [(row.get("clusters"), row.get("tables"), row["rank"], row.get("shortlist")) for row in rows] == [
            (10, None, "cosine", None),
            (10, None, "cosine", 50),
            (10, None, "hamming", None),
            (None, 3, "cosine", None),
            (None, 3, "cosine", 50),
            (None, 3, "hamming", None),
            (None, None, "hamming", None),
            (None, None, "cosine", 50),
        ]
        assert rows[1]["bits"] == 32
        assert notes == ["rank hamming with a shortlist of 50 is left out: that is for other ranks"]

    def test_unknown_method_lists_the_known(self):
        with pytest.raises(
            ValueError, match=r"one of all, exhaustive, k-means, k-means-residual, random-hyperplanes, .*, got annoy"
        ):
            configure(Options(method=("annoy",)), 100, 100)

    def test_labels_tell_configurations_apart(self):
        ranks = ("cosine", "l2", "hamming")
        options = Options(
            probes=(1, 6, 9),
            rank=ranks,
            bits=(32, 64),
            clusters=(10,),
            algorithm=("lloyd", "minibatch"),
            shortlist=(None, 5, 50),
        )
        configurations, _ = configure(options, 60_000, 60_000)
        labels = [(each.method, METHODS[each.method].label(each.parameters)) for each in configurations]
        assert len(set(labels)) == len(labels)


class TestPrepare:
    def test_queries_teach_nothing(self, made, split):
        features = made.features.copy()
        features[split.queries] = 1e3
        other = Dataset("blobs", "", features, made.labels, made.source)
        for pca in (None, 4):
            ours, theirs = (prepare(each, split, preprocessing(pca)) for each in (made, other))
            np.testing.assert_array_equal(ours.train, theirs.train)
            np.testing.assert_array_equal(ours.gallery, theirs.gallery)
            assert not np.array_equal(ours.queries, theirs.queries)

    def test_rows_are_centred_and_of_length_one(self, made, split):
        prepared = prepare(made, split, preprocessing(None))
        np.testing.assert_allclose(np.linalg.norm(prepared.queries, axis=1), 1, rtol=1e-5)
        assert prepared.gallery is prepared.train
        np.testing.assert_array_equal(prepared.query_labels, made.labels[split.queries])

    def test_pca_reduces(self, made, split):
        assert prepare(made, split, preprocessing(4)).queries.shape == (len(split.queries), 4)


class TestRun:
    def test_baseline_equals_a_plain_search(self, made, split, results):
        prepared = prepare(made, split, preprocessing(None))
        order = np.argsort(-(prepared.queries.astype(np.float64) @ prepared.gallery.T.astype(np.float64)), axis=1)
        relevant = prepared.gallery_labels[order] == prepared.query_labels[:, None]
        precision = relevant.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
        expected = (precision * relevant).sum(axis=1) / relevant.sum(axis=1)
        metrics = results[0].metrics
        assert metrics["map"] == pytest.approx(expected.mean(), abs=1e-6)
        assert metrics["p@10"] == pytest.approx(relevant[:, :10].mean(), abs=1e-9)
        assert metrics["p@50"] == pytest.approx(relevant[:, :50].mean(), abs=1e-9)
        assert (metrics["recall"], metrics["coverage"], metrics["candidates_share"]) == (1, 1, 1)

    def test_every_row_has_metrics_times_and_sizes(self, results):
        assert len(results) == 1 + 5 + 6 + 1
        for result in results:
            assert {"map", "map_retrieved", "p@10", "p@50", "recall", "coverage"} <= set(result.metrics)
            for stage in STAGES:
                spread = result.times_ms[stage]
                assert 0 <= spread["p50"] <= spread["p95"]
                assert spread["mean"] <= result.times_ms["total"]["mean"] * 1.0001
            assert result.queries_per_second > 0
            assert result.bytes_per_item > 0
            assert not result.sampled
            baseline = results[0].times_ms["total"]["mean"]
            assert result.speed_up == pytest.approx(baseline / result.times_ms["total"]["mean"])
        assert results[0].speed_up == 1

    def test_known_signatures(self, results):
        rows = {
            (row["tables"], row["key_bits"]): result.metrics
            for result in results
            if "tables" in (row := result.configuration.parameters) and row["tables"] == row["probes"]
        }
        for bits in (6, 9):
            assert rows[6, bits]["recall"] > rows[3, bits]["recall"]
        for tables in (3, 6):
            assert rows[tables, 9]["recall"] < rows[tables, 6]["recall"]
            assert rows[tables, 9]["candidates_mean"] < rows[tables, 6]["candidates_mean"]
        probes = [r.metrics["recall"] for r in results if r.configuration.parameters.get("clusters") == 16]
        assert probes[2] > probes[1] > probes[0]
        more = [r.metrics["recall"] for r in results if r.configuration.parameters.get("tables") == 3]
        assert more[1] > more[0]
        assert more[3] > more[2]

    def test_codes_alone_rank_the_whole_gallery(self, results):
        metrics = results[-1].metrics
        assert metrics["recall"] == metrics["candidates_share"] == 1
        assert {"p@r<=2", "empty@r<=2", "size@r<=2", "radius_curve"} <= set(metrics)

    def test_same_seed_same_metrics_for_any_number_of_threads(self, made, split, results):
        for jobs in (1, 3):
            again = evaluate(made, split, EVERYTHING, n_jobs=jobs)
            assert [result.metrics for result in again] == [result.metrics for result in results]

    def test_a_shortlist_ranks_no_more_than_its_length(self, made, split):
        options = Options(
            method=CLASSICAL,
            clusters=(8,),
            tables=(3,),
            key_bits=(4,),
            probes=(6,),
            bits=(24,),
            shortlist=(None, 7, 9999),
        )
        results = evaluate(made, split, options)
        rows = {METHODS[r.configuration.method].label(r.configuration.parameters): r.metrics for r in results}
        for label in ("8 clusters, 6 probes", "3 x 4 bits, 6 probes", "24-bit codes"):
            by = " by 24 bits" if "clusters" in label else ""
            assert rows[f"{label}, shortlist 7{by}"]["candidates_mean"] == 7
            if "codes" not in label:  # all candidates, ranked by cosine
                assert rows[f"{label}, shortlist 9999{by}"] == rows[label]
        assert rows["24-bit codes, shortlist 9999"] == results[0].metrics

    def test_another_seed_is_another_draw(self, made, split, results):
        other = evaluate(made, split, EVERYTHING, seed=5)
        assert other[0].metrics == results[0].metrics
        assert other[-1].metrics != results[-1].metrics

    def test_ranking_by_hamming_and_l2(self, made, split):
        options = Options(
            method=CLASSICAL, clusters=(8,), tables=(3,), key_bits=(6,), bits=(24,), rank=("cosine", "l2", "hamming")
        )
        results = evaluate(made, split, options)
        by_rank = {}
        for result in results[1:-1]:
            by_rank.setdefault(result.configuration.parameters["rank"], []).append(result.metrics)
        # Rows of length one: cosine and L2 order alike, and every ranking sees the same candidates.
        for cosine, l2, hamming in zip(by_rank["cosine"], by_rank["l2"], by_rank["hamming"], strict=True):
            assert l2["map"] == pytest.approx(cosine["map"], abs=1e-4)
            assert hamming["recall"] == cosine["recall"]
            assert "p@r<=2" in hamming

    def test_residual_codes_are_tuned_for_a_recall(self, made, split):
        options = Options(("k-means-residual",), recall=(0.5, 1.0), rank=("cosine", "l2", "hamming"), k=(5,))
        exhaustive, *results = evaluate(made, split, options)
        assert [result.configuration.parameters for result in results] == [
            {"recall": recall, "nearest": 5, "rank": rank} for rank in ("cosine", "l2") for recall in (0.5, 1.0)
        ]
        for result in results:
            assert result.settings["tuned_recall"] >= result.configuration.parameters["recall"]
            assert result.metrics["candidates_mean"] <= result.settings["tuned_shortlist"]
        for result in results[1::2]:
            assert result.metrics["p@5"] == pytest.approx(exhaustive.metrics["p@5"], abs=0.02)

    def test_every_hasher_runs_in_every_form(self, made, split):
        others = (*CLASSICAL, *LATTICES, "k-means-residual", *NETWORKS * (not HAS_TORCH))
        learned = tuple(name for name in METHODS if name not in others)
        options = Options(
            method=learned,
            bits=(8,),
            tables=(2,),
            key_bits=(4,),
            keys=("sample",),
            radius=(0, 2),
            arguments={"epochs": 4, "hidden": (16,)},
        )
        results = evaluate(made, split, options)
        assert [result.configuration.method for result in results] == ["exhaustive"] + [
            m for m in learned for _ in range(4)
        ]
        for name in learned:
            tables, near, wider, whole = (r.metrics for r in results if r.configuration.method == name)
            assert near["recall"] <= wider["recall"] <= whole["recall"] == 1
            assert 0 < tables["recall"] <= 1
            assert whole["map"] > 0.3  # of four classes

    def test_buckets_are_those_of_the_first_table(self, made, split):
        options = Options(
            (*CLASSICAL, *LATTICES), clusters=(8,), tables=(2,), key_bits=(5,), hashes=(1,), bits=(6,), radius=(1,)
        )
        configurations, _ = configure(options, 240, 240)
        prepared = prepare(made, split, preprocessing(None))
        several = 0
        for result in run(made, split, configurations):
            method = result.configuration.method
            index = METHODS[method].build(result.configuration, prepared, 0, 1, lambda share, text: None).index
            if isinstance(index, FlatIndex):
                assert result.buckets is None
                continue
            several += 1
            sizes = index.bucket_sizes(0)
            assert sizes.sum() == 240
            assert result.buckets["count"] == len(sizes)
            assert result.buckets["mean"] == pytest.approx(240 / len(sizes))
            assert result.buckets["share_of_largest"] == result.buckets["largest"] / 240 == sizes.max() / 240
        assert several == 5

    def test_histograms_of_buckets_are_those_of_numpy(self):
        random = np.random.RandomState(0)
        for sizes in ([1], [8], [7], [1, 2, 3, 4, 7, 8, 15, 16, 17], random.geometric(0.01, 500), [2**40, 2**40 - 1]):
            histogram = runner.occupancy(sizes)["histogram"]
            edges = 2.0 ** np.arange(len(histogram["sizes"]) + 1)
            assert histogram["sizes"] == edges[:-1].tolist()
            assert edges[-2] <= max(sizes) < edges[-1]
            np.testing.assert_array_equal(histogram["buckets"], np.histogram(sizes, edges)[0])

    def test_lattice_keys_are_whole_hashes(self, made, split):
        options = Options(LATTICES, tables=(2, 4), hashes=(1, 2), probes=(4, 9), rank=("cosine", "l2"))
        results = evaluate(made, split, options)
        assert len(results) == 1 + 2 * 16
        for name in LATTICES:
            rows = {tuple(r.configuration.parameters.values()): r for r in results if r.configuration.method == name}
            for (tables, hashes, probes, rank), result in rows.items():
                assert result.settings["key_bits"] == hashes * (5 if name == "cross-polytope" else 8)
                assert result.metrics["recall"] <= rows[tables, 1, probes, rank].metrics["recall"]
                assert rows[tables, hashes, 4, rank].metrics["recall"] <= result.metrics["recall"]
                assert (
                    result.metrics["candidates_mean"]
                    == rows[tables, hashes, probes, "cosine"].metrics["candidates_mean"]
                )

    def test_lattice_keys_that_are_too_long_are_left_out(self, made, split):
        notes = []
        configurations, _ = configure(Options(("p-stable",), tables=(1,), hashes=(32, 33)), 240, 240)
        results = run(made, split, configurations, left_out=notes.append)
        assert [r.settings.get("key_bits") for r in results] == [None, 256]
        (note,) = notes
        assert note.startswith("p-stable 1 x 33 hashes is left out: LSHIndex: key_bits")

    def test_each_algorithm_of_k_means(self, made, split):
        options = Options(("k-means",), clusters=(16,), algorithm=("lloyd", "spherical", "minibatch"))
        _, lloyd, spherical, minibatch = evaluate(made, split, options)
        assert spherical.label == "16 clusters by spherical"
        assert spherical.metrics["map"] == pytest.approx(lloyd.metrics["map"], rel=0.3)
        assert [r.configuration.parameters["algorithm"] for r in (lloyd, minibatch)] == ["lloyd", "minibatch"]
        assert lloyd.buckets != minibatch.buckets
        assert minibatch.metrics["map"] == pytest.approx(lloyd.metrics["map"], rel=0.5)
        assert (lloyd.label, minibatch.label) == ("16 clusters", "16 clusters by minibatch")

    def test_labels_teach_supervised_hashers(self, made, split):
        wrong = Dataset("blobs", "", made.features, np.roll(made.labels, 1) * 0 + np.arange(len(made)) % 3, made.source)
        for name in ("itq-cca", "sdh", "grh"):
            options = Options(method=(name,), bits=(8,))
            (_, right), (_, other) = (evaluate(each, split, options) for each in (made, wrong))
            assert right.metrics["map"] > other.metrics["map"] + 0.1

    def test_what_cannot_be_fitted_is_left_out_and_said(self, made, split):
        notes = []
        configurations, _ = configure(
            Options(method=("itq", "random-hyperplanes"), bits=(64,), tables=(2,), key_bits=(4,)), 240, 240
        )
        results = run(made, split, configurations, left_out=notes.append)
        assert [result.configuration.method for result in results] == [
            "exhaustive",
            "random-hyperplanes",
            "random-hyperplanes",
        ]
        (note,) = notes
        assert note.startswith("itq 64-bit codes is left out: ITQ.fit: n_bits")

    def test_several_labels(self):
        random = np.random.RandomState(0)
        several = random.rand(120, 5) < 0.3
        features = (several @ random.normal(size=(5, 8)) + random.normal(size=(120, 8))).astype(np.float32)
        made = Dataset("several", "", features, several, Source("made"))
        split = draw(made)
        result = evaluate(made, split, Options(method=("exhaustive",)))[0]
        relevant = (several[split.queries].astype(int) @ several[split.gallery].T.astype(int)) > 0
        assert result.metrics["queries_without_relevant"] == np.count_nonzero(~relevant.any(axis=1))

    def test_slow_baseline_runs_on_a_seeded_sample(self, made, split, results, monkeypatch):
        monkeypatch.setattr(runner, "EXHAUSTIVE_LIMIT_SECONDS", 0.0)
        monkeypatch.setattr(runner, "EXHAUSTIVE_SAMPLE", 20)
        first, second = (evaluate(made, split, EVERYTHING)[:2] for _ in range(2))
        assert (first[0].n_queries, first[0].sampled) == (20, True)
        assert (first[1].n_queries, first[1].sampled) == (len(split.queries), False)
        assert first[0].metrics == second[0].metrics != results[0].metrics
        assert first[1].metrics == results[1].metrics

    def test_progress_rises_to_the_end(self, made, split):
        seen = []
        evaluate(made, split, EVERYTHING, progress=lambda share, text: seen.append((share, text)))
        shares = [share for share, _ in seen]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] == pytest.approx(1)
        assert any("k-means 16 clusters: building" in text for _, text in seen)

    def test_baseline_must_be_first(self, made, split):
        with pytest.raises(ValueError, match="must be 'exhaustive', got 'k-means'"):
            run(made, split, [Configuration("k-means", {"clusters": 2}, preprocessing(None))])


class TestArguments:
    def test_each_method_takes_those_that_it_has(self):
        options = Options(
            ("k-means", "itq", "sdh", "pca-hashing", "cross-polytope"), arguments={"n_iterations": 7, "centre": False}
        )
        configurations, _ = configure(options, 1000, 1000)
        found = {each.method: dict(each.arguments) for each in configurations}
        assert found == {
            "exhaustive": {},
            "k-means": {},
            "itq": {"n_iterations": 7},
            "sdh": {"n_iterations": 7},
            "pca-hashing": {},
            "cross-polytope": {"centre": False},
        }

    def test_what_is_set_changes_and_only_that(self, made, split):
        options = {"method": ("itq", "pca-random-rotation"), "bits": (8,)}
        (_, itq, rotation), (_, other, same) = (
            evaluate(made, split, Options(**options, arguments=arguments)) for arguments in ({}, {"n_iterations": 1})
        )
        assert (itq.settings, other.settings) == ({"n_iterations": 50}, {"n_iterations": 1})
        assert (same.metrics, same.settings) == (rotation.metrics, rotation.settings)
        prepared = prepare(made, split, preprocessing(None))
        hasher = hashers.ITQ(8, n_iterations=1, random_state=0).fit(prepared.train)
        expected = hasher.encode(prepared.gallery)
        index = METHODS["itq"].build(other.configuration, prepared, 0, 1, lambda share, text: None).index
        np.testing.assert_array_equal(index.hasher.encode(prepared.gallery).words, expected.words)
        assert other.metrics != itq.metrics

    @pytest.mark.skipif(not HAS_TORCH, reason="needs torch")
    def test_an_argument_that_is_called_like_a_parameter_stays_apart(self, made, split):
        options = Options(
            ("relevance-lsh",),
            (8,),
            (2,),
            (3,),
            keys=("sample",),
            arguments={"epochs": 1, "hidden": [8], "key_bits": 5},
        )
        _, tables, whole = evaluate(made, split, options)
        assert (tables.configuration.parameters["key_bits"], tables.settings["hasher_key_bits"]) == (3, 5)
        assert "key_bits" not in {**whole.configuration.parameters, **whole.settings}
        assert whole.settings["hidden"] == [8]


class TestReuse:
    FORMS = Options(
        ("itq",),
        bits=(4, 8),
        keys=("sample",),
        tables=(2, 3),
        key_bits=(3, 4),
        probes=(3, 5),
        radius=(0, 1),
        pca=(None, 9),
    )

    def test_one_fit_for_what_differs_in_the_search_only(self, made, split, monkeypatch):
        fits = []
        real = hashers.ITQ.fit
        monkeypatch.setattr(hashers.ITQ, "fit", lambda self, *data: fits.append(self.n_bits) or real(self, *data))
        results = [each for each in evaluate(made, split, self.FORMS) if each.configuration.method == "itq"]
        assert fits == [4, 8, 4, 8]  # and again for the other preparation
        assert len(results) == 2 * 2 * (8 + 2 + 1)
        seconds = {}
        for each in results:
            fitted = each.configuration.parameters["bits"], each.configuration.preprocess["pca"]
            seconds.setdefault(fitted, set()).add(each.seconds["train"])
        assert [len(each) for each in seconds.values()] == [1] * 4

    def test_the_metrics_are_those_of_a_fit_of_its_own(self, made, split):
        together = evaluate(made, split, self.FORMS)
        for row in together[::5]:
            baseline = Configuration("exhaustive", {"rank": "cosine"}, row.configuration.preprocess)
            if row.configuration.method == "itq":
                alone = run(made, split, [baseline, row.configuration])[1]
                assert alone.metrics == row.metrics

    def test_only_the_present_method_is_kept(self, made, split, monkeypatch):
        held = []
        real = hashers.PCAHashing.fit

        def fit(self, *data):
            held.append(list(prepared[0].fitted))
            return real(self, *data)

        prepared = []
        monkeypatch.setattr(hashers.PCAHashing, "fit", fit)
        monkeypatch.setattr(runner, "prepare", lambda *given: prepared.append(prepare(*given)) or prepared[0])
        evaluate(made, split, Options(("itq", "pca-hashing"), bits=(4, 8)))
        assert [len(keys) for keys in held] == [0, 1]

    def test_what_cannot_be_fitted_is_not_tried_again(self, made, split, monkeypatch):
        fits, notes = [], []
        real = hashers.ITQ.fit
        monkeypatch.setattr(hashers.ITQ, "fit", lambda self, *data: fits.append(self.n_bits) or real(self, *data))
        configurations, _ = configure(Options(("itq",), bits=(64,), radius=(0, 1)), 240, 240)
        assert len(run(made, split, configurations, left_out=notes.append)) == 1
        assert (fits, len(notes)) == ([64], 3)


class TestNetworks:
    @pytest.fixture
    def no_torch(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)

    def test_without_torch_they_are_left_out_in_one_note(self, made, split, no_torch):
        notes = []
        options = Options((), (8,), (2,), (4,), hashes=(1,), clusters=(4,))
        configurations, _ = configure(options, 240, 240)
        results = run(made, split, configurations, left_out=notes.append)
        assert list(dict.fromkeys(each.configuration.method for each in results)) == [
            name for name in METHODS if name not in NETWORKS
        ]
        (note,) = notes
        assert note.startswith(f"{', '.join(NETWORKS)} are left out: ")
        assert "torch" in note

    @pytest.mark.parametrize("named", [("dsh",), ("all", "dsh")])
    def test_without_torch_one_that_is_named_is_an_error(self, made, split, no_torch, named):
        configurations, _ = configure(Options(named, (8,), (2,), (4,)), 240, 240)
        with pytest.raises(ImportError, match="torch"):
            run(made, split, configurations, left_out=lambda note: None)

    @pytest.mark.skipif(not HAS_TORCH, reason="needs torch")
    def test_training_tells_its_progress(self, made, split):
        seen = []
        configurations, _ = configure(Options(("dsh",), (8,), arguments={"epochs": 3}), 240, 240)
        run(made, split, configurations, progress=lambda share, text: seen.append((share, text)))
        assert [share for share, _ in seen] == sorted(share for share, _ in seen)
        texts = [text for _, text in seen if text.startswith("dsh 8-bit codes: ")]
        trained = [text for text in texts if not text.endswith((": building", ": searching", ": measuring"))]
        assert len(trained) >= 3


def test_digits_are_retrieved_well():
    digits = load("digits")
    metrics = evaluate(digits, draw(digits), Options(method=("exhaustive",)))[0].metrics
    assert metrics["p@10"] > 0.95
    assert metrics["map"] > 0.65
