"""Result files and tables: whole or not at all, complete, and readable on a terminal and in a pipe."""

import csv
import io
import json
import os
import statistics
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from lshcore.data import Dataset, Extraction, Source
from lshcore.evaluation import results, tables
from lshcore.evaluation.averages import averaged
from lshcore.evaluation.configurations import Configuration, preprocessing
from lshcore.evaluation.protocols import draw
from lshcore.evaluation.runner import STAGES, Evaluation, Result, occupancy

PARAMETERS = (
    ("exhaustive", {"rank": "cosine"}),
    ("k-means", {"clusters": 1000, "algorithm": "lloyd", "probes": 1, "rank": "cosine"}),
    ("random-hyperplanes", {"tables": 12, "key_bits": 16, "keys": "blocks", "bits": 192, "rank": "cosine"}),
    ("random-hyperplanes", {"bits": 64, "rank": "hamming"}),
)


def made_dataset():
    labels = np.arange(100) % 4
    return Dataset("made", "made up", np.zeros((100, 3), np.uint8), labels, Source("here", {"a": "f00", "b": "ba"}))


def made_result(number, method, parameters, pca=None, sampled=False):
    metrics = {"n_queries": 20, "queries_without_relevant": 0, "map": 0.5, "map_retrieved": 0.75, "recall": 0.25}
    metrics |= {"coverage": 1.0, "candidates_mean": 40.0, "candidates_median": 41.0, "candidates_p95": 60.0}
    metrics |= {"candidates_share": 0.5}
    for k in (10, 50):
        metrics |= {f"p@{k}": 0.125, f"p@{k}_returned": 0.25, f"map@{k}": 0.3, f"map_retrieved@{k}": 0.4}
    metrics["pr_curve"] = {"rank": [1, 2, 3], "precision": [1.0, 0.5, 0.5], "recall": [0.1, 0.2, 0.3]}
    if parameters.get("rank") == "hamming":
        metrics["radius_curve"] = {"radius": [0, 1], "precision": [1.0, np.nan], "recall": [0.0, 0.5]}
        metrics["p@r<=2"] = np.float64(0.75)
    return Result(
        configuration=Configuration(method, parameters, preprocessing(pca)),
        n_queries=20,
        sampled=sampled,
        metrics=metrics,
        times_ms={stage: {"mean": 1.0 + number, "p50": 1.0, "p95": 2.0} for stage in STAGES},
        batch_seconds=0.5,
        speed_up=1.0 if number == 0 else 3.0 - number,
        seconds={"preprocess": 0.1, "train": 0.2, "build": 0.3},
        settings={"centre": True} if method == "random-hyperplanes" else {},
        vectors="float32",
        nbytes={"codes": 0, "vectors": 960, "ids": 640, "tables": 0},
        n_items=80,
        buckets=None if method == "exhaustive" else occupancy([1, 2, 3, 10 * number + 4]),
    )


@pytest.fixture
def report():
    rows = [made_result(i, method, parameters) for i, (method, parameters) in enumerate(PARAMETERS)]
    made = made_dataset()
    evaluation = Evaluation(made, draw(made), rows)
    return results.report([evaluation], k=(10, 50), n_jobs=2, notes=["one was left out"])


@pytest.fixture
def two_kinds():
    """The same images with given features, and with those of a network."""
    extraction = Extraction("resnet18", "IMAGENET1K_V1", "c0ffee", "resize 256, crop 224", 12.5, skipped=3)
    made = made_dataset()
    others = Dataset(
        "made",
        "made up",
        np.zeros((97, 7), np.float16),
        made.labels[:97],
        Source("there"),
        extraction=extraction,
        features_name="resnet18",
    )
    rows = [made_result(i, method, parameters) for i, (method, parameters) in enumerate(PARAMETERS[:2])]
    return results.report([Evaluation(each, draw(each), rows) for each in (made, others)], k=(10,))


class TestReport:
    def test_says_everything_that_a_result_file_must(self, report):
        assert report["schema"] == "lshcore.results"
        assert report["schema_version"] == 2
        assert report["dataset"]["name"] == "made"
        (features,) = report["features"]
        assert (features["name"], features["where"], features["items"]) == ("given", "here", 100)
        assert len(features["checksum"]) == 64
        assert {"backbone", "weights", "weights_checksum", "transform", "extract_ms"} <= set(features)
        assert features["split_hash"] == draw(made_dataset()).digest
        assert (features["queries"], features["gallery"]) == (20, 80)
        assert report["protocol"]["train_in_gallery"] is True
        assert report["environment"]["peak_memory_bytes"] > 1e6
        assert report["seed"] == 0
        assert report["environment"]["threads"] == 2
        assert {"lshcore", "python", "numpy", "scipy", "scikit-learn"} == set(report["environment"]["versions"])
        assert report["environment"]["cpu"]
        assert report["environment"]["kernel_set"]
        row = report["results"][2]
        assert (row["method"], row["parameters"]["key_bits"]) == ("random-hyperplanes", 16)
        assert (row["features"], row["vectors"]) == ("given", "float32")
        assert row["parameters"]["centre"] is True
        assert {"algorithm", "max_iter", "tol"} <= set(report["results"][1]["parameters"])
        assert row["times_ms"]["rerank"]["p95"] == 2.0
        assert row["queries_per_second"] == 40.0
        assert row["bytes_per_item"] == 20.0
        assert {"preprocess", "train", "build"} == set(row["seconds"])
        assert row["curves"]["pr_curve"]["rank"] == [1, 2, 3]
        assert [each["buckets"] and each["buckets"]["largest"] for each in report["results"]] == [None, 14, 24, 34]
        assert row["buckets"]["histogram"] == {"sizes": [1, 2, 4, 8, 16], "buckets": [1, 2, 0, 0, 1]}

    def test_several_kinds_of_features_stand_side_by_side(self, two_kinds):
        given, extracted = two_kinds["features"]
        assert (given["backbone"], given["extract_ms"], given["skipped"]) == (None, None, 0)
        assert (extracted["backbone"], extracted["weights"], extracted["extract_ms"]) == (
            "resnet18",
            "IMAGENET1K_V1",
            12.5,
        )
        assert [row["features"] for row in two_kinds["results"]] == ["given", "given", "resnet18", "resnet18"]
        rows = list(csv.DictReader(io.StringIO(results.to_csv(two_kinds))))
        assert [(row["features.name"], row["features.extract_ms"]) for row in rows[1:3]] == [
            ("given", ""),
            ("resnet18", "12.5"),
        ]
        lines = [line.split() for line in tables.plain(two_kinds).splitlines() if not line.startswith("#")]
        features, milliseconds = lines[0].index("features"), lines[0].index("extract_ms")
        assert [(line[features], line[milliseconds]) for line in lines[1:]] == [
            *2 * [("given", "-")],
            *2 * [("resnet18", "12.500")],
        ]
        assert any("3 broken images left out" in line for line in tables.heading(two_kinds))

    def test_is_plain_data(self, report):
        assert json.loads(results.to_json(report)) == report

    def test_what_json_cannot_say_is_null(self, report):
        assert report["results"][3]["curves"]["radius_curve"]["precision"] == [1.0, None]

    def test_lists_of_numbers_stay_on_one_line(self, report):
        assert '"precision": [1.0, null]' in results.to_json(report)

    def test_strings_are_left_alone(self):
        text = "[\n 1,  2 ] \\ [\t]"
        assert json.loads(results.to_json({"a": text, "b": [1, 2], "c": [], "d": [text]})) == {
            "a": text,
            "b": [1, 2],
            "c": [],
            "d": [text],
        }


class TestCsv:
    def test_one_row_a_configuration(self, report):
        rows = list(csv.DictReader(io.StringIO(results.to_csv(report))))
        assert [row["method"] for row in rows] == [method for method, _ in PARAMETERS]
        row = rows[2]
        assert (row["parameters.tables"], row["metrics.p@10"], row["times_ms.total.mean"]) == ("12", "0.125", "3.0")
        assert (row["dataset.name"], row["environment.versions.numpy"]) == ("made", np.__version__)
        assert (row["features.split_hash"], row["seed"], row["k"]) == (draw(made_dataset()).digest, "0", "10 50")
        assert rows[0]["parameters.tables"] == ""
        full = [{name: value for name, value in row.items() if name.startswith("buckets")} for row in rows[:2]]
        assert full == [
            {"buckets.count": "", "buckets.mean": "", "buckets.largest": ""},
            {"buckets.count": "4", "buckets.mean": "5.0", "buckets.largest": "14"},
        ]
        assert not any("curve" in name or None in row for row in rows for name in row)

    def test_columns_are_grouped(self, report):
        names = results.to_csv(report).splitlines()[0].split(",")
        assert names[:3] == ["features.name", "method", "label"]
        kinds = [name.split(".")[0] for name in names]
        for kind in ("parameters", "metrics", "times_ms", "environment"):
            places = [i for i, each in enumerate(kinds) if each == kind]
            assert places == list(range(places[0], places[-1] + 1))


class TestWrite:
    def test_both_files_and_nothing_else(self, report, tmp_path):
        paths = results.write(report, tmp_path / "new" / "folder")
        assert sorted(os.listdir(tmp_path / "new" / "folder")) == ["results.csv", "results.json"]
        assert json.loads(paths[0].read_text()) == report
        assert paths[1].read_text() == results.to_csv(report)

    def test_old_files_are_replaced(self, report, tmp_path):
        (tmp_path / "results.json").write_text("old")
        results.write(report, tmp_path)
        assert json.loads((tmp_path / "results.json").read_text()) == report

    def test_failure_leaves_the_old_file(self, report, tmp_path):
        (tmp_path / "results.json").mkdir()
        (tmp_path / "results.csv").write_text("old")
        with pytest.raises(OSError, match=r"results\.json"):
            results.write(report, tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["results.csv", "results.json"]
        assert (tmp_path / "results.csv").read_text() == "old"

    def test_folder_that_is_a_file(self, report, tmp_path):
        (tmp_path / "out").write_text("")
        with pytest.raises(OSError, match="out"):
            results.write(report, tmp_path / "out")


def rendered(report, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    tables.show(report, console)
    return console.file.getvalue()


class TestTables:
    def test_plain_has_no_box_and_no_space_in_a_cell(self, report):
        text = tables.plain(report)
        assert text.isascii()
        assert "\x1b" not in text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) == 1 + len(PARAMETERS)
        names = lines[0].split()
        rows = [dict(zip(names, line.split(), strict=True)) for line in lines[1:]]
        assert rows[2]["parameters"] == "tables=12,key_bits=16,keys=blocks,bits=192,rank=cosine"
        assert (rows[2]["p@10"], rows[2]["map_retrieved"], rows[2]["total_ms"]) == ("0.1250", "0.7500", "3.0000")
        assert len({len(line) for line in lines}) == 1

    def test_fits_120_columns_in_one_table(self, report):
        text = rendered(report, 120)
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 120
        assert text.count("exhaustive\n") + text.count("exhaustive ") >= 1
        heads = ("p@10", "p@50", "map", "recall", "coverage", "candidates", "encode", "probe", "union", "re-rank")
        assert any(all(head in line for head in heads) for line in text.splitlines())
        assert "…" not in text

    def test_narrow_terminal_gets_two_tables(self, report):
        text = rendered(report, 80)
        table = [line for line in text.splitlines() if line.startswith("  ") and "bit" in line]
        assert len(table) == 4
        assert max(map(len, table)) <= 80
        assert "…" not in text

    def test_what_is_slower_than_the_baseline_says_so(self, report):
        for text in (tables.plain(report), rendered(report, 200)):
            assert "slower than looking at everything (speed-up below 1): random-hyperplanes 64-bit codes" in text

    def test_sampled_queries_are_said(self):
        made = made_dataset()
        rows = [made_result(0, *PARAMETERS[0], sampled=True)]
        report = results.report([Evaluation(made, draw(made), rows)], k=(10, 50))
        for text in (tables.plain(report), rendered(report, 200)):
            assert "* on 20 of the 20 queries, drawn by seed" in text
        assert "cosine *" in rendered(report, 200)

    def test_pca_is_shown(self):
        made = made_dataset()
        rows = [made_result(0, *PARAMETERS[0], pca=pca) for pca in (None, 16)]
        report = results.report([Evaluation(made, draw(made), rows)], k=(10, 50))
        assert "exhaustive, PCA 16" in rendered(report, 200)
        assert "rank=cosine,pca=16" in tables.plain(report)


class TestSeeds:
    @pytest.fixture
    def report(self):
        """Three seeds with metrics of their own; the last row is missing in one, and a metric unknown in another."""
        made = made_dataset()
        evaluations = []
        for seed, shift in ((5, 0.0), (0, 0.25), (3, 0.1)):
            rows = [made_result(i, method, parameters) for i, (method, parameters) in enumerate(PARAMETERS)]
            rows = [
                replace(
                    row,
                    metrics=row.metrics
                    | {"map": 0.5 + shift * i, "p@50": None if seed == 0 else 0.5, "queries_without_relevant": seed},
                    speed_up=row.speed_up + shift,
                )
                for i, row in enumerate(rows)
            ]
            evaluations.append(Evaluation(made, draw(made, seed=seed), rows[: 3 if seed == 3 else 4]))
        return results.report(evaluations, k=(10, 50), n_jobs=1)

    def test_every_run_is_a_row_with_its_seed_and_split(self, report):
        assert (report["schema_version"], report["seed"], report["seeds"]) == (2, 5, [5, 0, 3])
        assert [row["seed"] for row in report["results"]] == [5] * 4 + [0] * 4 + [3] * 3
        rows = list(csv.DictReader(io.StringIO(results.to_csv(report))))
        assert [row["seed"] for row in rows] == [str(row["seed"]) for row in report["results"]]
        for row in rows:
            assert row["features.split_hash"] == draw(made_dataset(), seed=int(row["seed"])).digest

    def test_means_and_deviations_are_those_of_the_rows(self, report):
        mean = averaged(report)
        assert [row["method"] for row in mean["results"]] == [method for method, _ in PARAMETERS]
        for row in mean["results"]:
            every = [each for each in report["results"] if row["label"].startswith(each["label"])]
            for name in ("map", "p@10", "candidates_mean"):
                values = [each["metrics"][name] for each in every]
                assert row["metrics"][name] == pytest.approx(sum(values) / len(values))
                assert row["deviations"][name] == pytest.approx(statistics.stdev(values))
            assert (row["metrics"]["p@50"], row["deviations"]["p@50"]) == (None, None)
            assert row["speed_up"] == pytest.approx(sum(each["speed_up"] for each in every) / len(every))
        assert mean["results"][-1]["label"] == "64-bit codes (2 of 3 seeds)"
        assert len(mean["features"]) == 1

    def test_one_seed_is_left_as_it_is(self):
        made = made_dataset()
        report = results.report([Evaluation(made, draw(made), [made_result(0, *PARAMETERS[0])])], k=(10,))
        assert averaged(report) is report
        assert report["seeds"] == [0]
        assert "±" not in rendered(report, 200)

    def test_terminal_shows_both(self, report):
        text = rendered(report, 300)
        mean, deviation = statistics.fmean([0.5, 0.75, 0.6]), statistics.stdev([0, 0.25, 0.1])
        line = next(line for line in text.splitlines() if "1000 clusters" in line)
        assert f"{mean:.3f} ± {deviation:.3f}" in line
        assert "means of 3 seeds (5, 0, 3) with sample deviations" in text
        assert ", ".join(draw(made_dataset(), seed=seed).digest for seed in (5, 0, 3)) in " ".join(text.split())
        assert "64-bit codes (2 of 3 seeds)" in text
        assert text.count("1000 clusters") == 1

    def test_plain_has_columns_of_deviations(self, report):
        text = tables.plain(report)
        assert text.isascii()
        lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) == 1 + len(PARAMETERS)
        row = dict(zip(lines[0], lines[2], strict=True))
        assert row["map_sd"] == f"{statistics.stdev([0, 0.25, 0.1]):.4f}"
        assert (row["p@50"], row["p@50_sd"]) == ("-", "-")


def test_lists_among_parameters_are_shown_without_spaces():
    made = made_dataset()
    row = replace(made_result(3, *PARAMETERS[3]), settings={"hidden": (512, 64), "mode": "a b"})
    report = results.report([Evaluation(made, draw(made), [row])], k=(10,))
    assert "hidden=[512,64],mode=ab" in tables.plain(report)
    (written,) = csv.DictReader(io.StringIO(results.to_csv(report)))
    assert written["parameters.hidden"] == "512 64"
