"""K-means buckets: rows filed under their nearest centroid (an inverted file)."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core, _device
from lshcore._validation import (
    NotFittedError,
    as_integer,
    as_matrix,
    as_share,
    check_choice,
    check_k,
    resolve_jobs,
    resolve_seed,
)
from lshcore.hashers.base import Hasher

from .container import RANKS, Index
from .queries import Queries
from .tuning import Tuned, tune

ALGORITHMS = ("lloyd", "minibatch")
INITS = ("k-means++", "random")
RESIDUAL = "residual"

_N_CLUSTERS = 100

# Rows a cluster that are enough to train on.
_SAMPLE = 64

# Rounds over a quarter of the rows, which do the most, and over all of them, for residual codes.
_WARM_UP, _ROUNDS = 8, 4


@dataclass(frozen=True, slots=True)
class _Clustering:
    centroids: NDArray[np.float32]
    spreads: NDArray[np.float32]  # of each cluster, the mean squared distance from its centroid
    sizes: NDArray[np.float32]  # of each cluster, in rows that it was trained on
    inertia: float
    rounds: int


class KMeansIndex(Index):
    """Rows filed under the nearest of `n_clusters` centroids; a query looks into the clusters nearest to it.

    With ``codes="residual"`` each row also has one bit a dimension of its difference to the centroid. [5]_ From these a
    search estimates all distances in the clusters that it looks into, and ranks by the vectors what may be among the
    nearest: the fastest index here::

        index = KMeansIndex(target_recall=0.95, rank="l2").add(X)
        index.search(queries, k=10)

    Parameters
    ----------
    n_clusters : int, optional
        Number of buckets; by default 100, or with residual codes as many as the rows it is trained on call for: a power
        of two, for some 240 rows each, but not much more than four times the square root of their number.
    max_iter : int
        Most rounds (for "minibatch": most passes over the rows); by default 25, with residual codes 4, after 8 over a
        quarter of the rows.
    tol : float
        "lloyd" stops when the centroids move less than this, relative to the variance of the data.
    algorithm : {"lloyd", "minibatch"}
        The core's k-means, which gives the same centroids for any number of threads, or scikit-learn's
        ``MiniBatchKMeans``.
    random_state : int, None, numpy.random.Generator or numpy.random.RandomState
        Where the first centroids and samples come from.
    vectors : {"float32", "float16", None}
        Keep the vectors, for ranks "cosine", "l2" and "ip". "float16" rounds them to half the size: values up to 65504,
        and distances are those to the rounded vectors (buckets come from the vectors as they were given).
    codes : Hasher or "residual", optional
        Fitted hasher, for rank "hamming" and for a shortlist; or the residuals, for a shortlist of at most 4,096
        columns.
    spherical : bool
        Cluster by angle: rows are scaled to length 1 to train on, and so are the centroids, so that a row's nearest
        centroid is the one at the least angle, whatever its length. [4]_ "lloyd" only, without residual codes.
    init : {"k-means++", "random"}, optional
        Start from centroids far apart, [2]_ or at rows drawn at random, which takes no time and with thousands of
        clusters is hardly worse: the default with residual codes.
    sample : int, optional
        Train on at most so many rows a cluster, drawn at random; by default on all, with residual codes 64.
    rank : {"hamming", "margin", "cosine", "l2", "ip"}, optional
        What searches rank by unless told otherwise; by default "cosine" where vectors are kept, else "hamming".
    target_recall : float, optional
        Once the first rows are in, `tune` for this share of the 10 nearest. Takes residual codes unless told otherwise.

    Attributes
    ----------
    centroids_ : ndarray of float32, (n_clusters, d)
        After training.
    inertia_ : float
        Sum of squared distances of the training rows to their centroids.
    n_iter_ : int
        Rounds run.
    tuned_ : Tuned or None
        What `tune` chose and measured.
    build_seconds_ : dict of str to float
        What the first `add` took to "train" centroids, to "file" rows under them, codes included, and to "tune".

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
    .. [5] J. Gao, C. Long, "RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for approximate
       nearest neighbor search", SIGMOD 2024.
    """

    _keys_from = "vectors"

    centroids_: NDArray[np.float32]
    inertia_: float
    n_iter_: int
    tuned_: Tuned | None
    _trained: _Clustering

    def __init__(
        self,
        n_clusters: int | None = None,
        max_iter: int | None = None,
        tol: float = 1e-4,
        algorithm: str = "lloyd",
        random_state: Any = 0,
        vectors: str | None = "float32",
        codes: Hasher | str | None = None,
        spherical: bool = False,
        init: str | None = None,
        sample: int | None = None,
        rank: str | None = None,
        target_recall: float | None = None,
    ) -> None:
        where = "KMeansIndex"
        if isinstance(codes, str) and codes != RESIDUAL:
            raise ValueError(f'{where}: codes must be "residual", a fitted Hasher or None, got {codes!r}')
        hasher = None if isinstance(codes, str) else codes
        super().__init__(hasher, vectors)
        self.target_recall = None if target_recall is None else as_share(target_recall, where, "target_recall")
        if self.target_recall is not None and hasher is not None:
            raise ValueError(f'{where}: target_recall needs codes="residual", got a {type(hasher).__name__}')
        self.residual = codes == RESIDUAL or (hasher is None and self.target_recall is not None)
        if self.vectors is None and (self.residual or self.target_recall is not None):
            raise ValueError(f'{where}: residual codes and target_recall need vectors="float32" or "float16", got None')
        if self.hasher is None and self.vectors is None:
            raise ValueError(f'{where}: needs vectors="float32" or a hasher in codes to rank by, got neither')
        if n_clusters is None:
            self.n_clusters = 0 if self.residual else _N_CLUSTERS  # 0: as the rows will be
        else:
            self.n_clusters = as_integer(n_clusters, where, "n_clusters", low=1)
        most = (_ROUNDS if self.residual else 25) if max_iter is None else max_iter
        self.max_iter = as_integer(most, where, "max_iter", low=1)
        if isinstance(tol, bool) or not isinstance(tol, int | float | np.integer | np.floating):
            raise TypeError(f"{where}: tol must be a number, got {tol!r}")
        if not 0 <= tol < float("inf"):
            raise ValueError(f"{where}: tol must be finite and at least 0, got {tol}")
        self.tol = float(tol)
        self.algorithm: str = check_choice(algorithm, where, "algorithm", ALGORITHMS)
        if spherical and algorithm != "lloyd":
            raise ValueError(f'{where}: spherical needs algorithm "lloyd", got {algorithm!r}')
        if spherical and self.residual:
            raise ValueError(
                f"{where}: residual codes need clusters of the rows as they are, got spherical=True; scale the rows to "
                "length 1 instead, with Preprocess(centre=False, l2=True)"
            )
        self.spherical = bool(spherical)
        default = "random" if self.residual else "k-means++"
        self.init: str = check_choice(default if init is None else init, where, "init", INITS)
        self.sample = _SAMPLE if sample is None and self.residual else sample
        if self.sample is not None:
            self.sample = as_integer(self.sample, where, "sample", low=1)
        self.random_state = random_state
        self.rank: str | None = None if rank is None else check_choice(rank, where, "rank", RANKS)
        self._resolve_rank(rank, where)
        self.tuned_ = None
        self.build_seconds_: dict[str, float] = {}

    @property
    def dim(self) -> int | None:
        """Columns that rows must have; None before training, unless a hasher says."""
        if self._core is not None:
            return int(self.centroids_.shape[1])
        return super().dim

    @property
    def _default_rank(self) -> str:
        return super()._default_rank if self.rank is None else self.rank

    def _make_partitioner(self) -> _core.ClusterKeys:
        return self._keys(self._trained)

    def _keys(self, trained: _Clustering) -> _core.ClusterKeys:
        return _core.ClusterKeys(trained.centroids, *((trained.spreads, trained.sizes) if self.residual else ()))

    def _saved_arguments(self) -> dict[str, Any]:
        seed = self.random_state if isinstance(self.random_state, int) else None
        names = ("n_clusters", "max_iter", "tol", "algorithm", "spherical", "init", "sample", "rank", "target_recall")
        arguments: dict[str, Any] = {name: getattr(self, name) for name in names}
        arguments["n_clusters"] = self.n_clusters or None
        arguments["codes"] = RESIDUAL if self.residual else None
        arguments["trained"] = {} if self._core is None else {"inertia": self.inertia_, "rounds": self.n_iter_}
        arguments["tuned"] = None if self.tuned_ is None else asdict(self.tuned_)
        return {**super()._saved_arguments(), **arguments, "random_state": seed}

    def _saved_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = super()._saved_arrays()
        if self._core is not None:
            arrays["centroids"] = self.centroids_
            if self.residual:
                arrays |= {"spreads": self._trained.spreads, "sizes": self._trained.sizes}
        return arrays

    @classmethod
    def _empty_from_saved(cls, arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], hasher: Any) -> Self:
        said = dict(arguments)
        codes, trained, tuned = said.pop("codes", None), said.pop("trained"), said.pop("tuned", None)
        index = cls(codes=codes if hasher is None else hasher, **said)
        if "centroids" in arrays:
            centroids = as_matrix(arrays["centroids"], "KMeansIndex")
            if len(centroids) != index.n_clusters:
                raise ValueError(f"centroids must be n_clusters = {index.n_clusters}, got {len(centroids)}")
            spreads = sizes = np.empty(0, np.float32)
            if index.residual:
                spreads, sizes = (
                    as_matrix(arrays[name], "KMeansIndex", allow_1d=True)[0] for name in ("spreads", "sizes")
                )
            clustering = _Clustering(centroids, spreads, sizes, float(trained["inertia"]), int(trained["rounds"]))
            index._keep(clustering, index._make_core(index._keys(clustering), centroids.shape[1]))
        index.tuned_ = None if tuned is None else Tuned(**tuned).checked(index)
        return index

    def _describe(self) -> list[str]:
        clusters = f"{self.n_clusters:,} clusters" if self.n_clusters else "clusters"
        parts = [clusters + ("" if self._core is not None else " not trained yet")]
        if self.residual:
            parts.append("residual codes")
        if self.tuned_ is not None:
            parts.append(f"tuned ({self.tuned_})")
        return parts

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        n_jobs: int | None = None,
        on_round: Callable[[int, float], None] | None = None,
        device: str | None = None,
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
        device : {"cpu", "cuda"}, optional
            Where rows are compared with centroids ("lloyd" only); None is the CPU. The centroids are the same.

        Raises
        ------
        TypeError, ValueError
            If X is not such a matrix, the index holds rows already, or there is no such device; the index stays as it
            was.
        MemoryError
            If X does not fit into the memory of the GPU.
        """
        where = "KMeansIndex.fit"
        jobs = resolve_jobs(n_jobs)
        gpu = _device.runs_on_gpu(device, where)
        if gpu and self.algorithm != "lloyd":
            raise ValueError(f"{where}: device 'cuda' is for algorithm 'lloyd', got {self.algorithm!r}")
        if len(self) > 0:
            raise ValueError(f"{where}: the index must be empty to be trained, got one of {len(self):,} rows")
        hasher_dim = None if self.hasher is None else self.hasher.n_features_in_
        x = as_matrix(X, where, dim=hasher_dim, min_rows=1, n_jobs=jobs)
        trained = self._train(x, where, jobs, on_round, gpu)
        with self._changing:
            self._keep(trained, self._make_core(self._keys(trained), trained.centroids.shape[1]))
            self._changed = True
        return self

    def _keep(self, trained: _Clustering, core: _core.Index) -> None:
        # In one step: Ctrl-C between two would leave centroids that are not the core's.
        vars(self).update(
            centroids_=trained.centroids,
            inertia_=trained.inertia,
            n_iter_=trained.rounds,
            n_clusters=len(trained.centroids),
            _trained=trained,
            _core=core,
        )

    def _train(
        self,
        x: NDArray[np.float32],
        where: str,
        jobs: int,
        on_round: Callable[[int, float], None] | None = None,
        gpu: bool = False,
    ) -> _Clustering:
        if self.residual and x.shape[1] > _core.MAX_BITS:
            raise ValueError(
                f"{where}: X must have at most {_core.MAX_BITS:,} columns for residual codes, got {x.shape[1]:,}"
            )
        n_clusters = self.n_clusters or _n_clusters(len(x))
        if len(x) < n_clusters:
            raise ValueError(f"{where}: X must have at least n_clusters = {n_clusters} rows, got {len(x)}")
        seed = resolve_seed(self.random_state, where)
        if self.sample is not None and len(x) > self.sample * n_clusters:
            drawn = np.random.default_rng(seed).choice(len(x), self.sample * n_clusters, replace=False)
            x = x[np.sort(drawn)]
        if self.algorithm == "minibatch":
            return _minibatch(x, n_clusters, seed, self.max_iter, jobs)
        if self.spherical:
            x = _core.normalize_rows(x, jobs)
        centroids, labels, inertia, rounds, spreads = _core.kmeans(
            x,
            n_clusters,
            seed,
            self.max_iter,
            self.tol,
            jobs,
            on_round,
            self.spherical,
            self.init == "random",
            _WARM_UP if self.residual else 0,
            gpu,
        )
        return _Clustering(centroids, spreads, _sizes(labels, n_clusters), inertia, rounds)

    def _add(self, x: NDArray[np.float32], ids: NDArray[np.int64] | None, jobs: int) -> None:
        first = len(self) == 0
        times = [time.perf_counter()]
        if self._core is not None:
            self._fill(self._core, x, ids, jobs)
        elif len(x) > 0:
            trained = self._train(x, "KMeansIndex.add", jobs)
            times.append(time.perf_counter())
            core = self._make_core(self._keys(trained), x.shape[1])
            self._fill(core, x, ids, jobs)
            self._keep(trained, core)
            times.append(time.perf_counter())
        if first and self.target_recall is not None and len(self) > 1:
            self.tune(n_jobs=jobs)
            times.append(time.perf_counter())
        if len(times) > 2:
            self.build_seconds_ = dict(zip(("train", "file", "tune"), np.diff(times).tolist(), strict=False))

    def tune(
        self,
        target_recall: float | None = None,
        k: int = 10,
        *,
        rank: str | None = None,
        n_jobs: int | None = None,
    ) -> Tuned:
        """Choose the cheapest `probes` and `shortlist` that find a share of the k nearest; searches take them.

        Measured on up to 500 rows of the index, each searched for among all others. Worth doing again once the index
        has grown to several times its rows.

        Parameters
        ----------
        target_recall : float, optional
            The share, above 0 and at most 1; by default that of the index.
        k : int
        rank : {"cosine", "l2", "ip"}, optional
            By default that of searches.
        n_jobs : int, optional
            Threads; the choice is the same for any number.

        Returns
        -------
        Tuned
            What was chosen and measured; also in `tuned_`.

        Raises
        ------
        ValueError
            If the index holds fewer than two rows, has no residual codes, or the share is out of range.
        """
        where = "KMeansIndex.tune"
        share = self.target_recall if target_recall is None else as_share(target_recall, where, "target_recall")
        if share is None:
            raise ValueError(f"{where}: target_recall must be given, for this index was made without one")
        if not self.residual:
            raise ValueError(f'{where}: needs residual codes, and this index was made without codes="residual"')
        if len(self) < 2:
            raise ValueError(f"{where}: the index must hold at least 2 rows, got {len(self)}")
        chosen = self._resolve_rank(rank, where)
        seed = self.random_state if isinstance(self.random_state, int) else 0
        tuned = tune(self, share, check_k(k, where), chosen, seed, resolve_jobs(n_jobs))
        with self._changing:
            self.tuned_ = tuned
            self._changed = True
        return tuned

    def _resolve_probes(self, probes: int | None, where: str) -> int:
        if probes is None:
            return 1 if self.tuned_ is None else self.tuned_.probes
        return as_integer(probes, where, "probes", low=1, high=self.n_clusters)

    def _resolve_shortlist(self, shortlist: int | None, rank: str, k: Any, where: str) -> int:
        if not self.residual:
            return super()._resolve_shortlist(shortlist, rank, k, where)
        if shortlist is not None:
            return min(as_integer(shortlist, where, "shortlist", low=1), max(1, len(self)))
        if self.tuned_ is None:
            return 0
        more = max(1.0, check_k(k, where) / self.tuned_.k)  # than hits that it was tuned for
        return min(max(1, len(self)), math.ceil(self.tuned_.shortlist * more))

    def _prepare(self, Q: ArrayLike, where: str, jobs: int, **options: Any) -> Queries:
        if self._core is None:
            raise NotFittedError(f"{where}: this KMeansIndex is not trained; call fit(X) or add(X) first")
        return super()._prepare(Q, where, jobs, **options)


def _n_clusters(rows: int) -> int:
    """A power of two: some 240 rows a cluster, or four times the square root of the rows where that is fewer."""
    return 1 << max(0, round(math.log2(max(1.0, min(rows / 240, 4 * math.sqrt(rows))))))


def _sizes(labels: NDArray[np.int32], n_clusters: int) -> NDArray[np.float32]:
    return np.bincount(labels, minlength=n_clusters).astype(np.float32)


def _minibatch(x: NDArray[np.float32], n_clusters: int, seed: int, max_iter: int, jobs: int) -> _Clustering:
    """Centroids by scikit-learn's mini-batch k-means, and what is known of their clusters over all rows."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(n_clusters=n_clusters, max_iter=max_iter, random_state=seed % 2**32, n_init="auto").fit(x)
    centroids = np.ascontiguousarray(model.cluster_centers_, dtype=np.float32)
    labels, distances = _core.assign_clusters(x, centroids, jobs)
    sizes = _sizes(labels, n_clusters)
    spreads = (np.bincount(labels, distances, n_clusters) / np.maximum(1, sizes)).astype(np.float32)
    return _Clustering(centroids, spreads, sizes, float(distances.sum(dtype=np.float64)), int(model.n_iter_))
