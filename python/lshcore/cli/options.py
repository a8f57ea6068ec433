"""Text of the command line to `Options`: comma lists, repeats and sweeps. What is wrong here is a usage error."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ..evaluation.configurations import Options

if TYPE_CHECKING:
    from collections.abc import Iterator


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected whole numbers, got {text!r}") from None


def _shortlist(text: str) -> int | None:
    return None if text.lower() == "none" else _whole(text)


def _pca(text: str) -> int | float | None:
    if text.lower() == "none":
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected none, a number of dimensions or a share of the variance, got {text!r}") from None


# Every option that is a list, and how one of its values is read.
LISTS: Mapping[str, Callable[[str], Any]] = {
    "method": str,
    "bits": _whole,
    "tables": _whole,
    "key-bits": _whole,
    "hashes": _whole,
    "clusters": _whole,
    "algorithm": str,
    "probes": _whole,
    "keys": str,
    "radius": _whole,
    "pca": _pca,
    "rank": str,
    "shortlist": _shortlist,
    "k": _whole,
}


# What an empty list stands for.
_EMPTY = {
    "method": "all",
    "hashes": "1,2 for cross-polytope, 4,8 for p-stable",
    "probes": "1 cluster, a key for each table",
    "radius": "none",
}


def default(option: str) -> str:
    """The default of a list option, as it would be typed."""
    values = getattr(Options, option.replace("-", "_"))
    return ",".join("none" if value is None else str(value) for value in values) or _EMPTY[option]


@contextmanager
def usage(option: str | None = None) -> "Iterator[None]":
    """Make a ValueError inside a usage error that names the option."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint=None if option is None else f"--{option}") from None


def parse(
    given: Mapping[str, Sequence[str] | None],
    sweeps: Sequence[str],
    preset: Mapping[str, tuple[Any, ...]] | None = None,
) -> Options:
    """Options of an evaluation.

    Parameters
    ----------
    given : mapping of option name to texts, each a value or a comma list; None where not given
    sweeps : sequence of "name=a,b,c"
    preset : mapping of option name to values, optional
        For the options that neither of the others gives.

    Raises
    ------
    typer.BadParameter
        For unknown keys, values that cannot be read or are out of range, and options given twice over.
    """
    from ..evaluation.methods import check_methods

    texts = {name: list(values) for name, values in given.items() if values}
    for sweep in sweeps:
        name, listed = _split_sweep(sweep)
        if name in texts:
            raise typer.BadParameter(f"{name} is set twice; give either --{name} or one sweep", param_hint="--sweep")
        texts[name] = [listed]
    lists: dict[str, tuple[Any, ...]] = {}
    for name, values in texts.items():
        with usage(name):
            parts = [each for value in values for part in value.split(",") for each in _span(part.strip())]
            if "" in parts:
                raise ValueError(f"expected values separated by commas, got {','.join(values)!r}")
            lists[name] = tuple(dict.fromkeys(LISTS[name](part) for part in parts))
    lists = {**(preset or {}), **lists}
    with usage():
        options = Options(**{name.replace("-", "_"): values for name, values in lists.items()})
    with usage("method"):
        check_methods(options.method)
    return options


def _span(part: str) -> list[str]:
    """What a part of a list stands for: "3..6" is 3, 4, 5, 6."""
    low, dots, high = part.partition("..")
    if not dots or not low.isdigit() or not high.isdigit():
        return [part]
    return [str(number) for number in range(int(low), int(high) + 1)]


def _split_sweep(sweep: str) -> tuple[str, str]:
    key, equals, values = sweep.partition("=")
    name = key.strip().removeprefix("--").replace("_", "-")
    if not equals or not values.strip():
        raise typer.BadParameter(f"expected key=a,b,c, got {sweep!r}", param_hint="--sweep")
    if name not in LISTS:
        raise typer.BadParameter(f"key must be one of {', '.join(LISTS)}, got {key.strip()!r}", param_hint="--sweep")
    return name, values
