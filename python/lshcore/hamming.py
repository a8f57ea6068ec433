"""Exhaustive search by Hamming distance over packed codes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._validation import as_integer, check_k, resolve_jobs
from .codes import BinaryCodes, as_codes


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


def _pair(first: object, second: object, where: str, names: tuple[str, str]) -> tuple[BinaryCodes, BinaryCodes]:
    left = as_codes(first, where, names[0])
    return left, as_codes(second, where, names[1], n_bits=left.n_bits)


def distances(a: BinaryCodes, b: BinaryCodes, n_jobs: int | None = None) -> NDArray[np.uint16]:
    """Hamming distance of every pair.

    Parameters
    ----------
    a, b : BinaryCodes
        m and n codes of the same number of bits.
    n_jobs : int, optional
        Threads; None is every CPU this process may use (or LSHCORE_NUM_THREADS).

    Returns
    -------
    ndarray of uint16, (m, n)
        Distances, in bits.

    Raises
    ------
    TypeError, ValueError
        If `a` or `b` is not BinaryCodes, or their widths differ.
    """
    left, right = _pair(a, b, "hamming.distances", ("a", "b"))
    return _core.hamming_distances(left.words, right.words, left.n_bits, resolve_jobs(n_jobs))


def search(
    q: BinaryCodes, codes: BinaryCodes, k: int, n_jobs: int | None = None
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The k nearest codes of every query, exactly.

    Parameters
    ----------
    q : BinaryCodes
        m queries.
    codes : BinaryCodes
        n codes to search.
    k : int
        Hits for each query; from 1 on.
    n_jobs : int, optional
        Threads; the result is the same for any number.

    Returns
    -------
    distances : ndarray of uint16, (m, k)
        Ascending; 65535 where the gallery has fewer than k codes.
    ids : ndarray of int64, (m, k)
        Rows of `codes`, by (distance, row); -1 where there are fewer than k.

    Raises
    ------
    TypeError, ValueError
        If an argument is not BinaryCodes, the widths differ, or k is not a positive integer.
    """
    queries, gallery = _pair(q, codes, "hamming.search", ("q", "codes"))
    hits = check_k(k, "hamming.search", len(queries), len(gallery))
    return _core.hamming_search(queries.words, gallery.words, queries.n_bits, hits, resolve_jobs(n_jobs))


def range_search(q: BinaryCodes, codes: BinaryCodes, radius: int, n_jobs: int | None = None) -> RangeResult:
    """Every code within a Hamming radius of every query.

    Parameters
    ----------
    q, codes : BinaryCodes
        m queries and n codes of the same number of bits.
    radius : int
        Largest distance, inclusive; from 0 on.
    n_jobs : int, optional
        Threads; the result is the same for any number.

    Returns
    -------
    RangeResult
        The hits of each query, sorted by (distance, id).

    Raises
    ------
    TypeError, ValueError
        If an argument is not BinaryCodes, the widths differ, or the radius is not an integer from 0 on.
    """
    queries, gallery = _pair(q, codes, "hamming.range_search", ("q", "codes"))
    limit = min(as_integer(radius, "hamming.range_search", "radius", low=0), queries.n_bits)
    return RangeResult(*_core.hamming_range(queries.words, gallery.words, queries.n_bits, limit, resolve_jobs(n_jobs)))
