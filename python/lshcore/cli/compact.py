"""`lshcore compact`: an index on disk without what was removed from it."""

import typer

from .options import IndexDir, Jobs
from .progress import Progress


def compact_command(
    index: IndexDir,
    jobs: Jobs = None,
) -> None:
    """Put all rows of an index together, without those removed; no answer changes."""
    from ..index import open_index
    from ..inspection import describe

    with Progress() as progress:
        before = describe(index)
        opened = open_index(index)
        progress(0.2, f"compacting {len(opened):,} rows")
        opened.compact(jobs)
        progress(0.6, "saving")
        opened.save(index, jobs)
        after = describe(index)
    sizes = " to ".join(f"{sum(each.disk.values()) / 1e6:,.1f}" for each in (before, after))
    typer.echo(
        f"{before.segments:,} segments to {after.segments:,}, {before.removed:,} removed rows dropped, "
        f"{sizes} MB on disk: {after.rows:,} rows in {index}"
    )
