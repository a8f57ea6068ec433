"""`lshcore describe`: what an index on disk is made of."""

import typer

from .options import IndexDir


def describe_command(
    index: IndexDir,
) -> None:
    """Show kind, rows, generation, hasher, bytes an item by part, and how full the buckets are."""
    from ..inspection import describe
    from .output import bytes_an_item, columns

    found = describe(index)
    rows = [
        ("index", found.kind),
        ("hasher", found.hasher or "none"),
        ("rows", f"{found.rows:,}"),
        ("removed", f"{found.removed:,}"),
        ("segments", f"{found.segments:,}"),
        ("generation", str(found.generation)),
        ("ids", found.ids),
        ("bytes an item in memory", bytes_an_item(found.memory, found.rows)),
        ("bytes an item on disk", bytes_an_item(found.disk, found.rows)),
    ]
    if found.buckets is not None:
        each = found.buckets
        rows.append(
            (
                "buckets",
                f"{each.number:,}, rows: mean {each.mean:,.1f}, median {each.median:,.0f}, most {each.largest:,}",
            )
        )
    if found.recipe is not None:
        made = found.recipe
        weights = f", weights {made.weights}" if made.weights else ""
        rows.append(("made of", f"{made.dataset}, {made.backbone or 'features'}{weights}"))
    typer.echo(columns(rows))
