"""Approximate neighbours for scikit-learn's pipelines."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._estimator import Estimator
from ._validation import as_integer, as_matrix, check_choice, check_fitted, resolve_jobs
from .hashers import RandomHyperplanes
from .index import LSHIndex

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

METRICS = {"euclidean": "l2", "cosine": "cosine"}


class LSHNeighborsTransformer(Estimator):
    """Sparse graph of approximate nearest neighbours, in the place of scikit-learn's ``KNeighborsTransformer``.

    What follows in the pipeline takes ``metric="precomputed"``. Rows for which the tables give too few candidates are
    searched exhaustively, so that every row has its neighbours. The rows fitted on are kept twice: in the index, and to
    make it again when the transformer is unpickled.

    Parameters
    ----------
    n_neighbors : int
        Neighbours of a row, besides itself where it was among the rows fitted on.
    metric : {"euclidean", "cosine"}
    n_tables, key_bits : int
        Of the `LSHIndex`; `lshcore.plan` says what a recall takes.
    probes : int, optional
        Keys looked into over all tables; one a table by default.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Of the hyperplanes.
    n_jobs : int, optional

    Attributes
    ----------
    n_features_in_, n_samples_fit_ : int
    index_ : LSHIndex

    Raises
    ------
    TypeError, ValueError
        From `fit`, if an argument is out of range or X is not a finite matrix.
    """

    n_features_in_: int
    n_samples_fit_: int
    index_: LSHIndex

    def __init__(
        self,
        n_neighbors: int = 5,
        metric: str = "euclidean",
        n_tables: int = 16,
        key_bits: int = 10,
        probes: int | None = None,
        random_state: Any = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.n_tables = n_tables
        self.key_bits = key_bits
        self.probes = probes
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Index the rows of X (n, d); `y` is ignored."""
        where = f"{type(self).__name__}.fit"
        jobs = resolve_jobs(self.n_jobs)
        x = as_matrix(X, where, min_rows=1, n_jobs=jobs)
        as_integer(self.n_neighbors, where, "n_neighbors", low=1)
        check_choice(self.metric, where, "metric", tuple(METRICS))
        tables = as_integer(self.n_tables, where, "n_tables", low=1)
        bits = tables * as_integer(self.key_bits, where, "key_bits", low=1, high=_core.MAX_KEY_BITS)
        if bits > _core.MAX_BITS:
            raise ValueError(f"{where}: n_tables * key_bits must be at most {_core.MAX_BITS}, got {bits}")
        if self.probes is not None:
            as_integer(self.probes, where, "probes", low=tables)
        hasher = RandomHyperplanes(bits, random_state=self.random_state).fit(x)
        index = LSHIndex(hasher, tables, self.key_bits, vectors="float32").add(x, n_jobs=jobs)
        self.index_, self.n_features_in_, self.n_samples_fit_ = index, x.shape[1], len(x)
        self._rows = x.copy()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # So that a fitted one can be pickled, as scikit-learn's caches do; its index is made again.
        state = self.__dict__.copy()
        if "index_" in state:
            state["index_"] = self.index_.hasher, self.index_.positions
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "index_" in state:
            hasher, positions = state["index_"]
            self.index_ = LSHIndex(hasher, keys=positions, vectors="float32").add(self._rows)

    def transform(self, X: ArrayLike) -> "csr_matrix":
        """Distances of X (m, d) to its nearest rows, float64 (m, n_samples_fit_), ``n_neighbors + 1`` of them a row.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If X is not a finite matrix of `n_features_in_` columns.
        """
        from scipy.sparse import csr_matrix

        where = f"{type(self).__name__}.transform"
        check_fitted(self, "n_features_in_", where)
        x = as_matrix(X, where, dim=self.n_features_in_, n_jobs=resolve_jobs(self.n_jobs))
        k = min(self.n_neighbors + 1, self.n_samples_fit_)  # a row that was fitted on is a neighbour of its own
        distances, rows = self._search(x, k)
        if self.metric == "euclidean":
            distances = np.sqrt(distances)
        starts = np.arange(0, len(x) * k + 1, k)
        return csr_matrix((distances.ravel(), rows.ravel(), starts), shape=(len(x), self.n_samples_fit_))

    def _search(self, x: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        options: dict[str, Any] = {"k": k, "rank": METRICS[self.metric], "n_jobs": self.n_jobs}
        found = self.index_.search(x, probes=self.probes, **options)
        distances, rows = found.distances.astype(np.float64), found.ids.copy()
        short = np.flatnonzero(found.n_candidates < k)
        if len(short):
            exact = self.index_.search(x[short], radius=self.index_.key_bits, **options)  # every bucket
            distances[short], rows[short] = exact.distances, exact.ids
        return distances, rows

    def fit_transform(self, X: ArrayLike, y: object = None) -> "csr_matrix":
        """``fit(X).transform(X)``."""
        return self.fit(X).transform(X)
