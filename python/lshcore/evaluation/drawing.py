"""Drawing: figures that are given as data, through matplotlib."""

import importlib
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .methods import BASELINE, METHODS

FORMATS = ("png", "svg")

# One a method, in the order of METHODS.
_COLOURS = (
    "222222 0072b2 d55e00 009e73 cc79a7 7b4fb5 e69f00 56b4e9 8c510a b2182b 5a7d2a c51b7d "
    "01665e f4a582 542788 80cdc1 b8a100 3f51b5 ff7f7f 6d4c41 9ccc65 7f7f7f"
)
_MARKERS = "os^DvPX<"
_MOST_MARKERS = 16  # a line through more points is a curve
_DASHES = ("-", "--", ":", "-.")
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lshcore",
    "text.parse_math": False,
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Line:
    """One entry of a legend: a line through points, points alone, or a level over the whole width (`x` is empty)."""

    label: str
    method: str
    x: Sequence[float | None]
    y: Sequence[float | None]
    joined: bool = True


@dataclass(frozen=True)
class Axis:
    """A name with its unit; `ticks` are places and their texts, where they are not numbers as usual."""

    name: str
    log: int | None = None
    ticks: Mapping[float, str] | None = None


@dataclass(frozen=True)
class Panel:
    """Axes with lines."""

    x: Axis
    y: Axis
    lines: Sequence[Line]


@dataclass(frozen=True)
class Plot:
    """A figure of one or several panels side by side, under one legend; `name` is that of its files."""

    name: str
    title: str
    panels: Sequence[Panel]


def check_matplotlib() -> None:
    """Raise ImportError, saying what to install, unless there is matplotlib."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "lshcore[plot]"') from error


def drawn(plot: Plot) -> dict[str, bytes]:
    """A figure as the content of its files, by format."""
    matplotlib = importlib.import_module("matplotlib")
    files = {}
    with matplotlib.rc_context(_STYLE):
        figure = figure_of(plot)
        for kind in FORMATS:
            content = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {}
            figure.savefig(content, format=kind, dpi=150, bbox_inches="tight", metadata=metadata)
            files[kind] = content.getvalue()
    return files


def figure_of(plot: Plot) -> Any:
    """A matplotlib Figure that belongs to no window and no global state."""
    lines = plot.panels[0].lines
    width = max(7.0, 4.2 * len(plot.panels))
    columns = max(1, min(len(lines), int(14 * width / (6 + max(len(line.label) for line in lines)))))
    height = 3.8 + 0.2 * -(-len(lines) // columns)
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(textwrap.fill(plot.title, int(11 * width)))
    axes = figure.subplots(1, len(plot.panels), squeeze=False)[0]
    for panel, ax in zip(plot.panels, axes, strict=True):
        handles = [_add(ax, panel, *each) for each in zip(panel.lines, styles(panel.lines), strict=True)]
        ax.set(xlabel=panel.x.name, ylabel=panel.y.name)
        _scale(ax.xaxis, panel.x, [x for line in panel.lines for x in line.x if x is not None])
        _scale(ax.yaxis, panel.y, [y for line in panel.lines for y in line.y if y is not None])
    # A label that begins with an underscore would be hidden.
    labels = [f" {line.label}" if line.label.startswith("_") else line.label for line in lines]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def styles(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """A colour for each method, the same in every figure; lines of one method differ by shade, marker and dashes."""
    known, colours = list(METHODS), _COLOURS.split()
    made = []
    for i, line in enumerate(lines):
        place = known.index(line.method) if line.method in known else len(known)
        kin = sum(other.method == line.method for other in lines)
        turn = sum(other.method == line.method for other in lines[:i])
        colour = _lighter(colours[place % len(colours)], 0.6 * turn / kin)
        dashes = _DASHES[(turn + (len(line.x) == 0)) % len(_DASHES)]
        made.append({"color": colour, "marker": _MARKERS[turn % len(_MARKERS)], "linestyle": dashes})
    return made


def _lighter(colour: str, share: float) -> str:
    parts = bytes.fromhex(colour)
    return "#" + "".join(f"{round(part + share * (255 - part)):02x}" for part in parts)


def _add(ax: Any, panel: Panel, line: Line, style: Mapping[str, Any]) -> Any:
    x, y = _places(panel.x, line.x), _places(panel.y, line.y)
    if len(line.x) == 0:
        return ax.axhline(y[0], label=line.label, linewidth=1, color=style["color"], linestyle=style["linestyle"])
    look = {**style, "markersize": 4, "linewidth": 1.4, "label": line.label}
    if not line.joined:
        look |= {"linestyle": "", "markersize": 6}
        if line.method == BASELINE:
            look |= {"marker": "*", "markersize": 14}
    elif len(line.x) > _MOST_MARKERS:
        look["marker"] = ""
    return ax.plot(x, y, **look)[0]


def _places(axis: Axis, values: Sequence[float | None]) -> list[float]:
    """Gaps where nothing is known, and where a logarithm has no place for nothing."""
    return [math.nan if value is None or (axis.log is not None and value <= 0) else value for value in values]


def _scale(axis: Any, wanted: Axis, values: Sequence[float]) -> None:
    """Scale and ticks of an axis; figures in full rather than as powers of ten."""
    ticker = importlib.import_module("matplotlib.ticker")
    positive = [value for value in values if value > 0]
    spread = max(positive) / min(positive) if positive else 1.0
    if wanted.log is not None and spread >= 3:  # less would leave hardly a tick, and looks the same
        axis._set_axes_scale("log", base=wanted.log)
        steps = (1, 2, 5) if wanted.log == 10 and spread < 1e3 else (1,)
        axis.set_major_locator(ticker.LogLocator(wanted.log, subs=steps, numticks=12))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    elif all(isinstance(value, int) for value in values):
        axis.set_major_locator(ticker.MaxNLocator("auto", integer=True))
    if wanted.ticks is not None and len(wanted.ticks) <= 12:
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_major_locator(ticker.FixedLocator(list(wanted.ticks)))
        axis.set_major_formatter(ticker.FixedFormatter(list(wanted.ticks.values())))
