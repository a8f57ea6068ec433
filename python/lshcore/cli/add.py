"""`lshcore add`: more rows for an index on disk."""

from pathlib import Path
from typing import Annotated

import typer

from .ids import read_ids, typed
from .options import Device, IndexDir, Jobs, MovedWeights, Offline
from .progress import Progress


def add_command(
    index: IndexDir,
    source: Annotated[str, typer.Argument(metavar="folder:DIR|FILE", help="Images, or features.", show_default=False)],
    update: Annotated[
        bool, typer.Option("--update", help="Replace rows whose ids are there already; else they are left.")
    ] = False,
    listed: Annotated[
        Path | None, typer.Option("--ids", metavar="FILE", help="Ids of the rows of features, one a line.")
    ] = None,
    weights: MovedWeights = None,
    device: Device = None,
    offline: Offline = False,
    jobs: Jobs = None,
) -> None:
    """Add images of a folder that are not there yet, or rows of features, to an index that `lshcore build` made.

    Images are made into features as the others were. Numbers of new rows go on from the largest that there was; with
    --update they are those of the file.
    """
    from ..collection import Collection
    from ..data import check_name
    from .options import usage

    with usage():
        check_name(source)
    with Progress() as progress:
        opened = Collection.open(index, weights=weights)
        ids = None if listed is None else typed(read_ids(listed), opened.index)
        done = opened.add(source, ids, update=update, device=device, offline=offline, n_jobs=jobs, progress=progress)
        if done.added or done.updated:
            progress(1.0, "saving")
            opened.save(jobs)
    said = [f"{done.added:,} added"]
    said += [f"{done.updated:,} updated"] if update else []
    said += [f"{done.left:,} there already"] if done.left else []
    said += [f"{done.skipped:,} skipped"] if done.skipped else []
    typer.echo(f"{', '.join(said)}: {len(opened):,} rows in {index}")
