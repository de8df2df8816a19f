"""Staged training: pair, objective, optimiser and tempering as one graph, traced once and compiled."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.staged.lanes import Lane, device_of
from pyrovae.staged.roads import Entry, Road
from pyrovae.staged.surroundings import Host, Settings
from pyrovae.staged.vigilance import Vigil

logger = logging.getLogger("pyrovae")


MODES = ("auto", True, False, "traced", "compiled")


class Staging:
    """Chooses, for each batch, the route by which its step is made.

    Attributes:
        mode: "auto", False, "traced" or "compiled" (True means the same).
        switches: each change of route as (step, rows, route), for the checkpoint and for the report.
    """

    def __init__(
        self, mode: Any, *, settings: Settings, host: Host, strict: bool = True, why: str = "", speaks: bool = True
    ):
        self.strict = strict  # whether a pair that cannot be staged is an error
        self.why = why
        self.speaks = speaks
        self.mode = "compiled" if mode is True else mode
        self.settings = settings
        self.host = host
        self.switches: list[tuple[int, int, str]] = []
        self.bad: torch.Tensor | None = None  # on the device: 1 from the first step on whose figures went bad
        self.settle: Callable[[], None] = lambda: None  # reads all that waits, before a step that does not
        self.vigil = Vigil(settings.places, lambda: host.parameters)
        self._roads: dict[Any, Road] = {}
        self._repeated: dict[int, str] = {}

    def step(self, batch: Batch, index: int, epoch: int, steps_left: float) -> Entry:
        """Make one step; its loss, ELBO, rate and distortion per datum may have to be read by `read`.

        Args:
            batch: the batch, on its device.
            index: the step's number.
            epoch: the epoch's.
            steps_left: how many are to come in all, this one counted.
        """
        self.vigil.notice()
        if self.vigil.pending is not None and not self.settings.shared:
            self.vigil.turn_old(self.vigil.pending)
        key = (self.host.rows, *_key(batch, self.settings))
        if key not in self._roads:
            self._roads[key] = Road(self, Lane(self.settings, self.host, self.vigil))
        road = self._roads[key]
        share = (road.lane.count + 1) / (1 + sum(other.lane.count for other in self._roads.values()))
        return road.step(batch, index, epoch, steps_left * share)

    def read(self, entries: Sequence[Entry]) -> list[list[float]]:
        """The figures of steps that all wait, or none of which does, in one look at the device.

        From the first step on whose figures went bad no update was made: from there on the steps are made
        again, by Pyro's own pass, which says what is wrong.
        """
        if not entries or not entries[0].waits:
            return [entry.figures.tolist() for entry in entries]
        looked = torch.stack([entry.figures for entry in entries]).tolist()
        bad = next((place for place, row in enumerate(looked) if not all(map(math.isfinite, row))), None)
        figures = [row[:4] for row in looked[:bad]]
        if bad is not None:
            assert self.bad is not None
            self.bad.zero_()
            figures += self._again(entries[bad:])
        return figures

    def _again(self, entries: Sequence[Entry]) -> list[list[float]]:
        entries[0].road.lane.set_random(entries[0].random)  # type: ignore[arg-type]
        figures = []
        for entry in entries:
            self.host.begin(entry.batch, entry.index, entry.epoch)
            figures.append(entry.road.lane.plain(entry.batch).tolist())
        entries[0].road.lane.agree_on_changes()
        return figures

    def repeat(self, switches: list[tuple[int, int, str]]) -> None:
        """Take up the route of the run that this one goes on with."""
        self.switches = list(switches)
        self._repeated = {rows: route for _, rows, route in switches}

    def repeated(self, rows: int) -> str | None:
        """The route that batches of so many rows had."""
        return self._repeated.get(rows)

    @property
    def staged(self) -> bool:
        """Whether the pair is on a graph: it then draws from torch alone, which was seen when it was traced."""
        return any(road.route != "plain" for road in self._roads.values())

    @property
    def summary(self) -> str:
        """What was done and why, in one line."""
        return self.main_road().summary if self._roads else "no step was made"

    def main_road(self) -> Road:
        """The road that was taken most often; of several the first."""
        return max(self._roads.values(), key=lambda road: road.steps)

    @staticmethod
    def waits(batch: Batch) -> bool:
        """Whether looking at figures would make a device wait."""
        return device_of(batch).type == "cuda"

    def turn(self, batch: Batch, index: int, epoch: int) -> None:
        """Turn to a batch and a step, from which reading may have turned away."""
        self.host.begin(batch, index, epoch)

    def flag(self, batch: Batch) -> torch.Tensor:
        """The tensor that is 1 once figures went bad."""
        if self.bad is None:
            self.bad = torch.zeros((), device=device_of(batch))
        return self.bad

    def tell(self, words: str, *values: Any) -> None:
        """Log what was done; of several processes the first does."""
        if self.speaks:
            logger.info(words, *values)

    def note(self, step: int, batch: Batch, route: str) -> None:
        """Keep a change of route."""
        self.switches.append((step, batch.rows, route))


def _key(batch: Batch, settings: Settings) -> Any:
    """What a graph was made for: shapes, types, other arguments, and which weights are 0."""
    leaves = tuple(
        (name, tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, torch.Tensor) else (name, repr(leaf))
        for name, leaf in batch.leaves.items()
    )
    zero = tuple(weight == 0 for weight in settings.one.tempered.moving().values())
    return leaves, batch.positions is None, zero
