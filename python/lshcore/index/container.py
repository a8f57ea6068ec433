"""The one container behind every index: rows in, nearest rows out."""

import copy
import time
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core
from lshcore._validation import (
    as_filter,
    as_ids,
    as_integer,
    as_matrix,
    check_choice,
    check_fitted,
    check_half,
    check_k,
    resolve_jobs,
)
from lshcore.hashers.base import Hasher
from lshcore.hashers.lattice import LatticeHasher

from .queries import Queries
from .results import Candidates, SearchResult

RANKS = ("hamming", "margin", "cosine", "l2")
CODE_RANKS = ("hamming", "margin")
VECTORS = (None, "float32", "float16")
STAGES = ("probe", "union", "rerank")

Partitioner = _core.OneBucket | _core.BitKeys | _core.ClusterKeys | _core.LatticeKeys


class Index(ABC):
    """Rows under ids, their buckets, and the codes or vectors that rank them.

    A subclass chooses the partitioner, in `_make_partitioner`. Adding is all or nothing: a call that fails leaves the
    index as it was.
    """

    # What the partitioner reads: codes, vectors, the codes of rows and the vectors of queries ("lattice"), or neither.
    _keys_from: str | None = None

    def __init__(self, hasher: Hasher | None, vectors: str | None) -> None:
        where = type(self).__name__
        if hasher is not None:
            if not isinstance(hasher, Hasher):
                raise TypeError(f"{where}: hasher must be a lshcore.hashers.Hasher, got {type(hasher).__name__}")
            check_fitted(hasher, "n_features_in_", where)
            # A copy, so that fitting the caller's object again cannot change what the stored codes mean.
            hasher = copy.copy(hasher)
        self.hasher = hasher
        self.vectors: str | None = check_choice(vectors, where, "vectors", VECTORS)
        self._core: _core.Index | None = None

    @abstractmethod
    def _make_partitioner(self) -> Partitioner:
        """What files rows into buckets."""

    def _make_core(self, partitioner: Partitioner, dim: int) -> _core.Index:
        """Empty core container for rows of `dim` columns."""
        return _core.Index(partitioner, self.n_bits, dim if self._takes_vectors else 0, self.vectors)

    @property
    def _takes_vectors(self) -> bool:
        """Whether the core is given the vectors of new rows."""
        return self.vectors is not None or self._keys_from == "vectors"

    def _describe(self) -> list[str]:
        """What `repr` says of the partitioner."""
        return []

    @property
    def n_bits(self) -> int:
        """Bits of a code; 0 without a hasher."""
        return 0 if self.hasher is None else self.hasher.n_bits_

    @property
    def dim(self) -> int | None:
        """Columns that rows must have; None while any number will do."""
        return None if self.hasher is None else self.hasher.n_features_in_

    @property
    def ids(self) -> NDArray[np.int64]:
        """Id of every row, int64 (n,), in the order in which they were added."""
        return np.empty(0, dtype=np.int64) if self._core is None else self._core.ids

    @property
    def n_tables(self) -> int:
        """Tables that rows are filed in."""
        return 1 if self._core is None else max(1, self._core.n_tables)

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes held, by part: "codes", "vectors", "ids", "tables"."""
        if self._core is None:
            return {"codes": 0, "vectors": 0, "ids": 0, "tables": 0}
        return dict(self._core.nbytes)

    def __len__(self) -> int:
        return 0 if self._core is None else len(self._core)

    def __repr__(self) -> str:
        parts = [f"{len(self):,} rows", *self._describe()]
        if self.hasher is not None:
            parts.append(f"{self.n_bits}-bit codes")
        if self.vectors is not None:
            parts.append(f"vectors {self.vectors}")
        parts.append(f"{sum(self.nbytes.values()) / 1e6:.1f} MB")
        return f"{type(self).__name__}({', '.join(parts)})"

    def bucket_sizes(self, table: int = 0) -> NDArray[np.int64]:
        """Number of rows in each bucket of a table that is not empty, int64.

        Raises
        ------
        IndexError
            If there is no such table.
        """
        where = f"{type(self).__name__}.bucket_sizes"
        number = as_integer(table, where, "table")
        if not 0 <= number < self.n_tables:
            raise IndexError(f"{where}: table must be between 0 and {self.n_tables - 1}, got {number}")
        return self._bucket_sizes(number)

    def _bucket_sizes(self, table: int) -> NDArray[np.int64]:
        return np.empty(0, dtype=np.int64) if self._core is None else self._core.bucket_sizes(table)

    def add(self, X: ArrayLike, ids: ArrayLike | None = None, n_jobs: int | None = None) -> Self:
        """Add rows.

        Parameters
        ----------
        X : array_like, (n, d)
            Rows; none at all is fine.
        ids : array_like of int, (n,), optional
            Their ids: from 0 on, none twice, none that the index holds already. By default they go on from the largest
            id so far.
        n_jobs : int, optional
            Threads; the index is the same for any number.

        Returns
        -------
        Index
            This index.

        Raises
        ------
        TypeError, ValueError
            If X or the ids are not as described, or a value is above 65504 where float16 keeps it; the index stays as
            it was.
        """
        where = f"{type(self).__name__}.add"
        jobs = resolve_jobs(n_jobs)
        x = as_matrix(X, where, dim=self.dim, n_jobs=jobs)
        if self.vectors == "float16":
            check_half(x, where)
        rows = None if ids is None else as_ids(ids, where, len(x))
        self._add(x, rows, jobs)
        return self

    def _add(self, x: NDArray[np.float32], ids: NDArray[np.int64] | None, jobs: int) -> None:
        core = self._make_core(self._make_partitioner(), x.shape[1]) if self._core is None else self._core
        self._fill(core, x, ids, jobs)
        self._core = core

    def _fill(self, core: _core.Index, x: NDArray[np.float32], ids: NDArray[np.int64] | None, jobs: int) -> None:
        codes = None if self.hasher is None else self.hasher.encode(x, n_jobs=jobs).words
        core.add(codes, x if self._takes_vectors else None, ids, jobs)

    def _resolve_rank(self, rank: str | None, where: str) -> str:
        if rank is None:
            rank = "hamming" if self.vectors is None else "cosine"
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

    def _resolve_shortlist(self, shortlist: int | None, rank: str, where: str) -> int:
        """The length of the shortlist, or 0 for none."""
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
        filter: ArrayLike | None = None,
        ranked: bool = True,
    ) -> Queries:
        """Check the queries and the options of a search, and encode, once."""
        x = as_matrix(Q, where, dim=self.dim, allow_1d=True, name="Q", n_jobs=jobs)
        chosen = self._resolve_rank(rank, where) if ranked else "none"
        within = self._resolve_radius(radius, where)
        if within >= 0 and probes is not None:
            raise ValueError(f"{where}: probes and radius exclude each other, got probes={probes} and radius={radius}")
        number = self._resolve_probes(probes, where)
        length = self._resolve_shortlist(shortlist, chosen, where)
        allowed = None if filter is None else as_filter(filter, where, self.ids)
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
        filter: ArrayLike | None = None,
        n_jobs: int | None = None,
    ) -> SearchResult:
        """The k nearest candidates of every query.

        Parameters
        ----------
        Q : array_like, (m, d) or (d,)
            Queries; a 1-d one is a single row.
        k : int
            Hits for each query; the first k of a larger k are the same.
        probes : int, optional
            Buckets to look into for each query. `KMeansIndex`: the nearest clusters, by default 1. `LSHIndex`: keys
            over all tables, the query's own key of each included; by default just those, and more are query-directed.
        radius : int, optional
            `LSHIndex` only, instead of `probes`: every key within this Hamming distance of the query's own, in every
            table.
        rank : {"hamming", "margin", "cosine", "l2"}, optional
            How candidates are ordered; by default "cosine" where the index keeps vectors, else "hamming". "margin"
            weighs each bit in which a code differs from the query's by how sure the query is of it, its |margin|.
        shortlist : int, optional
            Rank only so many candidates of each query by "margin", "cosine" or "l2": the nearest by (Hamming distance,
            id) of their codes.
        filter : array_like, optional
            Rows that may be candidates, of every query: a mask, bool (n,), in the order of `ids`, or their ids, int.
        n_jobs : int, optional
            Threads; the result is the same for any number.

        Returns
        -------
        SearchResult

        Raises
        ------
        TypeError, ValueError
            If Q is not a finite matrix of the right width, an option is out of range or not for this kind of index, the
            filter does not fit the rows, or the index keeps not what rank or shortlist need.
        """
        where = f"{type(self).__name__}.search"
        jobs = resolve_jobs(n_jobs)
        queries = self._prepare(
            Q, where, jobs, probes=probes, radius=radius, rank=rank, shortlist=shortlist, filter=filter
        )
        hits = check_k(k, where, queries.n, len(self))
        distances, ids, n_candidates, seconds = self._searchable(queries).search(
            queries.codes,
            queries.vectors,
            hits,
            queries.rank,
            queries.probes,
            jobs,
            queries.margins,
            queries.radius,
            queries.shortlist,
            queries.allowed,
        )
        timings = {"encode": np.full(queries.n, queries.encode_seconds / max(queries.n, 1))}
        timings.update((stage, seconds[:, column].copy()) for column, stage in enumerate(STAGES))
        timings["total"] = timings["encode"] + seconds.sum(axis=1)
        return SearchResult(distances, ids, n_candidates, timings)

    def candidates(
        self,
        Q: ArrayLike,
        *,
        probes: int | None = None,
        radius: int | None = None,
        filter: ArrayLike | None = None,
        n_jobs: int | None = None,
    ) -> Candidates:
        """Ids of the rows that a search would choose from, for every query, each once; as `search` in all else."""
        where = f"{type(self).__name__}.candidates"
        jobs = resolve_jobs(n_jobs)
        queries = self._prepare(Q, where, jobs, probes=probes, radius=radius, filter=filter, ranked=False)
        return Candidates(
            *self._searchable(queries).candidates(
                queries.codes,
                queries.vectors,
                queries.probes,
                jobs,
                queries.margins,
                queries.radius,
                queries.allowed,
            )
        )

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
