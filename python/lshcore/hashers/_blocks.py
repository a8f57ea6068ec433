"""What several hashers share: rows a block at a time, sums of products in double, labels as 0 and 1."""

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Entries of a block of rows, 32 MB in float64. What is fitted is summed block by block: another size, other last bits.
_BLOCK_ENTRIES = 1 << 22


def row_blocks(n_rows: int, width: int, entries: int | None = None) -> Iterator[slice]:
    """Slices of rows of `width` entries, of equal size but for the last."""
    size = max(1, (_BLOCK_ENTRIES if entries is None else entries) // width)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def gram(blocks: Iterable[NDArray[Any]], dim: int) -> NDArray[np.float64]:
    """Sum of ``block.T @ block``, (dim, dim), in double and summed in place."""
    from scipy.linalg.blas import dsyrk

    total = np.zeros((dim, dim), order="F")
    for block in blocks:
        total = dsyrk(1.0, np.ascontiguousarray(block, np.float64).T, beta=1.0, c=total, overwrite_c=True)
    upper: NDArray[np.float64] = np.triu(total)
    return upper + np.triu(total, 1).T


def sample_rows(n_rows: int, max_samples: int | None, seed: int) -> NDArray[np.int64] | slice:
    """Which rows to learn from, in their order: all of them, or `max_samples` drawn without replacement."""
    if max_samples is None or max_samples >= n_rows:
        return slice(None)
    drawn: NDArray[np.int64] = np.random.default_rng(seed).choice(n_rows, max_samples, replace=False, shuffle=False)
    return np.sort(drawn)


def indicators(labels: NDArray[Any]) -> Any:
    """Labels, int64 (n,) or bool (n, C), as a sparse float64 matrix of 0 and 1, (n, classes)."""
    from scipy.sparse import csr_matrix

    if labels.ndim == 2:
        return csr_matrix(labels, dtype=np.float64)
    classes, column = np.unique(labels, return_inverse=True)
    n = len(labels)
    return csr_matrix((np.ones(n), column, np.arange(n + 1)), shape=(n, len(classes)))


def signs(values: NDArray[Any]) -> NDArray[np.float64]:
    """+1 where a value is at least 0, -1 elsewhere."""
    return np.where(values >= 0, 1.0, -1.0)


def check_positive(value: Any, where: str, name: str) -> None:
    """Raise unless `value` is a finite number above 0."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be a number, got {value!r}")
    if not 0 < float(value) < np.inf:
        raise ValueError(f"{where}: {name} must be positive, got {value!r}")
