"""What an index holds, and how that changes."""

import copy
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lshcore import _core
from lshcore._validation import (
    as_id_list,
    as_ids,
    as_integer,
    as_matrix,
    check_choice,
    check_fitted,
    check_half,
    resolve_jobs,
)
from lshcore.codes import BinaryCodes
from lshcore.hashers.base import Hasher

from . import copying, storage
from .ids import Ids
from .names import BYTES, OFFSETS, Names

VECTORS = (None, "float32", "float16")

Partitioner = _core.OneBucket | _core.BitKeys | _core.ClusterKeys | _core.LatticeKeys


class Rows(Ids, ABC):
    """Rows under ids, filed by a partitioner that a subclass chooses, in `_make_partitioner`.

    A change is all or nothing: a call that fails leaves the rows as they were. Searches may run beside it, and see the
    rows before or after it. The first rows added settle whether ids are integers or texts.
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
        super().__init__()
        self._origin: storage.Origin | None = None
        self._changed = False  # since it was opened or saved
        self._changing = threading.RLock()

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
        ids : array_like of int or str, (n,), optional
            Their ids: integers from 0 on, or texts; none twice, none that the index holds already. By default integers
            that go on from the largest id that there ever was.
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
        with self._changing:
            texts = self._texts(ids, len(x), where)
            if texts:
                with self._naming(texts, len(x), where) as numbers:
                    self._add(x, numbers, jobs)
            else:
                self._add(x, None if ids is None else as_ids(ids, where, len(x)), jobs)
            self._changed = True
        return self

    def _add(self, x: NDArray[np.float32], ids: NDArray[np.int64] | None, jobs: int) -> None:
        core = self._make_core(self._make_partitioner(), x.shape[1]) if self._core is None else self._core
        self._fill(core, x, ids, jobs)
        self._core = core

    def _fill(self, core: _core.Index, x: NDArray[np.float32], ids: NDArray[np.int64] | None, jobs: int) -> None:
        core.add(*self._encoded(x, jobs), ids, jobs)

    def _encoded(
        self, x: NDArray[np.float32], jobs: int
    ) -> tuple[NDArray[np.uint64] | None, NDArray[np.float32] | None]:
        """Codes and vectors of new rows, as far as the core takes them."""
        codes = None if self.hasher is None else self.hasher.encode(x, n_jobs=jobs).words
        return codes, x if self._takes_vectors else None

    def remove(self, ids: ArrayLike) -> Self:
        """Take rows out. Their ids may be given to other rows later.

        Parameters
        ----------
        ids : array_like of int or str, (n,), or one of them
            Ids of the rows: all in the index, none twice.

        Raises
        ------
        TypeError, ValueError
            If the ids are not as described; the index stays as it was.
        """
        where = f"{type(self).__name__}.remove"
        with self._changing:
            wanted = as_id_list(self._numbered(ids, where), where)
            self._holding(wanted, where).remove(wanted)
            self._changed = True
        return self

    def update(self, X: ArrayLike, ids: ArrayLike, n_jobs: int | None = None) -> Self:
        """Put other rows in the place of those with these ids, at the end of the order of rows.

        Parameters
        ----------
        X : array_like, (n, d)
            The new rows.
        ids : array_like of int or str, (n,)
            Ids of the rows that go, and of those that come: all in the index, none twice.
        n_jobs : int, optional
            Threads; the index is the same for any number.

        Raises
        ------
        TypeError, ValueError
            As `add` and `remove` do; the index stays as it was.
        """
        where = f"{type(self).__name__}.update"
        jobs = resolve_jobs(n_jobs)
        x = as_matrix(X, where, dim=self.dim, n_jobs=jobs)
        if self.vectors == "float16":
            check_half(x, where)
        with self._changing:
            wanted = as_ids(self._numbered(ids, where), where, len(x))
            self._holding(wanted, where).update(*self._encoded(x, jobs), wanted, jobs)
            self._changed = True
        return self

    def compact(self, n_jobs: int | None = None) -> Self:
        """Put all rows together, without those removed, so that they take the least memory; no answer changes."""
        jobs = resolve_jobs(n_jobs)
        with self._changing:
            if self._core is not None:
                self._core.compact(jobs)
                self._changed = True
        return self

    def save(self, path: str | os.PathLike[str], n_jobs: int | None = None) -> Path:
        """Save into a directory, as its next generation; `lshcore.open_index` opens it.

        Written are the segments that are not there yet, so that a save after few changes is quick. Whatever happens, a
        kill, a power cut, a full disk, the directory holds the last generation that was whole, and once this returns
        it is this one. Those who have an older one open keep it.

        Parameters
        ----------
        path : path
            The directory; made where missing.
        n_jobs : int, optional
            Threads, for checksums.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        ValueError
            If another is saving there at this moment, or has since this index was opened there.
        OSError
            If writing failed; what was saved there before still is.
        """
        with self._changing:
            folder = storage.save(self, path, n_jobs)
            self._changed = False
        return folder

    def __reduce__(self) -> tuple[Any, ...]:
        return copying.reduce(self)

    @classmethod
    def _bare(cls) -> Self:
        """One without attributes but for its lock."""
        index = cls.__new__(cls)
        index._changing = threading.RLock()
        return index

    def __copy__(self) -> Self:
        return copying.duplicate(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copying.duplicate(self)

    def _saved_arguments(self) -> dict[str, Any]:
        """What `_from_saved` makes an empty index of the same kind from, besides arrays and the hasher."""
        return {"vectors": self.vectors}

    def _saved_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays that the partitioner is made of, and the names of rows; a subclass adds its own."""
        return {} if self._names is None else self._names.to_arrays(self._numbers)

    @classmethod
    def _from_saved(cls, arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], hasher: Any) -> Self:
        """An index of the kind that was saved, without its rows."""
        index = cls._empty_from_saved(arguments, arrays, hasher)
        if OFFSETS in arrays:
            index._names = Names.from_arrays(arrays[BYTES], arrays[OFFSETS])
        return index

    @classmethod
    @abstractmethod
    def _empty_from_saved(cls, arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], hasher: Any) -> Self:
        """What a subclass makes of `_saved_arguments` and of its own part of `_saved_arrays`."""

    def reconstruct(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Vectors of rows as the index keeps them, float32 (n, d): those added, or rounded by float16.

        Parameters
        ----------
        ids : array_like of int or str, (n,), or one of them
            Ids of the rows, in any order.

        Raises
        ------
        TypeError, ValueError
            If an id is not in the index, or it keeps no vectors.
        """
        where = f"{type(self).__name__}.reconstruct"
        if self.vectors is None:
            raise ValueError(f'{where}: this index keeps no vectors; make it with vectors="float32"')
        wanted = as_id_list(self._numbered(ids, where), where)
        return self._holding(wanted, where).vectors_of(wanted)

    def codes(self, ids: ArrayLike) -> BinaryCodes:
        """Codes of rows.

        Parameters
        ----------
        ids : array_like of int or str, (n,), or one of them
            Ids of the rows, in any order.

        Raises
        ------
        TypeError, ValueError
            If an id is not in the index, or it has no hasher.
        """
        where = f"{type(self).__name__}.codes"
        if self.hasher is None:
            raise ValueError(f"{where}: this index has no hasher, and so no codes")
        wanted = as_id_list(self._numbered(ids, where), where)
        return BinaryCodes._trusted(self._holding(wanted, where).codes_of(wanted), self.n_bits)

    def _holding(self, ids: NDArray[np.int64], where: str) -> _core.Index:
        """The core, which holds all these ids."""
        core = self._make_core(self._make_partitioner(), self.dim or 1) if self._core is None else self._core
        known = core.contains(ids)
        if not known.all():
            unknown = self._named(ids[[known.argmin()]]).tolist()[0]
            raise ValueError(f"{where}: ids must be in the index, got {unknown!r}, which is not")
        return core
