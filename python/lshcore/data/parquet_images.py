"""Images in Parquet files, a row group at a time, when they are asked for."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .columns import opened
from .images import pillow

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class ParquetImages:
    """Images in a column of Parquet files, encoded as they were when they were files.

    Nothing is kept open, and only the last row group that was read is kept: images are best opened in their order.

    Parameters
    ----------
    root : Path
    files : sequence of str
        Relative to `root`.
    column : str
        Of bytes, or of structs with a field ``bytes``.
    groups : (g, 3) int64
        For every row group, its first row among all rows, its file, and its number in the file.
    n : int
    """

    root: Path
    files: Sequence[str]
    column: str
    groups: NDArray[np.int64]
    n: int
    _last: dict[int, Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> "Image":
        group, row = self._place(i)
        value = self._column(group)[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise ValueError(f"{self.root / self.name(i)}: the column {self.column!r} holds no bytes in this row")
        image: Image = pillow().open(io.BytesIO(content))
        return image

    def name(self, i: int) -> str:
        group, row = self._place(i)
        first_of_file = self.groups[np.searchsorted(self.groups[:, 1], self.groups[group, 1]), 0]
        return f"{self.files[self.groups[group, 1]]}, row {self.groups[group, 0] + row - first_of_file}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": {}}

    def _place(self, i: int) -> tuple[int, int]:
        """Row group of an image, and its row there."""
        i = range(self.n)[i]
        group = int(np.searchsorted(self.groups[:, 0], i, side="right")) - 1
        return group, i - int(self.groups[group, 0])

    def _column(self, group: int) -> Any:
        column = self._last.get(group)
        if column is None:
            _, file, number = self.groups[group].tolist()
            with opened(self.root / self.files[file]) as parquet:
                column = parquet.read_row_group(number, columns=[self.column], use_threads=False).column(self.column)
            self._last.clear()
            self._last[group] = column
        return column
