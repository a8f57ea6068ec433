"""`lshcore datasets`: what can be evaluated on, and where it was found."""

from pathlib import Path
from typing import Annotated

import typer


def datasets_command(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where to look, instead of the usual places.")
    ] = None,
) -> None:
    """List the data sets known by name, where each was found, and how to get what was not."""
    from ..data import CATALOGUE, locate
    from ..data.arrays import SUFFIXES
    from .output import columns

    rows = [("name", "items", "protocol", "found")]
    for entry in CATALOGUE.values():
        found = locate(entry.name, data_dir)
        missing = f"not found ({entry.size}); {entry.obtain}"
        rows.append((entry.name, f"{entry.items:,}", entry.protocol, found or missing))
    rows.append(("FILE", "any", "holdout", f"features and labels of your own: {', '.join(SUFFIXES)}"))
    typer.echo(columns(rows))
