"""Staged training: pair, objective, optimiser and tempering as one graph, traced once and compiled."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from pyrovae.batches import Batch
from pyrovae.errors import ArgumentError, PyrovaeWarning
from pyrovae.staging.capturing import Pass
from pyrovae.staging.compiling import Compiling, compile_graph, seconds_to_compile
from pyrovae.staging.deciding import worth_compiling, worth_tracing
from pyrovae.staging.lanes import Broken, Host, Lane, Settings
from pyrovae.staging.reading import Unstageable

__all__ = ["MODES", "Pass", "Settings", "Staging", "Unstageable"]

logger = logging.getLogger("pyrovae")

MODES = ("auto", True, False, "traced", "compiled")

_COMPARED = 3  # consecutive steps that are compared with the plain path before a graph is trusted
_MEASURED = 8  # steps whose median is a route's time
_LATER = (16, 64, 256)  # steps after which a graph is compared again; then every _EVERY
_EVERY = 1_024
_TRIES = 3  # times that a pair may change its structure before the plain path keeps it


class Staging:
    """Chooses, for each batch, the route by which its step is made.

    Attributes:
        mode: "auto", False, "traced" or "compiled" (True means the same).
        switches: each change of route as (step, rows, route), for the checkpoint and for the report.
    """

    def __init__(self, mode: Any, settings: Settings, host: Host, *, repeat: Mapping[str, Any] | None = None):
        self.mode = "compiled" if mode is True else mode
        self.settings = settings
        self.host = host
        self.switches: list[tuple[int, int, str]] = []
        self.reason = "" if mode else "staged=False"
        self.repeat: list[tuple[int, int, str]] = []  # the switches of the run that this one goes on with
        self._roads: dict[Any, Road] = {}

    def step(self, batch: Batch, index: int, steps_left: float) -> torch.Tensor:
        """Make one step; its loss, ELBO, rate and distortion per datum.

        Args:
            batch: the batch, on its device.
            index: the step's number.
            steps_left: how many are to come in all, this one counted.
        """
        key = _key(batch, self.settings)
        if key not in self._roads:
            self._roads[key] = Road(self, Lane(self.settings, self.host), main=not self._roads)
        road = self._roads[key]
        share = (road.lane.count + 1) / (1 + sum(other.lane.count for other in self._roads.values()))
        return road.step(batch, index, steps_left * share)

    @property
    def summary(self) -> str:
        """What was done and why, in one line."""
        roads = list(self._roads.values())
        if not roads:
            return "no step was made"
        return max(roads, key=lambda road: road.lane.count).summary

    def note(self, step: int, batch: Batch, route: str) -> None:
        """Keep a change of route."""
        self.switches.append((step, batch.rows, route))


class Road:
    """One lane's way from plain steps to compiled code, and back where that is no gain or not right."""

    def __init__(self, staging: Staging, lane: Lane, *, main: bool):
        self.staging = staging
        self.lane = lane
        self.main = main
        self.route = "plain"
        self.why = staging.reason
        self._times: dict[str, float] = {}
        self._to_compare = 0
        self._since = 0  # steps since the route changed
        self._broken = 0
        self._closed = staging.mode is False
        self._compiling: Compiling | None = None
        self._graph: Any = None

    # --- a step ---------------------------------------------------------------------------------------

    def step(self, batch: Batch, index: int, steps_left: float) -> torch.Tensor:
        start = time.perf_counter()
        if self._closed and self.route == "plain":
            figures = self.lane.plain(batch)
        else:
            figures = self._advance(batch, index, steps_left)
        self.lane.count += 1
        if figures.device.type == "cuda" and len(self.lane.seconds) < _MEASURED:
            torch.cuda.synchronize()
        self.lane.seconds.append(time.perf_counter() - start)
        return figures

    def _advance(self, batch: Batch, index: int, steps_left: float) -> torch.Tensor:
        if self.route == "plain":
            self._consider_tracing(batch, index, steps_left)
        elif self._compiling is not None:
            self._take_compiled(batch, index)
        elif self._since == _MEASURED and self._to_compare == 0:
            self._judge(batch, index, steps_left)
        if self.route == "plain":
            return self.lane.plain(batch)
        self._since += 1
        if self._to_compare or self._due():
            return self._compared(batch, index)
        return self.lane.staged(batch, index)

    def _due(self) -> bool:
        return self._since in _LATER or self._since % _EVERY == 0

    def _compared(self, batch: Batch, index: int) -> torch.Tensor:
        later = self._to_compare == 0
        try:
            figures = self.lane.checked(batch)
        except Broken as broken:
            self._retreat(str(broken.args[0]), index, batch, later=later)
            return broken.args[1]
        self._to_compare = max(self._to_compare - 1, 0)
        if self._to_compare == 0 and not later:
            self.lane.seconds.clear()
            self._since = 0
        return figures

    # --- onwards --------------------------------------------------------------------------------------

    def _consider_tracing(self, batch: Batch, index: int, steps_left: float) -> None:
        if not self._wants_tracing(index, steps_left):
            return
        self._times["plain"] = self.lane.typical()
        start = time.perf_counter()
        try:
            self.lane.capture(batch)
        except Exception as error:
            self._close(self._words(error), demanded=True)
            return
        self._times["tracing"] = time.perf_counter() - start
        self._graph = self.lane.function
        if self.main and (self.staging.mode == "compiled" or self._repeated("compiled", index)):
            self._compile_now(batch)
        self._enter("compiled" if self.lane.function is not self._graph else "traced", index, batch)

    def _wants_tracing(self, index: int, steps_left: float) -> bool:
        count = self.lane.count
        if self.staging.mode != "auto":
            # The first step gives the optimiser its state; a rare shape of batch stays on the plain path.
            return count == 1 if self.main else count == 3
        if count == 1 and self._repeated("traced", index):
            return True
        if count not in (5, 20):
            return False
        choice = worth_tracing(self.lane.typical(), steps_left)
        self.why = choice.why
        return choice.go

    def _repeated(self, route: str, index: int) -> bool:
        """Whether the run that this one goes on with was on a route at this step, or further."""
        names = [name for step, _, name in self.staging.repeat if step <= index]
        return bool(names) and (names[-1] == route or (route == "traced" and names[-1] == "compiled"))

    def _judge(self, batch: Batch, index: int, steps_left: float) -> None:
        """A route has been measured: keep it, go on, or go back."""
        lane, mode = self.lane, self.staging.mode
        self._times[self.route] = lane.typical()
        if mode != "auto":
            return
        before = {"traced": "plain", "compiled": "traced"}[self.route]
        if lane.typical() > self._times.get(before, float("inf")):
            self._back(before, index, batch)
        elif self.route == "traced" and self.main:
            cost = seconds_to_compile(self._graph)
            choice = worth_compiling(lane.typical(), steps_left, cost)
            self.why = choice.why
            if choice.go:
                self._compiling = Compiling(self._graph, lane.examples(batch))

    def _compile_now(self, batch: Batch) -> None:
        try:
            self.lane.function = compile_graph(self._graph, self.lane.examples(batch))
        except Exception as error:
            self.why = f"the compiler gave up ({self._words(error)})"
            if self.staging.mode == "compiled":
                warnings.warn(f"staged=True trains on the traced graph: {self.why}.", PyrovaeWarning, stacklevel=2)

    def _take_compiled(self, batch: Batch, index: int) -> None:
        """Take over what the background has compiled."""
        compiling = self._compiling
        if compiling is None or not compiling.done():
            return
        self._compiling = None
        if compiling.function is None:
            self.why = f"the compiler gave up ({self._words(compiling.error)})"
            return
        self.lane.function = compiling.function
        self._enter("compiled", index, batch)

    def _enter(self, route: str, index: int, batch: Batch) -> None:
        self.route, self._since, self._to_compare = route, 0, _COMPARED
        self.lane.seconds.clear()
        self.staging.note(index, batch, route)
        logger.info("step %d, batches of %d: %s", index, batch.rows, self.summary)

    # --- and back -------------------------------------------------------------------------------------

    def _back(self, route: str, index: int, batch: Batch) -> None:
        """Return to the route before, which was faster."""
        self.why = f"{self.route} was no faster"
        if route == "plain":
            self._close(self.why)
        else:
            self.lane.function = self._graph
        self.route, self._since = route, _MEASURED + 1
        self.staging.note(index, batch, route)

    def _retreat(self, words: str, index: int, batch: Batch, *, later: bool) -> None:
        """The graph is not the pair: go on plain; a pair that changed once may be traced again."""
        self._broken += 1
        self._compiling = None
        route, self.route = self.route, "plain"
        self.staging.note(index, batch, "plain")
        if not later or self._broken >= _TRIES:
            self._close(f"the graph does not repeat the pair: {words}", demanded=True)
        else:
            self.lane.count = 0  # traced afresh after some plain steps
        if later:
            warnings.warn(
                f"step {index}: the pair is not what it was when its {route} step was made: {words}. The steps since the "
                f"last comparison ({self._since} at most) used the pair as it was. A pair whose structure changes from step "
                "to step is trained with staged=False.",
                PyrovaeWarning,
                stacklevel=2,
            )

    def _close(self, why: str, *, demanded: bool = False) -> None:
        self._closed, self.route, self.why = True, "plain", why
        if demanded and self.main and self.staging.mode != "auto":
            raise ArgumentError(
                f"staged={self.staging.mode!r}, but this pair cannot be staged: {why}. Leave staged at 'auto', which trains "
                "such a pair on Pyro's own pass."
            )

    @staticmethod
    def _words(error: Exception | None) -> str:
        text = " ".join(str(error).split())
        return text[:300] if isinstance(error, Unstageable) else f"{type(error).__name__}: {text[:200]}"

    @property
    def summary(self) -> str:
        """The route, the times measured, and the reason."""
        times = ", ".join(f"{name} {1e3 * seconds:.3g} ms" for name, seconds in self._times.items() if name != "tracing")
        return f"{self.route}" + (f" ({times} a step)" if times else "") + (f": {self.why}" if self.why else "")


def _key(batch: Batch, settings: Settings) -> Any:
    """What a graph was made for: shapes, types, other arguments, and which weights are 0."""
    leaves = tuple(
        (name, tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, torch.Tensor) else (name, repr(leaf))
        for name, leaf in batch.leaves.items()
    )
    zero = tuple(weight == 0 for weight in settings.one.tempered.moving().values())
    return leaves, batch.positions is None, zero
