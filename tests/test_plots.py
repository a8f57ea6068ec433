"""Figures: which there are, that their lines are the rows of the report, and that the files can be read."""

import copy
import json
import math
import os
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pytest

from lshcore.data import load
from lshcore.evaluation import draw, drawing, plots, report, run
from lshcore.evaluation.configurations import Options
from lshcore.evaluation.methods import METHODS, configure
from lshcore.evaluation.results import to_json
from lshcore.evaluation.runner import Evaluation

OPTIONS = Options(
    ("k-means", "random-hyperplanes", "itq", "cross-polytope"),
    bits=(8, 16),
    tables=(2, 4),
    key_bits=(5, 7),
    hashes=(1, 2),
    clusters=(4, 32),
    probes=(4, 8),
    radius=(0, 1, 2),
    pca=(None, 16, 0.8),
    k=(5, 10),
)
SWEEPS = [f"sweep-{name}" for name in ("bits", "tables", "key_bits", "hashes", "clusters", "probes", "pca")]


def evaluated(options):
    digits = load("digits")
    split = draw(digits)
    configurations, _ = configure(options, len(split.gallery), len(split.train))
    results = run(digits, split, configurations, k=options.k, n_jobs=1)
    return json.loads(to_json(report([Evaluation(digits, split, results)], k=options.k, n_jobs=1)))


@pytest.fixture(scope="module")
def whole():
    return evaluated(OPTIONS)


@pytest.fixture(scope="module")
def small():
    options = Options(("k-means", "random-hyperplanes"), (8,), (2, 4), (5, 7), clusters=(4, 32), radius=(0, 1, 2))
    return evaluated(options)


@pytest.fixture(scope="module")
def three():
    digits = load("digits")
    evaluations = []
    for seed in (4, 0, 7):
        split = draw(digits, seed=seed)
        options = Options(("k-means",), clusters=(4, 32))
        configurations, _ = configure(options, len(split.gallery), len(split.train))
        evaluations.append(Evaluation(digits, split, run(digits, split, configurations, seed=seed, n_jobs=1)))
    return json.loads(to_json(report(evaluations, k=(10, 50), n_jobs=1)))


def by_name(whole):
    return {each.name: each for each in plots.plots(whole)}


def rows_of(whole, method, **wanted):
    rows = [row for row in whole["results"] if row["method"] == method]
    return [row for row in rows if wanted.items() <= {**row["parameters"], **row["preprocess"]}.items()]


def line(panel, label):
    (found,) = (each for each in panel.lines if each.label == label)
    return list(found.x), list(found.y)


class TestLines:
    def test_figures_of_everything(self, whole):
        assert list(by_name(whole)) == ["radius", *SWEEPS, "quality-cost", "buckets", "pr-curve", "radius-curve"]

    def test_no_figure_without_two_values(self, small):
        expected = ["radius", "sweep-tables", "sweep-key_bits", "sweep-clusters", "quality-cost", "buckets"]
        assert list(by_name(small)) == [*expected, "pr-curve", "radius-curve"]

    def test_radius_has_the_three_figures_of_the_tutorial(self, small):
        panels = by_name(small)["radius"].panels
        assert [panel.y.name for panel in panels] == ["p@10", "candidates a query", "milliseconds a query"]
        assert [panel.y.log for panel in panels] == [None, 10, 10]
        rows = [row for row in small["results"] if "radius" in row["parameters"]]
        assert line(panels[0], "random-hyperplanes") == ([0, 1, 2], [row["metrics"]["p@10"] for row in rows])
        candidates = [row["metrics"]["candidates_mean"] for row in rows]
        assert line(panels[1], "random-hyperplanes") == ([0, 1, 2], candidates)
        times = [row["times_ms"]["total"]["mean"] for row in rows]
        assert line(panels[2], "random-hyperplanes") == ([0, 1, 2], times)
        assert line(panels[1], "exhaustive") == ([], [1438])

    def test_a_line_for_each_combination_of_the_others(self, small):
        (first, second) = by_name(small)["sweep-tables"].panels
        assert (first.y.name, second.y.name) == ("p@10", "map")
        assert [each.label for each in first.lines] == [
            "random-hyperplanes, 5-bit keys",
            "random-hyperplanes, 7-bit keys",
            "exhaustive",
        ]
        for bits in (5, 7):
            rows = rows_of(small, "random-hyperplanes", key_bits=bits)
            expected = [2, 4], [row["metrics"]["map"] for row in rows]
            assert line(second, f"random-hyperplanes, {bits}-bit keys") == expected
        (clusters,) = (panel for panel in by_name(small)["sweep-clusters"].panels if panel.y.name == "map")
        assert line(clusters, "k-means") == ([4, 32], [row["metrics"]["map"] for row in rows_of(small, "k-means")])

    def test_headline_of_the_protocol_has_a_panel(self, small):
        other = copy.deepcopy(small)
        other["protocol"]["headline"] = ["map@10", "p@50"]
        figures = by_name(other)
        assert [panel.y.name for panel in figures["sweep-tables"].panels] == ["p@10", "map", "map@10"]
        assert figures["quality-cost"].panels[0].y.name == "p@50"

    def test_pca_is_in_order_and_none_is_last(self, whole):
        panel = by_name(whole)["sweep-pca"].panels[1]
        assert panel.x.ticks == {0: "0.8", 1: "16", 2: "none"}
        rows = {row["preprocess"]["pca"]: row["metrics"]["map"] for row in rows_of(whole, "exhaustive")}
        assert line(panel, "exhaustive") == ([0, 1, 2], [rows[0.8], rows[16], rows[None]])

    def test_more_lines_than_fit_are_the_best(self, whole):
        figure = by_name(whole)["sweep-probes"]
        every = {}
        for row in whole["results"]:
            if "probes" in row["parameters"]:
                settings = {name: row["parameters"].get(name) for name in ("tables", "key_bits", "hashes", "clusters")}
                same = row["method"], row["preprocess"]["pca"], *settings.values()
                every.setdefault(same, []).append(row["metrics"]["map"])
        several = [max(values) for values in every.values() if len(values) > 1]
        drawn = [each for each in figure.panels[1].lines if len(each.x) > 0]
        assert figure.title.startswith(f"p@5, map against probes: the 8 best of {len(several)} lines by map (digits")
        assert sorted(max(each.y) for each in drawn) == sorted(several)[-8:]
        assert len({each.label for each in drawn}) == 8

    def test_quality_and_cost_has_every_row(self, whole):
        (panel,) = by_name(whole)["quality-cost"].panels
        assert (panel.y.name, panel.x.log) == ("p@10", 10)
        assert sum(len(each.x) for each in panel.lines) == len(whole["results"])
        for method in {row["method"] for row in whole["results"]}:
            rows = rows_of(whole, method)
            expected = [row["times_ms"]["total"]["mean"] for row in rows], [row["metrics"]["p@10"] for row in rows]
            assert line(panel, method) == expected

    def test_buckets_are_the_histograms(self, small):
        (panel,) = by_name(small)["buckets"].panels
        for clusters in (4, 32):
            (row,) = rows_of(small, "k-means", clusters=clusters)
            histogram = row["buckets"]["histogram"]
            sizes, counts = line(panel, f"k-means, {clusters} clusters")
            assert sizes == histogram["sizes"]
            assert counts == histogram["buckets"]
            assert sum(counts) == row["buckets"]["count"]
        assert len(panel.lines) == 2 + 2 + 1  # the first table is the same in 2 and 4; radii look into one index

    def test_curves_are_those_of_the_rows(self, small):
        figures = by_name(small)
        (whole_codes,) = rows_of(small, "random-hyperplanes", rank="hamming")
        precision, recall = figures["radius-curve"].panels
        curve = whole_codes["curves"]["radius_curve"]
        assert line(precision, "random-hyperplanes, 8-bit codes") == (curve["radius"], curve["precision"])
        assert line(recall, "random-hyperplanes, 8-bit codes") == (curve["radius"], curve["recall"])
        (panel,) = figures["pr-curve"].panels
        baseline = small["results"][0]["curves"]["pr_curve"]
        assert line(panel, "exhaustive, cosine") == (baseline["recall"], baseline["precision"])
        assert len(panel.lines) == 8

    def test_several_features_and_the_leak_are_said(self, small):
        other = copy.deepcopy(small)
        other["features"].append(other["features"][0] | {"name": "others"})
        other["results"] += [row | {"features": "others", "leak": True} for row in small["results"]]
        labels = [each.label for each in by_name(other)["sweep-clusters"].panels[0].lines]
        assert labels == [
            "k-means, pixels",
            "k-means, others, as published",
            "pixels: exhaustive",
            "others: exhaustive, as published",
        ]


class TestSeeds:
    def test_points_are_means(self, three):
        (panel,) = (panel for panel in by_name(three)["sweep-clusters"].panels if panel.y.name == "map")
        values = [[row["metrics"]["map"] for row in rows_of(three, "k-means", clusters=n)] for n in (4, 32)]
        assert [len(each) for each in values] == [3, 3]
        x, y = line(panel, "k-means")
        assert (x, y) == ([4, 32], pytest.approx([np.mean(each) for each in values]))

    def test_curves_are_those_of_the_first_seed(self, three):
        (panel,) = by_name(three)["pr-curve"].panels
        (curve,) = (row["curves"]["pr_curve"] for row in rows_of(three, "exhaustive") if row["seed"] == 4)
        assert line(panel, "exhaustive, cosine") == (curve["recall"], curve["precision"])
        assert len(panel.lines) == 3

    def test_titles_say_so(self, three):
        titles = {name: figure.title for name, figure in by_name(three).items()}
        assert titles["sweep-clusters"].endswith("(digits, protocol holdout, means of 3 seeds)")
        for name in ("buckets", "pr-curve"):
            assert titles[name].endswith("(digits, protocol holdout, seed 4)")


class TestFigures:
    @pytest.fixture(autouse=True)
    def _needs_matplotlib(self):
        pytest.importorskip("matplotlib")

    def test_drawn_lines_are_the_data(self, whole):
        for plot in plots.plots(whole):
            figure = drawing.figure_of(plot)
            assert len(figure.axes) == len(plot.panels)
            for panel, ax in zip(plot.panels, figure.axes, strict=True):
                assert (ax.get_xlabel(), ax.get_ylabel()) == (panel.x.name, panel.y.name)
                for ours, theirs in zip(panel.lines, ax.lines, strict=True):
                    assert theirs.get_label() == ours.label
                    y = [math.nan if panel.y.log and value == 0 else value for value in ours.y]
                    np.testing.assert_array_equal(theirs.get_ydata(), y * 2 if len(ours.x) == 0 else y)
                    if len(ours.x) > 0:
                        np.testing.assert_array_equal(theirs.get_xdata(), ours.x)
            (legend,) = figure.legends
            assert [text.get_text() for text in legend.get_texts()] == [each.label for each in plot.panels[0].lines]

    def test_nothing_overlaps_or_is_cut(self, whole):
        for plot in plots.plots(whole):
            figure = drawing.figure_of(plot)
            figure.draw_without_rendering()
            boxes = [ax.get_tightbbox() for ax in figure.axes] + [figure.legends[0].get_window_extent()]
            for i, box in enumerate(boxes):
                assert not any(box.overlaps(other) for other in boxes[:i]), plot.name
            for ax in figure.axes:
                assert min(ax.bbox.width, ax.bbox.height) > 200, plot.name
                for axis in (ax.xaxis, ax.yaxis):
                    along = "x" if axis is ax.xaxis else "y"
                    low, high = sorted(getattr(ax, f"get_{along}lim")())
                    shown = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
                    boxes = [tick.label1.get_window_extent() for tick in shown]
                    spans = sorted(getattr(box, f"interval{along}").tolist() for box in boxes)
                    assert len(spans) >= 2, (plot.name, along)
                    assert all(one[1] <= next_[0] for one, next_ in pairwise(spans)), (plot.name, along)

    def test_a_method_has_one_colour_of_its_own(self):
        lines = [drawing.Line(name, name, [1], [1]) for name in METHODS]
        first = [style["color"] for style in drawing.styles(lines)]
        assert len(set(first)) == len(METHODS)
        assert [style["color"] for style in drawing.styles(lines[::-1])] == first[::-1]
        twice = drawing.styles([lines[1]] * 3)
        assert len({(style["color"], style["marker"], style["linestyle"]) for style in twice}) == 3
        assert twice[0]["color"] == first[1]


class TestFiles:
    @pytest.fixture(autouse=True)
    def _needs_matplotlib(self):
        pytest.importorskip("matplotlib")

    def test_each_figure_as_png_and_svg(self, small, tmp_path):
        from PIL import Image

        paths = plots.plot(small, tmp_path / "new")
        figures = by_name(small)
        assert [path.name for path in paths] == [f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
        assert sorted(os.listdir(tmp_path / "new")) == sorted(path.name for path in paths)
        for path in paths:
            if path.suffix == ".png":
                with Image.open(path) as image:
                    image.load()
                    assert min(image.size) > 300
                    assert len(set(image.convert("L").get_flattened_data())) > 10
                continue
            root = ElementTree.parse(path).getroot()
            texts = ["".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")]
            plot = figures[path.stem]
            for panel in plot.panels:
                assert {panel.x.name, panel.y.name, *(each.label for each in panel.lines)} <= set(texts)
            assert "(digits, protocol holdout)" in " ".join(texts)

    def test_same_figure_same_files(self, small):
        first = plots.plots(small)[0]
        assert drawing.drawn(first) == drawing.drawn(first)

    def test_nothing_found_and_nothing_known_can_be_drawn(self, small):
        other = copy.deepcopy(small)
        for row in other["results"]:
            row["metrics"] = dict.fromkeys(row["metrics"]) | {"candidates_mean": 0.0}
            row["curves"] = {
                name: {key: [None] * len(values) for key, values in curve.items()}
                for name, curve in row["curves"].items()
            }
            del row["buckets"]
        names = [name for name in by_name(small) if name != "buckets"]
        assert list(by_name(other)) == names
        for plot in by_name(other).values():
            drawing.figure_of(plot).draw_without_rendering()

    def test_names_are_not_formulas(self, small):
        other = copy.deepcopy(small)
        other["dataset"]["name"] = "$\\frac{a<b&c$"
        other["features"] = [other["features"][0] | {"name": name} for name in ("_x$1", "y_$2")]
        for row in other["results"]:
            row["features"] = "_x$1"
        other["results"] += [row | {"features": "y_$2"} for row in other["results"]]
        text = drawing.drawn(by_name(other)["sweep-clusters"])["svg"].decode()
        assert "_x$1: exhaustive" in text
        assert "k-means, y_$2" in text


def test_matplotlib_is_asked_for_in_one_line(monkeypatch, tmp_path, small):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'^plots need matplotlib: pip install "lshcore\[plot\]"$'):
        plots.plot(small, tmp_path / "none")
    assert not (tmp_path / "none").exists()
