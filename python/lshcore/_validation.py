"""The boundary: what users hand in becomes exactly what the core takes, or an error that says what was wrong.

Messages have one form: where, what was expected, what came. Nothing here writes to an array of the user, and an array
that already has the right form is passed on without a copy.
"""

import operator
import os
import secrets
import sys
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core

# The one dtype rule: these kinds, up to so many bytes an item, are cast to float32; complex numbers, strings, objects,
# dates, extended precision and everything else raise TypeError.
_NUMERIC_KINDS = {"f": 8, "i": 8, "u": 8, "b": 1}
_NUMERIC = "float16, float32, float64, an integer type or bool"

# A result with more entries than this is refused where the gallery cannot fill it: it would be padding alone.
_MAX_PADDED_RESULTS = 1 << 28

# The largest number that half precision holds.
_MAX_HALF = 65504

_FLOAT32 = np.dtype(np.float32)

# Each thread costs memory of its own; more than this is a mistake.
_MAX_JOBS = 1024


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fitted object was called before `fit`."""


def _describe(value: Any, array: NDArray[Any]) -> str:
    if array.dtype == object and array.ndim == 0:
        return "None" if value is None else f"an object of type {type(value).__name__}"
    return f"dtype {array.dtype}"


def to_numpy(value: Any, where: str, name: str) -> NDArray[Any]:
    """NumPy view or copy of an array, a nested list or a torch tensor (detached, and copied to the CPU if need be)."""
    torch = sys.modules.get("torch")  # never imported for this: without torch loaded, nothing can be a tensor
    if torch is not None and isinstance(value, torch.Tensor):
        try:
            tensor: NDArray[Any] = value.numpy(force=True)
        except (TypeError, RuntimeError) as error:
            raise TypeError(
                f"{where}: {name} must be a dense tensor of {_NUMERIC}, got a {value.layout} tensor of {value.dtype}"
            ) from error
        return tensor
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{where}: {name} must be an array without a mask, got a masked array; fill or drop its holes")
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{where}: {name} must be a rectangular array of numbers, got a {type(value).__name__} ({error})"
        ) from error


def as_numeric(value: Any, where: str, name: str) -> NDArray[Any]:
    """Array of an accepted dtype, as it came: any shape, any layout, nothing cast."""
    array = to_numpy(value, where, name)
    if array.dtype.itemsize > _NUMERIC_KINDS.get(array.dtype.kind, 0):
        raise TypeError(f"{where}: {name} must hold {_NUMERIC}, got {_describe(value, array)}")
    return array


def as_matrix(
    X: ArrayLike,
    where: str,
    dim: int | None = None,
    min_rows: int = 0,
    *,
    allow_1d: bool = False,
    name: str = "X",
    n_jobs: int = 1,
) -> NDArray[np.float32]:
    """C-contiguous float32 matrix (n, d) of finite values.

    Parameters
    ----------
    X : array_like or torch.Tensor
        2-d, of float16, float32, float64, any integer type or bool; any strides and byte order, read-only or not.
    where : str
        What the message starts with, such as ``"LSHIndex.add"``.
    dim : int, optional
        Number of columns that `X` must have; any number from 1 on by default.
    min_rows : int
        Fewest rows accepted.
    allow_1d : bool
        Take a 1-d array as one row.
    name : str
        What the message calls the argument.
    n_jobs : int
        Threads for the check that every value is finite (resolved already).

    Returns
    -------
    numpy.ndarray of float32, (n, d)
        `X` itself where it has the right form; never to be written to.

    Raises
    ------
    TypeError
        For any other dtype or type.
    ValueError
        For a wrong shape, and for NaN, Inf or a magnitude above 1e15, checked after the cast to float32.
    """
    # What is as it should be, a query of a server for one, is not looked at twice.
    array: NDArray[Any]
    if type(X) is np.ndarray and X.dtype is _FLOAT32 and X.flags.c_contiguous and X.flags.aligned:
        ready, array = True, X
    else:
        ready, array = False, as_numeric(X, where, name)
    if allow_1d and array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2:
        raise ValueError(f"{where}: {name} must be 2-d, (rows, columns), got shape {array.shape}")
    rows, columns = array.shape
    if dim is not None and columns != dim:
        raise ValueError(f"{where}: {name} must have {dim} columns, got {columns}")
    if columns == 0:
        raise ValueError(f"{where}: {name} must have at least 1 column, got shape {array.shape}")
    if rows < min_rows:
        raise ValueError(f"{where}: {name} must have at least {min_rows} row{'s' * (min_rows > 1)}, got {rows}")
    if not ready:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes Inf, which the next check names
            array = np.require(array, dtype=np.float32, requirements=["C", "A"])
    _core.check_finite(array, f"{where}: {name}", n_jobs)
    return array


def as_labels(labels: ArrayLike, where: str, n: int | None = None, *, name: str = "labels") -> NDArray[Any]:
    """Labels of n items: int64 (n,) for one label each, bool (n, C) for any number of C labels each.

    Raises
    ------
    TypeError
        If they are neither integers nor bools.
    ValueError
        If the length is not `n`, the array is not 1-d or 2-d, or a 2-d one holds other values than 0 and 1.
    """
    array = as_numeric(labels, where, name)
    if array.dtype.kind == "f" and array.size > 0:
        raise TypeError(f"{where}: {name} must be integers (n,) or bools (n, classes), got dtype {array.dtype}")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise ValueError(f"{where}: {name} must have shape (n,) or (n, classes), got {array.shape}")
    if n is not None and len(array) != n:
        raise ValueError(f"{where}: {name} must have length {n}, one for each row, got {len(array)}")
    if array.ndim == 2:
        if array.dtype != np.bool_ and ((array != 0) & (array != 1)).any():
            raise ValueError(f"{where}: 2-d {name} must hold only 0 and 1, got values up to {array.max()}")
        return np.require(array, dtype=np.bool_, requirements=["C", "A"])
    return _as_int64(array, where, name)


def as_ids(ids: ArrayLike, where: str, n: int) -> NDArray[np.int64]:
    """Ids of n rows: int64 (n,), none negative (-1 marks a missing hit), none twice."""
    array = as_numeric(ids, where, "ids")
    if array.dtype.kind not in "iu" and array.size > 0:
        raise TypeError(f"{where}: ids must be integers, got dtype {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"{where}: ids must have shape ({n},), one for each row, got {array.shape}")
    checked = _as_int64(array, where, "ids")
    if n > 0 and checked.min() < 0:
        raise ValueError(f"{where}: ids must not be negative, got {checked.min()}")
    return checked


def as_id_list(ids: ArrayLike, where: str, name: str = "ids") -> NDArray[np.int64]:
    """Ids of any rows, int64 (n,), whether or not the index has them; a single one is a list of one."""
    array = as_numeric(ids, where, name)
    if array.dtype.kind not in "iu" and array.size > 0:
        raise TypeError(f"{where}: {name} must be integers, got dtype {array.dtype}")
    if array.ndim > 1:
        raise ValueError(f"{where}: {name} must be 1-d, got shape {array.shape}")
    return _as_int64(array.reshape(-1), where, name)


def as_filter(filter: ArrayLike, where: str, n_rows: int) -> NDArray[np.bool_] | NDArray[np.int64]:
    """Which of n rows a filter allows: a mask, bool (n,), or an array of ids, int64, whether or not they are known.

    Raises
    ------
    TypeError
        If it is neither of bool nor of an integer dtype.
    ValueError
        If a mask has another length, or ids are not 1-d.
    """
    array = as_numeric(filter, where, "filter")
    if array.dtype == np.bool_:
        if array.shape != (n_rows,):
            raise ValueError(
                f"{where}: filter must be a mask of shape ({n_rows},), one for each row, got {array.shape}"
            )
        return np.require(array, requirements=["C", "A"])
    if array.dtype.kind == "f" and array.size > 0:
        raise TypeError(f"{where}: filter must be a mask of bools or an array of integer ids, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{where}: filter must be 1-d, got shape {array.shape}")
    return _as_int64(array, where, "filter")


def check_half(x: NDArray[np.float32], where: str, name: str = "X") -> None:
    """Raise ValueError, naming the first, if float16 cannot hold a value."""
    if x.size > 0 and max(x.max(), -x.min()) > _MAX_HALF:
        row, column = np.argwhere(np.abs(x) > _MAX_HALF)[0]
        raise ValueError(
            f"{where}: {name} must have magnitudes up to {_MAX_HALF} to be kept as float16, "
            f"got {x[row, column]} at row {row}, column {column}"
        )


def _as_int64(array: NDArray[Any], where: str, name: str) -> NDArray[np.int64]:
    if array.dtype.kind == "u" and array.size > 0 and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{where}: {name} must fit into int64, got {array.max()}")
    return np.require(array, dtype=np.int64, requirements=["C", "A"])


def as_integer(value: Any, where: str, name: str, low: int | None = None, high: int | None = None) -> int:
    """Python int from any integer (never from a bool, nor from a float such as 3.0), checked against its limits."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}") from None
    if (low is not None and number < low) or (high is not None and number > high):
        one = f"at least {low}" if high is None else f"at most {high}"
        limits = one if low is None or high is None else f"between {low} and {high}"
        raise ValueError(f"{where}: {name} must be {limits}, got {number}")
    return number


def as_share(value: Any, where: str, name: str) -> float:
    """A number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{where}: {name} must be a number, got {value!r}")
    if not 0 < value <= 1:
        raise ValueError(f"{where}: {name} must be above 0 and at most 1, got {value}")
    return float(value)


def check_k(k: Any, where: str, n_queries: int = 0, n_rows: int = 0) -> int:
    """Hits a query is to get: an integer from 1 on, refused where the result would be gigabytes of padding."""
    number = as_integer(k, where, "k", low=1)
    if number > n_rows and n_queries * number > _MAX_PADDED_RESULTS:
        raise ValueError(
            f"{where}: k must be at most the {n_rows} rows searched when the result has {n_queries} x k entries, "
            f"got {number}"
        )
    return number


def check_choice(value: Any, where: str, name: str, choices: Collection[str | None]) -> Any:
    """`value` if it is one of the choices, or a ValueError that lists them."""
    if not (value is None or isinstance(value, str)) or value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{where}: {name} must be one of {known}, got {value!r}")
    return value


def check_fitted(estimator: object, attribute: str, where: str) -> None:
    """Raise NotFittedError unless `estimator` has the fitted attribute."""
    if not hasattr(estimator, attribute):
        raise NotFittedError(f"{where}: this {type(estimator).__name__} is not fitted; call fit(X) first")


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_jobs(n_jobs: int | None) -> int:
    """Number of threads: None is LSHCORE_NUM_THREADS or, if unset, like -1, every CPU this process may use."""
    if n_jobs is None:
        value = os.environ.get("LSHCORE_NUM_THREADS", "").strip()
        if not value:
            return available_cpus()
        if not value.isdecimal() or not 1 <= int(value) <= _MAX_JOBS:
            raise ValueError(f"LSHCORE_NUM_THREADS must be an integer from 1 to {_MAX_JOBS}, got {value!r}")
        return int(value)
    number = as_integer(n_jobs, "n_jobs", "the number of threads")
    if number == -1:
        return available_cpus()
    if not 1 <= number <= _MAX_JOBS:
        raise ValueError(f"n_jobs must be from 1 to {_MAX_JOBS}, -1 (all CPUs) or None, got {number}")
    return number


def resolve_seed(random_state: Any, where: str) -> int:
    """64-bit seed from an int, None (a fresh one), a numpy Generator or a numpy RandomState (both advance)."""
    if random_state is None:
        return secrets.randbits(64)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**64, dtype=np.uint64))
    if isinstance(random_state, np.random.RandomState):
        high, low = random_state.randint(0, 2**32, size=2, dtype=np.uint64)
        return (int(high) << 32) | int(low)
    try:
        return as_integer(random_state, where, "random_state", low=0, high=2**64 - 1)
    except TypeError:
        raise TypeError(
            f"{where}: random_state must be an integer, None, a numpy Generator or RandomState, "
            f"got {type(random_state).__name__}"
        ) from None
