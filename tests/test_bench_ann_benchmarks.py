"""The adapter for ann-benchmarks: neighbours by NumPy, the harness's order of calls, and its way to import."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

BENCH = Path(__file__).parents[1] / "bench"
KINDS = {"kmeans": {"clusters": 12}, "lsh": {"tables": 4, "key_bits": 5}}
EVERYTHING = {"kmeans": 12, "lsh": 4 << 5}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCH)
    from ann_benchmarks.module import LSHCore

    return LSHCore


def distances(metric: str, queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(q[:, np.newaxis] - x, axis=2)
    return 1 - (q @ x.T) / np.linalg.norm(q, axis=1)[:, np.newaxis] / np.linalg.norm(x, axis=1)


@pytest.mark.parametrize(("metric", "kind"), list(product(("angular", "euclidean"), KINDS)))
def test_the_calls_of_the_harness(adapter, features, queries, metric: str, kind: str) -> None:
    algorithm = adapter(metric, kind, KINDS[kind])
    before = algorithm.get_memory_usage()
    algorithm.fit(features)
    assert 0 < before <= algorithm.get_memory_usage() + 10_000
    every = distances(metric, queries, features)
    limits = np.sort(every, axis=1)[:, 9] + 1e-5
    recalls, names = [], set()
    for probes in (4, 8, EVERYTHING[kind]):
        algorithm.set_query_arguments(probes)
        single = [algorithm.query(v, 10) for v in queries]
        algorithm.batch_query(queries, 10)
        for i, (ids, batched) in enumerate(zip(single, algorithm.get_batch_results(), strict=True)):
            assert np.array_equal(ids, batched)
            assert len(ids) == len(set(ids)) <= 10
            assert (np.diff(every[i, ids]) > -1e-5).all()
        recalls.append(sum((every[i, ids] <= limits[i]).sum() for i, ids in enumerate(single)))
        names.add(str(algorithm))
        assert algorithm.get_additional() == {}
    assert recalls == sorted(recalls)
    assert recalls[-1] == 10 * len(queries)
    assert len(names) == 3
    algorithm.done()


@pytest.mark.parametrize("kind", KINDS)
def test_a_shortlist_of_everything_changes_nothing_and_a_short_one_is_shorter(adapter, features, queries, kind) -> None:
    algorithm = adapter("euclidean", kind, KINDS[kind])
    algorithm.fit(features)
    found = {}
    for shortlist in (0, len(features), 3):
        algorithm.set_query_arguments(EVERYTHING[kind], shortlist)
        found[shortlist] = [algorithm.query(v, 10) for v in queries]
    assert np.array_equal(found[0], found[len(features)])
    assert {len(ids) for ids in found[3]} == {3}


def test_what_is_no_metric_and_no_kind(adapter) -> None:
    for metric, kind in (("hamming", "lsh"), ("angular", "tree")):
        with pytest.raises(ValueError, match="LSHCore: metric must be one of angular, euclidean and kind one of"):
            adapter(metric, kind, {})


def test_it_is_a_base_ann_inside_the_harness(run_python, tmp_path: Path) -> None:
    """In the harness's place, beside a class of the name that it imports."""
    algorithms = tmp_path / "ann_benchmarks" / "algorithms"
    for name, text in (
        ("base", "class BaseANN: pass"),
        ("lshcore", (BENCH / "ann_benchmarks" / "module.py").read_text()),
    ):
        (algorithms / name).mkdir(parents=True)
        (algorithms / name / "module.py").write_text(text)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from ann_benchmarks.algorithms.base.module import BaseANN\n"
        "from ann_benchmarks.algorithms.lshcore.module import LSHCore\n"
        "print(issubclass(LSHCore, BaseANN))"
    )
    assert run_python(script).strip() == "True"


def test_every_setting_of_the_configuration_runs(adapter, features) -> None:
    """On few rows, with fewer clusters: that the names and numbers of arguments fit."""
    yaml = pytest.importorskip("yaml")
    config = yaml.safe_load((BENCH / "ann_benchmarks" / "config.yml").read_text())
    for entry in config["float"]["any"]:
        assert (entry["constructor"], entry["module"]) == ("LSHCore", "ann_benchmarks.algorithms.lshcore")
        metric, kind = entry["base_args"]
        assert metric == "@metric"
        for group in entry["run_groups"].values():
            (options,) = group["arg_groups"]
            lists = [value if isinstance(value, list) else [value] for value in options.values()]
            for values in product(*lists):
                chosen = dict(zip(options, values, strict=True))
                largest = max(group["query_args"][0])
                assert largest <= chosen.get("clusters", largest)
                assert min(group["query_args"][0]) >= chosen.get("tables", 1)
                if kind == "kmeans":
                    chosen["clusters"] = largest = 20
                algorithm = adapter("angular", kind, chosen)
                algorithm.fit(features)
                algorithm.set_query_arguments(largest, *(each[-1] for each in group["query_args"][1:]))
                assert len(algorithm.query(features[0], 10)) == 10
