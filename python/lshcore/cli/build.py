"""`lshcore build`: an index of a data set, of features or of a folder of images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .hashing import HasherArguments, MethodName, ModelDir, hashing
from .options import Backbone, DataDir, Device, Jobs, Offline, Pixels, Weights, usage
from .progress import Progress

TABLES, KEY_BITS = 8, 12


def build_command(
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", metavar="NAME|FILE|folder:DIR", help="A name of `lshcore datasets`, features, or images."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the index goes.")],
    data_dir: DataDir = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE.npy", help="Labels of a .npy file, to learn from.")
    ] = None,
    backbone: Backbone = None,
    weights: Weights = None,
    image_size: Pixels = None,
    device: Device = None,
    offline: Offline = False,
    method: MethodName = None,
    bits: Annotated[
        int | None, typer.Option("--bits", metavar="N", min=1, help="Bits of a code; those of all keys by default.")
    ] = None,
    arguments: HasherArguments = None,
    model: ModelDir = None,
    tables: Annotated[
        int | None, typer.Option("--tables", metavar="N", min=1, help=f"Hash tables; {TABLES} by default.")
    ] = None,
    key_bits: Annotated[
        int | None, typer.Option("--key-bits", metavar="N", min=1, max=256, help=f"Bits of a key; {KEY_BITS}.")
    ] = None,
    clusters: Annotated[
        int | None, typer.Option("--clusters", metavar="N", min=1, help="k-means buckets in place of tables.")
    ] = None,
    flat: Annotated[bool, typer.Option("--flat", help="No buckets: every search looks at everything.")] = False,
    vectors: Annotated[
        str, typer.Option("--vectors", metavar="NAME", help="float16, float32 or none: kept to rank by.")
    ] = "float16",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Of hasher and clusters.")] = 0,
    jobs: Jobs = None,
) -> None:
    """Index a data set, features or a folder of images, and keep that: lshcore search, add and remove use it.

    Ids are the names of the files of a folder, and else the numbers of rows.
    """
    from .._validation import check_choice
    from ..data import check_name
    from ..data.images import PIXELS

    with usage("dataset"):
        check_name(dataset)
    with usage("vectors"):
        check_choice(vectors, "build", "vectors", ("float16", "float32", "none"))
    kind, own = _kind(tables, key_bits, clusters, flat, seed)
    if model is not None and backbone not in (None, PIXELS):
        _check_alone(model)
    keys = own["n_tables"] * own["key_bits"] if kind == "lsh" else None
    with usage():
        hashed = hashing(method, bits, arguments, model, seed, keys)
    if kind == "lsh" and hashed.hasher is not None:
        _check_keys(own["key_bits"], getattr(hashed.hasher, "n_bits_", hashed.hasher.n_bits))
    if vectors == "none" and kind != "lsh" and hashed.hasher is None:
        raise typer.BadParameter(
            "expected --method, --bits or --model beside it, to rank by codes", param_hint="--vectors"
        )

    from ..collection import Collection
    from .output import bytes_an_item, columns

    with Progress() as progress:
        built = Collection.build(
            dataset,
            out,
            index=kind,
            hasher=hashed.hasher,
            preprocess=hashed.preprocess,
            vectors=None if vectors == "none" else vectors,
            backbone=hashed.network or backbone,
            weights=weights,
            image_size=image_size,
            data_dir=data_dir,
            labels=labels,
            device=device,
            offline=offline,
            n_jobs=jobs,
            progress=progress,
            **own,
        )
    skipped = f", {built.skipped:,} skipped" if built.skipped else ""
    typer.echo(f"{built.index!r}{skipped}: {out}")
    rows = [*built.seconds.items(), ("total", sum(built.seconds.values()))]
    typer.echo(columns([("stage", "seconds"), *((name, f"{seconds:.2f}") for name, seconds in rows)]))
    typer.echo(f"bytes an item in memory: {bytes_an_item(built.index.nbytes, len(built))}")


def _kind(
    tables: int | None, key_bits: int | None, clusters: int | None, flat: bool, seed: int
) -> tuple[str, dict[str, Any]]:
    """The kind of index, and its arguments."""
    asked = [clusters is not None, flat, tables is not None or key_bits is not None]
    if sum(asked) > 1:
        raise typer.BadParameter("expected --tables and --key-bits, or --clusters, or --flat, got several of them")
    if clusters is not None:
        return "kmeans", {"n_clusters": clusters, "random_state": seed}
    if flat:
        return "flat", {}
    return "lsh", {"n_tables": tables or TABLES, "key_bits": key_bits or KEY_BITS, "random_state": seed}


def _check_keys(key_bits: int, n_bits: int) -> None:
    if key_bits > n_bits:
        raise typer.BadParameter(
            f"expected at most the {n_bits} bits of a code, got {key_bits}", param_hint="--key-bits"
        )


def _check_alone(model: str) -> None:
    from ..evaluation.models import BACKBONE_FILE

    if (Path(model) / BACKBONE_FILE).exists():
        raise typer.BadParameter(f"{model} has a network of its own; expected no other", param_hint="--backbone")
