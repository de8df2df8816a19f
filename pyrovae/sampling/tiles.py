"""Some draws for some rows, whatever runs they were made by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.sampling.runs import Run
from pyrovae.sampling.whole_places import check_whole_places


class Tile(NamedTuple):
    """Some draws for some rows, in one form: `(draws, *plates, *event)`."""

    draws: range
    rows: range
    runs: list[Run]
    batch: Batch
    part: int = 0  # which global draw, on a grid

    def names(self, side: str = "model") -> list[str]:
        """The sites of one side."""
        return list(self.runs[0].names(side))

    def value(self, name: str, side: str = "model") -> torch.Tensor:
        """A site's value."""
        return _joined([run.value(name, side) for run in self._of_whole(name, side)])

    def of(
        self, name: str, function: Callable[[Any], torch.Tensor], *, side: str = "model", extra: int = 0
    ) -> torch.Tensor:
        """What a function says of a site's distribution; see `Run.of`."""
        return _joined([run.of(name, function, side=side, extra=extra) for run in self._of_whole(name, side)])

    def log_prob(self, name: str, side: str = "model") -> torch.Tensor:
        """A site's log-probability, (draws, *plates)."""
        return _joined([run.log_prob(name, side) for run in self._of_whole(name, side)])

    def per_datum(self, name: str, side: str = "model") -> torch.Tensor:
        """A site's log-probability for each draw and datum, (draws, rows); (draws,) where it is global."""
        return _joined([run.per_datum(name, side) for run in self.runs])

    def _of_whole(self, name: str, side: str) -> list[Run]:
        first = self.runs[0]
        check_whole_places(first.node(name, side), getattr(first.traces, side), first.data_plate)
        return self.runs


def draw_ranges(count: int, size: int) -> Iterator[range]:
    """The draws of each tile, one after the other: a list would itself fill memory where somebody asks for too many."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
