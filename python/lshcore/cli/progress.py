"""A progress bar with the time left: on stderr, only on a terminal, and only for what takes over two seconds."""

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

DELAY_SECONDS = 2.0


class Progress:
    """``progress(share, text)`` inside a ``with`` block; silent where stderr is no terminal."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._first: float | None = None  # work that was taken up again does not begin at 0
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._open = False

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _make_bar()
            self._bar.add_task("starting", total=1.0, first=0.0)
            self._open = True
            self._timer = threading.Timer(DELAY_SECONDS, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def _show(self) -> None:
        with self._lock:
            if self._bar is not None and self._open:
                self._bar.start()

    def __call__(self, share: float, text: str) -> None:
        if self._bar is not None:
            self._first = share if self._first is None else self._first
            self._bar.update(self._bar.task_ids[0], completed=share, description=text, first=self._first)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is None or self._timer is None:
            return
        self._timer.cancel()
        with self._lock:
            self._open = False
            self._bar.stop()


def _make_bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        """What is left at the mean pace so far; rich's own column looks at the last updates only, which jump."""

        def render(self, task: Task) -> Text:
            done, elapsed = task.completed - task.fields["first"], task.elapsed or 0.0
            if done <= 0:
                return Text("")
            left = round(elapsed * (1 - task.completed) / done)
            return Text(f"{left // 60}:{left % 60:02d} left")

    return Bar(
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeLeft(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
    )
