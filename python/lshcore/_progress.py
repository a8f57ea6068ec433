"""Progress of long work: a callable that takes the share that is done, from 0 to 1, and what comes now."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

Progress = Callable[[float, str], None]


def part(progress: Progress | None, start: float, stop: float) -> Progress:
    """Progress of a part of the work, the whole of which is told from `start` to `stop`."""

    def tell(share: float, text: str) -> None:
        if progress is not None:
            progress(start + share * (stop - start), text)

    return tell


class Stages:
    """Seconds of stages that come one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = time.perf_counter()

    def stage(self, name: str, parts: Mapping[str, float] = MappingProxyType({})) -> None:
        """A stage of this name is over; `parts` are what is known of it."""
        now = time.perf_counter()
        if parts:
            self.seconds |= {f"{name}: {part}": seconds for part, seconds in parts.items()}
        else:
            self.seconds[name] = now - self._at
        self._at = now
