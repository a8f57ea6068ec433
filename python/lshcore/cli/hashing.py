"""What `lshcore build` and `lshcore dedup` hash with: a method that is fitted on the data, or a saved model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from .options import arguments_of, usage

if TYPE_CHECKING:
    from ..features import Backbone
    from ..hashers import Hasher
    from ..preprocess import Preprocess

METHOD = "random-hyperplanes"

MethodName = Annotated[
    str | None, typer.Option("--method", metavar="NAME", help=f"A method that has a hasher; {METHOD} by default.")
]
HasherArguments = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An argument of the hasher; repeatable.")
]
ModelDir = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="What `lshcore train` made, in place of a method.")
]


@dataclass(frozen=True)
class Hashing:
    """A hasher, fitted or not, with what goes before it."""

    hasher: "Hasher | None"
    preprocess: "Preprocess | None" = None
    network: "Backbone | None" = None


def hashing(
    method: str | None,
    bits: int | None,
    arguments: Sequence[str] | None,
    model: str | None,
    seed: int,
    default_bits: int | None,
) -> Hashing:
    """What the options --method, --bits, --set and --model ask for; no hasher where nothing does.

    Parameters
    ----------
    method, bits, arguments, model, seed
        As they were given.
    default_bits : int or None
        Of random hyperplanes where nothing else was asked for; None is no hasher then.

    Raises
    ------
    typer.BadParameter
        If they do not go together.
    FileNotFoundError, ValueError
        If the model is not there, or damaged.
    """
    if model is not None:
        if method is not None or bits is not None or arguments:
            raise typer.BadParameter("expected it alone, without --method, --bits and --set", param_hint="--model")
        from ..evaluation.models import open_model

        opened = open_model(model, model)
        network = None
        if opened.network:
            from ..features import open_backbone

            network = open_backbone(model)
        return Hashing(opened.hasher, opened.preprocess, network)
    if method is None and bits is None and not arguments and default_bits is None:
        return Hashing(None)
    from ..evaluation.methods import check_arguments
    from ..evaluation.training import Wanted, check_trainable

    name = method or METHOD
    with usage("method"):
        check_trainable(name)
    own = arguments_of(arguments or [])
    with usage("set"):
        check_arguments(own, (name,))
    return Hashing(Wanted(name, bits or default_bits or 64, own, seed).make())
