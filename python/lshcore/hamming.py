"""Exhaustive search by Hamming distance over packed codes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _core, _device
from ._device import Codes
from ._validation import as_integer, check_k, resolve_jobs


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Hits of each query, of any number; ``result[i]`` is ``(distances, ids)`` of query i, ``len(result)`` the queries.

    Attributes
    ----------
    offsets : ndarray of int64, (m + 1,)
        The hits of query i are entries ``offsets[i]`` to ``offsets[i + 1]`` of the two others.
    distances : ndarray of uint16
        Hamming distances, in bits.
    ids : ndarray of int64
        Rows of the gallery; a query's hits are sorted by (distance, id).
    """

    offsets: NDArray[np.int64]
    distances: NDArray[np.uint16]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        number = as_integer(query, "RangeResult", "query")
        if not -len(self) <= number < len(self):
            raise IndexError(f"RangeResult: query must be below {len(self)}, got {number}")
        number %= len(self)
        hits = slice(self.offsets[number], self.offsets[number + 1])
        return self.distances[hits], self.ids[hits]


def distances(a: Codes, b: Codes, n_jobs: int | None = None, device: str | None = None) -> NDArray[np.uint16]:
    """Hamming distance of every pair.

    Parameters
    ----------
    a, b : BinaryCodes or DeviceCodes
        m and n codes of the same number of bits.
    n_jobs : int, optional
        Threads; None is every CPU this process may use (or LSHCORE_NUM_THREADS).
    device : {"cpu", "cuda"}, optional
        Where to compute; None is the GPU where an argument is there, otherwise the CPU. The result is the same.

    Returns
    -------
    ndarray of uint16, (m, n)
        Distances, in bits; a torch tensor on the GPU where that computed them and an argument is DeviceCodes.

    Raises
    ------
    TypeError, ValueError
        If `a` or `b` is not codes, their widths differ, or there is no such device.
    MemoryError
        If they do not fit into memory.
    """
    left, right, gpu = _device.pair(a, b, device, "hamming.distances", ("a", "b"))
    if gpu:
        out: NDArray[np.uint16] = _device.empty((len(left), len(right)), "uint16", left.words, right.words)
        _core.cuda_hamming_distances(
            _device.lend(left.words), _device.lend(right.words), left.n_bits, _device.lend(out)
        )
        return out
    return _core.hamming_distances(left.words, right.words, left.n_bits, resolve_jobs(n_jobs))


def search(
    q: Codes, codes: Codes, k: int, n_jobs: int | None = None, device: str | None = None
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The k nearest codes of every query, exactly.

    Parameters
    ----------
    q : BinaryCodes or DeviceCodes
        m queries.
    codes : BinaryCodes or DeviceCodes
        n codes to search.
    k : int
        Hits for each query; from 1 on.
    n_jobs : int, optional
        Threads; the result is the same for any number.
    device : {"cpu", "cuda"}, optional
        As in `distances`.

    Returns
    -------
    distances : ndarray of uint16, (m, k)
        Ascending; 65535 where the gallery has fewer than k codes.
    ids : ndarray of int64, (m, k)
        Rows of `codes`, by (distance, row); -1 where there are fewer than k. Both are torch tensors on the GPU where
        that computed them and an argument is DeviceCodes.

    Raises
    ------
    TypeError, ValueError
        If an argument is not codes, the widths differ, k is not a positive integer, or there is no such device.
    """
    queries, gallery, gpu = _device.pair(q, codes, device, "hamming.search", ("q", "codes"))
    hits = check_k(k, "hamming.search", len(queries), len(gallery))
    if gpu:
        shape = (len(queries), hits)
        nearest: NDArray[np.uint16] = _device.empty(shape, "uint16", queries.words, gallery.words)
        ids: NDArray[np.int64] = _device.empty(shape, "int64", queries.words, gallery.words)
        lent = [_device.lend(array) for array in (queries.words, gallery.words, nearest, ids)]
        _core.cuda_hamming_search(lent[0], lent[1], queries.n_bits, hits, lent[2], lent[3])
        return nearest, ids
    return _core.hamming_search(queries.words, gallery.words, queries.n_bits, hits, resolve_jobs(n_jobs))


def range_search(
    q: Codes, codes: Codes, radius: int, n_jobs: int | None = None, device: str | None = None
) -> RangeResult:
    """Every code within a Hamming radius of every query.

    Parameters
    ----------
    q, codes : BinaryCodes or DeviceCodes
        m queries and n codes of the same number of bits.
    radius : int
        Largest distance, inclusive; from 0 on.
    n_jobs : int, optional
        Threads; the result is the same for any number.
    device : {"cpu", "cuda"}, optional
        As in `distances`.

    Returns
    -------
    RangeResult
        The hits of each query, sorted by (distance, id); in NumPy arrays wherever they were found.

    Raises
    ------
    TypeError, ValueError
        If an argument is not codes, the widths differ, the radius is not an integer from 0 on, or there is no such
        device.
    """
    queries, gallery, gpu = _device.pair(q, codes, device, "hamming.range_search", ("q", "codes"))
    limit = min(as_integer(radius, "hamming.range_search", "radius", low=0), queries.n_bits)
    jobs = resolve_jobs(n_jobs)
    if gpu:
        lent = _device.lend(queries.words), _device.lend(gallery.words)
        return RangeResult(*_core.cuda_hamming_range(*lent, queries.n_bits, limit, jobs))
    return RangeResult(*_core.hamming_range(queries.words, gallery.words, queries.n_bits, limit, jobs))
