"""Result files: everything as JSON, one row a configuration as CSV, both written whole or not at all."""

import csv
import errno
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from .._files import write_whole
from .environment import environment, peak_memory
from .methods import METHODS
from .protocols import PROTOCOLS
from .runner import Evaluation, Result

SCHEMA = "lshcore.results"
SCHEMA_VERSION = 2

CURVES = ("pr_curve", "radius_curve")
# A raw line break follows the bracket, and no JSON string can hold one.
_NUMBERS = re.compile(r"\[\n[-+.eE\d,\snul]*\]")
_LEFT_OUT_OF_CSV = ("results", "features", "notes", "seed")
_BUCKETS_IN_CSV = ("count", "mean", "largest")

_GROUPS = (
    "features.name",
    "method",
    "label",
    "seed",
    "parameters.",
    "preprocess.",
    "queries",
    "sampled",
    "metrics.",
    "times_ms.",
    "buckets.",
    "",
)


def report(
    evaluations: Sequence[Evaluation],
    *,
    k: Sequence[int],
    n_jobs: int | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The whole result file as plain data: dict, list, str, int, float, bool and None.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        One for each kind of features and each seed, all of the same data set and protocol.
    k : list lengths of the metrics
    n_jobs : int, optional
        Threads, as given to the runner.
    notes : sequence of str
        Such as which configurations were left out.
    """
    dataset, split = evaluations[0].dataset, evaluations[0].split
    whole: dict[str, Any] = _plain(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(n_jobs) | {"peak_memory_bytes": peak_memory()},
            "dataset": {
                "name": dataset.name,
                "description": dataset.description,
                "classes": dataset.n_classes,
                "multi_label": dataset.multi_label,
            },
            "protocol": {
                "name": split.name,
                "train_in_gallery": split.train_in_gallery,
                "headline": list(PROTOCOLS[split.name].headline),
                "leak": PROTOCOLS[split.name].leak or None,
            },
            "features": [_features(each) for each in evaluations],
            "seed": split.seed,
            "seeds": list(dict.fromkeys(each.split.seed for each in evaluations)),
            "k": list(k),
            "results": [
                {"features": each.dataset.features_name, "seed": each.split.seed} | _row(result)
                for each in evaluations
                for result in each.results
            ],
            "notes": list(notes),
        }
    )
    return whole


def _features(evaluation: Evaluation) -> dict[str, Any]:
    dataset, split = evaluation.dataset, evaluation.split
    made = dataset.extraction
    return {
        "name": dataset.features_name,
        "dim": dataset.dim,
        "dtype": str(dataset.features.dtype),
        "backbone": made and made.backbone,
        "weights": made and made.weights,
        "weights_checksum": made and made.checksum,
        "transform": made and made.transform,
        "extract_ms": made and made.milliseconds,
        "skipped": made.skipped if made else 0,
        "where": dataset.source.where,
        "checksum": dataset.source.checksum,
        "files": dict(dataset.source.files),
        "items": len(dataset),
        "seed": split.seed,
        "split_hash": split.digest,
        "queries": len(split.queries),
        "train": len(split.train),
        "gallery": len(split.gallery),
    }


def features_of(whole: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The features of a report that one of its rows is about, as its seed divides them."""
    found: dict[str, Any] = next(
        each for each in whole["features"] if each["name"] == row["features"] and each["seed"] == row["seed"]
    )
    return found


def _row(result: Result) -> dict[str, Any]:
    return {
        "method": result.configuration.method,
        "label": result.label,
        "parameters": {
            **result.configuration.parameters,
            **METHODS[result.configuration.method].fixed,
            **result.settings,
        },
        "preprocess": dict(result.configuration.preprocess),
        "leak": result.configuration.leak,
        "queries": result.n_queries,
        "sampled_queries": result.sampled,
        "metrics": {name: value for name, value in result.metrics.items() if name not in CURVES},
        "curves": {name: result.metrics[name] for name in CURVES if name in result.metrics},
        "times_ms": {stage: dict(spread) for stage, spread in result.times_ms.items()},
        "batch_seconds": result.batch_seconds,
        "queries_per_second": result.queries_per_second,
        "speed_up": result.speed_up,
        "seconds": dict(result.seconds),
        "bytes_per_item": result.bytes_per_item,
        "vectors": result.vectors,
        "bytes": dict(result.nbytes),
        "buckets": result.buckets,
    }


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as Python's own; NaN and infinities, which JSON has no word for, as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(whole: Mapping[str, Any]) -> str:
    """The report as JSON, indented; a list of numbers stays on one line."""
    text = json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False)
    return _NUMBERS.sub(lambda match: " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]"), text)


def to_csv(whole: Mapping[str, Any]) -> str:
    """One line a configuration, every scalar of the report as a column; nested names are joined by dots.

    Curves, histograms of buckets and the checksums of single files are in the JSON only.
    """
    common = {name: value for name, value in _flatten(whole).items() if not name.startswith(_LEFT_OUT_OF_CSV)}
    rows = [
        _flatten(
            {key: value for key, value in row.items() if key != "curves"}
            | {
                "features": {
                    key: value for key, value in features_of(whole, row).items() if key not in ("files", "seed")
                }
            }
            | {"buckets": {key: (row.get("buckets") or {}).get(key) for key in _BUCKETS_IN_CSV}}
        )
        for row in whole["results"]
    ]
    # Columns in the order of first sight: the parameters of every method side by side.
    own = list(dict.fromkeys(name for row in rows for name in row))
    own.sort(key=lambda name: next(i for i, group in enumerate(_GROUPS) if name.startswith(group)))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=[*own, *common], lineterminator="\n")
    writer.writeheader()
    writer.writerows(common | row for row in rows)
    return text.getvalue()


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        elif isinstance(value, list):
            short = name in ("k", "protocol.headline") or name.startswith("parameters.")
            flat[name] = " ".join(str(item) for item in value) if short else ""
        else:
            flat[name] = value
    return flat


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder for results, unless it is there; raise OSError if nothing can be written into it."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "results cannot be written into this folder", str(folder))


def write(whole: Mapping[str, Any], folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write ``results.json`` and ``results.csv`` into a folder, made if need be; each appears whole or not at all.

    Returns
    -------
    (json path, csv path)

    Raises
    ------
    OSError
        If the folder cannot be made or written to.
    """
    folder = Path(folder)
    make_folder(folder)
    paths = folder / "results.json", folder / "results.csv"
    for path, text in zip(paths, (to_json(whole) + "\n", to_csv(whole)), strict=True):
        write_whole(path, text.encode())
    return paths
