"""Progress of long work: a callable that takes the share that is done, from 0 to 1, and what comes now."""

from collections.abc import Callable

Progress = Callable[[float, str], None]


def part(progress: Progress | None, start: float, stop: float) -> Progress:
    """Progress of a part of the work, the whole of which is told from `start` to `stop`."""

    def tell(share: float, text: str) -> None:
        if progress is not None:
            progress(start + share * (stop - start), text)

    return tell
