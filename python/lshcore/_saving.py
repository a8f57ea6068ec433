"""Estimators on disk: class by its registered name, constructor arguments and fitted attributes; nothing pickled."""

import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from . import registry
from ._estimator import Estimator
from ._state import read_state, write_state
from ._validation import as_integer, check_fitted

# A dict of one of these keys stands for what JSON cannot hold.
_TAGS = ("array", "tuple", "estimator")

# Arguments that are saved as None: they are no longer what they were when `fit` drew from them.
_GENERATORS = (np.random.Generator, np.random.RandomState)


class Saved(Estimator):
    """Estimator that can be saved: fitted attributes, annotated in the class, are arrays, numbers, text, None, lists,
    tuples and dicts of those; a subclass with others overrides `_state` and `_restore`.
    """

    _stem: ClassVar[str]
    n_features_in_: int

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save into a directory, in place of what was saved there before.

        Two files, for which a crash leaves the old ones or the new ones. A generator given as `random_state` is saved
        as None; everything else comes back as it was. There may be one writer at a time, and any number of readers.

        Parameters
        ----------
        path : str or path-like
            Directory; made where missing. What else is in it stays.

        Returns
        -------
        Path
            The directory.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If the class is not in `lshcore.registry`, or an argument of the constructor cannot be saved.
        OSError
            If writing failed; what was saved there before still is.
        """
        arrays, meta = describe(self, f"{type(self).__name__}.save")
        folder = Path(path)
        write_state(folder, self._stem, arrays, meta)
        return folder

    def _state(self) -> dict[str, Any]:
        """Fitted attributes by name."""
        return {name: value for name, value in vars(self).items() if _is_fitted_name(name)}

    def _restore(self, state: dict[str, Any]) -> None:
        """Set what `_state` gave."""
        for name, value in state.items():
            if not _is_fitted_name(name):
                raise ValueError(f"fitted attributes must end in an underscore, got {name!r}")
            setattr(self, name, value)

    def _check_state(self) -> None:
        """Raise unless what was restored can be what `fit` leaves; a subclass adds shapes."""
        for name, hint in get_type_hints(type(self)).items():
            if _is_fitted_name(name) and not _is_a(getattr(self, name, _MISSING), hint):
                raise ValueError(f"{name} must be there as the class declares it, {hint}, got another or none")
        as_integer(self.n_features_in_, type(self).__name__, "n_features_in_", low=1)
        for name, array in self._state_arrays().items():
            if array.dtype.kind in "fc" and not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite, got NaN or Inf")

    def _probe(self) -> None:
        """Raise if the restored object, its state checked, cannot do its work on a row of zeros."""

    def _state_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays of the state, however deep in it."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, value in self._state().items():
            _pack(value, type(self).__name__, name, arrays)
        return arrays


_MISSING = object()


def load(path: str | os.PathLike[str], stem: str) -> Any:
    """The estimator that was saved under a stem in a directory.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If a file is damaged, or does not hold what a class of this lshcore can be made from.
    """
    folder = Path(path)
    return rebuild(stem, folder / f"{stem}.json", *read_state(folder, stem, f"a {stem}"))


def describe(estimator: Saved, where: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What is saved of a fitted estimator: arrays, and what JSON holds. Raises what `Saved.save` raises."""
    check_fitted(estimator, "n_features_in_", where)
    arrays: dict[str, NDArray[Any]] = {}
    meta = _describe(estimator, estimator._stem, where, "", arrays)
    return arrays, meta


def rebuild(stem: str, path: Path, arrays: dict[str, NDArray[Any]], meta: Any) -> Any:
    """The estimator that `describe` described; `path` is where a message says that it came from.

    Raises
    ------
    ValueError
        If it is not what a class of this lshcore can be made from.
    """
    try:
        estimator = _rebuild(meta, stem, arrays)
        if arrays:
            raise ValueError(f"arrays must all be in use, got {', '.join(arrays)} beside them")
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must describe a fitted {stem} of this lshcore, got one that fails: {error}; "
            "load it with the lshcore that wrote it, or fit and save again"
        ) from error
    return estimator


def check_shape(array: NDArray[Any], shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless an array has this shape."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")


def _classes(stem: str) -> Mapping[str, str]:
    return registry.HASHERS if stem == "hasher" else {stem: "lshcore.preprocess:Preprocess"}


def _is_fitted_name(name: str) -> bool:
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, arrays by their dtype."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_is_a(value, option) for option in get_args(hint))
    if origin is np.ndarray:
        kind = get_args(get_args(hint)[1])[0]
        return isinstance(value, np.ndarray) and (kind is Any or value.dtype == kind)
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if hint is int:
        return type(value) is int
    return value is not _MISSING and (hint is Any or isinstance(value, origin or hint))


def _describe(estimator: Saved, stem: str, where: str, prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """What JSON holds of an estimator; its arrays are added to `arrays`, their keys after `prefix`."""
    target = f"{type(estimator).__module__}:{type(estimator).__qualname__}"
    names = [name for name, known in _classes(stem).items() if known == target]
    if not names:
        raise ValueError(
            f"{where}: the class must be in lshcore.registry.HASHERS, from which it is loaded, got {target}"
        )
    parameters = {
        name: None if isinstance(value, _GENERATORS) else _pack(value, where, f"{prefix}parameters.{name}", arrays)
        for name, value in estimator.get_params().items()
    }
    n_features = getattr(estimator, "n_features_in_", None)
    attributes = None
    if n_features is not None:
        attributes = {
            name: _pack(value, where, f"{prefix}{name}", arrays) for name, value in estimator._state().items()
        }
    return {"class": names[0], "parameters": parameters, "n_features_in": n_features, "attributes": attributes}


def _rebuild(meta: Any, stem: str, arrays: dict[str, NDArray[Any]]) -> Any:
    table, name = _classes(stem), meta["class"]
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"class must be one of {', '.join(table)}, got {name!r}")
    cls = registry.load(name, table)
    parameters = {key: _unpack(value, arrays) for key, value in meta["parameters"].items()}
    for key in parameters:
        if key not in cls._parameter_names():
            raise ValueError(
                f"parameters of {cls.__name__} must be among {', '.join(cls._parameter_names())}, got {key!r}"
            )
    estimator = cls(**parameters)
    attributes = meta["attributes"]
    if attributes is not None:
        estimator._restore({key: _unpack(value, arrays) for key, value in attributes.items()})
        estimator._check_state()
        if estimator.n_features_in_ != meta["n_features_in"]:
            raise ValueError(f"n_features_in must be {estimator.n_features_in_}, got {meta['n_features_in']!r}")
        estimator._probe()
    return estimator


def _pack(value: Any, where: str, key: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """What stands for a value in JSON; arrays go into `arrays`, under `key` and where in the value they are."""
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        if key in arrays:
            raise ValueError(f"{where}: names of arrays must differ, got {key} twice")
        arrays[key] = value
        return {"array": key}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Saved):
        return {"estimator": _describe(value, value._stem, where, f"{key}.", arrays)}
    if isinstance(value, list | tuple):
        items = [_pack(item, where, f"{key}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value) or (len(value) == 1 and next(iter(value)) in _TAGS):
            raise ValueError(
                f"{where}: {key} must have text as keys, and not only one of {', '.join(_TAGS)}, got {list(value)}"
            )
        return {name: _pack(item, where, f"{key}.{name}", arrays) for name, item in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        raise ValueError(f"{where}: {key} must be finite to be saved, got {value}")
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{where}: {key} must be an array, a number, text, None, or lists, tuples or dicts of those to be saved, "
        f"got {type(value).__name__}"
    )


def _unpack(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """What `_pack` was given; each array is taken out of `arrays`."""
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, item),) = value.items()
        if tag == "array":
            if item not in arrays:
                raise ValueError(f"every array must be there once, got {item!r}, which is not or was taken")
            return arrays.pop(item)
        if tag == "tuple":
            return tuple(_unpack(list(item), arrays))
        if tag == "estimator":
            return _rebuild(item, "hasher", arrays)
    return {name: _unpack(item, arrays) for name, item in value.items()}
