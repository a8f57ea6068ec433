"""What indexes answer with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lshcore._validation import as_integer
from lshcore.hamming import RangeResult

STAGES = ("probe", "union", "rerank")


@dataclass(slots=True)
class SearchResult:
    """Answer to m queries.

    Attributes
    ----------
    distances : ndarray, (m, k)
        Ascending. uint16 bits for rank "hamming" (65535 where there is no hit), else float32: ``1 - cos`` for "cosine",
        the squared distance for "l2", the negated inner product for "ip", the sum of |margins| of the bits that differ
        for "margin" (inf where there is no hit).
    ids : ndarray of int64, (m, k)
        By (distance, id); -1 where there are fewer than k candidates. Where ids are texts, an array of objects, None
        for -1, and at equal distance the one that the index met first comes first.
    n_candidates : ndarray of int64, (m,)
        Rows in the buckets looked into that the filter allows, each counted once; a shortlist then ranks fewer.
    encode_seconds : float
        Of the whole batch.
    stage_seconds : ndarray of float64, (m, 3)
        A query's in the stages "probe", "union" and "rerank".
    """

    distances: NDArray[Any]
    ids: NDArray[Any]
    n_candidates: NDArray[np.int64]
    encode_seconds: float
    stage_seconds: NDArray[np.float64]

    @property
    def timings(self) -> dict[str, NDArray[np.float64]]:
        """Seconds a query, (m,), in the stages "encode" (spread evenly), "probe", "union", "rerank", and "total"."""
        encode = np.full(len(self), self.encode_seconds / max(len(self), 1))
        stages = {stage: self.stage_seconds[:, column] for column, stage in enumerate(STAGES)}
        return {"encode": encode, **stages, "total": encode + self.stage_seconds.sum(axis=1)}

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class RangeSearchResult(RangeResult):
    """Candidates of m queries within a distance; ``result[i]`` is ``(distances, ids)`` of query i.

    Attributes
    ----------
    offsets : ndarray of int64, (m + 1,)
        The hits of query i are entries ``offsets[i]`` to ``offsets[i + 1]`` of distances and ids.
    distances : ndarray
        uint16 bits for rank "hamming", else float32.
    ids : ndarray of int64, or of texts
        A query's hits are sorted by (distance, id).
    n_candidates : ndarray of int64, (m,)
        As in `SearchResult`.
    """

    distances: NDArray[Any]
    ids: NDArray[Any]
    n_candidates: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate lists of m queries: ``candidates[i]`` holds the ids of query i, integers ascending.

    Attributes
    ----------
    offsets : ndarray of int64, (m + 1,)
        The candidates of query i are ``ids[offsets[i]:offsets[i + 1]]``.
    ids : ndarray of int64, or of texts
        Each row at most once a query.
    """

    offsets: NDArray[np.int64]
    ids: NDArray[Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> NDArray[Any]:
        number = as_integer(query, "Candidates", "query")
        if not -len(self) <= number < len(self):
            raise IndexError(f"Candidates: query must be below {len(self)}, got {number}")
        number %= len(self)
        return self.ids[self.offsets[number] : self.offsets[number + 1]]
