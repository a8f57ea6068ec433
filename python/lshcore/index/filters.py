"""Filters: which rows may be candidates."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lshcore import _core
from lshcore._validation import as_filter, as_id_list

if TYPE_CHECKING:
    from .rows import Rows

# What the core takes: a mask or ids for all queries, or (offsets, ids), a list of ids for each query.
Allowed = NDArray[np.bool_] | NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.int64]]


def resolve_filter(filter: Any, where: str, index: "Rows", n_queries: int) -> Allowed:
    """What a search filters by: a mask, ids, or a list with an array of ids for each query."""
    core = index._core
    if isinstance(filter, list | tuple) and any(_is_list(one) for one in filter):
        if len(filter) != n_queries:
            raise ValueError(
                f"{where}: filter must have a list of ids for each of {n_queries} queries, got {len(filter)} lists"
            )
        lists = []
        for query, one in enumerate(filter):
            name = f"filter of query {query}"
            lists.append(as_id_list(index._numbered(one, where, name), where, name))
        offsets = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(one) for one in lists], out=offsets[1:])
        return offsets, _known(np.concatenate(lists), where, core)
    if not _is_mask(filter):
        filter = index._numbered(filter, where, "filter")
    allowed = as_filter(filter, where, 0 if core is None else len(core))
    return allowed if allowed.dtype == np.bool_ else _known(allowed.astype(np.int64, copy=False), where, core)


def batch_of(allowed: Allowed | None, rows: slice) -> Allowed | None:
    """The filter of some of the queries, a slice without a step."""
    if not isinstance(allowed, tuple):
        return allowed
    offsets, ids = allowed
    begin, end, _ = rows.indices(len(offsets) - 1)
    part = offsets[begin : max(begin, end) + 1]
    return part - part[0], ids[part[0] : part[-1]]


def _is_list(one: Any) -> bool:
    return isinstance(one, list | tuple) or getattr(one, "ndim", 0) == 1


def _is_mask(filter: Any) -> bool:
    if isinstance(filter, list | tuple):
        return len(filter) > 0 and all(isinstance(one, bool | np.bool_) for one in filter)
    return str(getattr(filter, "dtype", "")) in ("bool", "torch.bool")


def _known(ids: NDArray[np.int64], where: str, core: _core.Index | None) -> NDArray[np.int64]:
    known = np.zeros(len(ids), dtype=np.bool_) if core is None else core.contains(ids)
    if not known.all():
        raise ValueError(f"{where}: filter must hold ids of the index, got {ids[known.argmin()]}, which it has not")
    return ids
