"""Queries on their way into the core."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .filters import Allowed, batch_of


@dataclass(slots=True)
class Queries:
    """Checked queries and search options: what the core's partitioner, filter and rank need, and nothing else.

    Attributes
    ----------
    n : int
        Number of queries.
    codes, margins, vectors : ndarray or None
        (n, words), (n, n_bits) and (n, d); None where nothing reads them.
    rank : str
    probes : int
    radius : int
        -1: by probes.
    shortlist : int
        0: none.
    allowed : ndarray of bool or of int64, (offsets, ids), or None
        The filter: a mask of the index's rows, ids, or a list of ids for each query.
    encode_seconds : float
        What codes and margins took.
    """

    n: int
    codes: NDArray[np.uint64] | None
    margins: NDArray[np.float32] | None
    vectors: NDArray[np.float32] | None
    rank: str
    probes: int
    radius: int
    shortlist: int
    allowed: Allowed | None
    encode_seconds: float

    def batch(self, rows: slice) -> Self:
        """Some of the queries."""
        return replace(
            self,
            n=len(range(*rows.indices(self.n))),
            codes=None if self.codes is None else self.codes[rows],
            margins=None if self.margins is None else self.margins[rows],
            vectors=None if self.vectors is None else self.vectors[rows],
            allowed=batch_of(self.allowed, rows),
        )
