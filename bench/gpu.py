"""The Hamming engine on a GPU beside torch, CuPy and FAISS on the same card: the same work, the same answers.

    pip install . -C cmake.define.LSHCORE_CUDA=ON && pip install torch && python bench/gpu.py [--only flat] [--repeat 5]

CuPy and FAISS (a build with GpuIndexBinaryFlat) take part where they are installed. Every line first checks that both
sides find the same distances, and ours the rows of our CPU's, then prints medians of runs after one that does not
count. Codes, 1,000 random centres with an eighth of the bits flipped, are on the card before the clock starts, for
every side; FAISS takes its queries from host memory and brings its hits there, and beside it so do we.

The shares are of two limits of the card: of memory, codes read once and results written once at the speed of a copy of
4 GB, which is measured; and of population counts, 16 of 32 bits a clock and multiprocessor, which is computed from what
the card says of itself. Work that is done otherwise can be above them.
"""

import argparse
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lshcore import BinaryCodes, _core, hamming, metrics
from lshcore.codes_cuda import DeviceCodes

try:
    import torch
except ImportError as error:
    raise SystemExit("bench/gpu.py: torch is missing; pip install torch") from error

Line = tuple[str, str, str, str, str, str]  # what was done, ours, the peer's, the ratio, share of memory, of counts

CLASSES = 1_000
SCRATCH = 1 << 30  # entries that a peer's matrix of products may have


def timed(run: Callable, repeat: int) -> float:
    """Seconds: the median of runs after a warm-up."""
    times = []
    for _ in range(1 + repeat):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def check(same: bool, what: str) -> None:
    if not same:
        raise SystemExit(f"{what}: the two do not find the same")


@dataclass
class Limits:
    """Of the card: bytes a second, and distances of 64 bits a second."""

    memory: float
    counts: float

    @classmethod
    def of_card(cls, repeat: int) -> "Limits":
        card = torch.cuda.get_device_properties(torch.cuda.current_device())
        source = torch.zeros(1 << 29, dtype=torch.int64, device="cuda")
        target = torch.empty_like(source)
        memory = 2 * source.nbytes / timed(lambda: target.copy_(source), repeat)
        hertz = 1e3 * getattr(card, "clock_rate", 0) or 1e6 * float(smi("clocks.max.sm"))
        return cls(memory, card.multi_processor_count * 16 * hertz / 2)

    def shares(self, moved: float, distances: float, words: int, seconds: float) -> tuple[str, str]:
        return f"{moved / seconds / self.memory:.0%}", f"{distances * words / seconds / self.counts:.0%}"


def smi(field: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


class Data:
    """Codes on the card, and their classes."""

    def __init__(self, rows: int, queries: int, n_bits: int) -> None:
        generator = torch.Generator("cuda").manual_seed(n_bits)
        self.n_bits = n_bits

        def words(n: int) -> Any:
            shape = (n, n_bits // 64)
            return torch.randint(-(2**63), 2**63 - 1, shape, device="cuda", generator=generator)

        def draw(n: int) -> tuple[Any, Any]:
            labels = torch.randint(0, CLASSES, (n,), device="cuda", generator=generator)
            codes = centres[labels]
            for part in codes.split(1 << 22):
                part ^= words(len(part)) & words(len(part)) & words(len(part))
            return labels, codes

        centres = words(CLASSES)
        self.labels, self.gallery = draw(rows)
        self.query_labels, self.queries = draw(queries)

    def codes(self) -> tuple[DeviceCodes, DeviceCodes]:
        return DeviceCodes(self.queries, self.n_bits), DeviceCodes(self.gallery, self.n_bits)


def signs(words: Any) -> Any:
    """Float16 (n, n_bits), +1 and -1."""
    out = torch.empty((len(words), 64 * words.shape[1]), dtype=torch.float16, device="cuda")
    places = torch.arange(64, device="cuda")
    for rows, result in zip(words.split(1 << 18), out.split(1 << 18), strict=True):
        result.copy_(((rows[:, :, None] >> places & 1) * 2 - 1).reshape(len(rows), -1))
    return out


def torch_search(data: Data, k: int) -> Callable[[], Any]:
    """Products of signs, which float16 holds exactly up to 2,048 bits, and topk."""
    gallery, queries = signs(data.gallery).T, signs(data.queries)
    block = max(1, SCRATCH // len(data.gallery))

    def run() -> Any:
        found = [(part @ gallery).topk(k, dim=1).values for part in queries.split(block)]
        return ((data.n_bits - torch.cat(found).float()) / 2).int()

    return run


def cupy_search(data: Data, k: int) -> Callable[[], Any] | None:
    """__popcll and partition."""
    try:
        import cupy
    except ImportError:
        return None
    count = cupy.ElementwiseKernel("int64 a, int64 b", "uint16 d", "d += __popcll(a ^ b)", "count")
    queries, gallery = cupy.from_dlpack(data.queries), cupy.from_dlpack(data.gallery)
    block = max(1, SCRATCH // len(data.gallery))

    def run() -> Any:
        found = []
        for i in range(0, len(queries), block):
            distances = cupy.zeros((len(queries[i : i + block]), len(gallery)), cupy.uint16)
            for w in range(gallery.shape[1]):
                count(queries[i : i + block, w, None], gallery[None, :, w], distances)
            found.append(cupy.sort(cupy.partition(distances, k - 1, axis=1)[:, :k], axis=1))
        result = torch.from_dlpack(cupy.concatenate(found).astype(cupy.int32))
        cupy.cuda.get_current_stream().synchronize()
        return result

    return run


def faiss_search(codes: tuple[BinaryCodes, BinaryCodes], k: int) -> Callable[[], np.ndarray] | None:
    try:
        import faiss
    except ImportError:
        return None
    if not hasattr(faiss, "GpuIndexBinaryFlat"):
        return None
    packed = codes[0].to_packed()
    index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), codes[0].n_bits)
    index.add(codes[1].to_packed())
    return lambda: index.search(packed, k)[0]


def search_lines(a: argparse.Namespace, limits: Limits, name: str, data: Data, k: int) -> Iterator[Line]:
    m, n, words = len(data.queries), len(data.gallery), data.n_bits // 64
    codes = data.codes()
    what = f"{name}{m:,} x {n:,}, {data.n_bits} bits, k={k}"
    few = DeviceCodes(data.queries[:10].contiguous(), data.n_bits)
    host = few.cpu(), codes[1].cpu()
    there, on_cpu = hamming.search(few, codes[1], k), hamming.search(*host, k, device="cpu")
    check(all(np.array_equal(x.cpu().numpy(), y) for x, y in zip(there, on_cpu, strict=True)), what)

    def ours() -> Any:
        return hamming.search(*codes, k)[0]

    found = ours().to(torch.int32)
    seconds = timed(ours, a.repeat)
    moved = 8 * words * (m + n) + 10 * m * k
    shares = limits.shares(moved, m * n, words, seconds)
    for peer, make in (("torch float16", torch_search), ("CuPy", cupy_search)):
        try:
            theirs = make(data, k)
            if theirs is None:
                yield f"{what}: {peer}", rate(m, seconds), "not installed", "-", *shares
                continue
            check(torch.equal(theirs(), found), f"{what}: {peer}")
            their_seconds = timed(theirs, a.repeat)
        except torch.OutOfMemoryError:
            yield f"{what}: {peer}", rate(m, seconds), "too little memory", "-", *shares
            continue
        finally:
            theirs = None
            torch.cuda.empty_cache()
        yield f"{what}: {peer}", rate(m, seconds), rate(m, their_seconds), f"{their_seconds / seconds:.2f}x", *shares
    host = codes[0].cpu(), host[1]
    theirs = faiss_search(host, k)
    if theirs is None:
        yield f"{what}: FAISS", rate(m, seconds), "not installed", "-", *shares
        return
    check(np.array_equal(theirs(), found.cpu().numpy()), f"{what}: FAISS")
    seconds = timed(lambda: [part.cpu() for part in hamming.search(host[0], codes[1], k)], a.repeat)
    their_seconds = timed(theirs, a.repeat)
    ratio = f"{their_seconds / seconds:.2f}x"
    shares = limits.shares(moved, m * n, words, seconds)
    yield f"{what}: FAISS", rate(m, seconds), rate(m, their_seconds), ratio, *shares


def rate(queries: int, seconds: float) -> str:
    return f"{queries / seconds:,.0f} q/s"


def flat(a: argparse.Namespace, limits: Limits) -> Iterator[Line]:
    """A gallery of ImageNet's size."""
    yield from search_lines(a, limits, "", Data(a.rows, a.queries, 64), 100)


def large(a: argparse.Namespace, limits: Limits) -> Iterator[Line]:
    """A gallery that a card is bought for."""
    yield from search_lines(a, limits, "", Data(a.large_rows, a.large_queries, 64), 100)


def widths(a: argparse.Namespace, limits: Limits) -> Iterator[Line]:
    """From 64 to 1,024 bits."""
    for n_bits in (64, 128, 256, 512, 1024):
        yield from search_lines(a, limits, "", Data(a.rows, a.width_queries, n_bits), 100)


def torch_map(data: Data, queries: int) -> float:
    """Tie-aware map: histograms of the products of signs, then the expectation over orders of ties."""
    n, n_bits = len(data.gallery), data.n_bits
    gallery, bins = signs(data.gallery).T, 2 * (n_bits + 1)
    harmonic = torch.cat([torch.zeros(1), 1 / torch.arange(1, n + 1, dtype=torch.float64)]).cumsum(0).cuda()
    total = 0.0
    for part in torch.arange(queries, device="cuda").split(max(1, SCRATCH // 8 // n)):
        distances = ((n_bits - (signs(data.queries[part]) @ gallery)) / 2).long()
        relevant = data.query_labels[part, None] == data.labels
        keys = 2 * distances + relevant + bins * torch.arange(len(part), device="cuda")[:, None]
        counts = torch.bincount(keys.reshape(-1), minlength=bins * len(part)).reshape(len(part), -1, 2)
        hits, items = counts[:, :, 1].double(), counts.sum(2)
        end = items.cumsum(1)
        start = end - items
        h = harmonic[end] - harmonic[start]
        slope = (hits - 1) / (items - 1).clamp(min=1)
        group = (hits.cumsum(1) - hits + 1) * h + slope * (items - (start + 1) * h)
        sums = (hits / items.clamp(min=1) * group).sum(1)
        total += float((sums / hits.sum(1).clamp(min=1)).sum())
    return total / queries


def mean_ap(a: argparse.Namespace, limits: Limits) -> Iterator[Line]:
    """Exact tie-aware map; torch, and the CPU, of fewer queries."""
    data = Data(a.rows, a.map_queries, 64)
    q, g = data.codes()
    query_labels, labels = data.query_labels.cpu().numpy(), data.labels.cpu().numpy()
    few = min(a.map_peer_queries, len(q))
    some = DeviceCodes(data.queries[:few].contiguous(), 64)
    what = f"map of {len(q):,} over {len(g):,}, 64 bits"

    def ours(queries: Any = q, gallery: Any = g, **options: Any) -> dict[str, Any]:
        return metrics.hamming_ranking(queries, gallery, query_labels[: len(queries)], labels, **options)

    found, on_cpu = ours(some), ours(some, device="cpu")
    check(abs(found["map"] / on_cpu["map"] - 1) < 1e-12, f"{what}: CPU")
    check(abs(found["map"] / torch_map(data, few) - 1) < 1e-9, f"{what}: torch")
    seconds = timed(ours, a.repeat) / len(q)
    shares = limits.shares(8 * len(g) / len(q) + 8, len(g), 1, seconds)
    theirs = timed(lambda: torch_map(data, few), a.repeat) / few
    host = some.cpu(), g.cpu()
    cpu = timed(lambda: ours(*host), a.repeat) / few
    for peer, their in (("torch, a query", theirs), ("our CPU, a query", cpu)):
        yield f"{what}: {peer}", f"{1e3 * seconds:.4f} ms", f"{1e3 * their:.3f} ms", f"{their / seconds:.1f}x", *shares


LINES = {"flat": flat, "large": large, "map": mean_ap, "widths": widths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=LINES)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--large-rows", type=int, default=100_000_000)
    parser.add_argument("--large-queries", type=int, default=1_000)
    parser.add_argument("--width-queries", type=int, default=1_000)
    parser.add_argument("--map-queries", type=int, default=50_000)
    parser.add_argument("--map-peer-queries", type=int, default=200)
    a = parser.parse_args()

    if not torch.cuda.is_available():
        raise SystemExit("bench/gpu.py: torch finds no GPU that it can use")
    if not _core.cuda_available():
        try:
            _core.cuda_device()
        except RuntimeError as error:
            raise SystemExit(f"bench/gpu.py: {error}") from None
    limits = Limits.of_card(a.repeat)
    print(
        f"{_core.cuda_device()}; torch {torch.__version__}; limits: memory {limits.memory / 1e9:,.0f} GB/s (measured), "
        f"{limits.counts / 1e9:,.0f} G distances of 64 bits a second by population counts (computed)"
    )
    print(f"{'':64s}{'ours':>16s}{'peer':>18s}{'ratio':>9s}{'memory':>8s}{'counts':>8s}")
    for name in [a.only] if a.only else LINES:
        for what, ours, theirs, ratio, memory, counts in LINES[name](a, limits):
            print(f"{what:64s}{ours:>16s}{theirs:>18s}{ratio:>9s}{memory:>8s}{counts:>8s}", flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
