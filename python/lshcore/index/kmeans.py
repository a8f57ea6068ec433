"""K-means buckets: rows filed under their nearest centroid (an inverted file)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core
from lshcore._validation import (
    NotFittedError,
    as_integer,
    as_matrix,
    check_choice,
    resolve_jobs,
    resolve_seed,
)
from lshcore.hashers.base import Hasher

from .container import Index
from .queries import Queries

ALGORITHMS = ("lloyd", "minibatch")
CODES = ("residual",)


@dataclass(frozen=True, slots=True)
class _Clustering:
    centroids: NDArray[np.float32]
    inertia: float
    rounds: int


class KMeansIndex(Index):
    """Rows filed under the nearest of `n_clusters` centroids; a query looks into the clusters nearest to it.

    Parameters
    ----------
    n_clusters : int
        Number of buckets.
    max_iter : int
        Most rounds (for "minibatch": most passes over the rows).
    tol : float
        "lloyd" stops when the centroids move less than this, relative to the variance of the data.
    algorithm : {"lloyd", "minibatch"}
        The core's k-means, which gives the same centroids for any number of threads, or scikit-learn's
        ``MiniBatchKMeans``.
    spherical : bool
        Cluster by angle: rows are scaled to length 1 to train on, and so are the centroids, so that a row's nearest
        centroid is the one at the least angle, whatever its length. [4]_ "lloyd" only.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the first centroids come from.
    vectors : {"float32", "float16", None}
        Keep the vectors, for ranks "cosine" and "l2". "float16" rounds them to half the size: values up to 65504, and
        distances are those to the rounded vectors (buckets come from the vectors as they were given).
    codes : Hasher, optional
        Fitted hasher, for rank "hamming" and for a shortlist.

    Attributes
    ----------
    centroids_ : ndarray of float32, (n_clusters, d)
        After training.
    inertia_ : float
        Sum of squared distances of the training rows to their centroids.
    n_iter_ : int
        Rounds run.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or there is nothing to rank by.

    References
    ----------
    .. [1] S. P. Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 28(2), 1982.
    .. [2] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    .. [3] D. Sculley, "Web-scale k-means clustering", WWW 2010.
    .. [4] I. S. Dhillon, D. S. Modha, "Concept decompositions for large sparse text data using clustering", Machine
       Learning 42, 2001.
    """

    _keys_from = "vectors"

    centroids_: NDArray[np.float32]
    inertia_: float
    n_iter_: int

    def __init__(
        self,
        n_clusters: int = 100,
        max_iter: int = 25,
        tol: float = 1e-4,
        algorithm: str = "lloyd",
        random_state: Any = 0,
        vectors: str | None = "float32",
        codes: Hasher | str | None = None,
        spherical: bool = False,
    ) -> None:
        where = "KMeansIndex"
        self.residuals = isinstance(codes, str) and check_choice(codes, where, "codes", CODES) == "residual"
        super().__init__(None if isinstance(codes, str) else codes, vectors)
        if self.residuals and self.vectors is None:
            raise ValueError(f'{where}: codes "residual" need the vectors to rank by, got vectors=None')
        if self.hasher is None and self.vectors is None:
            raise ValueError(f'{where}: needs vectors="float32" or a hasher in codes to rank by, got neither')
        self.n_clusters = as_integer(n_clusters, where, "n_clusters", low=1)
        self.max_iter = as_integer(max_iter, where, "max_iter", low=1)
        if isinstance(tol, bool) or not isinstance(tol, int | float | np.integer | np.floating):
            raise TypeError(f"{where}: tol must be a number, got {tol!r}")
        if not 0 <= tol < float("inf"):
            raise ValueError(f"{where}: tol must be finite and at least 0, got {tol}")
        self.tol = float(tol)
        self.algorithm: str = check_choice(algorithm, where, "algorithm", ALGORITHMS)
        if spherical and algorithm != "lloyd":
            raise ValueError(f'{where}: spherical needs algorithm "lloyd", got {algorithm!r}')
        self.spherical = bool(spherical)
        self.random_state = random_state

    @property
    def dim(self) -> int | None:
        """Columns that rows must have; None before training, unless a hasher says."""
        if self._core is not None:
            return int(self.centroids_.shape[1])
        return super().dim

    def _make_partitioner(self) -> _core.ClusterKeys:
        return _core.ClusterKeys(self.centroids_, self.residuals)

    def _saved_arguments(self) -> dict[str, Any]:
        seed = self.random_state if isinstance(self.random_state, int) else None
        names = ("n_clusters", "max_iter", "tol", "algorithm", "spherical")
        trained = {} if self._core is None else {"inertia": self.inertia_, "rounds": self.n_iter_}
        arguments = {name: getattr(self, name) for name in names}
        return {**super()._saved_arguments(), **arguments, "random_state": seed, "trained": trained}

    def _saved_arrays(self) -> dict[str, NDArray[Any]]:
        return {**super()._saved_arrays(), **({} if self._core is None else {"centroids": self.centroids_})}

    @classmethod
    def _empty_from_saved(cls, arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], hasher: Any) -> Self:
        rest = {name: value for name, value in arguments.items() if name != "trained"}
        index = cls(codes=hasher, **rest)
        if "centroids" in arrays:
            centroids = as_matrix(arrays["centroids"], "KMeansIndex")
            if len(centroids) != index.n_clusters:
                raise ValueError(f"centroids must be n_clusters = {index.n_clusters}, got {len(centroids)}")
            trained = arguments["trained"]
            clustering = _Clustering(centroids, float(trained["inertia"]), int(trained["rounds"]))
            index._keep(clustering, index._make_core(_core.ClusterKeys(centroids, index.residuals), centroids.shape[1]))
        return index

    def _describe(self) -> list[str]:
        return [f"{self.n_clusters:,} clusters" + ("" if self._core is not None else " not trained yet")]

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        n_jobs: int | None = None,
        on_round: Callable[[int, float], None] | None = None,
    ) -> Self:
        """Train the centroids on X (n, d), without adding its rows; `y` is ignored.

        Parameters
        ----------
        X : array_like, (n, d)
            At least `n_clusters` rows.
        n_jobs : int, optional
            Threads; the centroids are the same for any number.
        on_round : callable, optional
            Called with the number of rounds done and the inertia after each ("lloyd" only).

        Raises
        ------
        TypeError, ValueError
            If X is not such a matrix, or the index holds rows already; the index stays as it was.
        """
        where = "KMeansIndex.fit"
        jobs = resolve_jobs(n_jobs)
        if len(self) > 0:
            raise ValueError(f"{where}: the index must be empty to be trained, got one of {len(self):,} rows")
        hasher_dim = None if self.hasher is None else self.hasher.n_features_in_
        trained = self._train(as_matrix(X, where, dim=hasher_dim, min_rows=1, n_jobs=jobs), where, jobs, on_round)
        with self._changing:
            self._keep(trained, self._make_core(_core.ClusterKeys(trained.centroids, self.residuals), trained.centroids.shape[1]))
            self._changed = True
        return self

    def _keep(self, trained: _Clustering, core: _core.Index) -> None:
        # In one step: Ctrl-C between two would leave centroids that are not the core's.
        vars(self).update(centroids_=trained.centroids, inertia_=trained.inertia, n_iter_=trained.rounds, _core=core)

    def _train(
        self,
        x: NDArray[np.float32],
        where: str,
        jobs: int,
        on_round: Callable[[int, float], None] | None = None,
    ) -> _Clustering:
        if len(x) < self.n_clusters:
            raise ValueError(f"{where}: X must have at least n_clusters = {self.n_clusters} rows, got {len(x)}")
        seed = resolve_seed(self.random_state, where)
        if self.algorithm == "minibatch":
            return _minibatch(x, self.n_clusters, seed, self.max_iter, jobs)
        if self.spherical:
            x = _core.normalize_rows(x, jobs)
        centroids, _, inertia, rounds = _core.kmeans(
            x, self.n_clusters, seed, self.max_iter, self.tol, jobs, on_round, self.spherical
        )
        return _Clustering(centroids, inertia, rounds)

    def _add(self, x: NDArray[np.float32], ids: NDArray[np.int64] | None, jobs: int) -> None:
        if self._core is not None:
            self._fill(self._core, x, ids, jobs)
        elif len(x) > 0:
            trained = self._train(x, "KMeansIndex.add", jobs)
            core = self._make_core(_core.ClusterKeys(trained.centroids, self.residuals), x.shape[1])
            self._fill(core, x, ids, jobs)
            self._keep(trained, core)

    def _resolve_probes(self, probes: int | None, where: str) -> int:
        return 1 if probes is None else as_integer(probes, where, "probes", low=1, high=self.n_clusters)

    def _resolve_shortlist(self, shortlist: int | None, rank: str, where: str) -> int:
        if not self.residuals or shortlist is None:
            return super()._resolve_shortlist(shortlist, rank, where)
        return min(as_integer(shortlist, where, "shortlist", low=1), max(1, len(self)))

    def _prepare(self, Q: ArrayLike, where: str, jobs: int, **options: Any) -> Queries:
        if self._core is None:
            raise NotFittedError(f"{where}: this KMeansIndex is not trained; call fit(X) or add(X) first")
        return super()._prepare(Q, where, jobs, **options)


def _minibatch(x: NDArray[np.float32], n_clusters: int, seed: int, max_iter: int, jobs: int) -> _Clustering:
    """Centroids by scikit-learn's mini-batch k-means, and their inertia over all rows."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(n_clusters=n_clusters, max_iter=max_iter, random_state=seed % 2**32, n_init="auto").fit(x)
    centroids = np.ascontiguousarray(model.cluster_centers_, dtype=np.float32)
    _, distances = _core.assign_clusters(x, centroids, jobs)
    return _Clustering(centroids, float(distances.sum(dtype=np.float64)), int(model.n_iter_))
