"""Text of the command line to `Options`: comma lists, repeats and sweeps. What is wrong here is a usage error."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..evaluation.configurations import Options
from ..evaluation.presets import Preset

if TYPE_CHECKING:
    from collections.abc import Iterator


# Options that several commands have.
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset", metavar="NAME|FILE|folder:DIR", help="A name of `lshcore datasets`, features, or images."
    ),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Where the files of the data set are.")]
LabelsFile = Annotated[Path | None, typer.Option("--labels", metavar="FILE.npy", help="Labels of a .npy file.")]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="NAME|FILE|random", help="Weights of the backbone; published ones by default."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", metavar="N", min=8, help="Side of the images the backbone sees.")
]
Pixels = Annotated[
    int | None, typer.Option("--image-size", metavar="N", min=1, help="Pixels a side; as published by default.")
]
Backbone = Annotated[
    str | None, typer.Option("--backbone", metavar="NAME", help="The network that makes features, or pixels.")
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda", help="Where the backbone runs; a GPU if there is one.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Download no weights.")]
IndexDir = Annotated[Path, typer.Argument(metavar="INDEX", help="The directory of the index.", show_default=False)]
MovedWeights = Annotated[
    str | None, typer.Option("--weights", metavar="FILE", help="Where the weights of the network are now.")
]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", help="Threads; all CPUs by default.")]


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected whole numbers, got {text!r}") from None


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected numbers, got {text!r}") from None


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
    "recall": _share,
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
    preset: Preset | None = None,
    arguments: Sequence[str] = (),
    unnamed: tuple[str, ...] = (),
) -> Options:
    """Options of an evaluation.

    Parameters
    ----------
    given : mapping of option name to texts, each a value or a comma list; None where not given
    sweeps : sequence of "name=a,b,c"
    preset : Preset, optional
        For the options and arguments that none of the others gives.
    arguments : sequence of "name=value"
        Arguments of hashers.
    unnamed : tuple of str
        The methods where none is named; all by default.

    Raises
    ------
    typer.BadParameter
        For unknown keys, values that cannot be read or are out of range, arguments that no chosen method has, and
        options given twice over.
    """
    from ..evaluation.methods import check_arguments, check_methods

    preset = preset or Preset()
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
    lists = {"method": unnamed, **preset.lists, **lists}
    own = arguments_of(arguments)
    with usage():
        fields: dict[str, Any] = {name.replace("-", "_"): values for name, values in lists.items()}
        options = Options(**fields, arguments={**preset.arguments, **own})
    with usage("method"):
        check_methods(options.method)
    with usage("set"):
        check_arguments(own, options.method)
    return options


# Of values, in any case; others are read as JSON where that works.
_WORDS = {"none": None, "true": True, "false": False}


def arguments_of(texts: Sequence[str]) -> dict[str, Any]:
    """Arguments of hashers from texts such as "alpha=0.3", "hidden=[512, 64]", "gamma=none" and "kernel=rbf".

    Raises
    ------
    typer.BadParameter
        For a text that is not "name=value", and a name that is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.removeprefix("--").replace("-", "_")
        if not equals or not name or not value:
            raise typer.BadParameter(f"expected name=value, got {text!r}", param_hint="--set")
        if name in found:
            raise typer.BadParameter(f"{name} is set twice", param_hint="--set")
        try:
            found[name] = _WORDS[value.lower()] if value.lower() in _WORDS else json.loads(value)
        except ValueError:
            found[name] = value
    return found


def seeds(texts: Sequence[str] | None) -> tuple[int, ...]:
    """Seeds from texts, each a seed, a span or a comma list; 0 without any."""
    with usage("seed"):
        found = tuple(
            _whole(each) for text in texts or ("0",) for part in text.split(",") for each in _span(part.strip())
        )
        for seed in found:
            if not 0 <= seed < 2**32:
                raise ValueError(f"expected from 0 to {2**32 - 1}, got {seed}")
    return tuple(dict.fromkeys(found))


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
