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
    target_recall: Annotated[
        float | None,
        typer.Option(
            "--target-recall",
            metavar="R",
            help="k-means buckets with residual codes, tuned to find this share of the 10 nearest.",
        ),
    ] = None,
    rank: Annotated[
        str | None, typer.Option("--rank", metavar="NAME", help="With --target-recall: cosine (default), l2 or ip.")
    ] = None,
    flat: Annotated[bool, typer.Option("--flat", help="No buckets: every search looks at everything.")] = False,
    vectors: Annotated[
        str, typer.Option("--vectors", metavar="NAME", help="float16, float32 or none: kept to rank by.")
    ] = "float16",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Of hasher and clusters.")] = 0,
    jobs: Jobs = None,
) -> None:
    """Index a data set, features or a folder of images, and keep that: lshcore search, add and remove use it.

    Ids are the names of the files of a folder, and else the numbers of rows. The fastest index, for example:

        lshcore build --dataset fashion-mnist --out INDEX --target-recall 0.95
    """
    from .._validation import check_choice
    from ..data import check_name
    from ..data.images import PIXELS

    with usage("dataset"):
        check_name(dataset)
    with usage("vectors"):
        check_choice(vectors, "build", "vectors", ("float16", "float32", "none"))
    kind, own = _kind(tables, key_bits, clusters, target_recall, rank, flat, seed)
    if target_recall is not None and (vectors == "none" or method or bits or model):
        raise typer.BadParameter(
            "expected neither codes of --method, --bits or --model, nor --vectors none, beside it",
            param_hint="--target-recall",
        )
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
    tables: int | None,
    key_bits: int | None,
    clusters: int | None,
    target_recall: float | None,
    rank: str | None,
    flat: bool,
    seed: int,
) -> tuple[str, dict[str, Any]]:
    """The kind of index, and its arguments."""
    from .._validation import as_share, check_choice

    asked = [clusters is not None or target_recall is not None, flat, tables is not None or key_bits is not None]
    if sum(asked) > 1:
        raise typer.BadParameter(
            "expected --tables and --key-bits, or --clusters and --target-recall, or --flat, got several of them"
        )
    if target_recall is not None:
        with usage("target-recall"):
            as_share(target_recall, "build", "target_recall")
        with usage("rank"):
            check_choice(rank, "build", "rank", (None, "cosine", "l2", "ip"))
        found = {"n_clusters": clusters, "random_state": seed, "rank": rank, "target_recall": target_recall}
        return "kmeans", found
    if rank is not None:
        raise typer.BadParameter("expected --target-recall beside it", param_hint="--rank")
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
