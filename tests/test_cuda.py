"""The GPU against the CPU: the same results, to the last bit. Without a GPU: what is said about that."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lshcore import BinaryCodes, _core, hamming, hashers, metrics
from lshcore.codes_cuda import DeviceCodes

NO_KERNELS = "this build of lshcore has no CUDA kernels"
ASKED = rf"device 'cuda' was asked for, and ({NO_KERNELS}|there is no GPU that it can use)"
WIDTHS = (1, 16, 63, 64, 65, 128, 200, 256, 512, 1000, 1024)

on_gpu = pytest.mark.skipif(not _core.cuda_available(), reason="no GPU that lshcore can use")
without_gpu = pytest.mark.skipif(_core.cuda_available(), reason="there is a GPU")


def random_codes(n: int, n_bits: int, seed: int) -> BinaryCodes:
    """Codes with many equal distances: most bits are zero."""
    return BinaryCodes.from_bools(np.random.default_rng(seed).random((n, n_bits)) < 0.2)


def labels_of(n: int, seed: int, multi: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((n, 40)) < 0.05 if multi else rng.integers(0, 7, n)


CODES = random_codes(30, 70, 0)
X = np.random.default_rng(1).normal(size=(50, 12)).astype(np.float32)
HASHER = hashers.RandomHyperplanes(70, random_state=0).fit(X)


def calls(device: str | None) -> dict[str, Callable[[], Any]]:
    labels = np.arange(30) % 4
    return {
        "hamming.distances": lambda: hamming.distances(CODES, CODES, device=device),
        "hamming.search": lambda: hamming.search(CODES, CODES, 5, device=device),
        "hamming.range_search": lambda: hamming.range_search(CODES, CODES, 20, device=device),
        "metrics.hamming_ranking": lambda: metrics.hamming_ranking(CODES, CODES, labels, labels, device=device),
        "RandomHyperplanes.project": lambda: HASHER.project(X, device=device),
        "RandomHyperplanes.encode": lambda: HASHER.encode(X, device=device),
    }


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, hamming.RangeResult):
        return all(same(getattr(found, name), getattr(wanted, name)) for name in ("offsets", "distances", "ids"))
    if isinstance(wanted, tuple):
        return all(same(a, b) for a, b in zip(found, wanted, strict=True))
    if isinstance(wanted, np.ndarray):
        return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()
    return bool(found == wanted)


# -- with or without a GPU ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", calls(None))
def test_the_cpu_by_name_is_the_cpu(where: str) -> None:
    assert same(calls("cpu")[where](), calls(None)[where]())


@pytest.mark.parametrize("where", calls(None))
def test_unknown_devices(where: str) -> None:
    for device in ("gpu", "cuda:0", 0):
        with pytest.raises(ValueError, match=rf"^{where}: device must be one of 'cpu', 'cuda', None, got {device!r}$"):
            calls(device)[where]()


def test_codes_go_where_they_are_asked_to() -> None:
    assert CODES.to("cpu") is CODES
    with pytest.raises(ValueError, match=r"^BinaryCodes\.to: device must be one of 'cpu', 'cuda', got None$"):
        CODES.to(None)


@without_gpu
@pytest.mark.parametrize("where", [*calls(None), "BinaryCodes.to"])
def test_no_gpu(where: str) -> None:
    with pytest.raises(ValueError, match=rf"^{where}: {ASKED}"):
        {**calls("cuda"), "BinaryCodes.to": lambda: CODES.to("cuda")}[where]()


@without_gpu
def test_the_core_without_a_gpu() -> None:
    with pytest.raises(RuntimeError, match=rf"^{NO_KERNELS}|there is no GPU"):
        _core.cuda_device()
    with pytest.raises(RuntimeError, match=rf"^{NO_KERNELS}|there is no GPU"):
        _core.cuda_stream()


def test_importing_brings_no_torch(run_python) -> None:
    script = """
import sys, numpy as np
from lshcore import BinaryCodes, _device, codes_cuda, hamming, hashers, metrics
codes = BinaryCodes.from_bools(np.eye(5, dtype=bool))
hamming.search(codes, codes, 2, device="cpu")
try:
    hamming.search(codes, codes, 2, device="cuda")
except ValueError:
    pass
hashers.RandomHyperplanes(8).fit(np.eye(5)).encode(np.eye(5))
print("torch" in sys.modules)
"""
    assert run_python(script).strip() == "False"


def test_hashers_that_are_no_matrix_product() -> None:
    hasher = hashers.SpectralHashing(8).fit(X)
    for name in ("project", "encode"):
        refused = rf"^SpectralHashing\.{name}: (device 'cuda' is for hashers that are one matrix product|{ASKED})"
        with pytest.raises(ValueError, match=refused):
            getattr(hasher, name)(X, device="cuda")
    with pytest.raises(ValueError, match="is not fitted"):
        hashers.RandomHyperplanes(8).encode(X, device="cuda")


def test_codes_on_the_device_are_checked() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"^DeviceCodes: words must be a torch tensor of int64, got ndarray$"):
        DeviceCodes(CODES.words, 70)
    with pytest.raises(TypeError, match=r"got torch\.int32$"):
        DeviceCodes(torch.zeros((3, 2), dtype=torch.int32), 70)
    with pytest.raises(ValueError, match=r"words of 70-bit codes must have shape \(n, 2\), got \(3, 1\)$"):
        DeviceCodes(torch.zeros((3, 1), dtype=torch.int64), 70)
    with pytest.raises(ValueError, match=r"words must be C-contiguous and on a GPU, got strides \(2, 1\) on cpu$"):
        DeviceCodes(torch.zeros((3, 2), dtype=torch.int64), 70)


# -- what the core takes: these capsules are of host memory, which it takes as well ------------------------------------


def lent(array: np.ndarray) -> Any:
    return array.__dlpack__()


def distances(a: Any, b: Any, out: Any, n_bits: int = 70) -> None:
    """Every argument is checked before it is said that there is no GPU."""
    with contextlib.nullcontext() if _core.cuda_available() else pytest.raises(RuntimeError, match=r"no CUDA|no GPU"):
        _core.cuda_hamming_distances(a, b, n_bits, out)


WORDS = CODES.words.copy()


@pytest.mark.parametrize("words", [WORDS, WORDS.view(np.int64)], ids=["uint64", "int64"])
@pytest.mark.parametrize("lend", [np.asarray, lent], ids=["numpy", "dlpack"])
def test_arguments_are_taken(words: np.ndarray, lend: Callable) -> None:
    wanted, out = hamming.distances(CODES, CODES), np.empty((30, 30), np.uint16)
    distances(lend(words), lend(words), lend(out))
    assert not _core.cuda_available() or np.array_equal(out, wanted)
    distances(lend(words[:0]), lend(words[3:4]), lend(out[:0, :1]))
    part = lend(words[7:])  # does not begin where its memory does
    distances(part, lend(words), lend(out[7:]))
    assert not _core.cuda_available() or np.array_equal(out[7:], wanted[7:])


def test_capsules_are_taken_once_and_given_back() -> None:
    words, out = WORDS.copy(), np.empty((30, 30), np.uint16)
    before = sys.getrefcount(words)
    capsule = lent(words)
    assert sys.getrefcount(words) == before + 1
    distances(capsule, WORDS, out)
    assert '"used_dltensor"' in repr(capsule)
    assert sys.getrefcount(words) == before
    with pytest.raises(TypeError, match=r"^a: expected .* a DLPack capsule that nobody has taken, got PyCapsule$"):
        _core.cuda_hamming_distances(capsule, WORDS, 70, out)
    refused = lent(words.view(np.uint32))
    with pytest.raises(TypeError, match=r"^a: expected dtype uint64, got uint32"):
        _core.cuda_hamming_distances(refused, WORDS, 70, out)
    assert '"used_dltensor"' in repr(refused)
    refused = lent(words[::2])
    with pytest.raises(ValueError, match=r"^a: expected a C-contiguous array"):
        _core.cuda_hamming_distances(refused, WORDS, 70, out)
    assert sys.getrefcount(words) == before


def test_versioned_capsules() -> None:
    torch = pytest.importorskip("torch")
    words, out = torch.from_numpy(WORDS.view(np.int64)), torch.zeros((30, 30), dtype=torch.uint16)
    try:
        lend = [tensor.__dlpack__(max_version=(1, 0)) for tensor in (words, words, out)]
    except TypeError:
        pytest.skip("this torch knows DLPack 0 only")
    assert all("dltensor_versioned" in repr(capsule) for capsule in lend)
    distances(*lend)
    assert all("used_dltensor_versioned" in repr(capsule) for capsule in lend)


@pytest.mark.parametrize("lend", [np.asarray, lent], ids=["numpy", "dlpack"])
def test_arguments_are_checked(lend: Callable) -> None:
    out = np.empty((30, 30), np.uint16)
    wrong = [
        ((WORDS.astype(np.float64), WORDS, out), TypeError, "^a: expected dtype uint64, got float64"),
        ((WORDS.astype(np.int32), WORDS, out), TypeError, "^a: expected dtype uint64, got int32"),
        (
            (WORDS.astype(np.complex64), WORDS, out),
            TypeError,
            "^a: expected dtype uint64, got of another kind, 64",
        ),
        ((WORDS, WORDS[0], out), ValueError, "^b: expected a 2-d array, got 1-d"),
        ((WORDS, WORDS[::2], out), ValueError, "^b: expected a C-contiguous array"),
        ((WORDS, np.asfortranarray(WORDS), out), ValueError, "^b: expected a C-contiguous array"),
        ((WORDS, WORDS[:, :1].copy(), out), ValueError, "codes of 70 bits: expected 2 words a code, got 1"),
        ((WORDS, WORDS, out[:29]), ValueError, r"^out: expected shape \(30,30,\), got \(29,30,\)"),
        ((WORDS, WORDS, out.astype(np.int16)), TypeError, "^out: expected dtype uint16, got int16"),
        ((WORDS, WORDS, out[:, ::-1]), ValueError, "^out: expected a C-contiguous array"),
        ((~WORDS, WORDS, out), ValueError, "codes of 70 bits: row 0 has bits set beyond the last"),
    ]
    for arguments, error, message in wrong:
        a, b, result = map(lend, arguments)
        with pytest.raises(error, match=message):
            _core.cuda_hamming_distances(a, b, 70, result)


def test_other_arguments_are_checked() -> None:
    out = np.empty((30, 30), np.uint16)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=r"^out: expected an array that can be written to"):
        _core.cuda_hamming_distances(WORDS, WORDS, 70, out)
    for nothing in (None, [[1, 2]], 3):
        with pytest.raises(TypeError, match=r"^b: expected a NumPy array or a DLPack capsule .* got \w+$"):
            _core.cuda_hamming_distances(WORDS, nothing, 70, out)
    margins = np.empty((50, 70), np.float32)
    with pytest.raises(ValueError, match=r"^x: expected 12 columns, as weights has, got 11"):
        _core.cuda_project(np.ascontiguousarray(X[:, :11]), HASHER.weights_, HASHER.bias_, margins)
    with pytest.raises(ValueError, match=r"^bias: expected shape \(70,\), got \(69,\)"):
        _core.cuda_project(X, HASHER.weights_, HASHER.bias_[1:], margins)
    accumulator = _core.RankingAccumulator([1], [1], 70, True)
    labels = _core.Labels.single(np.arange(30))
    with pytest.raises(ValueError, match="must be one of tied distances"):
        _core.cuda_rank_hamming(accumulator, WORDS, WORDS, 70, labels, labels)
    clusters = _core.ClusterKeys(X[:3])
    with pytest.raises(ValueError, match=r"^x: expected 12 columns, as the centroids have, got 11"):
        _core.cuda_assign_clusters(np.ascontiguousarray(X[:, :11]), clusters, np.empty(50, np.int32))


# -- with a GPU --------------------------------------------------------------------------------------------------------


class Numpy:
    """Arguments in host memory."""

    device = "cuda"
    needed = staticmethod(lambda: None)
    codes = staticmethod(lambda codes: codes)
    rows = staticmethod(lambda rows: rows)

    @staticmethod
    def host(found: Any) -> Any:
        assert isinstance(found, np.ndarray | BinaryCodes)
        return found


class Torch:
    """Arguments on the GPU, and results there."""

    device = None

    @staticmethod
    def needed() -> Any:
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("torch finds no GPU")
        return torch

    codes = staticmethod(lambda codes: codes.to("cuda"))

    @staticmethod
    def rows(rows: np.ndarray) -> Any:
        import torch

        return torch.tensor(rows, device="cuda")

    @staticmethod
    def host(found: Any) -> Any:
        if isinstance(found, DeviceCodes):
            return found.cpu()
        assert found.is_cuda
        return found.cpu().numpy()


@pytest.fixture(params=[Numpy, Torch])
def side(request: pytest.FixtureRequest) -> Any:
    request.param.needed()
    return request.param


def compare_hamming(side: Any, q: BinaryCodes, codes: BinaryCodes, k: int, radius: int) -> None:
    there = side.codes(q), side.codes(codes)
    assert same(side.host(hamming.distances(*there, device=side.device)), hamming.distances(q, codes))
    found = tuple(map(side.host, hamming.search(*there, k, device=side.device)))
    assert same(found, hamming.search(q, codes, k))
    assert same(hamming.range_search(*there, radius, device=side.device), hamming.range_search(q, codes, radius))


def compare_metrics(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, dict):
            compare_metrics(found[name], value)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=0, err_msg=name)


SIZES = {"m": st.integers(0, 20), "n": st.integers(0, 150), "seed": st.integers(0, 2**32 - 1)}


@on_gpu
class TestOnGpu:
    @settings(max_examples=100)
    @given(**SIZES, n_bits=st.integers(1, 1024), k=st.integers(1, 200), radius=st.integers(0, 200))
    @pytest.mark.parametrize("of", [Numpy, Torch])
    def test_hamming(self, of: Any, m: int, n: int, seed: int, n_bits: int, k: int, radius: int) -> None:
        of.needed()
        compare_hamming(of, random_codes(m, n_bits, seed), random_codes(n, n_bits, seed + 1), k, radius)

    @pytest.mark.parametrize("n_bits", WIDTHS)
    def test_widths(self, side: Any, n_bits: int) -> None:
        q, codes = random_codes(130, n_bits, 1), random_codes(70_001, n_bits, 2)
        compare_hamming(side, q, codes, 1000, n_bits // 10)

    @pytest.mark.parametrize("n_bits", [64, 128])
    def test_everything_tied(self, side: Any, n_bits: int) -> None:
        q, codes = random_codes(5, n_bits, 1), BinaryCodes.from_bools(np.zeros((5000, n_bits), bool))
        compare_hamming(side, q, codes, 100, n_bits)

    @pytest.mark.parametrize(("m", "n"), [(0, 10), (10, 0), (0, 0), (1, 1), (1, 40_000), (3000, 3)])
    def test_few(self, side: Any, m: int, n: int) -> None:
        compare_hamming(side, random_codes(m, 64, 1), random_codes(n, 64, 2), 7, 12)

    def test_one_side_on_the_gpu(self) -> None:
        Torch.needed()
        for q, codes in ((CODES.to("cuda"), CODES), (CODES, CODES.to("cuda"))):
            assert same(Torch.host(hamming.distances(q, codes)), hamming.distances(CODES, CODES))
            assert same(hamming.distances(q, codes, device="cpu"), hamming.distances(CODES, CODES))

    @pytest.mark.parametrize("multi", [False, True])
    @pytest.mark.parametrize("n_bits", WIDTHS)
    def test_metrics(self, side: Any, n_bits: int, multi: bool) -> None:
        q, codes = random_codes(70, n_bits, 3), random_codes(9000, n_bits, 4)
        labels = labels_of(70, 5, multi), labels_of(9000, 6, multi)
        done: list[tuple[int, int]] = []
        found = metrics.hamming_ranking(
            side.codes(q),
            side.codes(codes),
            *labels,
            k=(1, 50, 10_000),
            device=side.device,
            progress=lambda *counts: done.append(counts),
        )
        compare_metrics(found, metrics.hamming_ranking(q, codes, *labels, k=(1, 50, 10_000)))
        assert done[-1] == (70, 70)

    def test_gallery_order_is_for_the_cpu(self, side: Any) -> None:
        codes, labels = side.codes(CODES), np.arange(30) % 4
        with pytest.raises(ValueError, match=r"hamming_ranking: the GPU takes ties='expected', got 'stable'"):
            metrics.hamming_ranking(codes, codes, labels, labels, ties="stable", device=side.device)
        stable = metrics.hamming_ranking(codes, codes, labels, labels, ties="stable", device="cpu")
        assert stable == metrics.hamming_ranking(CODES, CODES, labels, labels, ties="stable")

    @settings(max_examples=50)
    @given(**SIZES, dim=st.integers(1, 200), n_bits=st.integers(1, 300))
    @pytest.mark.parametrize("of", [Numpy, Torch])
    def test_hashers(self, of: Any, m: int, n: int, seed: int, dim: int, n_bits: int) -> None:
        of.needed()
        rng = np.random.default_rng(seed)
        x = rng.integers(-3, 4, (n, dim)).astype(np.float32)  # some margins are zero
        hasher = hashers.RandomHyperplanes(n_bits, random_state=m).fit(rng.normal(size=(5, dim)))
        hasher.weights_ = np.round(hasher.weights_).astype(np.float32)
        assert same(of.host(hasher.project(of.rows(x), device=of.device)), hasher.project(x))
        assert same(of.host(hasher.encode(of.rows(x), device=of.device)), hasher.encode(x))

    def test_tensors_of_any_form(self) -> None:
        torch = Torch.needed()
        tensor = torch.tensor(X, device="cuda", requires_grad=True)
        wanted = HASHER.encode(X)
        assert HASHER.encode(tensor) == wanted
        assert HASHER.encode(tensor.detach().T.contiguous().T) == wanted
        assert HASHER.encode(tensor.half()) == HASHER.encode(X.astype(np.float16))
        assert HASHER.encode((10 * tensor).int()) == HASHER.encode((10 * X).astype(np.int32))
        assert isinstance(HASHER.encode(tensor, device="cpu"), BinaryCodes)
        assert isinstance(hashers.SpectralHashing(8).fit(X).encode(tensor), BinaryCodes)
        damaged = tensor.detach().clone()
        damaged[3, 4] = float("nan")
        with pytest.raises(ValueError, match=r"RandomHyperplanes\.encode: X: expected finite .* row 3, column 4"):
            HASHER.encode(damaged)
        with pytest.raises(ValueError, match=r"RandomHyperplanes\.encode: X must have 12 columns, got 11"):
            HASHER.encode(tensor[:, :11])

    def test_codes_on_the_device(self) -> None:
        torch = Torch.needed()
        codes = CODES.to("cuda")
        assert len(codes) == 30
        assert (codes.n_bits, codes.nbytes) == (70, CODES.nbytes)
        assert codes.cpu() == CODES
        assert codes == CODES
        assert CODES.__eq__(codes) is NotImplemented  # so that theirs is asked
        assert DeviceCodes(codes.words.clone(), 70) == codes
        with pytest.raises(ValueError, match="codes of 70 bits must have no bit set beyond the last"):
            DeviceCodes(torch.full((3, 2), -1, device="cuda"), 70)
        with pytest.raises(ValueError, match="must have 70 bits, got 64"):
            hamming.search(codes, random_codes(3, 64, 0).to("cuda"), 1)

    def test_clusters(self, side: Any) -> None:
        rng = np.random.default_rng(8)
        x, centroids = rng.normal(size=(4000, 30)).astype(np.float32), rng.normal(size=(70, 30)).astype(np.float32)
        labels, distances = np.empty(4000, np.int32), np.empty(4000, np.float32)
        rows = side.rows(x)
        rows = rows if side is Numpy else rows.__dlpack__(stream=_core.cuda_stream())
        _core.cuda_assign_clusters(rows, _core.ClusterKeys(centroids), labels, distances)
        wanted_labels, wanted_distances = _core.assign_clusters(x, centroids)
        assert np.array_equal(labels, wanted_labels)
        assert np.array_equal(distances, wanted_distances)

    def test_too_much_for_the_memory(self, side: Any) -> None:
        many = side.codes(BinaryCodes(np.zeros((12_000_000, 1), np.uint64), 64))  # 288 TB: more than can be addressed
        for _ in range(2):
            with pytest.raises(MemoryError):
                hamming.distances(many, many, device=side.device)
            compare_hamming(side, CODES, CODES, 5, 10)

    def test_what_torch_still_computes_is_waited_for(self) -> None:
        torch = Torch.needed()
        wanted = HASHER.encode(X)
        zero, rows = torch.zeros((4000, 4000), device="cuda"), torch.tensor(X, device="cuda")
        for _ in range(20):
            late = zero
            for _ in range(10):
                late = late @ zero
            assert HASHER.encode(rows + late[:50, :12]) == wanted

    def test_threads(self, side: Any) -> None:
        from concurrent.futures import ThreadPoolExecutor

        q, codes = side.codes(random_codes(40, 64, 1)), side.codes(random_codes(20_000, 64, 2))
        wanted = [side.host(part) for part in hamming.search(q, codes, 30, device=side.device)]
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: hamming.search(q, codes, 30, device=side.device), range(20)):
                assert all(same(side.host(a), b) for a, b in zip(found, wanted, strict=True))
