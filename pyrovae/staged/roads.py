"""The way of one shape of batch from plain steps to compiled code, and back where that is no gain or not right."""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple, Protocol

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, PyrovaeWarning
from pyrovae.staged.compiling import Compiling, compile_graph, seconds_to_compile
from pyrovae.staged.deciding import worth_compiling, worth_tracing
from pyrovae.staged.lanes import Broken, Lane, device_of
from pyrovae.staged.reading import Unstageable
from pyrovae.staged.vigilance import Vigil

_COMPARED = 3  # consecutive steps that are compared with the plain path before a graph is trusted

_MEASURED = 8  # steps whose median is a route's time

_LATER = (16, 64, 256)  # steps after which a graph is compared again; then every _EVERY

_EVERY = 1_024

_STEADY = 256  # steps of a graph after which tracing has repaid itself, and another change is not held against it

_TRIES = 3  # times that a pair may change its structure before the plain path keeps it


class Entry(NamedTuple):
    """A step whose figures may not have been looked at."""

    figures: torch.Tensor
    batch: Batch
    index: int
    epoch: int
    road: Road
    random: torch.Tensor | None  # the generator before the step; None where its figures are known to be good

    @property
    def waits(self) -> bool:
        """Whether nobody has looked at the figures."""
        return self.random is not None


class Overseer(Protocol):
    """What a road asks of the whole."""

    mode: Any
    strict: bool
    why: str
    vigil: Vigil

    def note(self, step: int, batch: Batch, route: str) -> None:
        """Keep a change of route."""

    def tell(self, words: str, *values: Any) -> None:
        """Log what was done."""

    def repeated(self, rows: int) -> str | None:
        """The route that batches of so many rows had in the run that this one goes on with."""
        ...

    def waits(self, batch: Batch) -> bool:
        """Whether looking at figures would make a device wait."""
        ...

    def main_road(self) -> Road:
        """The road that was taken most often."""
        ...

    def settle(self) -> None:
        """Read all figures that wait; a step that went bad is made again."""

    def turn(self, batch: Batch, index: int, epoch: int) -> None:
        """Turn to a batch and a step, from which reading may have turned away."""

    def flag(self, batch: Batch) -> torch.Tensor:
        """The tensor that is 1 once figures went bad."""
        ...


class Road:
    """One lane's way."""

    def __init__(self, staging: Overseer, lane: Lane):
        self.staging = staging
        self.lane = lane
        self.steps = 0  # of all its lives; the lane's count begins anew with each
        self.route = "plain"
        self.why = staging.why if staging.mode or staging.why else "staged=False"
        self._times: dict[str, float] = {}
        self._to_compare = 0
        self._since = 0  # steps since the route changed
        self._broken = 0
        self._examining = False
        self._closed = staging.mode is False
        self._compiling: Compiling | None = None
        self._graph: Any = None

    @property
    def main(self) -> bool:
        """Whether no other road was taken as often: not that of a first step whose weight is 0, say."""
        return self.staging.main_road() is self

    # --- a step ---------------------------------------------------------------------------------------

    def step(self, batch: Batch, index: int, epoch: int, steps_left: float) -> Entry:
        """Make one step by the route that is right now."""
        start = time.perf_counter()
        if not self._closed:
            self._choose(batch, index, steps_left)
        entry = self._made(batch, index, epoch)
        self.lane.count += 1
        self.steps += 1
        if entry.figures.device.type == "cuda" and len(self.lane.seconds) < _MEASURED:
            torch.cuda.synchronize()
        self.lane.seconds.append(time.perf_counter() - start)
        return entry

    def _choose(self, batch: Batch, index: int, steps_left: float) -> None:
        """Change the route where it is time to."""
        if self.route != "plain" and not self.lane.guards_hold():
            self.lane.pend("a tensor whose value it read while it was traced is another one")
        if self.lane.version not in (None, self.staging.vigil.version):
            self._part(index, batch)
        if self.route == "plain":
            self._consider_tracing(batch, index, steps_left)
        elif self._compiling is not None:
            self._take_compiled(batch, index)
        elif self._since == _MEASURED and self._to_compare == 0:
            self._judge(batch, index, steps_left)

    def _made(self, batch: Batch, index: int, epoch: int) -> Entry:
        """The step by the route of now."""
        staged = self.route != "plain"
        self._since += staged
        compared = staged and (self._to_compare > 0 or self._due())
        if staged and not compared and self.staging.waits(batch) and self.lane.may_wait:
            random = self.lane.random()
            figures = self.lane.staged_blindly(batch, index, self.staging.flag(batch))
            return Entry(figures, batch, index, epoch, self, random)
        self.staging.settle()
        self.staging.turn(batch, index, epoch)
        plain = self._examined if self._examining else self._plain
        make = self._compared if compared else self._staged if staged else plain
        return Entry(make(batch, index), batch, index, epoch, self, None)

    def _plain(self, batch: Batch, index: int) -> torch.Tensor:
        return self.lane.plain(batch)

    def _examined(self, batch: Batch, index: int) -> torch.Tensor:
        try:
            return self.lane.examine(batch)
        except Broken as broken:
            self._close(str(broken.args[0]), demanded=True)
            return broken.args[1]

    def _staged(self, batch: Batch, index: int) -> torch.Tensor:
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
            self._record(batch)
        return figures

    def _record(self, batch: Batch) -> None:
        """On a device, replay the kernels without Python; what cannot be recorded runs as it is."""
        lane = self.lane
        if not (self.staging.waits(batch) and device_of(batch).type == "cuda" and lane.may_wait):
            return
        function = lane.function
        try:
            lane.replay(batch)
            reason = lane.repeats(batch)
        except Exception as error:
            reason = self._words(error)
        if reason is not None:
            lane.function = function
            self.staging.tell("batches of %d: kernels are not replayed (%s)", batch.rows, reason)

    # --- onwards --------------------------------------------------------------------------------------

    def _consider_tracing(self, batch: Batch, index: int, steps_left: float) -> None:
        if not self._examining and self._wants_tracing(batch, steps_left):
            if self.lane.seconds:
                self._times["plain"] = self.lane.typical()
            self._examining = True
        if not (self._examining and self.lane.examined):
            return
        self._examining = False
        start = time.perf_counter()
        words = None
        try:
            self.lane.capture(batch)
        except Exception as error:
            words = self._words(error)
        words = self.lane.host.agree(words)
        if words is not None:
            self._close(words, demanded=True)
            return
        self._times["tracing"] = time.perf_counter() - start
        self._graph = self.lane.function
        if self.main and ("compiled" in (self.staging.mode, self.staging.repeated(batch.rows))):
            self._compile_now(batch)
        self._enter("compiled" if self.lane.function is not self._graph else "traced", index, batch)

    def _wants_tracing(self, batch: Batch, steps_left: float) -> bool:
        count = self.lane.count
        if self.staging.mode != "auto":
            # A rare shape of batch stays on the plain path.
            return count == 3 or (count == 0 and self.main)
        if count == 0 and self.staging.repeated(batch.rows) in ("traced", "compiled"):
            return True
        if count not in (5, 20):
            return False
        choice = worth_tracing(self.lane.typical(), steps_left)
        self.why = choice.why
        return choice.go

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
            if choice.go and lane.settings.forks:  # a copy of a process that compiles in a thread may never wake up
                self._compile_now(batch)
                self._entered_if_compiled(index, batch)
            elif choice.go:
                self._compiling = Compiling(self._graph, lane.examples(batch))

    def _entered_if_compiled(self, index: int, batch: Batch) -> None:
        if self.lane.function is not self._graph:
            self._enter("compiled", index, batch)

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
        self.staging.tell("step %d, batches of %d: %s", index, batch.rows, self.summary)

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
            self.lane.forget()  # traced afresh after some plain steps
        if later:
            warnings.warn(
                f"step {index}: the pair is not what it was when its {route} step was made: {words}. The steps since "
                f"the last comparison ({self._since} at most) used the pair as it was. Train a pair whose structure "
                "changes from step to step with staged=False.",
                PyrovaeWarning,
                stacklevel=2,
            )

    def _part(self, index: int, batch: Batch) -> None:
        """Something that the pair reads is another thing now, before a step was made with the old: trace afresh."""
        self._broken += self._since < _STEADY
        self.route, self._compiling, self._examining = "plain", None, False
        self.lane.forget()
        self.staging.note(index, batch, "plain")
        self.staging.tell("step %d, batches of %d: traced afresh, %s", index, batch.rows, self.staging.vigil.words)
        if self._broken >= _TRIES:
            self._close(f"the pair goes on changing: {self.staging.vigil.words}")

    def _close(self, why: str, *, demanded: bool = False) -> None:
        self._closed, self.route, self.why = True, "plain", why
        if demanded and self.main and self.staging.strict:
            raise ArgumentError(
                f"staged={self.staging.mode!r}, but this pair cannot be staged: {why}. Leave staged at 'auto', which "
                "trains such a pair on Pyro's own pass."
            )

    @staticmethod
    def _words(error: Exception | None) -> str:
        text = " ".join(str(error).split())
        return text[:300] if isinstance(error, Unstageable) else f"{type(error).__name__}: {text[:200]}"

    @property
    def summary(self) -> str:
        """The route, the times measured, and the reason."""
        times = ", ".join(
            f"{name} {1e3 * seconds:.3g} ms" for name, seconds in self._times.items() if name != "tracing"
        )
        return f"{self.route}" + (f" ({times} a step)" if times else "") + (f": {self.why}" if self.why else "")
