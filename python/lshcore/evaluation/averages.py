"""Several seeds as one: each configuration once, with means over its seeds, for tables and figures."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Report = Mapping[str, Any]

_MEANS = ("metrics", "times_ms", "batch_seconds", "queries_per_second", "speed_up", "seconds", "bytes_per_item")


def seeds_of(report: Report) -> list[int]:
    """The seeds of a report, in the order they were run."""
    return list(report.get("seeds", [report["seed"]]))


def averaged(report: Report) -> Report:
    """A report of several seeds with one row a configuration; one of a single seed as it is.

    Metrics, times, speed-ups and sizes are means over the seeds that have the row; its label says so where those are
    not all. "deviations" holds the sample standard deviation of each metric, None where only one seed has it. Curves,
    buckets and counts are those of its first seed.
    """
    seeds = seeds_of(report)
    if len(seeds) == 1:
        return report
    alike: dict[str, list[Row]] = {}
    for row in report["results"]:
        key = [row[name] for name in ("features", "method", "label", "preprocess", "leak")]
        alike.setdefault(json.dumps(key, sort_keys=True), []).append(row)
    first = [each for each in report["features"] if each["seed"] == seeds[0]]
    features = [each | {"split_hash": _split_hashes(report, each["name"])} for each in first]
    return {**report, "features": features, "results": [_merged(rows, len(seeds)) for rows in alike.values()]}


def _split_hashes(report: Report, name: str) -> str:
    return ", ".join(dict.fromkeys(each["split_hash"] for each in report["features"] if each["name"] == name))


def _merged(rows: Sequence[Row], n_seeds: int) -> Row:
    label = rows[0]["label"] if len(rows) == n_seeds else f"{rows[0]['label']} ({len(rows)} of {n_seeds} seeds)"
    means = {name: _mean([row[name] for row in rows]) for name in _MEANS}
    deviations = {name: _deviation([row["metrics"].get(name) for row in rows]) for name in rows[0]["metrics"]}
    sampled = any(row["sampled_queries"] for row in rows)
    return {**rows[0], "label": label, **means, "deviations": deviations, "sampled_queries": sampled}


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, or of each value of mappings; None where one is unknown."""
    if isinstance(values[0], Mapping):
        return {name: _mean([value.get(name) for value in values]) for name in values[0]}
    return None if None in values else statistics.fmean(values)


def _deviation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if 1 < len(known) == len(values) else None
