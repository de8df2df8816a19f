"""Staged training: which route each batch takes, and what is done about pairs that change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, warn_user
from pyrovae.staged.pair_code.changes import Changes
from pyrovae.staged.routes.decision import Outlook
from pyrovae.staged.routes.inert_reads import InertTrial
from pyrovae.staged.routes.objection import Objection
from pyrovae.staged.routes.step_route import StepRoute
from pyrovae.staged.routes.task import Task
from pyrovae.staged.routes.value_routes import ValueRoutes
from pyrovae.staged.settings import Settings

MODES = ("auto", True, False, "traced", "compiled")


class NextStep(NamedTuple):
    """How a step is to be made."""

    task: Task
    route: StepRoute


class Staging:
    """Chooses, for each batch, the route by which its step is made.

    It makes no step: whoever does asks by `choose`, and says what was found by `examined` and `compared`.

    Attributes:
        mode: "auto", False, "traced" or "compiled" (True means the same).
        pending: what is another thing than before, while graphs are not old yet: of several processes, all have to
            know of it first.
    """

    def __init__(self, mode: Any, settings: Settings, *, strict: bool = True, why: str = ""):
        self.mode = "compiled" if mode is True else mode
        self.settings = settings
        self.pending: str | None = None
        self._strict = strict  # whether a pair that cannot be staged is an error
        self._why = why
        self._changes = Changes(settings.places, settings.shown)
        self._routes: dict[Any, ValueRoutes] = {}  # by shape
        self._trial: InertTrial | None = None  # of a graph at other values of the batch, in the step of now
        self._before: list[tuple[int, int, str]] = []  # the switches of the run that this one goes on with

    # --- before a step --------------------------------------------------------------------------------

    def choose(self, batch: Batch, rows: int, index: int, steps_left: float) -> NextStep:
        """How the next step is to be made.

        Args:
            batch: the batch, on its device.
            rows: of the whole batch, of which several processes have parts.
            index: the step's number.
            steps_left: how many are to come in all, this one counted.

        Raises:
            ArgumentError: the pair cannot be staged, and was to be.
        """
        self._look_for_changes()
        routes = self._routes_of(batch, rows)
        route = routes.find(batch)
        if route.name != "plain" and not route.graph.guards_hold():
            self._note("a tensor whose value it read while it was traced is another one")
        if route.outdated is not None:
            route.start_afresh(batch, index)
        if route.undecided:
            outlook = self._outlook(route, batch, steps_left, routes.first is route)
            self._raise_or_warn(route, route.decide(batch, index, outlook))
        routes.decided(route, batch, index)
        if route is routes.rest:
            self._raise_or_warn(route, Objection(refused=route.why))
        task = route.task(batch)
        self._trial = routes.trial if route.name != "plain" else None
        return NextStep(task if self._trial is None else Task.COMPARED, route)

    def _routes_of(self, batch: Batch, rows: int) -> ValueRoutes:
        key = (rows, *_key(batch, self.settings))
        if key not in self._routes:
            self._routes[key] = ValueRoutes(self._new_route)
        return self._routes[key]

    def _new_route(self, why: str | None) -> StepRoute:
        """A route; one that stays on the plain path where there are words why."""
        if why is None:
            return StepRoute(self.mode, self.settings, self._changes, self._why)
        return StepRoute(False, self.settings, self._changes, why)

    def _outlook(self, route: StepRoute, batch: Batch, steps_left: float, first: bool) -> Outlook:
        share = (route.count + 1) / (1 + sum(other.count for other in self._all_routes()))
        known = {rows: name for _, rows, name in self._before}.get(batch.rows) if first else None
        return Outlook(steps_left * share, self.main_route() is route, known)

    def _all_routes(self) -> Iterator[StepRoute]:
        return (route for routes in self._routes.values() for route in routes)

    # --- what was found -------------------------------------------------------------------------------

    def passed(self) -> None:
        """A pass was made by Pyro; what it has changed is not the user's doing."""
        self._changes.passed()

    def examined(self, route: StepRoute) -> None:
        """A pass was looked at."""
        self._raise_or_warn(route, route.examined(self.settings.agree(route.examination.words)))

    def compared(self, route: StepRoute, words: str | None, batch: Batch, index: int) -> None:
        """A graph was compared with a pass; the words say what differs."""
        words = self.settings.agree(words)
        trial, self._trial = self._trial, None
        if trial is not None and words is not None:
            trial.reads.refute()
            route.graph.inert.clear()
            return
        if trial is not None:
            trial.reads.confirm(trial.values)
        self._raise_or_warn(route, route.compared(words, batch, index))
        if words is None:
            self.agree_on_changes()

    def agree_on_changes(self) -> None:
        """Tell all processes what one of them has noticed; from the next step on all go plain."""
        words = self.settings.agree(self.pending) if self.settings.shared else None
        if words is not None:
            self._mark_outdated(words)

    def _look_for_changes(self) -> None:
        if self.pending is None:
            words = self._changes.found()
            if words is not None:
                self._note(words)

    def _note(self, words: str) -> None:
        """Something that graphs were made of is another thing now."""
        if self.settings.shared:
            self.pending = words
        else:
            self._mark_outdated(words)

    def _mark_outdated(self, words: str) -> None:
        self.pending = None
        self._changes.forget()
        for route in self._all_routes():
            route.mark_outdated(words)

    def _raise_or_warn(self, route: StepRoute, objection: Objection) -> None:
        if objection.refused is not None and self._strict and self.main_route() is route:
            raise ArgumentError(
                f"staged={self.mode!r}, but this pair cannot be staged: {objection.refused}. Leave staged at 'auto', "
                "which trains such a pair on Pyro's own pass."
            )
        if objection.warning is not None:
            warn_user(objection.warning)

    # --- the whole ------------------------------------------------------------------------------------

    def repeat(self, switches: list[tuple[int, int, str]]) -> None:
        """Take up the route of the run that this one goes on with."""
        self._before = list(switches)

    @property
    def switches(self) -> list[tuple[int, int, str]]:
        """Each change of route as (step, rows, route), for the checkpoint."""
        own = (switch for route in self._all_routes() for switch in route.switches)
        return [*self._before, *sorted(own, key=lambda switch: switch[0])]

    @property
    def staged(self) -> bool:
        """Whether the pair is on a graph: it then draws from torch alone, which was seen when it was traced."""
        return any(route.name != "plain" for route in self._all_routes())

    @property
    def summary(self) -> str:
        """What was done and why, in one line."""
        if not self._routes:
            return "no step was made"
        main = self.main_route()
        words = next(routes.words for routes in self._routes.values() if main in routes)
        return f"{main.summary}; {words}" if words and main.name != "plain" else main.summary

    def main_route(self) -> StepRoute:
        """The route that was taken most often; of several the first."""
        return max(self._all_routes(), key=lambda route: route.steps)


def _key(batch: Batch, settings: Settings) -> Any:
    """What a graph was made for: shapes, types, other arguments, and which weights are 0."""
    leaves = tuple(
        (name, tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, torch.Tensor) else (name, repr(leaf))
        for name, leaf in batch.leaves.items()
    )
    zero = tuple(weight == 0 for weight in settings.one.tempered.moving().values())
    return leaves, batch.positions is None, zero
