"""Near-duplicates: all pairs of codes within a Hamming radius, exactly, and the groups that they make."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._progress import Progress, part
from ._validation import as_integer, resolve_jobs
from .codes import BinaryCodes

# Queries whose hits are held at a time.
_BATCH = 1 << 15

# Tables that are considered.
_MOST_TABLES = 32

# Nanoseconds, about: to look into a bucket, addressed by its key or found by binary search, and to compare a row in it.
_DIRECT, _BY_SEARCH, _ROW = 20, 200, 4


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows.

    Attributes
    ----------
    rows : ndarray of int64, (p, 2)
        Within one gallery the first is the smaller, and pairs ascend; between two, the first is a row of the second
        gallery, the one that is asked about.
    distances : ndarray of uint16, (p,)
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.rows)


def range_join(
    codes: BinaryCodes,
    radius: int,
    against: BinaryCodes | None = None,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Pairs:
    """All pairs of codes within a Hamming radius; none is missed.

    Codes are cut into blocks. Two that differ in at most `radius` bits differ in at most ``radius // blocks`` bits of
    some block, and are met in the buckets of that block's table. [1]_

    Parameters
    ----------
    codes : BinaryCodes
    radius : int
        Largest distance, inclusive.
    against : BinaryCodes, optional
        Pairs of one of these with one of `codes`, rather than pairs of two of `codes`.
    n_jobs : int, optional
        Threads.
    progress : callable, optional
        ``progress(share, text)``.

    Raises
    ------
    TypeError, ValueError
        If the codes are of different widths, or the radius is not an integer from 0 on.

    References
    ----------
    .. [1] M. Norouzi, A. Punjani, D. J. Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012.
    """
    where = "range_join"
    for name, given in (("codes", codes), ("against", codes if against is None else against)):
        if not isinstance(given, BinaryCodes):
            raise TypeError(f"{where}: {name} must be BinaryCodes, got {type(given).__name__}")
    queries = codes if against is None else against
    if queries.n_bits != codes.n_bits:
        raise ValueError(f"{where}: codes must be of one width, got {queries.n_bits} and {codes.n_bits} bits")
    limit = min(as_integer(radius, where, "radius", low=0), codes.n_bits)
    jobs = resolve_jobs(n_jobs)
    tell = part(progress, 0.0, 1.0)
    tell(0.0, "filing codes")
    tables, key_bits = choose_tables(codes.n_bits, limit, len(codes))
    positions = np.arange(tables * key_bits, dtype=np.int32).reshape(tables, key_bits)
    index = _core.Index(_core.BitKeys(positions, codes.n_bits), codes.n_bits)
    index.add(codes.words, None, None, jobs)
    rows, distances = [np.empty((0, 2), np.int64)], [np.empty(0, np.uint16)]
    for start in range(0, len(queries), _BATCH):
        offsets, near, ids, _ = index.range_search(
            queries.words[start : start + _BATCH], None, limit, "hamming", tables, jobs, None, limit // tables
        )
        asked = np.repeat(np.arange(len(offsets) - 1) + start, np.diff(offsets))
        kept = ids > asked if against is None else slice(None)
        rows.append(np.stack([asked[kept], ids[kept]], axis=1))
        distances.append(near[kept].astype(np.uint16, copy=False))
        tell(min(1.0, (start + _BATCH) / len(queries)), "comparing")
    pairs, apart = np.concatenate(rows), np.concatenate(distances)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Pairs(pairs[order], apart[order])


def choose_tables(n_bits: int, radius: int, n_codes: int) -> tuple[int, int]:
    """Blocks, and bits of each, that look into the fewest rows and keys where codes are even."""

    def cost(tables: int) -> float:
        bits = n_bits // tables
        keys = sum(math.comb(bits, flips) for flips in range(radius // tables + 1))
        look = _DIRECT if 2**bits <= n_codes else _BY_SEARCH
        return float(tables * keys * (look + _ROW * n_codes / 2**bits))

    least = -(-n_bits // _core.MAX_KEY_BITS)
    choices = range(least, max(least, min(radius + 1, _MOST_TABLES, n_bits)) + 1)
    tables = min(choices, key=cost)
    return tables, n_bits // tables


def groups(pairs: Pairs, n: int) -> list[NDArray[np.int64]]:
    """Rows from 0 to n - 1 that hang together by pairs, ascending, largest groups first; those alone are left out."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if len(pairs) == 0:
        return []
    ones = np.ones(len(pairs), np.bool_)
    graph = coo_matrix((ones, (pairs.rows[:, 0], pairs.rows[:, 1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    return list(_by_label(labels))


def _by_label(labels: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    for i in np.lexsort((order[starts], -sizes)):
        if sizes[i] > 1:
            yield order[starts[i] : starts[i] + sizes[i]]
