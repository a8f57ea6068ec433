"""`lshcore datasets`: what can be evaluated on, and where it was found."""

from pathlib import Path
from typing import Annotated

import typer


def datasets_command(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where to look, instead of the usual places.")
    ] = None,
    download: Annotated[
        str | None, typer.Option("--download", metavar="NAME", help="Fetch a data set into --data-dir DIR first.")
    ] = None,
) -> None:
    """List the data sets known by name, where each was found, and how to get what was not."""
    from ..data import CATALOGUE, fetch, locate
    from ..data.arrays import SUFFIXES
    from ..data.places import DATA_DIR_VARIABLE, root
    from .options import usage
    from .output import columns

    if download is not None:
        with usage("download"):
            if download not in CATALOGUE:
                raise ValueError(f"expected one of {', '.join(CATALOGUE)}, got {download}")
            if root(data_dir) is None:
                raise ValueError(f"expected --data-dir DIR beside it, or {DATA_DIR_VARIABLE}, to say where")
        where = fetch(download, data_dir)
        if where is None:
            raise ValueError(f"nobody offers {download} for download: {CATALOGUE[download].obtain}")
        typer.echo(f"lshcore: {download} is in {where}", err=True)

    rows = [("name", "items", "protocol", "found")]
    for entry in CATALOGUE.values():
        found = locate(entry.name, data_dir)
        missing = f"not found ({entry.size}); {entry.obtain}"
        rows.append((entry.name, f"{entry.items:,}", entry.protocol, found or missing))
    rows.append(("folder:DIR", "any", "holdout", "images of your own: a folder a class, or train/ and val/ of those"))
    rows.append(("FILE", "any", "holdout", f"features and labels of your own: {', '.join(SUFFIXES)}"))
    rows.append(("DIR", "any", "holdout", "features and labels of your own, or what `lshcore extract` made"))
    typer.echo(columns(rows))
