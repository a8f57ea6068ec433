"""The one container behind every index: rows in, nearest rows out."""

import math
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core, _device
from lshcore._validation import as_integer, as_matrix, as_numeric, check_choice, check_k, resolve_jobs
from lshcore.hashers.lattice import LatticeHasher

from .filters import resolve_filter
from .queries import Queries
from .results import Candidates, RangeSearchResult, SearchResult
from .rows import Rows

RANKS = ("hamming", "margin", "cosine", "l2", "ip")
CODE_RANKS = ("hamming", "margin")


class Index(Rows):
    """Rows under ids, their buckets, and the codes or vectors that rank them."""

    @property
    def _default_rank(self) -> str:
        return "hamming" if self.vectors is None else "cosine"

    def _resolve_rank(self, rank: str | None, where: str) -> str:
        if rank is None:
            rank = self._default_rank
        check_choice(rank, where, "rank", RANKS)
        if rank in CODE_RANKS:
            if self.hasher is None:
                raise ValueError(f'{where}: rank "{rank}" needs codes, and this index has no hasher to make them')
            if isinstance(self.hasher, LatticeHasher):
                raise ValueError(
                    f'{where}: rank must be "cosine" or "l2", with vectors="float32" in the index, for the codes of '
                    f'{type(self.hasher).__name__} number cells and have no distance, got "{rank}"'
                )
        elif self.vectors is None:
            raise ValueError(
                f'{where}: rank "{rank}" needs the vectors, and this index keeps none; make it with vectors="float32"'
            )
        return rank

    def _resolve_probes(self, probes: int | None, where: str) -> int:
        if probes is not None and as_integer(probes, where, "probes") != 1:
            raise ValueError(f"{where}: probes must be 1, for everything is in one bucket, got {probes}")
        return 1

    def _resolve_radius(self, radius: int | None, where: str) -> int:
        """The radius, or -1 for none."""
        if radius is not None:
            raise ValueError(
                f"{where}: radius must be None, for only the keys of an LSHIndex are made of bits, got {radius!r}"
            )
        return -1

    def _resolve_shortlist(self, shortlist: int | None, rank: str, k: Any, where: str) -> int:
        """The length of the shortlist for k hits, or 0 for none."""
        if shortlist is None:
            return 0
        length = as_integer(shortlist, where, "shortlist", low=1)
        if self.hasher is None:
            raise ValueError(f"{where}: shortlist needs codes, and this index has no hasher to make them")
        if rank == "hamming":
            raise ValueError(f'{where}: shortlist must come before another rank than "hamming", got rank "hamming"')
        if isinstance(self.hasher, LatticeHasher):
            raise ValueError(
                f"{where}: shortlist must be None, for the codes of {type(self.hasher).__name__} number cells and have "
                f"no distance, got {shortlist}"
            )
        return min(length, max(1, len(self)))

    def _prepare(
        self,
        Q: ArrayLike,
        where: str,
        jobs: int,
        *,
        probes: int | None = None,
        radius: int | None = None,
        rank: str | None = None,
        shortlist: int | None = None,
        filter: Any = None,
        ranked: bool = True,
        k: Any = 1,
    ) -> Queries:
        """Check the queries and the options of a search, and encode, once."""
        x = as_matrix(Q, where, dim=self.dim, allow_1d=True, name="Q", n_jobs=jobs)
        chosen = self._resolve_rank(rank, where) if ranked else "none"
        within = self._resolve_radius(radius, where)
        if within >= 0 and probes is not None:
            raise ValueError(f"{where}: probes and radius exclude each other, got probes={probes} and radius={radius}")
        number = self._resolve_probes(probes, where)
        length = self._resolve_shortlist(shortlist, chosen, k, where)
        allowed = None if filter is None else resolve_filter(filter, where, self, len(x))
        codes, margins, seconds = None, None, 0.0
        if self.hasher is not None and (self._keys_from == "codes" or chosen in CODE_RANKS or length > 0):
            start = time.perf_counter()
            directed = self._keys_from == "codes" and within < 0 and number > self.n_tables
            if directed or chosen == "margin":
                margins = self.hasher.project_query(x, n_jobs=jobs)
                codes = _core.pack_signs(margins)
            else:
                codes = self.hasher.encode_query(x, n_jobs=jobs).words
            seconds = time.perf_counter() - start
        needs_vectors = self._keys_from in ("vectors", "lattice") or chosen not in CODE_RANKS
        return Queries(
            len(x), codes, margins, x if needs_vectors else None, chosen, number, within, length, allowed, seconds
        )

    def _searchable(self, queries: Queries) -> _core.Index:
        """The core; before the first row an empty one that is not kept, so that a search settles nothing."""
        if self._core is not None:
            return self._core
        dim = 1 if queries.vectors is None else queries.vectors.shape[1]
        return self._make_core(self._make_partitioner(), dim)

    def search(
        self,
        Q: ArrayLike,
        k: int = 10,
        *,
        probes: int | None = None,
        radius: int | None = None,
        rank: str | None = None,
        shortlist: int | None = None,
        filter: Any = None,
        n_jobs: int | None = None,
        device: str | None = None,
    ) -> SearchResult:
        """The k nearest candidates of every query.

        Parameters
        ----------
        Q : array_like, (m, d) or (d,)
            Queries; a 1-d one is a single row.
        k : int
            Hits for each query; the first k of a larger k are the same, but for residual codes (see `shortlist`).
        probes : int, optional
            Buckets to look into for each query. `KMeansIndex`: the nearest clusters, by default 1. `LSHIndex`: keys
            over all tables, the query's own key of each included; by default just those, and more are query-directed.
        radius : int, optional
            `LSHIndex` only, instead of `probes`: every key within this Hamming distance of the query's own, in every
            table.
        rank : {"hamming", "margin", "cosine", "l2", "ip"}, optional
            How candidates are ordered; by default what a `KMeansIndex` was made with, else "cosine" where the index
            keeps vectors, and "hamming" where it does not. "margin" weighs each bit in which a code differs from the
            query's by how sure the query is of it, its |margin|; "ip" is the inner product, the largest first.
        shortlist : int, optional
            Rank only so many candidates of each query by the vectors or by "margin": the nearest by (Hamming distance,
            id) of their codes, or those that the residuals of a `KMeansIndex` promise most of. It ends with those that
            would have to be about two standard deviations nearer than they seem to be among the k nearest, more for a
            longer shortlist; so that a larger k may find some that a smaller one does not.
        filter : array_like, optional
            Rows that may be candidates: a mask, bool (n,), in the order of `ids`, or their ids; or a list with an array
            of ids for each query.
        n_jobs : int, optional
            Threads; the result is the same for any number.
        device : {"cpu", "cuda"}, optional
            Where candidates are united and ranked; None is the CPU. The GPU keeps a copy of the index, which it needs
            the memory for; it takes no shortlist, no filter and no rank "margin", and its result is the same.

        Returns
        -------
        SearchResult

        Raises
        ------
        TypeError, ValueError
            If Q is not a finite matrix of the right width, an option is out of range or not for this kind of index, the
            filter does not fit the rows, the index keeps not what rank or shortlist need, or there is no such device.
        MemoryError
            If the index does not fit into the memory of the GPU.
        """
        where = f"{type(self).__name__}.search"
        jobs = resolve_jobs(n_jobs)
        gpu = _device.runs_on_gpu(device, where)
        if gpu and (shortlist is not None or filter is not None or rank == "margin"):
            raise ValueError(f"{where}: device 'cuda' takes no shortlist, no filter and no rank 'margin'")
        queries = self._prepare(
            Q, where, jobs, probes=probes, radius=radius, rank=rank, shortlist=shortlist, filter=filter, k=k
        )
        if gpu:  # whatever a shortlist would be by default: all candidates are ranked
            queries.shortlist = 0
        found = self._nearest(queries, check_k(k, where, queries.n, len(self)), jobs, gpu)
        found.ids = self._named(found.ids)
        return found

    def _nearest(self, queries: Queries, k: int, jobs: int, gpu: bool = False) -> SearchResult:
        """The answer to a search, with the ids that the core has."""
        distances, ids, n_candidates, seconds = self._searchable(queries).search(
            queries.codes,
            queries.vectors,
            k,
            queries.rank,
            queries.probes,
            jobs,
            queries.margins,
            queries.radius,
            queries.shortlist,
            queries.allowed,
            gpu,
        )
        return SearchResult(distances, ids, n_candidates, queries.encode_seconds, seconds)

    def range_search(
        self,
        Q: ArrayLike,
        max_distance: float,
        *,
        probes: int | None = None,
        radius: int | None = None,
        rank: str | None = None,
        filter: Any = None,
        n_jobs: int | None = None,
    ) -> RangeSearchResult:
        """All candidates of every query that are near enough; as `search` in all else.

        Parameters
        ----------
        Q : array_like, (m, d) or (d,)
            Queries; a 1-d one is a single row.
        max_distance : float
            Largest distance, inclusive, in the unit of the rank; for "hamming" a whole number of bits.
        probes, radius, rank, filter, n_jobs
            As for `search`.

        Returns
        -------
        RangeSearchResult

        Raises
        ------
        TypeError, ValueError
            As `search` does, or if max_distance is not a number from 0 on (for "ip" any number).
        """
        where = f"{type(self).__name__}.range_search"
        jobs = resolve_jobs(n_jobs)
        queries = self._prepare(Q, where, jobs, probes=probes, radius=radius, rank=rank, filter=filter)
        offsets, distances, ids, n_candidates = self._searchable(queries).range_search(
            queries.codes,
            queries.vectors,
            _as_distance(max_distance, queries.rank, where),
            queries.rank,
            queries.probes,
            jobs,
            queries.margins,
            queries.radius,
            queries.allowed,
        )
        return RangeSearchResult(offsets, distances, self._named(ids), n_candidates)

    def kneighbors(
        self, X: ArrayLike, n_neighbors: int = 5, return_distance: bool = True, **options: Any
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """`search` in the form of scikit-learn's ``kneighbors``.

        Parameters
        ----------
        X : array_like, (m, d)
        n_neighbors : int
        return_distance : bool
        **options
            As `search` takes them: `probes`, `rank`, `filter`, ...

        Returns
        -------
        distances : ndarray, (m, n_neighbors)
            Unless `return_distance` is false. As `search` gives them, but for rank "l2", where they are not squared.
        ids : ndarray, (m, n_neighbors)
        """
        found = self.search(X, n_neighbors, **options)
        if not return_distance:
            return found.ids
        return _unsquared(found.distances, options.get("rank") or self._default_rank), found.ids

    def radius_neighbors(
        self, X: ArrayLike, radius: float, return_distance: bool = True, **options: Any
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """`range_search` in the form of scikit-learn's ``radius_neighbors``, sorted by distance.

        Parameters
        ----------
        X : array_like, (m, d)
        radius : float
            Largest distance, inclusive; for rank "l2" it is not squared.
        return_distance : bool
        **options
            As `range_search` takes them, but for its `radius`: `probes`, `rank`, `filter`, ...

        Returns
        -------
        distances : ndarray of objects, (m,), each an array
            Unless `return_distance` is false.
        ids : ndarray of objects, (m,), each an array
        """
        where = f"{type(self).__name__}.radius_neighbors"
        rank = options.get("rank") or self._default_rank
        limit = _as_distance(radius, rank, where) ** 2 if rank == "l2" else radius
        found = self.range_search(X, limit, **options)
        ids, distances = np.empty(len(found), object), np.empty(len(found), object)
        for i in range(len(found)):
            near, ids[i] = found[i]
            distances[i] = _unsquared(near, rank)
        return (distances, ids) if return_distance else ids

    def candidates(
        self,
        Q: ArrayLike,
        *,
        probes: int | None = None,
        radius: int | None = None,
        filter: Any = None,
        n_jobs: int | None = None,
    ) -> Candidates:
        """Ids of the rows that a search would choose from, for every query, each once; as `search` in all else."""
        where = f"{type(self).__name__}.candidates"
        jobs = resolve_jobs(n_jobs)
        queries = self._prepare(Q, where, jobs, probes=probes, radius=radius, filter=filter, ranked=False)
        offsets, ids = self._searchable(queries).candidates(
            queries.codes,
            queries.vectors,
            queries.probes,
            jobs,
            queries.margins,
            queries.radius,
            queries.allowed,
            self._default_rank,
        )
        return Candidates(offsets, self._named(ids))

    def _evaluate(
        self,
        accumulator: _core.RankingAccumulator,
        queries: Queries,
        query_labels: _core.Labels,
        labels: _core.Labels,
        jobs: int,
    ) -> None:
        """Rank the whole candidate lists of the queries into the accumulator."""
        self._searchable(queries).evaluate(
            accumulator,
            queries.codes,
            queries.vectors,
            queries.rank,
            queries.probes,
            query_labels,
            labels,
            jobs,
            queries.margins,
            queries.radius,
            queries.shortlist,
            queries.allowed,
        )


def _unsquared(distances: NDArray[Any], rank: str | None) -> NDArray[Any]:
    return np.sqrt(distances) if rank == "l2" else distances


def _as_distance(value: Any, rank: str, where: str) -> float:
    if rank == "hamming":
        return float(min(as_integer(value, where, "max_distance", low=0), _core.MAX_BITS))
    array = as_numeric(value, where, "max_distance")
    if array.ndim != 0 or array.dtype == np.bool_:
        raise TypeError(f"{where}: max_distance must be a number, got {value!r}")
    distance = float(array)
    if math.isnan(distance) or (distance < 0 and rank != "ip"):
        raise ValueError(f"{where}: max_distance must be at least 0, got {distance}")
    return distance
