"""The route of one shape of batch: from plain steps to a graph and compiled code, and back where that is no gain."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.staged.batch_leaves import device_of
from pyrovae.staged.compiler import Compiling, Function, compile_graph, seconds_to_compile
from pyrovae.staged.graph_step import GraphStep
from pyrovae.staged.pair_code.changes import Changes
from pyrovae.staged.pair_code.examination import Examination
from pyrovae.staged.routes.comparison_schedule import ComparisonSchedule
from pyrovae.staged.routes.decision import Outlook, worth_compiling, worth_tracing
from pyrovae.staged.routes.objection import Objection
from pyrovae.staged.routes.step_times import MEASURED, StepTimes
from pyrovae.staged.routes.task import Task
from pyrovae.staged.settings import Settings
from pyrovae.staged.unstageable import words_of

logger = logging.getLogger("pyrovae")

_STEADY = 256  # steps of a graph after which tracing has repaid itself, and another change is not held against it

_TRIES = 3  # times that a pair may change its structure before the plain path keeps it

_NONE = Objection()


class StepRoute:
    """The way of the batches of one shape.

    Attributes:
        name: "plain", "traced" or "compiled".
        why: the reason, in words.
        steps: how many were made.
        count: how many since the pair was last another one.
        graph: the step as a graph, from its tracing on.
        function: what runs in the graph's place: itself, compiled code, or kernels that a device replays.
        examination: of the passes before a graph is traced.
        outdated: what is another thing than when the graph was made, in words.
        switches: each change as (step, rows, name).
    """

    def __init__(self, mode: Any, settings: Settings, changes: Changes, why: str):
        self.name = "plain"
        self.why = why if mode or why else "staged=False"
        self.steps = 0  # of all its lives; `count` begins anew with each
        self.graph: GraphStep
        self.function: Function
        self.examination = Examination(changes)
        self.outdated: str | None = None
        self.switches: list[tuple[int, int, str]] = []
        self._mode, self._settings, self._changes = mode, settings, changes
        self.count = 0
        self.times = StepTimes()
        self._comparisons = ComparisonSchedule()
        self._broken, self._examining = 0, False
        self._closed = mode is False
        self._compiling: Compiling | None = None

    # --- a step ---------------------------------------------------------------------------------------

    @property
    def undecided(self) -> bool:
        """Whether the route may change at this step."""
        measured = self._comparisons.since == MEASURED and self._comparisons.trusted
        return not self._closed and (self.name == "plain" or self._compiling is not None or measured)

    def decide(self, batch: Batch, index: int, outlook: Outlook) -> Objection:
        """Change the route where it is time to."""
        if self.name == "plain":
            return self._consider_tracing(batch, index, outlook)
        if self._compiling is not None:
            return self._take_compiled(batch, index)
        return self._judge(batch, index, outlook)

    def task(self, batch: Batch) -> Task:
        """How the step of now is to be made."""
        if self.name == "plain":
            return Task.EXAMINED if self._examining else Task.PLAIN
        self._comparisons.since += 1
        if self._comparisons.due():
            return Task.COMPARED
        return Task.UNREAD if self.waits(batch) and self.graph.may_wait else Task.STAGED

    @staticmethod
    def waits(batch: Batch) -> bool:
        """Whether looking at figures would make a device wait."""
        return device_of(batch).type == "cuda"

    def note_step(self, start: float, device: torch.device) -> None:
        """A step is complete that began at a time."""
        self.count += 1
        self.steps += 1
        self.times.add(start, device)

    # --- onwards --------------------------------------------------------------------------------------

    def _consider_tracing(self, batch: Batch, index: int, outlook: Outlook) -> Objection:
        if not self._examining and self._wants_tracing(outlook):
            self.times.note("plain")
            self._examining = True
        if not (self._examining and self.examination.done):
            return _NONE
        self._examining = False
        words = self._settings.agree(self._trace(batch))
        if words is not None:
            return self._close(words)
        objection = _NONE
        if outlook.main and "compiled" in (self._mode, outlook.known):
            objection = self._compile_now(batch)
        self._enter("traced" if self.function is self.graph.module else "compiled", index, batch)
        return objection

    def _wants_tracing(self, outlook: Outlook) -> bool:
        count = self.count
        if self._mode != "auto":
            # A rare shape of batch stays on the plain path.
            return count == 3 or (count == 0 and outlook.main)
        if count == 0 and outlook.known in ("traced", "compiled"):
            return True
        if count not in (5, 20):
            return False
        choice = worth_tracing(self.times.typical(), outlook.steps_left, self._changes.seconds_to_trace)
        self.why = choice.why
        return choice.go

    def _trace(self, batch: Batch) -> str | None:
        """Make the graph; why it cannot be made, in words."""
        start = time.perf_counter()
        try:
            self.graph = GraphStep(self._settings, batch, self.examination.rebound, self._changes.draws)
            self.graph.shorten(batch)
        except Exception as error:
            return words_of(error)
        self.function = self.graph.module
        self._changes.passed()
        self._changes.seconds_to_trace = time.perf_counter() - start
        return None

    def _judge(self, batch: Batch, index: int, outlook: Outlook) -> Objection:
        """A route has been measured: keep it, go on, or go back."""
        self.times.note(self.name)
        if self._mode != "auto":
            return _NONE
        before = {"traced": "plain", "compiled": "traced"}[self.name]
        if self.times.slower_than(before):
            self._back(before, index, batch)
        elif self.name == "traced" and outlook.main:
            choice = worth_compiling(self.times.typical(), outlook.steps_left, seconds_to_compile(self.graph.module))
            self.why = choice.why
            if choice.go:
                return self._compile(batch, index)
        return _NONE

    def _compile(self, batch: Batch, index: int) -> Objection:
        if not self._settings.forks:
            self._compiling = Compiling(self.graph.module, self.graph.examples(batch))
            return _NONE
        objection = self._compile_now(batch)  # a copy of a process that compiles in a thread may never wake up
        if self.function is not self.graph.module:
            self._enter("compiled", index, batch)
        return objection

    def _compile_now(self, batch: Batch) -> Objection:
        try:
            self.function = compile_graph(self.graph.module, self.graph.examples(batch))
        except Exception as error:
            self.why = f"the compiler gave up ({words_of(error)})"
            if self._mode == "compiled":
                return Objection(warning=f"staged=True trains on the traced graph: {self.why}.")
        return _NONE

    def _take_compiled(self, batch: Batch, index: int) -> Objection:
        """Take over what the background has compiled."""
        compiling = self._compiling
        if compiling is not None and compiling.done():
            self._compiling = None
            if compiling.function is None:
                self.why = f"the compiler gave up ({words_of(compiling.error)})"
            else:
                self.function = compiling.function
                self._enter("compiled", index, batch)
        return _NONE

    def _enter(self, name: str, index: int, batch: Batch) -> None:
        self._comparisons.begin()
        self.times.begin()
        self._switch(name, index, batch)
        self._log("step %d, batches of %d: %s", index, batch.rows, self.summary)

    def _switch(self, name: str, index: int, batch: Batch) -> None:
        self.name = name
        self.switches.append((index, batch.rows, name))

    # --- what looks at a step have found --------------------------------------------------------------

    def examined(self, words: str | None) -> Objection:
        """A pass was looked at; the words say why no graph can follow the pair."""
        return _NONE if words is None else self._close(words)

    def compared(self, words: str | None, batch: Batch, index: int) -> Objection:
        """The graph was compared; the words say what differs."""
        if words is not None:
            return self._leave_graph(words, index, batch, later=self._comparisons.trusted)
        if self._comparisons.passed():
            self.times.begin()
        return _NONE

    def wants_recording(self, batch: Batch) -> bool:
        """Whether the graph has just come to be trusted, on a device that can replay its kernels without Python."""
        ready = self.name != "plain" and self._comparisons.just_trusted
        return ready and self.waits(batch) and device_of(batch).type == "cuda" and self.graph.may_wait

    def not_recorded(self, function: Function, reason: str, batch: Batch) -> None:
        """Go on with a function as it is, since its kernels cannot be replayed."""
        self.function = function
        self._log("batches of %d: kernels are not replayed (%s)", batch.rows, reason)

    # --- and back -------------------------------------------------------------------------------------

    def _back(self, name: str, index: int, batch: Batch) -> None:
        """Return to the route before, which was faster."""
        self.why = f"{self.name} was no faster"
        if name == "plain":
            self._closed = True
        else:
            self.function = self.graph.module
        self._comparisons.since = MEASURED + 1  # it is not measured again
        self._switch(name, index, batch)

    def _leave_graph(self, words: str, index: int, batch: Batch, *, later: bool) -> Objection:
        """The graph is not the pair: go on plain; a pair that changed once may be traced again."""
        self._broken += 1
        self._compiling = None
        name = self.name
        self._switch("plain", index, batch)
        warning = (
            f"step {index}: the pair is not what it was when its {name} step was made: {words}. The steps since "
            f"the last comparison ({self._comparisons.since} at most) used the pair as it was. Train a pair whose "
            "structure changes from step to step with staged=False."
        )
        if not later or self._broken >= _TRIES:
            refused = self._close(f"the graph does not repeat the pair: {words}").refused
            return Objection(refused, warning if later else None)
        self._forget()  # traced afresh after some plain steps
        return Objection(warning=warning)

    def mark_outdated(self, words: str) -> None:
        """Note that something which the pair reads is another thing now; no step is made with the old graph."""
        if self.examination.done and not self._closed:
            self.outdated = words

    def start_afresh(self, batch: Batch, index: int) -> None:
        """Go on plain with a pair that is another one now, and trace it afresh."""
        words = self.outdated
        self._broken += self._comparisons.since < _STEADY
        self._compiling, self._examining = None, False
        self._forget()
        self._switch("plain", index, batch)
        self._log("step %d, batches of %d: traced afresh, %s", index, batch.rows, words)
        if self._broken >= _TRIES:
            self._close(f"the pair goes on changing: {words}")

    def drop_graph(self, batch: Batch, index: int) -> None:
        """Drop the graph: others are used more often."""
        self._compiling, self._examining = None, False
        del self.graph, self.function
        self._forget()
        self._switch("plain", index, batch)

    def stay_plain(self, why: str) -> None:
        """Make no graph from now on."""
        self._close(why)

    def _forget(self) -> None:
        """Begin anew: the pair is not what it was."""
        self.count, self.outdated = 0, None
        self.examination = Examination(self._changes)
        self.times.begin()

    def _close(self, why: str) -> Objection:
        self._closed, self._examining, self.name, self.why = True, False, "plain", why
        return Objection(refused=why)

    def _log(self, words: str, *values: Any) -> None:
        """Log what was done; of several processes the first does."""
        if self._settings.speaks:
            logger.info(words, *values)

    @property
    def summary(self) -> str:
        """The route, the times measured, and the reason."""
        times = self.times.words
        return f"{self.name}" + (f" ({times} a step)" if times else "") + (f": {self.why}" if self.why else "")
