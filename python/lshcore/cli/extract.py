"""`lshcore extract`: features of images by a network, kept on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DataDir, Device, Offline, Pixels, usage
from .progress import Progress

if TYPE_CHECKING:
    from ..features import FeatureStore


def extract_command(
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME|folder:DIR", help="A name of `lshcore datasets`, or images.")
    ],
    data_dir: DataDir = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="NAME", help="resnet50, vit_b_16, timm:NAME, ...; the data set's default."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE|NAME|random",
            help="A file, or IMAGENET1K_V1, ...; the best published by default.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where features go; LSHCORE_CACHE_DIR by default.")
    ] = None,
    image_size: Pixels = None,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Images at a time.")] = 64,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=0, help="Processes that decode images.")
    ] = None,
    device: Device = None,
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float16 or float32, on disk.")] = "float16",
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--no-bf16", help="Compute in bfloat16; by default where a CPU gains by it."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail where an image cannot be decoded.")] = False,
    offline: Offline = False,
) -> None:
    """Make features of the images of a data set. Interrupted or killed, the same command goes on where it was."""
    from .._validation import check_choice
    from ..data import check_name, load_images
    from ..data.images import DEFAULT_BACKBONE, PIXELS
    from ..features import backbone as make
    from ..features import cached, extract
    from ..features.extraction import DTYPES

    with usage("dataset"):
        check_name(dataset)
    with usage("dtype"):
        check_choice(dtype, "extract", "dtype", DTYPES)
    with usage("device"):
        check_choice(device, "extract", "device", ("cpu", "cuda", None))
    with Progress() as progress:
        progress(0.0, f"loading {dataset}")
        images = load_images(dataset, data_dir)
        name = backbone or images.backbone
        if name == PIXELS:
            with usage("backbone"):
                raise ValueError(f"pixels need no extraction; expected a network, such as {DEFAULT_BACKBONE}")
        if out is None:
            store = cached(
                images,
                name,
                weights=weights,
                image_size=image_size,
                dtype=dtype,
                batch_size=batch_size,
                workers=workers,
                device=device,
                bf16=bf16,
                strict=strict,
                offline=offline,
                progress=progress,
            )
        else:
            store = extract(
                images,
                make(name, weights, image_size, offline=offline),
                out,
                dtype=dtype,
                batch_size=batch_size,
                workers=workers,
                device=device,
                bf16=bf16,
                strict=strict,
                progress=progress,
            )
    typer.echo(_summary(store))


def _summary(store: "FeatureStore") -> str:
    from ..features.store import SKIPPED

    figures = store.figures
    said = [f"{figures['images']:,} images", f"{figures['skipped']:,} skipped"]
    if figures["skipped"]:
        said[-1] += f" ({SKIPPED} lists them)"
    said.append(f"{figures['images_per_second']:,.1f} images/s" if figures["images_per_second"] else "no time taken")
    if store.configuration["bf16"] and "bf16_cosine" in figures:
        said.append(f"bfloat16 (cosine to float32 at least {figures['bf16_cosine']:.5f})")
    return ", ".join([*said, str(store.path)])
