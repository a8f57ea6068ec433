"""Aligned columns of text, the same on a terminal and in a pipe."""

import json
from collections.abc import Mapping, Sequence


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines, every column but the last padded to its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        lines.append("  ".join([*padded, row[-1]]).rstrip())
    return "\n".join(lines)


def shown(value: object) -> str:
    """An id as a cell of a table: names of files can hold what no terminal can show."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)[1:-1]


def bytes_an_item(parts: Mapping[str, int], n: int) -> str:
    """Bytes by part over the number of items, such as ``24.0 (codes 8.0, ids 16.0)``; parts of none are left out."""
    each = {name: count / max(n, 1) for name, count in parts.items() if count}
    listed = ", ".join(f"{name} {count:,.1f}" for name, count in each.items())
    return f"{sum(each.values()):,.1f} ({listed})" if listed else "0"
