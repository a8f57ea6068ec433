"""What `frontier.py` measured: lines, their tables, their file, their curves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from frontier_peers import Ours, Peer, Setting

TARGETS = (0.90, 0.95, 0.98, 0.99)


@dataclass
class Built:
    peer: Peer
    seconds: float
    bytes: int
    kept: bool = False


@dataclass
class Line:
    built: Built
    setting: Setting
    recall: float = -1.0
    means: list[float] = field(default_factory=list)  # seconds, one a run
    p99s: list[float] = field(default_factory=list)

    @property
    def library(self) -> str:
        return self.built.peer.name

    @property
    def speed(self) -> float:
        """Queries/s."""
        return 1 / float(np.median(self.means))

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.setting.items())


def names(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line.library for line in lines))


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """(recall, queries/s) that no other has both more of."""
    best, kept = 0.0, []
    for reached, speed in sorted(points, reverse=True):
        if speed > best:
            best = speed
            kept.append((reached, speed))
    return kept[::-1]


def fastest(lines: Iterable[Line], target: float) -> dict[str, Line]:
    """The fastest line of each library that reaches a recall."""
    found: dict[str, Line] = {}
    for line in lines:
        if line.recall >= target and (line.library not in found or line.speed > found[line.library].speed):
            found[line.library] = line
    return found


def compared(lines: Sequence[Line]) -> list[list[str]]:
    """Rows of a table: queries/s at each recall, and ours over hnswlib's and over the best other's."""
    rows = [[library] for library in names(lines)]
    ratios = [[f"{Ours.name} / hnswlib"], [f"{Ours.name} / best other"]]
    for target in TARGETS:
        best = fastest(lines, target)
        for row in rows:
            row.append(f"{best[row[0]].speed:,.0f}" if row[0] in best else "-")
        others = [line for library, line in best.items() if library != Ours.name]
        other = max(others, key=lambda line: line.speed, default=None)
        for row, rival in zip(ratios, (best.get("hnswlib"), other), strict=True):
            known = rival is not None and Ours.name in best
            row.append(f"{best[Ours.name].speed / rival.speed:.2f}" if known else "-")
        if other is not None and Ours.name in best:
            ratios[1][-1] += f" ({other.library})"
    return [["recall >=", *(f"{target:.2f}" for target in TARGETS)], *rows, *ratios]


def as_json(lines: Iterable[Line], measured: Iterable[Line], vectors: int) -> list[dict]:
    """Of each setting what was measured; those of the first pass alone have no runs."""
    whole = {id(line) for line in measured}
    return [
        {
            "library": line.library,
            "version": line.built.peer.version,
            "built": line.built.peer.built,
            "setting": line.setting,
            "recall": line.recall,
            "queries_per_second": line.speed,
            "runs": len(line.means) if id(line) in whole else 0,
            "mean_seconds": line.means,
            "p99_seconds": line.p99s,
            "build_seconds": line.built.seconds,
            "bytes": line.built.bytes,
            "bytes_of_vectors": round(line.built.bytes / vectors, 3),
            "kept": line.built.kept,
        }
        for line in lines
    ]


def draw(lines: Sequence[Line], k: int, title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot(xlabel=f"recall of {k}", ylabel="queries/s", yscale="log", title=title)
    for library in names(lines):
        points = [(line.recall, line.speed) for line in lines if line.library == library]
        ours = {"linewidth": 2.5, "color": "black", "zorder": 3} if library == Ours.name else {}
        axes.plot(*zip(*frontier(points), strict=True), marker="o", markersize=3, label=library, **ours)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def table(lines: Sequence[Line], vectors: int) -> None:
    print(
        f"{'library':18s}{'setting':30s}{'recall':>8s}{'queries/s':>11s}{'p99, ms':>9s}{'build, s':>10s}"
        f"{'MB':>8s}{'of the vectors':>16s}"
    )
    for line in lines:
        p99 = f"{1e3 * float(np.median(line.p99s)):9.3f}" if line.p99s else f"{'-':>9s}"
        built = f"{line.built.seconds:.1f}{'*' if line.built.kept else ''}"
        print(
            f"{line.library:18s}{line!s:30s}{line.recall:8.4f}{line.speed:11,.0f}{p99}{built:>10s}"
            f"{line.built.bytes / 1e6:8,.0f}{line.built.bytes / vectors:16.2f}"
        )
    if any(line.built.kept for line in lines):
        print("* built earlier, and kept")
