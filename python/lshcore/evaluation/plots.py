"""Figures of a report, as data: what lines there are; `drawing` turns them into files."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._files import write_whole
from . import results, tables
from .averages import averaged, seeds_of
from .drawing import Axis, Line, Panel, Plot, check_matplotlib, drawn
from .methods import BASELINE

Row = Mapping[str, Any]
Report = Mapping[str, Any]
Measure = Callable[[Row], float | None]

SWEPT = ("bits", "tables", "key_bits", "hashes", "clusters", "probes", "pca")
MOST_LINES = 8

# How a parameter reads in a legend; others read "name value", and what reads as nothing is left out.
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "features": str,
    "pca": lambda value: "no PCA" if value is None else f"PCA {value}",
    "leak": lambda value: "as published" if value else "",
    "bits": lambda value: f"{value} bits",
    "tables": lambda value: f"{value} tables",
    "key_bits": lambda value: f"{value}-bit keys",
    "hashes": lambda value: f"{value}-hash keys",
    "clusters": lambda value: f"{value} clusters",
    "probes": lambda value: f"{value} probes",
    "keys": lambda value: "sampled" if value == "sample" else "",
    "rank": str,
    "algorithm": str,
    "model": lambda value: f"model {os.path.basename(os.path.abspath(value))}",
}


@dataclass(frozen=True)
class _Series:
    """Rows that make one line: those that differ in what is on the x axis only."""

    label: str
    method: str
    settings: Mapping[str, Any]
    rows: Sequence[Row]


def plot(report: Report, folder: str | os.PathLike[str]) -> list[Path]:
    """Draw every figure that a report has the rows for, each as PNG and as SVG.

    Parameters
    ----------
    report : mapping
        As `results.report` gives it, or read from a ``results.json``.
    folder : path
        Made if need be; each file appears whole or not at all.

    Returns
    -------
    list of Path
        ``radius``, ``sweep-PARAMETER``, ``quality-cost``, ``buckets``, ``pr-curve`` and ``radius-curve``, as far as
        there is something to draw.

    Raises
    ------
    ImportError
        Without matplotlib.
    OSError
        If the folder cannot be made or written to.
    """
    check_matplotlib()
    results.make_folder(folder)
    paths = []
    for each in plots(report):
        for kind, content in drawn(each).items():
            paths.append(Path(folder) / f"{each.name}.{kind}")
            write_whole(paths[-1], content)
    return paths


def plots(report: Report) -> list[Plot]:
    """Every figure of a report, as data. Of several seeds, points are means, and whole curves are the first seed's."""
    seeds = seeds_of(report)
    report = averaged(report)
    points = [_radius(report), *(_sweep(report, name) for name in SWEPT), _quality_cost(report)]
    curves = [_buckets(report), _pr_curve(report), _radius_curve(report)]
    about = f"{report['dataset']['name']}, protocol {report['protocol']['name']}"
    means, first = (f", means of {len(seeds)} seeds", f", seed {seeds[0]}") if len(seeds) > 1 else ("", "")
    return [
        replace(each, title=f"{each.title} ({about}{of})")
        for made, of in ((points, means), (curves, first))
        for each in made
        if each is not None
    ]


def _metric(name: str) -> Measure:
    return lambda row: row["metrics"].get(name)


def _milliseconds(row: Row) -> float:
    return float(row["times_ms"]["total"]["mean"])


def _headline(report: Report) -> str:
    return str(report["protocol"]["headline"][0])


def _radius(report: Report) -> Plot | None:
    precision = f"p@{report['k'][0]}"
    measures = [
        (Axis(precision), _metric(precision)),
        (Axis("candidates a query", log=10), _metric("candidates_mean")),
        (Axis("milliseconds a query", log=10), _milliseconds),
    ]
    return _against(report, "radius", Axis("Hamming radius (bits)"), measures, name="radius", least=1)


def _sweep(report: Report, parameter: str) -> Plot | None:
    names = dict.fromkeys([f"p@{report['k'][0]}", "map", _headline(report)])
    measures = [(Axis(name), _metric(name)) for name in names]
    heading = {"pca": "PCA dimensions, or share of the variance", "key_bits": "bits a key", "hashes": "hashes a key"}
    axis = Axis(heading.get(parameter, parameter))
    return _against(report, parameter, axis, measures, name=f"sweep-{parameter}", least=2)


def _against(
    report: Report, parameter: str, axis: Axis, measures: Sequence[tuple[Axis, Measure]], *, name: str, least: int
) -> Plot | None:
    """A panel for each measure against a parameter, where a line has at least so many points; with the baselines."""
    series = [each for each in _series(report, parameter) if len(each.rows) >= least]
    if not series:
        return None
    measured = ", ".join(y.name for y, _ in measures)
    chosen, title = _best(report, series, f"{measured} against {axis.name}")
    values = sorted({_value(row, parameter) for each in chosen for row in each.rows}, key=_pca_order)
    places = dict(zip(values, values, strict=True))
    if parameter == "pca":  # dimensions, shares and none: in order, evenly
        places = {value: place for place, value in enumerate(values)}
        axis = replace(axis, ticks=dict(enumerate("none" if value is None else f"{value:g}" for value in values)))
    elif parameter != "radius":
        wide = values[-1] >= 6 * values[0]
        axis = replace(axis, log=2 if wide else None, ticks={value: str(value) for value in values})
    alike = {_apart(row) for each in chosen for row in each.rows}
    baselines = [row for row in report["results"] if row["method"] == BASELINE and _apart(row) in alike]

    def panel(y: Axis, measure: Measure) -> Panel:
        lines = []
        for each in chosen:
            x = [places[_value(row, parameter)] for row in each.rows]
            lines.append(Line(each.label, each.method, x, [measure(row) for row in each.rows]))
        if parameter != "pca":  # where the baseline is a line of its own
            lines += [Line(tables.title(report, row), BASELINE, (), [measure(row)]) for row in baselines]
        return Panel(axis, y, lines)

    return Plot(name, title, [panel(y, measure) for y, measure in measures])


def _apart(row: Row) -> tuple[Any, ...]:
    """What a baseline must share with a row."""
    return row["features"], row["preprocess"]["pca"], row["leak"]


def _value(row: Row, parameter: str) -> Any:
    return row["preprocess"]["pca"] if parameter == "pca" else row["parameters"][parameter]


def _pca_order(value: float | None) -> tuple[bool, float]:
    """Shares, then dimensions, then none."""
    return value is None, value or 0.0


def _settings(row: Row, own_probes: bool) -> dict[str, Any]:
    """What was chosen for a row, without what follows from the rest."""
    parameters = dict(row["parameters"])
    follows = (
        ["trained_on", "model_split", "random_state"]
        + ["bits"] * (parameters.get("keys") == "blocks")
        + ["key_bits"] * ("hashes" in parameters)
    )
    follows += ["probes"] * (own_probes and "tables" in parameters)
    chosen = {key: _hashable(value) for key, value in parameters.items() if key not in follows}
    return {"features": row["features"], "pca": row["preprocess"]["pca"], "leak": row["leak"], **chosen}


def _hashable(value: Any) -> Any:
    return str(value) if isinstance(value, list | Mapping) else value


def _series(report: Report, parameter: str) -> list[_Series]:
    """Lines over a parameter, each sorted by it: rows of a method that are alike in everything else."""
    rows = report["results"]
    # A key for each table, where nothing else was asked for, is no choice of its own.
    chosen = [row["parameters"] for row in rows if _has(row, "tables", "probes")]
    own = all(each["probes"] == each["tables"] for each in chosen)
    found: dict[Any, list[Row]] = {}
    for row in rows:
        settings = _settings(row, own)
        if parameter in settings:
            alike = row["method"], tuple((key, value) for key, value in settings.items() if key != parameter)
            found.setdefault(alike, []).append(row)
    return _labelled(
        report,
        [
            _Series("", method, dict(settings), sorted(each, key=lambda row: _pca_order(_value(row, parameter))))
            for (method, settings), each in found.items()
        ],
    )


def _has(row: Row, *names: str) -> bool:
    return all(name in row["parameters"] for name in names)


def _labelled(report: Report, series: Iterable[_Series]) -> list[_Series]:
    """The same, labelled by the method and by what differs among the lines of that method."""
    series = list(series)
    labelled = []
    for each in series:
        kin = [other.settings for other in series if other.method == each.method]
        names = dict.fromkeys(name for settings in kin for name in settings)
        differing = [name for name in names if len({settings.get(name) for settings in kin}) > 1]
        if len(report["features"]) > 1 and "features" not in differing:
            differing.insert(0, "features")
        words = [_word(name, each.settings[name]) for name in differing if name in each.settings]
        labelled.append(replace(each, label=", ".join([each.method, *filter(None, words)])))
    return labelled


def _word(name: str, value: Any) -> str:
    return _WORDS[name](value) if name in _WORDS else f"{name} {value}"


def _best(report: Report, series: Sequence[_Series], title: str) -> tuple[list[_Series], str]:
    """The series that fit into a figure, baselines first of all, in their order; and the title, which says so."""
    if len(series) <= MOST_LINES:
        return list(series), title
    name = _headline(report)

    def worth(each: _Series) -> tuple[bool, float]:
        return each.method == BASELINE, max(row["metrics"].get(name) or 0.0 for row in each.rows)

    chosen = sorted(range(len(series)), key=lambda i: worth(series[i]), reverse=True)[:MOST_LINES]
    return [series[i] for i in sorted(chosen)], f"{title}: the {MOST_LINES} best of {len(series)} lines by {name}"


def _single(report: Report, rows: Iterable[Row], title: str) -> tuple[list[_Series], str]:
    """Rows that are a line each."""
    series = [_Series(f"{tables.title(report, row)}, {row['label']}", row["method"], {}, [row]) for row in rows]
    return _best(report, series, title)


def _quality_cost(report: Report) -> Plot | None:
    headline = [name for name in report["protocol"]["headline"] if name.startswith("p@")]
    precision = next((name for name in headline if name[2:].isdigit()), f"p@{report['k'][0]}")
    points: dict[tuple[str, str], list[Row]] = {}
    for row in report["results"]:
        label = tables.title(report, {**row, "preprocess": {"pca": None}})
        points.setdefault((row["method"], label), []).append(row)
    lines = [
        Line(label, method, list(map(_milliseconds, rows)), list(map(_metric(precision), rows)), joined=False)
        for (method, label), rows in points.items()
    ]
    return Plot(
        "quality-cost", "Quality and cost", [Panel(Axis("milliseconds a query", log=10), Axis(precision), lines)]
    )


def _buckets(report: Report) -> Plot | None:
    seen: dict[Any, _Series] = {}
    for row in report["results"]:
        if row.get("buckets") is not None:
            searched = ("probes", "rank", "shortlist", "radius")  # by all of these in the same buckets
            settings = {key: value for key, value in _settings(row, False).items() if key not in searched}
            same = row["method"], _apart(row), tuple(row["buckets"]["histogram"]["buckets"])
            seen.setdefault(same, _Series("", row["method"], settings, [row]))
    if not seen:
        return None
    chosen, title = _best(report, _labelled(report, seen.values()), "Sizes of buckets, first table")
    lines = []
    for each in chosen:
        histogram = each.rows[0]["buckets"]["histogram"]
        lines.append(Line(each.label, each.method, histogram["sizes"], histogram["buckets"]))
    x = Axis("rows in a bucket (from this many to less than twice as many)", log=2)
    return Plot("buckets", title, [Panel(x, Axis("number of buckets", log=10), lines)])


def _pr_curve(report: Report) -> Plot | None:
    rows = [row for row in report["results"] if "pr_curve" in row["curves"]]
    if not rows:
        return None
    chosen, title = _single(report, rows, "Precision and recall along the ranking")
    curves = [(each, each.rows[0]["curves"]["pr_curve"]) for each in chosen]
    lines = [Line(each.label, each.method, curve["recall"], curve["precision"]) for each, curve in curves]
    return Plot("pr-curve", title, [Panel(Axis("recall"), Axis("precision"), lines)])


def _radius_curve(report: Report) -> Plot | None:
    rows = [
        row
        for row in report["results"]
        if "radius_curve" in row["curves"] and not any(_has(row, name) for name in ("tables", "clusters", "radius"))
    ]
    if not rows:
        return None
    chosen, title = _single(report, rows, "Whole codes within a Hamming radius")
    curves = [(each, each.rows[0]["curves"]["radius_curve"]) for each in chosen]
    panels = [
        Panel(
            Axis("Hamming radius (bits)"),
            Axis(name),
            [Line(each.label, each.method, curve["radius"], curve[name]) for each, curve in curves],
        )
        for name in ("precision", "recall")
    ]
    return Plot("radius-curve", title, panels)
