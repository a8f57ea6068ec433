"""The same answer from every kernel set, number of threads, batch size and layout; forks, signals, pinned streams."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import reference
from lshcore import _core
from lshcore.hashers import RandomHyperplanes

DIGEST = """
import hashlib, os
import numpy as np
from lshcore import FlatIndex, KMeansIndex, LSHIndex, Preprocess, _core, hamming, metrics
from lshcore.hashers import RandomHyperplanes

n_jobs, batch, order = int(os.environ["JOBS"]), int(os.environ["BATCH"]), os.environ["ORDER"]
rng = np.random.default_rng(1)
x = rng.normal(size=(2000, 53)) * rng.exponential(size=53)
x = np.array(x.astype(np.float32), order=order)
q = np.array(x[:130] + 0.05 * rng.normal(size=(130, 53)).astype(np.float32), order=order)
labels = rng.integers(0, 10, 2000)
digest = hashlib.sha256()

def take(*arrays):
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())

def batches(rows):
    return [rows[start : start + batch] for start in range(0, len(rows), batch)]

def take_batches(rows, compute):
    # Results that come batch by batch are put together first.
    take(*(np.concatenate(parts) for parts in zip(*map(compute, batches(rows)))))

step = Preprocess(standardise=True, l2=True).fit(x)
take_batches(x, lambda part: [step.transform(part, n_jobs=n_jobs)])
hasher = RandomHyperplanes(150).fit(x)
take_batches(x, lambda part: [hasher.project(part, n_jobs=n_jobs), hasher.encode(part, n_jobs=n_jobs).words])
codes, asked = hasher.encode(x, n_jobs=n_jobs), hasher.encode(q, n_jobs=n_jobs)
take(hamming.distances(asked, codes, n_jobs=n_jobs))
take_batches(asked, lambda part: hamming.search(part, codes, 33, n_jobs=n_jobs))

def within(part):
    ball = hamming.range_search(part, codes, 55, n_jobs=n_jobs)
    return np.diff(ball.offsets), ball.distances, ball.ids

take_batches(asked, within)
kmeans = KMeansIndex(40, max_iter=10, codes=hasher).fit(x, n_jobs=n_jobs)
take(kmeans.centroids_, np.array([kmeans.inertia_, kmeans.n_iter_]))
for index, options in (
    (kmeans, {"probes": 3}),
    (FlatIndex(hasher), {}),
    (LSHIndex(hasher, 6, 12, vectors="float32"), {}),
    (LSHIndex(hasher, 3, 80, keys="sample", vectors="float32"), {}),
):
    for part in batches(x):
        index.add(part, n_jobs=n_jobs)
    for rank in ("hamming", "margin", "cosine", "l2"):
        def search(part):
            found = index.search(part, k=12, rank=rank, n_jobs=n_jobs, **options)
            return found.ids, found.distances, found.n_candidates

        take_batches(q, search)
        for ties in ("expected", "stable"):
            report = metrics.evaluate(
                index, q, labels[:130], labels, ties=ties, n_jobs=n_jobs, rank=rank, batch_size=batch, **options
            )
            digest.update(repr(report).encode())
# Residuals: in batches as many as are ranked, and all at once what is tuned.
pieces = KMeansIndex(40, max_iter=5, codes="residual", sample=30).fit(x, n_jobs=n_jobs)
for part in batches(x):
    pieces.add(part, n_jobs=n_jobs)
whole = KMeansIndex(target_recall=0.8, vectors="float16", sample=40).add(x, n_jobs=n_jobs)
digest.update(repr(whole.tuned_).encode())
for index, options in ((pieces, {"probes": 5, "shortlist": 12}), (whole, {}), (whole, {"shortlist": 100, "probes": 8})):
    take(index.centroids_)
    for rank in ("cosine", "l2", "ip"):
        def search(part):
            found = index.search(part, k=12, rank=rank, n_jobs=n_jobs, **options)
            return found.ids, found.distances, found.n_candidates

        take_batches(q, search)
# Query-directed probes, a radius, filters, shortlists and half precision.
half = KMeansIndex(40, max_iter=10, codes=hasher, vectors="float16").fit(x, n_jobs=n_jobs)
kept = np.flatnonzero(rng.random(2000) < 0.4)
for index, options in (
    (half, {"probes": 5, "shortlist": 25}),
    (half, {"filter": kept}),
    (FlatIndex(hasher, "float16"), {}),
    (FlatIndex(hasher, "float16"), {"shortlist": 40}),
    (FlatIndex(hasher), {"filter": kept, "shortlist": 40}),
    (LSHIndex(hasher, 6, 12, vectors="float16"), {"probes": 41}),
    (LSHIndex(hasher, 6, 12, vectors="float32"), {"probes": 90, "shortlist": 30, "filter": kept}),
    (LSHIndex(hasher, 3, 80, keys="sample", vectors="float32"), {"probes": 300}),
    (LSHIndex(hasher, 6, 12, vectors="float32"), {"radius": 2}),
    (LSHIndex(hasher, 6, 8, vectors="float32"), {"radius": 3, "filter": kept}),
    (LSHIndex(hasher, 3, 80, keys="sample", vectors="float32"), {"radius": 1}),
    (LSHIndex(hasher, 3, 80, keys="sample", vectors="float32"), {"radius": 20, "shortlist": 15}),
):
    for part in batches(x) if len(index) == 0 else ():
        index.add(part, n_jobs=n_jobs)
    for rank in ("margin", "cosine", "l2") if "shortlist" in options else ("hamming", "margin", "cosine", "l2"):
        def search(part):
            found = index.search(part, k=12, rank=rank, n_jobs=n_jobs, **options)
            return found.ids, found.distances, found.n_candidates

        take_batches(q, search)
    report = metrics.evaluate(index, q, labels[:130], labels, n_jobs=n_jobs, batch_size=batch, **options)
    digest.update(repr(report).encode())
digest.update(repr(metrics.hamming_ranking(asked, codes, labels[:130], labels, n_jobs=n_jobs)).encode())
# Widths and lengths around those that vector registers like.
for n_bits in (1, 64, 65, 128, 192, 256, 320, 448, 512, 576, 1000, 1024, 2048, 4096):
    few = RandomHyperplanes(n_bits).fit(x[:100]).encode(x[:101], n_jobs=n_jobs)
    take(hamming.distances(few[:9], few, n_jobs=n_jobs), *hamming.search(few[:9], few, 5, n_jobs=n_jobs))
    index = LSHIndex(RandomHyperplanes(n_bits).fit(x[:100]), 2, min(n_bits, 6), keys="sample").add(x[:101])
    take(index.search(q[:9], k=20, n_jobs=n_jobs).distances)
for dim in (1, 7, 8, 15, 16, 17, 31, 32, 33, 47):
    short = np.ascontiguousarray(x[:77, :dim])
    take(RandomHyperplanes(70).fit(short).project(short, n_jobs=n_jobs))
    residual = KMeansIndex(5, max_iter=3, codes="residual").add(short, n_jobs=n_jobs)
    for rank in ("cosine", "l2", "ip"):
        take(residual.search(short[:33], k=9, rank=rank, n_jobs=n_jobs, probes=2, shortlist=9).distances)
    for index in (FlatIndex(), KMeansIndex(5, max_iter=3)):
        index.add(short, n_jobs=n_jobs)
        for rank in ("cosine", "l2"):
            take(index.search(short[:33], k=9, rank=rank, n_jobs=n_jobs).distances)
print(_core.kernel_set(), digest.hexdigest())
"""


@pytest.fixture(scope="module")
def digest(run_python):
    def run(kernels: str, n_jobs: int = 1, batch: int = 1000, order: str = "C") -> list[str]:
        return run_python(
            DIGEST, LSHCORE_KERNELS=kernels, JOBS=str(n_jobs), BATCH=str(batch), ORDER=order, timeout=120
        ).split()

    return run


@pytest.fixture(scope="module")
def plain_digest(digest) -> str:
    """Scalar kernels, one thread."""
    name, value = digest("scalar")
    assert name == "scalar"
    return value


@pytest.mark.parametrize("kernels", _core.kernel_sets())
def test_every_kernel_set_gives_the_same(digest, plain_digest: str, kernels: str) -> None:
    assert digest(kernels) == [kernels, plain_digest]


@pytest.mark.parametrize(
    ("n_jobs", "batch", "order"), [(2, 1000, "C"), (8, 1000, "F"), (2, 64, "F"), (1, 7, "C"), (8, 5000, "C")]
)
def test_threads_batches_and_layouts_give_the_same(digest, plain_digest: str, n_jobs: int, batch: int, order) -> None:
    assert digest("", n_jobs, batch, order)[1] == plain_digest


def test_an_unknown_kernel_set_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import numpy as np, lshcore; print(lshcore._core.kernel_set())"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LSHCORE_KERNELS": "mmx"},
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ImportError", "ValueError"))
    assert "mmx" in last
    assert all(name in last for name in _core.kernel_sets())


def test_kernel_sets() -> None:
    assert _core.kernel_sets()[-1] == "scalar"
    assert _core.kernel_set() in _core.kernel_sets()


def test_gaussians_are_those_of_the_published_generator() -> None:
    for seed in (0, 1, 42, 2**63, 2**64 - 1):
        found = _core.gaussian(seed, 50, 20)
        np.testing.assert_allclose(found.ravel(), reference.gaussians(seed, 1000), rtol=1e-6)


def test_planes_of_a_seed_are_pinned() -> None:
    assert [value.hex() for value in _core.gaussian(0, 2, 3).ravel().tolist()] == GAUSSIAN_0
    assert [value.hex() for value in _core.gaussian(2**64 - 1, 1, 2).ravel().tolist()] == GAUSSIAN_LAST
    hasher = RandomHyperplanes(96, random_state=42).fit(np.arange(40.0).reshape(10, 4) ** 1.5)
    assert [value.hex() for value in hasher.weights_[0].tolist()] == WEIGHTS_42
    assert [value.hex() for value in hasher.bias_[:3].tolist()] == BIAS_42
    codes = hasher.encode(np.arange(12.0).reshape(3, 4) ** 2)
    assert [[hex(word) for word in row] for row in codes.words.tolist()] == CODES_42


GAUSSIAN_0 = [
    "-0x1.8a8af20000000p+0",
    "-0x1.08da2c0000000p+0",
    "-0x1.08d7cc0000000p-8",
    "-0x1.a373ec0000000p-2",
    "0x1.c958a80000000p-4",
    "0x1.ba51920000000p-4",
]
GAUSSIAN_LAST = ["-0x1.24e4a60000000p-2", "0x1.6c6c040000000p-1"]
WEIGHTS_42 = ["0x1.17169a0000000p-1", "-0x1.41c1c40000000p-2", "0x1.7d28ca0000000p-1", "0x1.c9a2d20000000p-3"]
BIAS_42 = ["-0x1.d782e60000000p+6", "-0x1.b365e60000000p+5", "0x1.b9fa160000000p+5"]
CODES_42 = [
    ["0xc4f12bddf699044", "0x7f46ca2c"],
    ["0xccb1ab7df699044", "0x7f46ca2c"],
    ["0xe9f9b872d4280326", "0x6f6eea0d"],
]


FORK = """
import os, signal, sys, time
import numpy as np
from lshcore import KMeansIndex, LSHIndex, hamming
from lshcore.hashers import RandomHyperplanes

x = np.random.default_rng(0).normal(size=(5000, 32)).astype(np.float32)

def work():
    hasher = RandomHyperplanes(96).fit(x)
    index = LSHIndex(hasher, 6, 12, vectors="float32").add(x, n_jobs=2)
    clusters = KMeansIndex(20, max_iter=5).add(x, n_jobs=2)
    return [
        hamming.search(hasher.encode(x, n_jobs=2), hasher.encode(x, n_jobs=2), 3, n_jobs=2)[1],
        index.search(x[:500], n_jobs=2).ids,
        clusters.search(x[:500], n_jobs=2).ids,
    ]

wanted = work()  # a warm parent: its pool has threads that no child inherits
for _ in range(5):
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(a, b) for a, b in zip(work(), wanted))
        os._exit(0 if same else 3)
    deadline = time.monotonic() + 20
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            sys.exit("the child hung")
        time.sleep(0.005)
    assert os.waitstatus_to_exitcode(done[1]) == 0, done
assert all(np.array_equal(a, b) for a, b in zip(work(), wanted))
print("ok")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_warm_parent_builds_and_searches(run_python) -> None:
    assert run_python(FORK, timeout=120).strip() == "ok"


INTERRUPTED = """
import numpy as np
from lshcore import BinaryCodes, hamming

rng = np.random.default_rng(0)
words = rng.integers(0, 2**63, size=(200_000, 16)).astype(np.uint64)
codes = BinaryCodes(words, 1024)
queries = BinaryCodes(np.tile(words, (2, 1)), 1024)
try:
    print("started", flush=True)
    hamming.search(queries, codes, 10, n_jobs={n_jobs})
    print("finished", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
# The pool is as good as before.
distances, ids = hamming.search(codes[:3], codes, 1, n_jobs={n_jobs})
print(distances.ravel().tolist(), flush=True)
"""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_ends_a_long_search(n_jobs: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(n_jobs=n_jobs)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "started"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)  # it is in the middle of minutes of work
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert rest.split("\n")[:2] == ["interrupted", "[0, 0, 0]"]
    assert child.returncode == 0
