"""`lshcore remove`: rows out of an index on disk."""

from pathlib import Path
from typing import Annotated

import typer

from .ids import read_ids, typed
from .options import IndexDir


def remove_command(
    index: IndexDir,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of rows.", show_default=False)] = None,
    listed: Annotated[Path | None, typer.Option("--from", metavar="FILE", help="Ids of rows, one a line.")] = None,
) -> None:
    """Take rows out of an index: all of those that are named, or, where one is not there, none."""
    from ..index import open_index

    names = list(ids or [])
    if listed is not None:
        names += read_ids(listed)
    if not names:
        raise typer.BadParameter("expected ids, or --from FILE", param_hint="ID")
    opened = open_index(index)
    opened.remove(typed(names, opened)).save(index)
    typer.echo(f"{len(names):,} removed: {len(opened):,} rows in {index}")
