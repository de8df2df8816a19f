"""How long the steps of a route take."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque

import torch

MEASURED = 8  # steps whose median is a route's time


class StepTimes:
    """The seconds of the last steps, and the median of each route that was left."""

    def __init__(self):
        self._last: deque[float] = deque(maxlen=15)
        self._known: dict[str, float] = {}

    def add(self, start: float, device: torch.device) -> None:
        """A step that began at a time is complete."""
        if device.type == "cuda" and len(self._last) < MEASURED:
            torch.cuda.synchronize()
        self._last.append(time.perf_counter() - start)

    def typical(self) -> float:
        """The median of the last steps' seconds."""
        return statistics.median(self._last) if self._last else math.nan

    def note(self, route: str) -> None:
        """Keep the median as that of a route."""
        if self._last:
            self._known[route] = self.typical()

    def slower_than(self, route: str) -> bool:
        """Whether the last steps took longer than those of a route that is known."""
        return self.typical() > self._known.get(route, math.inf)

    def begin(self) -> None:
        """Measure anew: what follows are other steps."""
        self._last.clear()

    @property
    def words(self) -> str:
        """The medians, in words."""
        return ", ".join(f"{route} {1e3 * seconds:.3g} ms" for route, seconds in self._known.items())
