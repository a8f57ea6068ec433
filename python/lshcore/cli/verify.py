"""`lshcore verify`: whether an index on disk is whole."""

from pathlib import Path
from typing import Annotated

import typer

from .progress import Progress


def verify_command(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The directory of the index.", show_default=False)],
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N", help="Threads; all CPUs by default.")] = None,
) -> None:
    """Read all of an index, and check checksums, offsets and ids; exit code 1 and the name of the file if damaged."""
    from ..inspection import verify

    with Progress() as progress:
        progress(0.0, f"reading {index}")
        found = verify(index, jobs)
    typer.echo(f"whole: {len(found):,} rows in {index}")
