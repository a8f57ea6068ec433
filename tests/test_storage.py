"""Saved indexes: whatever is added, removed, saved and opened, they answer as a dict of their rows would."""

import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lshcore import FlatIndex, KMeansIndex, LSHIndex, open_index
from lshcore.index.container import Index
from lshcore.index.storage import LOCK
from stored import KINDS, answers, check, files, hasher, same, sample, vectors

OPERATIONS = (
    "add",
    "add",
    "own ids",
    "remove",
    "update",
    "refused",
    "compact",
    "save",
    "save",
    "open",
    "other",
    "check",
)


@pytest.fixture(scope="module", autouse=True)
def _no_fsync() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


class Model:
    """An index, the dict that it must be equal to, and what of that is saved where."""

    def __init__(self, kind: str, seed: int, folder: Path) -> None:
        self.index, self.rng, self.folder = KINDS[kind](), np.random.default_rng(seed), folder
        self.rows: dict[int, Any] = {}
        self.next_id = 0
        self.saved: tuple[dict[int, Any], int] | None = None

    def some(self, least: int = 0) -> list[int]:
        known = self.rng.permutation(list(self.rows) or np.empty(0, np.int64))
        return [int(id) for id in known[: self.rng.integers(least, max(least, min(len(known), 8)) + 1)]]

    def put(self, ids: Any, x: Any) -> None:
        ids = [int(id) for id in ids]
        self.rows.update(zip(ids, x, strict=True))
        self.next_id = max([self.next_id, *(id + 1 for id in ids)])

    def run(self, operation: str) -> None:
        getattr(self, "do_" + operation.replace(" ", "_"))()
        assert len(self.index) == len(self.rows)

    def do_add(self) -> None:
        x = vectors(self.rng, int(self.rng.choice([0, 1, 5, 40])))
        self.index.add(x)
        self.put(range(self.next_id, self.next_id + len(x)), x)

    def do_own_ids(self) -> None:
        free = [int(id) for id in self.rng.permutation(120) if id not in self.rows][: self.rng.integers(1, 20)]
        x = vectors(self.rng, len(free))
        self.index.add(x, ids=free)
        self.put(free, x)

    def do_remove(self) -> None:
        ids = self.some()
        self.index.remove(ids)
        for id in ids:
            del self.rows[id]

    def do_update(self) -> None:
        ids = self.some()
        if self.index.dim is None:
            return
        x = vectors(self.rng, len(ids))
        self.index.update(x, ids=ids)
        for id in ids:
            del self.rows[id]
        self.put(ids, x)

    def do_refused(self) -> None:
        held = self.some(1)[:1] or [3]
        if self.rows:
            with pytest.raises(ValueError, match="must be new"):
                self.index.add(vectors(self.rng, 2), ids=[10**9, *held])
        with pytest.raises(ValueError, match="must be in the index"):
            self.index.remove([*(held if self.rows else []), 10**9])

    def do_compact(self) -> None:
        before = answers(self.index)
        self.index.compact()
        assert same(answers(self.index), before)

    def do_save(self) -> None:
        before = answers(self.index)
        self.index.save(self.folder)
        self.saved = dict(self.rows), self.next_id
        assert same(answers(self.index), before)

    def opened(self, folder: Path) -> Index:
        verify, mmap = str(self.rng.choice(["lazy", "full"])), bool(self.rng.integers(2))
        return open_index(folder, verify=verify, mmap=mmap)

    def do_open(self) -> None:
        if self.saved is None:
            with pytest.raises(FileNotFoundError, match="must be there to load an index"):
                self.opened(self.folder)
            return
        self.index = self.opened(self.folder)
        self.rows, self.next_id = dict(self.saved[0]), self.saved[1]

    def do_other(self) -> None:
        """Saved elsewhere and opened from there, nothing differs."""
        folder = self.folder.with_name(f"{self.folder.name}.{self.rng.integers(2**60)}")
        self.index.save(folder)
        other = self.opened(folder)
        assert same(answers(other), answers(self.index))
        shutil.rmtree(folder)

    def do_check(self) -> None:
        check(self.index, self.rows, vectors(self.rng, 2))


def _play(kind: str, seed: int, operations: list[str], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    model = Model(kind, seed, folder)
    for operation in (*operations, "check", "save", "open", "check"):
        model.run(operation)


_SEQUENCES = {
    "kind": st.sampled_from(sorted(KINDS)),
    "seed": st.integers(0, 2**32),
    "operations": st.lists(st.sampled_from(OPERATIONS), min_size=4, max_size=16),
}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**_SEQUENCES)
def test_any_sequence(kind: str, seed: int, operations: list[str], tmp_path: Path) -> None:
    _play(kind, seed, operations, tmp_path / "index")


@pytest.mark.long
@settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**_SEQUENCES)
def test_two_thousand_sequences(kind: str, seed: int, operations: list[str], tmp_path: Path) -> None:
    _play(kind, seed, operations, tmp_path / "index")


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_in_turn(kind: str, tmp_path: Path) -> None:
    _play(
        kind, 0, [*dict.fromkeys(OPERATIONS), "remove", "save", "open", "add", "compact", "other"], tmp_path / "index"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_kept_as_nothing(kind: str, tmp_path: Path) -> None:
    for index in (KINDS[kind](), sample(kind)):
        last = index.ids.max(initial=-1)
        index.remove(index.ids)
        index.save(tmp_path)
        opened = open_index(tmp_path, verify="full")
        assert (len(opened), len(files(tmp_path)), index.ids.tolist()) == (0, 2 if index.hasher is None else 4, [])
        opened.add(vectors(np.random.default_rng(0), 3))
        first = last + 1  # ids are never given twice
        assert opened.ids.tolist() == [first, first + 1, first + 2]


def test_an_index_that_was_never_given_a_row(tmp_path: Path) -> None:
    for index in (FlatIndex(), KMeansIndex(3), KMeansIndex(3, codes=hasher())):
        index.save(tmp_path)
        opened = open_index(tmp_path, verify="full")
        assert repr(opened) == repr(index)
        opened.add(vectors(np.random.default_rng(0), 9))
        assert len(opened) == 9


def test_what_was_saved_is_not_written_again(tmp_path: Path) -> None:
    index = sample("lsh")
    index.save(tmp_path)
    index = open_index(tmp_path)
    for number in range(3):
        before = {path.name: path.stat() for path in tmp_path.iterdir()}
        kept = {name: status for name, status in before.items() if name.startswith(("segment", "hasher"))}
        index.add(vectors(np.random.default_rng(number), 5)).remove(index.ids[:2]).save(tmp_path)
        after = {path.name: path.stat() for path in tmp_path.iterdir()}
        new = {name for name in after if name not in before}
        assert sorted(name.partition("-")[0] for name in new) == ["index", "segment"]
        for name, status in kept.items():
            assert (after[name].st_ino, after[name].st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
        index = open_index(tmp_path, verify="full")
    assert len(index) == 54 + 3 * 3


def test_removing_alone_writes_no_segment(tmp_path: Path) -> None:
    index = sample("kmeans")
    index.save(tmp_path)
    before = {name for name in files(tmp_path) if name.startswith(("segment", "hasher"))}
    index.remove(index.ids[:20]).save(tmp_path)
    assert {name for name in files(tmp_path) if name.startswith(("segment", "hasher"))} == before
    assert same(answers(open_index(tmp_path, verify="full")), answers(index))


@pytest.mark.parametrize("mmap", [True, False])
def test_a_generation_that_is_open_stays(mmap: bool, tmp_path: Path) -> None:
    """After other saves, compaction, and when all its files are gone."""
    writer = sample("lsh")
    writer.save(tmp_path / "a")
    reader = open_index(tmp_path / "a", mmap=mmap)
    old = set(files(tmp_path / "a"))
    before = answers(sample("lsh"))
    writer.remove(writer.ids[:20]).add(vectors(np.random.default_rng(3), 9)).compact().save(tmp_path / "a")
    assert old & set(files(tmp_path / "a")) == {name for name in old if name.startswith(("hasher", "index.json"))}
    assert same(answers(reader), before)
    shutil.rmtree(tmp_path / "a")
    assert same(answers(reader), before)
    reader.save(tmp_path / "a")
    reader.save(tmp_path / "b")
    for name in "ab":
        assert same(answers(open_index(tmp_path / name, verify="full")), before)


def test_a_stale_index_may_not_save(tmp_path: Path) -> None:
    sample("lsh").save(tmp_path / "a")
    first, second = open_index(tmp_path / "a"), open_index(tmp_path / "a")
    first.add(vectors(np.random.default_rng(0), 2)).save(tmp_path / "a")
    second.add(vectors(np.random.default_rng(1), 2))
    second.save(tmp_path / "b")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"generation 2, and this index came from another.*open it again"):
            second.save(tmp_path / "a")
    assert same(answers(open_index(tmp_path / "a")), answers(first))
    first.add(vectors(np.random.default_rng(2), 2)).save(tmp_path / "a")
    # The same number of a generation is not the same generation.
    third = open_index(tmp_path / "b")
    shutil.rmtree(tmp_path / "b")
    sample("flat").save(tmp_path / "b")
    with pytest.raises(ValueError, match=r"generation 1, and this index came from another"):
        third.save(tmp_path / "b")
    assert isinstance(open_index(tmp_path / "b"), FlatIndex)


def test_files_that_somebody_removed_are_written_again(tmp_path: Path) -> None:
    index = sample("lsh")
    index.save(tmp_path)
    for name in sorted(name for name in files(tmp_path) if name.startswith(("segment", "hasher"))):
        for content in (None, b"?"):
            (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
            index.save(tmp_path)
            assert same(answers(open_index(tmp_path, verify="full")), answers(index))


def test_what_else_is_there_stays(tmp_path: Path) -> None:
    mine = [
        "segment-notes.txt",
        ".index.json.backup",
        "hasher_mine",
        ".segment.bak",
        "index-x.safetensors",
        "x",
        "hasher.json",
    ]
    for name in mine:
        (tmp_path / name).write_text("mine")
    left = [".segment.77", ".index.json.77", "segment-0123456789abcdef.safetensors", "hasher_0123456789abcdef.json"]
    for name in left:
        (tmp_path / name).write_text("of one who was killed")
    sample("lsh").save(tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in mine)
    assert not any((tmp_path / name).exists() for name in left)


def _hold(path: str, pipe: Any) -> None:
    import fcntl

    handle = os.open(os.path.join(path, LOCK), os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    pipe.send("held")
    pipe.recv()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    index = sample("flat")
    index.save(tmp_path)
    before = files(tmp_path)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    holder = context.Process(target=_hold, args=(str(tmp_path), there), daemon=True)
    holder.start()
    assert here.recv() == "held"
    with pytest.raises(ValueError, match=r"FlatIndex.save: another is saving into .* at this moment; try again"):
        index.save(tmp_path)
    assert files(tmp_path) == before
    assert same(answers(open_index(tmp_path)), answers(index))  # readers do not wait
    here.send("go")
    holder.join(10)
    index.save(tmp_path)


def _answer(path: str, expected: Any) -> bool:
    return same(answers(open_index(path)), expected)


def test_several_processes_read_while_one_writes(tmp_path: Path) -> None:
    """Every opening gets one whole generation."""
    index = sample("lsh")
    index.save(tmp_path)
    expected = answers(index)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert all(pool.starmap(_answer, [(str(tmp_path), expected)] * 9))
    stop = threading.Event()
    seen: list[Any] = []
    failed: list[Exception] = []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.append(len(open_index(tmp_path, verify="full")))
            except Exception as error:
                failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    lengths = {54}
    for number in range(30):
        index.add(vectors(np.random.default_rng(number), 3)).compact().save(tmp_path)
        lengths.add(len(index))
    stop.set()
    for reader in readers:
        reader.join()
    assert not failed
    assert set(seen) <= lengths
    assert seen == sorted(seen) or len(set(seen)) > 1


def test_rows_added_while_saving(tmp_path: Path) -> None:
    """A save holds the rows of one moment."""
    index = FlatIndex(hasher())
    stop = threading.Event()

    def add() -> None:
        while not stop.is_set():
            index.add(vectors(np.random.default_rng(0), 4))

    adder = threading.Thread(target=add)
    adder.start()
    for _ in range(20):
        index.save(tmp_path)
        opened = open_index(tmp_path, verify="full")
        assert len(opened) % 4 == 0
        assert opened.ids.tolist() == list(range(len(opened)))
    stop.set()
    adder.join()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["lsh", "kmeans"])
def test_a_million_rows_open_at_once(kind: str, tmp_path: Path, run_python: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1_000_000, 64), dtype=np.float32)
    if kind == "lsh":
        from lshcore.hashers import RandomHyperplanes

        index: Index = LSHIndex(RandomHyperplanes(64).fit(x[:1000]), 4, 16, vectors="float32")
    else:
        index = KMeansIndex(100).fit(x[:10_000])
    index.add(x, ids=rng.permutation(1_000_000))
    start = time.perf_counter()
    index.save(tmp_path / "big")
    print(f"\n{kind}: saved {sum(index.nbytes.values()) / 1e6:.0f} MB in {time.perf_counter() - start:.2f} s")
    expected = index.search(x[:3], 5)
    np.savez(tmp_path / "expected.npz", ids=expected.ids, queries=x[:3])
    said = run_python(
        f"""
import time
import numpy as np, lshcore
from lshcore import open_index
def rss():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024
lshcore.FlatIndex().add(np.eye(3)).save({str(tmp_path / "small")!r})
open_index({str(tmp_path / "small")!r})
before, start = rss(), time.perf_counter()
index = open_index({str(tmp_path / "big")!r})
opening, memory = 1e3 * (time.perf_counter() - start), rss() - before
kept = np.load({str(tmp_path / "expected.npz")!r})
start = time.perf_counter()
assert np.array_equal(index.search(kept["queries"], 5).ids, kept["ids"])
first = 1e3 * (time.perf_counter() - start)
start = time.perf_counter()
open_index({str(tmp_path / "big")!r}, verify="full")
full = 1e3 * (time.perf_counter() - start)
assert len(index) == 1_000_000
print(opening, memory, first, full)
""",
        timeout=300,
    )
    opening, memory, first, full = map(float, said.split())
    print(
        f"{kind}: open {opening:.1f} ms, {memory:.2f} MiB more; first search {first:.0f} ms; verify full {full:.0f} ms"
    )
    assert opening < 50
    assert memory < 8
