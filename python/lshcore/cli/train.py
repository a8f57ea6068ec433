"""`lshcore train`: fit one method on the train part of a data set, and keep what it learnt."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Backbone, DataDir, DatasetName, ImageSize, LabelsFile, Offline, Weights, arguments_of, usage
from .progress import Progress

if TYPE_CHECKING:
    from ..evaluation.training import Trained

Texts = list[str] | None


def train_command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where what is learnt goes.")],
    dataset: DatasetName = "digits",
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="A method of `lshcore methods` that has a hasher.")
    ] = "orthohash",
    bits: Annotated[int, typer.Option("--bits", metavar="N", min=1, help="Bits of a code.")] = 64,
    arguments: Annotated[
        Texts,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of the hasher; repeatable: --set epochs=50."),
    ] = None,
    data_dir: DataDir = None,
    labels: LabelsFile = None,
    backbone: Backbone = None,
    weights: Weights = None,
    image_size: ImageSize = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the backbone too, at a learning rate of its own.")
    ] = False,
    backbone_rate: Annotated[
        float, typer.Option("--backbone-learning-rate", metavar="R", min=0, help="That rate, with --finetune.")
    ] = 1e-5,
    mirror: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Shift and mirror images at random, with --finetune.")
    ] = True,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="NAME", help="How queries are chosen; they are never seen.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Of split and method.")] = 0,
    device: Annotated[
        str | None, typer.Option("--device", metavar="cpu|cuda", help="Where to train; a GPU if there is one.")
    ] = None,
    offline: Offline = False,
) -> None:
    """Learn a hasher, with its preprocessing, from the train part of a data set. Killed, the same command goes on.

    lshcore eval --model DIR evaluates it; in Python, lshcore.hashers.load(DIR) encodes with it, without torch.
    """
    from ..data import check_name
    from ..evaluation import Sources, training
    from ..evaluation.methods import METHODS, check_arguments
    from ..evaluation.protocols import check_protocol

    with usage("dataset"):
        check_name(dataset)
    with usage("protocol"):
        check_protocol(protocol)
    with usage("method"):
        training.check_trainable(method)
    own = arguments_of(arguments or [])
    with usage("set"):
        check_arguments(own, (method,))
    sources = Sources(
        dataset,
        data_dir,
        labels,
        () if backbone is None else (backbone,),
        weights=weights,
        image_size=image_size,
        device=device,
        offline=offline,
    )
    if device and "device" in METHODS[method].arguments:  # others have no choice of where they learn
        own = {**own, "device": device}
    wanted = training.Wanted(method, bits, own, seed, protocol)
    start = time.perf_counter()
    with Progress() as progress:
        if finetune:
            trained = training.finetune(sources, wanted, out, backbone_rate, mirror, progress)
        else:
            trained = training.train(sources, wanted, out, progress)
    typer.echo(_summary(trained, time.perf_counter() - start))


def _summary(trained: "Trained", seconds: float) -> str:
    hasher: Any = trained.hasher
    said = [f"{trained.method}, {hasher.n_bits_} bits", f"{trained.n_rows:,} rows", f"{seconds:.1f} s"]
    history = getattr(hasher, "history_", [])
    scores = [epoch["map"] for epoch in history if epoch["map"] is not None]
    if history:
        said.append(f"{len(history)} epochs")
    if scores:
        said.append(f"map {max(scores):.3f} on rows held out of the train part")
    constant = getattr(hasher, "constant_bits_", [])
    if constant:
        said.append(f"{len(constant)} bits are the same for every row")
    return f"{', '.join(said)}: {trained.folder}"
