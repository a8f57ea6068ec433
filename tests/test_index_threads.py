"""One index and several threads, a fork, or Ctrl-C: every answer is that of one state, and nothing hangs.

Long doses: ``pytest -m long tests/test_index_threads.py -s`` prints their figures.
"""

import contextlib
import importlib.util
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference
from lshcore import FlatIndex, KMeansIndex, LSHIndex, open_index
from lshcore.hashers import RandomHyperplanes

DIM, K = 6, 12
RNG = np.random.default_rng(31)
POOL = RNG.normal(size=(600, DIM)).astype(np.float32)
QUERIES = RNG.normal(size=(5, DIM)).astype(np.float32)
HASHER = RandomHyperplanes(40).fit(POOL)
HAMMING = reference.hamming_matrix(HASHER.transform(QUERIES), HASHER.transform(POOL))

KINDS = {
    "flat": lambda: FlatIndex(HASHER),
    "lsh, every key": lambda: LSHIndex(HASHER, 3, 4, vectors="float32"),
    "k-means, every cluster": lambda: KMeansIndex(4, codes=HASHER).fit(POOL),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "flat": {},
    "lsh, every key": {"radius": 4},
    "k-means, every cluster": {"probes": 4},
}

doses = pytest.mark.parametrize("dose", ["quick", pytest.param("long", marks=pytest.mark.long)])


@pytest.fixture
def fair() -> Iterator[None]:
    """Threads take turns quickly, so that the one that changes things comes to it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


# -- threads -----------------------------------------------------------------------------------------------------------

Answer = list[list[tuple[int, Any]]]


def brute_force(rows: dict[Any, int]) -> Answer:
    """The K nearest rows of every query, (distance, id), of all rows; `rows` are rows of the pool by id, in order."""
    # Rows at one distance are in the order of the numbers of their ids; those of texts are the order of first adding.
    number = {one: int(str(one).removeprefix("row ")) for one in rows}
    hits = [sorted((int(far[row]), number[one], one) for one, row in rows.items())[:K] for far in HAMMING]
    return [[(far, one) for far, _, one in mine] for mine in hits]


def ask(index: Any, kind: str) -> Answer:
    found = index.search(QUERIES, k=K, rank="hamming", n_jobs=1, **OPTIONS[kind])
    return [
        [(far, one) for far, one in zip(fars, ones, strict=True) if far < 65535]
        for fars, ones in zip(found.distances.tolist(), found.ids.tolist(), strict=True)
    ]


class History:
    """The answers of every state: known before a change begins, published when it has ended."""

    def __init__(self, answer: Answer) -> None:
        self.answers = [answer]
        self.published = 0


@doses
@pytest.mark.parametrize("texts", [False, True], ids=["integers", "texts"])
@pytest.mark.parametrize("kind", KINDS)
def test_searches_beside_changes_and_saves_equal_one_state_in_their_window(
    kind: str, texts: bool, dose: str, tmp_path: Path, fair: None
) -> None:
    rng = random.Random(kind)
    seconds = 10.0 if dose == "long" else 0.3
    index = KINDS[kind]()
    rows: dict[Any, int] = {}
    next_id = 0
    history = History(brute_force(rows))
    done, wrong = threading.Event(), []
    searches, saves = [0] * 8, [0]

    def check(first: int, answer: Answer, what: str) -> bool:
        """Whether it is that of a state from the first on; the last may be of a change that has not ended."""
        if any(answer == one for one in history.answers[first:]):
            return True
        wrong.append((what, answer))
        return False

    def read(number: int) -> None:
        try:
            while not done.is_set():
                first = history.published
                check(first, ask(index, kind), "search")
                searches[number] += 1
        except BaseException as error:
            wrong.append(error)

    def save() -> None:
        try:
            while not done.is_set():
                first = history.published
                index.save(tmp_path / "saved", n_jobs=1)
                saved = open_index(tmp_path / "saved", mmap=saves[0] % 2 == 0, verify="full")
                check(first, ask(saved, kind), "save")
                assert len(saved.ids) == len(saved)
                saves[0] += 1
                time.sleep(0.01)
        except BaseException as error:
            wrong.append(error)

    def change() -> None:
        nonlocal next_id
        what = rng.choice(["add", "add", "remove", "update", "compact"])
        chosen = rng.sample(list(rows), min(len(rows), rng.randint(1, 9)))
        new = rng.choices(range(len(POOL)), k=rng.randint(1, 9))
        if what == "add":
            ids = [f"row {next_id + i}" if texts else next_id + i for i in range(len(new))]
            next_id += len(new)
            rows.update(zip(ids, new, strict=True))
            history.answers.append(brute_force(rows))
            index.add(POOL[new], ids, n_jobs=1)
        elif what == "remove" and len(rows) > 30:
            for one in chosen:
                del rows[one]
            history.answers.append(brute_force(rows))
            index.remove(chosen)
        elif what == "update" and chosen:
            new = new[: len(chosen)]
            chosen = chosen[: len(new)]
            rows.update(zip(chosen, new, strict=True))
            history.answers.append(brute_force(rows))
            index.update(POOL[new], chosen, n_jobs=1)
        else:
            index.compact(n_jobs=1)
        history.published = len(history.answers) - 1

    for _ in range(5):
        change()
    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    threads.append(threading.Thread(target=save))
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while not wrong and (time.monotonic() < end or min(searches) < 3 or saves[0] < 2 or history.published < 15):
        change()
        time.sleep(0.0005)
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert ask(index, kind) == brute_force(rows)
    print(f"\n{kind}, {'texts' if texts else 'integers'}: {sum(searches)} searches, {saves[0]} saves beside ", end="")
    print(f"{len(history.answers) - 1} changes")


@pytest.mark.parametrize("filtered", ["ids", "mask"])
def test_a_filter_beside_changes_gives_what_it_says_or_an_error_that_does(filtered: str) -> None:
    """Rows that a filter names may go at any moment: then the search raises, and never answers of other rows."""
    index = KINDS["flat"]().add(POOL[:200])
    done, wrong = threading.Event(), []
    outcomes = [0, 0]

    def read() -> None:
        try:
            while not done.is_set():
                chosen = index.ids
                if filtered == "ids":
                    chosen = chosen[chosen % 2 == 0]
                try:
                    filter = chosen if filtered == "ids" else chosen % 2 == 0
                    found = index.search(QUERIES, k=5, rank="hamming", filter=filter, n_jobs=1)
                except ValueError as error:
                    outcomes[1] += 1
                    if "filter must" not in str(error):
                        raise
                else:
                    outcomes[0] += 1
                    if filtered == "ids" and not np.isin(found.ids, chosen).all():
                        wrong.append(found.ids)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 0.5
    while time.monotonic() < end or min(outcomes) == 0:
        index.remove([0, 2, 4])
        index.add(POOL[:3], [0, 2, 4], n_jobs=1)
        if wrong or time.monotonic() > end + 10:
            break
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(outcomes) > 0


def ticks_during(call: Any, n_threads: int) -> int:
    """How often this thread gets to run while that many others are all in the middle of a call."""
    inside, ended = threading.Semaphore(0), threading.Event()

    def run() -> None:
        inside.release()
        call()
        ended.set()

    threads = [threading.Thread(target=run) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for _ in threads:
        inside.acquire()
    ticks = 0
    while not ended.is_set():
        time.sleep(0.001)
        ticks += not ended.is_set()
    for thread in threads:
        thread.join()
    return ticks


def test_searches_overlap_and_leave_python_to_others() -> None:
    x = np.random.default_rng(0).normal(size=(30_000, 24)).astype(np.float32)
    index = FlatIndex(RandomHyperplanes(64).fit(x)).add(x)
    ticks = ticks_during(lambda: index.search(x[:500], k=5, rank="l2", n_jobs=1), 3)
    assert ticks > 20
    before = sys.getswitchinterval()
    sys.setswitchinterval(100.0)  # what the test would see of a search that keeps Python to itself
    try:
        assert ticks_during(lambda: sum(i * i for i in range(2_000_000)), 2) <= 20
    finally:
        sys.setswitchinterval(before)


# -- fork --------------------------------------------------------------------------------------------------------------

FORK = """
import importlib, os, signal, sys, threading, time
import numpy as np

forks, together = int(sys.argv[1]), sys.argv[2].split()
for name in together:  # the other libraries that bring threads of their own, warm
    importlib.import_module(name)
if "torch" in sys.modules:
    torch = sys.modules["torch"]
    torch.ones(300, 300) @ torch.ones(300, 300)
if "faiss" in sys.modules:
    faiss = sys.modules["faiss"]
    flat = faiss.IndexFlatL2(8)
    flat.add(np.ones((100, 8), dtype=np.float32))
    flat.search(np.ones((50, 8), dtype=np.float32), 3)
if "sklearn.cluster" in sys.modules:
    sys.modules["sklearn.cluster"].KMeans(3, n_init=1).fit(np.random.default_rng(0).normal(size=(500, 4)))

from lshcore import KMeansIndex, LSHIndex
from lshcore.hashers import RandomHyperplanes

x = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
hasher = RandomHyperplanes(64).fit(x)
warm = LSHIndex(hasher, 4, 10, vectors="float32").add(x, n_jobs=2)

def search():
    return warm.search(x[:200], k=5, n_jobs=2).ids

def build():
    index = LSHIndex(RandomHyperplanes(64).fit(x), 4, 10, vectors="float32").add(x, n_jobs=2).remove([1, 2]).compact()
    return np.concatenate([index.search(x[:200], k=5, n_jobs=2).ids,
                           KMeansIndex(5, max_iter=2).add(x[:500], n_jobs=2).search(x[:9], k=5, n_jobs=2).ids])

wanted = [search(), build()]
stop = threading.Event()

def read():
    while not stop.is_set():
        assert np.array_equal(search(), wanted[0])

readers = [threading.Thread(target=read) for _ in range(4)]
for reader in readers:
    reader.start()
slowest = 0.0
for number in range(forks):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        same = np.array_equal(search(), wanted[0]) and np.array_equal(build(), wanted[1])
        os._exit(0 if same else 3)
    start = time.monotonic()
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > start + 10:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print(f"child {number} hung", flush=True)
            os._exit(1)
        time.sleep(0.002)
    slowest = max(slowest, time.monotonic() - start)
    if os.waitstatus_to_exitcode(ended[1]) != 0:
        print(f"child {number}: {ended}", flush=True)
        os._exit(1)
stop.set()
for reader in readers:
    reader.join()
assert np.array_equal(build(), wanted[1])
print(f"{forks} forks, slowest {slowest:.2f} s")
"""


def installed(names: list[str]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name.split(".")[0]) is not None]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("libraries", [[], ["torch", "sklearn.cluster", "faiss"]], ids=["alone", "with others"])
@doses
def test_children_of_a_busy_parent_search_and_build(libraries: list[str], dose: str) -> None:
    forks = {("quick", 0): 10, ("quick", 3): 3}.get((dose, len(libraries)), 200)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(forks), " ".join(installed(libraries))],
        capture_output=True,
        text=True,
        timeout=60 + 10 * forks,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{forks} forks")
    print("\n" + done.stdout.strip())


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------

INTERRUPT = """
import copy, json, sys, time
import numpy as np
from lshcore import KMeansIndex, LSHIndex, open_index
from lshcore.hashers import RandomHyperplanes

what, folder = sys.argv[1:]
rng = np.random.default_rng(0)
x = rng.normal(size=(120_000, 32)).astype(np.float32)
more = rng.normal(size=(60_000, 32)).astype(np.float32)
hasher = RandomHyperplanes(96).fit(x[:1000])
base = LSHIndex(hasher, 6, 12, vectors="float32").add(x).add(x[:20_000]).remove(np.arange(0, 120_000, 5))
clusters = KMeansIndex(16, max_iter=1).fit(x[:2000]).add(x[:2000])

def answers(index):
    found = index.search(more[:40], k=7, n_jobs=1)
    return [len(index), found.ids.tolist(), found.distances.tolist()]

grown = copy.copy(base).add(more[:60_000])
states = {"base": answers(base), "grown": answers(grown), "clusters": answers(clusters)}

n_jobs, held, made = 1, None, None

def step():
    # Each begins with an object of its own, which the signal may leave in the middle of a call.
    global held, made
    if what == "build":
        held = copy.copy(base)
        held.add(more[:60_000], n_jobs=n_jobs)
    elif what == "fit":
        held = copy.copy(clusters)
        made = KMeansIndex(40, max_iter=30)
        made.fit(more[:30_000], n_jobs=n_jobs)
    elif what == "search":
        held = base
        base.search(more[:6_000], k=10, rank="hamming", probes=30, n_jobs=n_jobs)
    elif what == "compact":
        held = copy.copy(base)
        held.compact(n_jobs=n_jobs)
    elif what == "save":
        held = copy.copy(base if held is None or len(held) != states["base"][0] else grown)
        held.save(folder, n_jobs=n_jobs)

step()  # warm
print("ready", flush=True)
for line in sys.stdin:
    n_jobs = int(line)
    print("go", flush=True)
    try:
        while True:
            step()
    except KeyboardInterrupt:
        at = time.monotonic()
    good = True
    said = answers(held)
    if what == "build":
        good = said in (states["base"], states["grown"])
        if said == states["base"]:  # and may be tried again
            good = answers(held.add(more[:60_000])) == states["grown"]
    elif what == "fit":
        good = said == states["clusters"] and (len(made) == 0)
        refit = KMeansIndex(40, max_iter=2)
        good = good and np.array_equal(made.fit(more[:500]).centroids_.shape, (40, 32))
    elif what in ("search", "compact"):
        good = said == states["base"] and answers(held.compact()) == states["base"]
    elif what == "save":
        good = said in (states["base"], states["grown"])
        good = good and answers(open_index(folder, verify="full")) in (states["base"], states["grown"])
        held.save(folder)
        good = good and answers(open_index(folder, verify="full")) == said
    print(json.dumps([at, good]), flush=True)
"""

OPERATIONS = ("build", "fit", "search", "compact", "save")
LIMIT = 0.5  # s


def line_of(child: "subprocess.Popen[str]", timeout: float) -> str:
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], timeout)
    assert ready, "no answer"
    return child.stdout.readline().strip()


@contextlib.contextmanager
def ended(child: "subprocess.Popen[str]", errors: Path) -> Iterator[None]:
    """Ends a child, and says what it said where a test fails."""
    try:
        yield
    except BaseException:
        print(errors.read_text())
        raise
    finally:
        child.kill()


@pytest.mark.parametrize("what", OPERATIONS)
@doses
def test_ctrl_c_comes_through_in_time_and_leaves_things_as_they_were(what: str, dose: str, tmp_path: Path) -> None:
    rounds = 10 if dose == "long" else 1
    seed = int.from_bytes(os.urandom(4), "little")
    rng = random.Random(seed)
    late = []
    with (
        open(tmp_path / "errors", "w+") as errors,
        subprocess.Popen(
            [sys.executable, "-c", INTERRUPT, what, str(tmp_path / "saved")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            bufsize=1,
        ) as child,
        ended(child, tmp_path / "errors"),
    ):
        assert child.stdin is not None
        assert line_of(child, 60) == "ready"
        for number in range(rounds):
            child.stdin.write(f"{1 + number % 2}\n")
            assert line_of(child, 60) == "go"
            time.sleep(rng.uniform(0.01, 0.6))
            sent = time.monotonic()
            child.send_signal(signal.SIGINT)
            at, good = json.loads(line_of(child, 60))
            assert good, (what, seed)
            late.append(at - sent)
        child.stdin.close()
        assert child.wait(timeout=20) == 0
    print(f"\n{what}: {rounds} signals, slowest {max(late):.3f} s")
    assert max(late) < LIMIT, (what, seed)


# -- importing ---------------------------------------------------------------------------------------------------------

IMPORTED = """
import locale, os, random, signal, sys, threading, warnings
import numpy as np

def state():
    return [
        [signal.getsignal(number) for number in signal.valid_signals()],
        list(warnings.filters),
        locale.setlocale(locale.LC_ALL),
        random.getstate(),
        [part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state(legacy=True)],
        np.geterr(),
        os.environ.copy(),
        threading.active_count(),
        len(os.listdir("/proc/self/task")),
        float(np.float64(5e-324) * 1.0) > 0,  # subnormal numbers are not flushed to zero
    ]

import numpy.random, json, hashlib, ctypes, safetensors  # what others bring is not ours
before = state()
import lshcore
from lshcore import FlatIndex, LSHIndex, Preprocess, hamming, metrics, open_index
assert state() == before, [a for a, b in zip(state(), before) if a != b]
with open("/proc/self/maps") as maps:
    ours = {line.split()[-1] for line in maps if "lshcore" in line or "gomp" in line or "omp.so" in line}
assert not any("omp" in os.path.basename(path) for path in ours), ours
print("ok")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_importing_changes_no_global_state(run_python) -> None:
    assert run_python(IMPORTED).strip() == "ok"
