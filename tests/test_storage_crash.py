"""Kills and failing disks: a directory always holds a generation that was committed, whole."""

import errno
import os
import random
import re
import select
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lshcore import open_index
from lshcore.index import storage
from lshcore.index.container import Index
from stored import KINDS, answers, check, files, same, sample, vectors

Rows = dict[int, Any]

# How a generation comes from the one before it.
STORIES = ("add", "over", "compact")


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def step(story: str, kind: str, generation: int, index: Index | None, rows: Rows) -> tuple[Index | None, Rows]:
    """What a generation changes, drawn from its number alone; without an index, only the oracle."""
    rng = np.random.default_rng(generation)
    if story == "over":
        index, rows = None if index is None else KINDS[kind](), {}
    rows = dict(rows)
    new = vectors(rng, int(rng.integers(1, 200)))
    first = 1000 * generation
    if index is not None:
        index.add(new, ids=np.arange(first, first + len(new)))
    rows.update(zip(range(first, first + len(new)), new, strict=True))
    gone = rng.permutation(list(rows))[: len(rows) // 3].tolist()
    if index is not None:
        index.remove(gone)
    rows = {id: row for id, row in rows.items() if id not in set(gone)}
    if story == "compact" and index is not None:
        index.compact()
    return index, rows


def write_for_ever(story: str, kind: str, path: Path, pipe: int) -> None:
    """Go on from what is in a directory, telling the number of every generation once it is saved."""
    index = open_index(path)
    generation = index._origin.generation  # type: ignore[union-attr]
    os.write(pipe, b"0\n")
    while True:
        generation += 1
        index, _ = step(story, kind, generation, index, dict.fromkeys(index.ids.tolist()))
        assert index is not None
        index.save(path)
        os.write(pipe, f"{generation}\n".encode())


def child(work: Callable[[int], None]) -> tuple[int, int]:
    """A forked process and the pipe that it writes to."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            work(write)
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    os.close(write)
    return pid, read


def _all(pipe: int) -> list[int]:
    with os.fdopen(pipe, "rb") as file:
        return [int(line) for line in file.read().splitlines()]


def _expect(path: Path, story: str, kind: str, oracle: list[Rows], acknowledged: int) -> int:
    """The generation in a directory, which must be the last that was acknowledged or the one after it, whole."""
    index = open_index(path, verify="full")
    generation = index._origin.generation  # type: ignore[union-attr]
    assert generation in (acknowledged, acknowledged + 1)
    while len(oracle) <= generation:
        oracle.append(step(story, kind, len(oracle), None, oracle[-1])[1])
    check(index, oracle[generation])
    return int(generation)


def _kills(path: Path, n: int, seed: int) -> dict[str, int]:
    """SIGKILL at random moments, again and again in the same directories."""
    draw = random.Random(seed)
    seen = {"old": 0, "new": 0, "commits": 0}
    for number in range(n):
        story = STORIES[number % 3]
        kind = ("lsh", "flat-half", "kmeans")[number // 3 % 3]
        folder = path / f"{number // 36}-{story}-{kind}"  # four kills each
        oracle: list[Rows] = [{}]
        if not folder.exists():
            index, _ = step(story, kind, 1, KINDS[kind](), {})
            assert index is not None
            index.save(folder)
        last = open_index(folder)._origin.generation  # type: ignore[union-attr]
        pid, pipe = child(partial(write_for_ever, story, kind, folder))
        assert select.select([pipe], [], [], 30)[0]
        time.sleep(draw.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        told = _all(pipe)
        seen["commits"] += len(told) - 1
        acknowledged = max([last, *told])
        found = _expect(folder, story, kind, oracle, acknowledged)
        seen["new" if found > acknowledged else "old"] += 1
    return seen


def _no_strays(path: Path) -> None:
    meta = storage._committed(path, "")
    assert meta is not None
    starts = [".lock", "index.json", "index-", str(meta["hasher"]), *(entry["name"] for entry in meta["segments"])]
    names = [entry.name for entry in path.iterdir()]
    assert [name for name in names if not name.startswith(tuple(starts))] == []
    assert len([name for name in names if name.startswith("index-")]) == 1


@pytest.mark.usefixtures("no_fsync")
def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    seen = _kills(tmp_path, 12, 0)
    print(seen)
    assert seen["commits"] > 0
    for folder in tmp_path.iterdir():
        open_index(folder).save(folder)
        _no_strays(folder)


@pytest.mark.long
@pytest.mark.usefixtures("no_fsync")
def test_five_hundred_sigkills(tmp_path: Path) -> None:
    seen = _kills(tmp_path, 500, 1)
    print(seen)
    assert min(seen.values()) > 0
    for folder in tmp_path.iterdir():
        open_index(folder).save(folder)
        _no_strays(folder)


def _change(index: Index, kind: str) -> None:
    """What makes a save write some segments and keep the others, or drop all old ones."""
    index.remove(index.ids[:5]).add(vectors(np.random.default_rng(9), 7))
    if kind == "flat":
        index.compact()


# What a save asks of the system; all by these names.
CALLS = ("open", "write", "fsync", "replace", "unlink", "mkdir", "close")


def _on_call(act: Callable[[str, tuple[Any, ...]], Any]) -> dict[str, Callable[..., Any]]:
    """Functions of `os` that first call `act` with their name; it may raise, or return a result in their place."""

    def around(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            instead = act(name, arguments)
            return real(*arguments, **options) if instead is None else instead

        return call

    return {name: around(name) for name in CALLS}


@pytest.mark.parametrize("kind", ["lsh", "flat"])
def test_sigkill_at_every_call(kind: str, tmp_path: Path) -> None:
    """Before each single operation of a save; the commit is one of them."""
    base = tmp_path / "base"
    sample(kind).save(base)
    old = answers(open_index(base))
    changed = open_index(base, mmap=False)
    _change(changed, kind)
    new = answers(changed)
    assert not same(old, new)
    found = []
    for n in range(1, 200):
        folder = tmp_path / str(n)
        shutil.copytree(base, folder)

        def work(pipe: int, n: int = n, folder: Path = folder) -> None:
            index = open_index(folder)
            _change(index, kind)
            left = n

            def act(name: str, arguments: tuple[Any, ...]) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            for name, call in _on_call(act).items():
                setattr(os, name, call)
            index.save(folder)

        pid, pipe = child(work)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert _all(pipe) == []
        index = open_index(folder, verify="full")
        said = answers(index)
        assert same(said, old) or same(said, new)
        found.append(same(said, new))
        index.save(folder)
        _no_strays(folder)
        assert same(answers(open_index(folder)), said)
        shutil.rmtree(folder)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert found[-1]
    assert found == sorted(found)
    assert found.count(False) > 15
    assert found.count(True) > 5


FAILURES = {
    "ENOSPC": ("open", "write", "fsync", "replace", "mkdir"),
    "EIO": ("write", "fsync", "replace", "close", "unlink", "open"),
    "EACCES": ("open", "replace", "unlink", "mkdir"),
    "short": ("write",),
    "short, then full": ("write",),
}


def _failing(names: tuple[str, ...], kind: str, n: int) -> tuple[dict[str, Callable[..., Any]], list[int]]:
    """The n-th call of these names fails, and no other."""
    left = [n]

    def act(name: str, arguments: tuple[Any, ...]) -> Any:
        if name not in names or (name == "open" and str(arguments[0]).startswith("/proc")):
            return None
        left[0] -= 1
        if kind.startswith("short") and left[0] == 0 and len(arguments[1]) > 1:
            return real_write(arguments[0], arguments[1][: len(arguments[1]) // 2])
        if left[0] == (-1 if "full" in kind else 0) and kind != "short":
            raise OSError(getattr(errno, kind, errno.ENOSPC), "the disk fails", str(arguments[0]))
        return None

    real_write = os.write
    return _on_call(act), left


@pytest.mark.parametrize(("kind", "fresh"), [("lsh", False), ("flat", False), ("flat-codes", True)])
@pytest.mark.parametrize("failure", FAILURES)
def test_the_nth_call_fails(
    failure: str, kind: str, fresh: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a save meets no failure any more: the old generation or the new one stands, and a retry succeeds."""
    real_fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    base = tmp_path / "base"
    sample(kind).save(base)
    old = answers(open_index(base))
    outcomes = []
    for n in range(1, 100):
        folder = tmp_path / f"{n}" / "of" if fresh else tmp_path / f"{n}"
        if fresh:
            index = open_index(base)
        else:
            shutil.copytree(base, folder)
            index = open_index(folder)
        _change(index, kind)
        new = answers(index)
        calls, left = _failing(FAILURES[failure], failure, n)
        raised, code = False, None
        with monkeypatch.context() as patch:
            for name, call in calls.items():
                patch.setattr(os, name, call)
            try:
                index.save(folder)
            except OSError as error:
                raised, code = True, error.errno
        assert not raised or code == getattr(errno, failure, errno.ENOSPC)
        assert same(answers(index), new)
        if "unlink" not in FAILURES[failure] and folder.exists():
            assert not any(path.name.startswith((".segment", ".index", ".hasher")) for path in folder.iterdir())
        if raised and fresh:
            try:
                outcomes.append(same(answers(open_index(folder, verify="full")), new))
                assert outcomes[-1]
            except FileNotFoundError:
                outcomes.append(False)
        elif raised:
            said = answers(open_index(folder, verify="full"))
            outcomes.append(same(said, new))
            assert outcomes[-1] or same(said, old)
        index.save(folder)
        assert same(answers(open_index(folder, verify="full")), new)
        _no_strays(folder)
        # And once more, as one that came from there.
        index.add(vectors(np.random.default_rng(8), 3)).save(folder)
        assert same(answers(open_index(folder, verify="full")), answers(index))
        if left[0] > 0:
            break
    assert left[0] > 0
    assert n > (3 if failure.startswith("short") else 2)
    assert outcomes == sorted(outcomes)
    assert (len(outcomes) == 0) == (failure == "short")
    assert real_fsync is not os.fsync


def test_the_order_of_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segment and arrays durable, their names durable, manifest durable, its name durable; only then is removed."""
    index = sample("lsh")
    index.save(tmp_path)
    before = set(files(tmp_path))
    index.compact()
    order: list[str] = []

    def act(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace":
            order.append(f"name {Path(arguments[1]).name.partition('-')[0]}")
        elif name == "unlink" and Path(arguments[0]).exists():
            order.append(f"remove {Path(arguments[0]).name.partition('-')[0]}")
        elif name == "fsync":
            mode = os.fstat(arguments[0]).st_mode
            target = Path(os.readlink(f"/proc/self/fd/{arguments[0]}")).name
            written = re.match(r"\.(segment|index\.json|index)", target)
            order.append("sync folder" if stat.S_ISDIR(mode) else f"sync {written and written[1]}")

    with monkeypatch.context() as patch:
        for name, call in _on_call(act).items():
            patch.setattr(os, name, call)
        index.save(tmp_path)
    assert order == [
        *("sync segment", "name segment"),
        *("sync index", "name index", "sync folder"),
        *("sync index.json", "name index.json", "sync folder"),
        *("remove index", "remove segment", "remove segment", "remove segment", "sync folder"),
    ]
    assert len(before & set(files(tmp_path))) == 3  # the hasher, and the name of the manifest


def _mounted(path: Path, size: str) -> bool:
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    if not _mounted(disk, "512k"):
        pytest.skip("a tmpfs cannot be mounted here: it takes the rights of root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("kind", ["lsh", "flat", "kmeans", "kmeans-residual"])
def test_a_full_disk(kind: str, small_disk: Path) -> None:
    index = sample(kind)
    folder = small_disk / "index"
    index.save(folder)
    old = answers(open_index(folder, mmap=False))
    before = files(folder)
    index.add(vectors(np.random.default_rng(0), 30_000))
    new = answers(index)
    with pytest.raises(OSError, match="No space left") as caught:
        index.save(folder)
    assert caught.value.errno == errno.ENOSPC
    assert files(folder) == before
    assert same(answers(open_index(folder, mmap=False, verify="full")), old)
    assert same(answers(index), new)
    index.remove(index.ids[50:]).compact().save(folder)
    assert same(answers(open_index(folder, verify="full")), answers(index))
    _no_strays(folder)
