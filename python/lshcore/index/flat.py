"""Exhaustive search in the same container: the baseline of every other index."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import as_integer
from lshcore.hashers.base import Hasher

from .container import Index


class FlatIndex(Index):
    """Everything in one bucket, so that a search ranks every row.

    Parameters
    ----------
    hasher : Hasher, optional
        Fitted hasher, for rank "hamming" and for a shortlist.
    vectors : {"float32", "float16", None}
        Keep the vectors, for ranks "cosine" and "l2". "float16" rounds them to half the size: values up to 65504, and
        distances are those to the rounded vectors.

    Raises
    ------
    ValueError
        If there is nothing to rank by, or the hasher is not fitted.
    """

    def __init__(self, hasher: Hasher | None = None, vectors: str | None = "float32") -> None:
        super().__init__(hasher, vectors)
        self._dim: int | None = None
        if self.hasher is None and self.vectors is None:
            raise ValueError('FlatIndex: needs a hasher or vectors="float32" to rank by, got neither')
        if self.hasher is not None:
            self._dim = self.hasher.n_features_in_
            self._core = self._make_core(self._make_partitioner(), self._dim)

    def _make_partitioner(self) -> _core.OneBucket:
        return _core.OneBucket()

    def _saved_arguments(self) -> dict[str, Any]:
        return {**super()._saved_arguments(), "dim": self._dim}

    @classmethod
    def _empty_from_saved(cls, arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], hasher: Any) -> Self:
        index = cls(hasher, arguments["vectors"])
        if index._core is None and arguments["dim"] is not None:
            index._dim = as_integer(arguments["dim"], "FlatIndex", "dim", low=1)
            index._core = index._make_core(index._make_partitioner(), index._dim)
        return index

    @property
    def dim(self) -> int | None:
        """Columns that rows must have; without a hasher those of the first rows added, and None until then."""
        return self._dim

    def _add(self, x: NDArray[np.float32], ids: NDArray[np.int64] | None, jobs: int) -> None:
        super()._add(x, ids, jobs)
        self._dim = x.shape[1]

    def _bucket_sizes(self, table: int) -> NDArray[np.int64]:
        return np.array([len(self)] * (len(self) > 0), dtype=np.int64)
