"""`lshcore verify`: whether an index on disk is whole."""

import typer

from .options import IndexDir, Jobs
from .progress import Progress


def verify_command(
    index: IndexDir,
    jobs: Jobs = None,
) -> None:
    """Read all of an index, and check checksums, offsets and ids; exit code 1 and the name of the file if damaged."""
    from ..inspection import verify

    with Progress() as progress:
        progress(0.0, f"reading {index}")
        found = verify(index, jobs)
    typer.echo(f"whole: {len(found):,} rows in {index}")
