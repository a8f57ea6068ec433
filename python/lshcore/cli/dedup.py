"""`lshcore dedup`: near-duplicates among images or features."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .hashing import HasherArguments, MethodName, ModelDir, hashing
from .options import Backbone, DataDir, Device, Jobs, Offline, Pixels, Weights, usage
from .progress import Progress

BITS = 64


def dedup_command(
    source: Annotated[
        str, typer.Argument(metavar="folder:DIR|FILE|NAME", help="Images, or features.", show_default=False)
    ],
    radius: Annotated[
        int, typer.Option("--radius", metavar="R", min=0, help="Bits in which codes of duplicates may differ.")
    ],
    against: Annotated[
        str | None, typer.Option("--against", metavar="OTHER", help="Find pairs with these, rather than groups.")
    ] = None,
    data_dir: DataDir = None,
    backbone: Backbone = None,
    weights: Weights = None,
    image_size: Pixels = None,
    device: Device = None,
    offline: Offline = False,
    method: MethodName = None,
    bits: Annotated[
        int | None, typer.Option("--bits", metavar="N", min=1, help=f"Bits of a code; {BITS} by default.")
    ] = None,
    arguments: HasherArguments = None,
    model: ModelDir = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.jsonl", help="Where lines of JSON go; stdout by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Of the hasher.")] = 0,
    jobs: Jobs = None,
) -> None:
    """Report groups of items whose codes are within a Hamming radius, none missed; nothing is changed or removed.

    A line for each group, the largest first: {"group", "items": [{"id", "distance"}]}, the distance being that to the
    first of the group; with --against a line for each pair: {"id", "against", "distance"}.
    """
    from ..data import check_name

    with usage():
        check_name(source)
        if against is not None:
            check_name(against)
    hashed = hashing(method, bits, arguments, model, seed, BITS)

    from .._files import write_whole
    from ..deduplication import find_duplicates
    from ..evaluation.results import make_folder
    from ..items import Wanted

    if out is not None:  # before the work, not after it
        make_folder(out.parent)
    wanted = Wanted(source, data_dir, None, hashed.network or backbone, weights, image_size, device, offline)
    with Progress() as progress:
        found = find_duplicates(wanted, radius, against, hashed.hasher, hashed.preprocess, jobs, progress)
    lines = [json.dumps(line) for line in found.lines]
    if out is None:
        for line in lines:
            typer.echo(line)
    else:
        write_whole(out, "".join(f"{line}\n" for line in lines).encode())
    said = f"{found.n_items:,} items"
    said += f" against {found.n_others:,}" if against is not None else ""
    said += f": {found.n_pairs:,} pairs within {radius} bits"
    if against is None:
        said += f", {found.n_groups:,} groups of {found.n_grouped:,} items"
    said += f", {found.skipped:,} skipped" if found.skipped else ""
    said += f", in {out}" if out is not None else ""
    typer.echo(f"lshcore: {said}", err=True)
