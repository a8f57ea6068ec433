"""A report for the eye: a table for terminals, and plain aligned columns for pipes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .averages import averaged, seeds_of
from .methods import METHODS
from .results import features_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = Mapping[str, Any]
Report = Mapping[str, Any]

_NONE = object()

SHOWN_LISTS = 2  # list lengths k that get a column in the terminal table; the others are in the files


@dataclass(frozen=True)
class Column:
    """A column: its heading and how it shows a row."""

    heading: str
    text: Callable[[Row], str]


def _metric(name: str, digits: int) -> Column:
    return Column(name.replace("map_r", "map_\nr"), lambda row: _with_deviation(row, name, digits))


def _with_deviation(row: Row, name: str, digits: int) -> str:
    """A metric, and how far it strays over seeds where there are several."""
    value, deviation = _number(row["metrics"].get(name), digits), row.get("deviations", {}).get(name)
    return value if deviation is None else f"{value} ± {_number(deviation, digits)}"


def _plain_metric(name: str, several: bool) -> list[Column]:
    """A column of numbers; with one of standard deviations where there are several seeds."""
    mean = Column(name, lambda row: _number(row["metrics"].get(name), 4))
    return [mean, Column(f"{name}_sd", lambda row: _number(row["deviations"].get(name), 4))] if several else [mean]


def _stage(stage: str, heading: str) -> Column:
    return Column(heading, lambda row: _milliseconds(row["times_ms"][stage]["mean"]))


def _plain_stage(stage: str) -> Column:
    return Column(f"{stage}_ms", lambda row: _number(row["times_ms"][stage]["mean"], 4))


def _milliseconds(value: float) -> str:
    """Three digits where they fit into six characters: 0.0012, 0.123, 1.23, 12.3, 123."""
    digits = 4 if value < 0.1 else 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return "0" if value == 0 else f"{value:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _quality(report: Report, k: Sequence[int]) -> list[Column]:
    return [_metric(name, 3) for name in _quality_names(report, k)]


def _quality_names(report: Report, k: Sequence[int]) -> list[str]:
    """The usual metrics, and what the protocol is known for."""
    names = [f"p@{length}" for length in k] + ["map", "map_retrieved", "recall", "coverage"]
    return list(dict.fromkeys(names + report["protocol"]["headline"]))


def _cost(report: Report) -> list[Column]:
    extracted = any(features["extract_ms"] is not None for features in report["features"])
    extract = Column("extract\nan image", lambda row: _milliseconds(features_of(report, row)["extract_ms"] or 0.0))
    learnt = any(row["seconds"]["train"] >= 1 for row in report["results"])
    train = Column("train\nseconds", lambda row: _milliseconds(row["seconds"]["train"]))
    return [
        *[extract] * extracted,
        *[train] * learnt,
        Column("candidates", lambda row: f"{100 * row['metrics']['candidates_share']:.1f} %"),
        _stage("encode", "encode"),
        _stage("probe", "probe"),
        _stage("union", "union"),
        _stage("rerank", "re-rank"),
        _stage("total", "total"),
        Column("speed-up", lambda row: _number(row["speed_up"], 2)),
    ]


def _plain_columns(report: Report) -> list[Column]:
    names = _quality_names(report, report["k"])
    return [
        Column("method", lambda row: str(row["method"])),
        Column("parameters", _parameters),
        Column("features", lambda row: str(row["features"])),
        Column("queries", lambda row: str(row["queries"])),
        *(column for name in names for column in _plain_metric(name, len(seeds_of(report)) > 1)),
        Column("candidates", lambda row: _number(row["metrics"]["candidates_mean"], 1)),
        Column("share", lambda row: _number(row["metrics"]["candidates_share"], 4)),
        *(_plain_stage(stage) for stage in ("encode", "probe", "union", "rerank", "total")),
        Column("total_p95_ms", lambda row: _number(row["times_ms"]["total"]["p95"], 4)),
        Column("queries_per_s", lambda row: _number(row["queries_per_second"], 0)),
        Column("speed_up", lambda row: _number(row["speed_up"], 3)),
        Column("bytes_per_item", lambda row: _number(row["bytes_per_item"], 1)),
        Column("extract_ms", lambda row: _number(features_of(report, row)["extract_ms"], 3)),
        Column("train_s", lambda row: _number(row["seconds"]["train"], 2)),
        Column("build_s", lambda row: _number(row["seconds"]["build"], 2)),
    ]


def _parameters(row: Row) -> str:
    pca = row["preprocess"]["pca"]
    usual = METHODS[row["method"]].arguments
    shown = {name: value for name, value in row["parameters"].items() if not _is_usual(value, usual.get(name, _NONE))}
    shown |= ({} if pca is None else {"pca": pca}) | ({"leak": True} if row["leak"] else {})
    return ",".join(f"{name}={value}".replace(" ", "") for name, value in shown.items())


def _is_usual(value: Any, default: Any) -> bool:
    """Whether an argument of a hasher is its default, also where it has been through JSON."""
    return bool(value == (list(default) if isinstance(default, tuple) and isinstance(value, list) else default))


def heading(report: Report) -> list[str]:
    """What was evaluated and where, in a few lines; printed above every table."""
    where = report["environment"]
    trained = "also searched" if report["protocol"]["train_in_gallery"] else "not searched"
    seeds = f"seed {report['seed']}"
    if len(seeds_of(report)) > 1:
        seeds = (
            f"means of {len(seeds_of(report))} seeds ({', '.join(map(str, seeds_of(report)))}) with sample deviations"
        )
    lines = []
    for features in report["features"]:
        made = "" if features["backbone"] is None else f" by {features['weights']} weights"
        if features["skipped"]:
            made += f", {features['skipped']:,} broken images left out"
        lines += [
            f"{report['dataset']['name']}: {features['queries']:,} queries, {features['gallery']:,} items searched, "
            f"{features['train']:,} to train on ({trained}), {features['dim']} features: {features['name']}{made}",
            f"from {features['where']}, sha256 {features['checksum'][:12]}, split {features['split_hash']}",
        ]
    return [
        *lines,
        f"protocol {report['protocol']['name']}, {seeds}; features centred and scaled to length 1",
        f"{where['threads']} threads, {where['kernel_set']} kernels, {where['cpu']}; times in milliseconds a query; "
        f"peak memory {where['peak_memory_bytes'] / 1e9:.2f} GB",
    ]


def footnotes(report: Report) -> list[str]:
    """What a reader must know: sampled queries, queries with nothing to find, methods slower than the baseline."""
    rows = report["results"]
    notes = []
    if any(row["sampled_queries"] for row in rows):
        sample = next(row["queries"] for row in rows if row["sampled_queries"])
        notes.append(
            f"* on {sample:,} of the {report['features'][0]['queries']:,} queries, drawn by seed: "
            f"all of them would take over a minute"
        )
    if report["protocol"]["leak"]:
        notes.append(f"as published (leak=True): {report['protocol']['leak']}; the other figures are without that")
    if any(row["vectors"] == "float16" for row in rows):
        notes.append("vectors are kept in half precision, for they would fill more than a gigabyte")
    without = max((row["metrics"].get("queries_without_relevant", 0) for row in rows), default=0)
    if without:
        notes.append(f"{round(without, 1):,} queries have no relevant item; they count 0 in every mean")
    models = [row for row in rows if "model" in row["parameters"]]
    others = [row for row in models if row["parameters"]["model_split"] != features_of(report, row)["split_hash"]]
    if others:
        names = dict.fromkeys(str(row["parameters"]["model"]) for row in others)
        notes.append(f"not known to have been trained without these queries: {', '.join(names)}")
    slower = [f"{row['method']} {row['label']}" for row in rows if row["speed_up"] < 1]
    if slower:
        notes.append(f"slower than looking at everything (speed-up below 1): {'; '.join(slower)}")
    return notes


def plain(report: Report) -> str:
    """Columns aligned by spaces, no space inside a cell; lines of text begin with ``#``."""
    report = averaged(report)
    columns = _plain_columns(report)
    grid = [[column.heading for column in columns]]
    grid += [[column.text(row) for column in columns] for row in report["results"]]
    widths = [max(len(line[i]) for line in grid) for i in range(len(columns))]
    text_columns = 3  # flush left; the others are numbers
    lines = [
        "  ".join(
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in grid
    ]
    return "\n".join([f"# {line}" for line in heading(report)] + lines + [f"# {line}" for line in footnotes(report)])


def show(report: Report, console: "Console") -> None:
    """Print the report on a terminal: one table, or one for quality and one for cost where one is too wide."""
    report = averaged(report)
    quality, cost = _quality(report, report["k"][:SHOWN_LISTS]), _cost(report)
    for line in heading(report):
        console.print(line, style="dim", highlight=False)
    whole = _table(report, quality + cost)
    if console.measure(whole, options=console.options.update(width=1000)).maximum <= console.width:
        console.print(whole)
    else:
        console.print(_table(report, quality))
        console.print(_table(report, cost))
    for line in footnotes(report):
        console.print(line, highlight=False)


def _table(report: Report, columns: Sequence[Column]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", vertical="bottom", no_wrap=True)
    for group, rows in groupby(report["results"], key=lambda row: title(report, row)):
        table.add_row(Text(group, style="bold"))
        for row in rows:
            style = "red" if row["speed_up"] < 1 else ""
            label = f"  {row['label']}{' *' if row['sampled_queries'] else ''}"
            table.add_row(label, *(column.text(row) for column in columns), style=style)
    return table


def title(report: Report, row: Row) -> str:
    """What a row is about, but for its parameters: the method, how features were preprocessed, and which ones."""
    pca = row["preprocess"]["pca"]
    text = str(row["method"]) if pca is None else f"{row['method']}, PCA {pca}"
    text += ", as published" if row["leak"] else ""
    return text if len(report["features"]) == 1 else f"{row['features']}: {text}"
