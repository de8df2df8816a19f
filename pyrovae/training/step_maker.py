"""One optimiser step on one batch: by Pyro's own pass, or by a graph that is held to it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.pairs.pair import unwrapped
from pyrovae.staged.batch_leaves import device_of, set_random
from pyrovae.staged.outcome_difference import Outputs
from pyrovae.staged.routes.staging import NextStep, Staging
from pyrovae.staged.routes.step_route import StepRoute
from pyrovae.staged.routes.task import Task
from pyrovae.staged.settings import Settings
from pyrovae.staged.tracing.capture import Pass, clipped
from pyrovae.staged.unstageable import words_of
from pyrovae.training.passes import Passes, first_said, once
from pyrovae.training.plan import Plan


class Made(NamedTuple):
    """A step whose figures may not have been looked at."""

    figures: torch.Tensor  # loss, ELBO, rate and distortion per datum, and more where they wait
    batch: Batch
    index: int
    epoch: int
    random: torch.Tensor | None  # the generator before the step; None where its figures are known to be good

    @property
    def waits(self) -> bool:
        """Whether nobody has looked at the figures."""
        return self.random is not None


def make_staging(plan: Plan, passes: Passes) -> Staging:
    """What chooses the route of each step of a training."""
    mode, why, shared = plan.staged, "", plan.team.size > 1
    if passes.weighted is not None:
        mode, why = False, "sites that all processes draw alike are drawn by Pyro's own pass"
    elif passes.alternating:
        mode, why = False, "its steps and those of its discriminator alternate"
    elif shared and mode == "auto":
        mode = "traced"  # processes must not part by what each of them measures
    settings = Settings(
        one=Pass(plan.loss, passes.recorded, passes.fixed, plan.tempered, plan.precision),
        shown=passes.shown,
        buffers=once(plan.structure.buffers()),
        optimiser=plan.optimiser,
        clip_norm=None if shared else plan.clip_norm,
        places=functools.partial(_places, plan),
        # Arrays were looked at as a whole before the first step.
        check_support=plan.batches.transform is not None or not plan.batches.random_access,
        shared=shared,
        agree=functools.partial(first_said, plan.team),
        speaks=plan.team.first,
        forks=getattr(getattr(plan.batches.source, "loader", None), "num_workers", 0) > 0,
    )
    return Staging(mode, settings, strict=plan.staged not in ("auto", False), why=why)


def _places(plan: Plan) -> list[Any]:
    """Where a look at all that a pass can reach begins."""
    pair = unwrapped(plan.pair)
    return [pair, pair.model, pair.guide, plan.loss, *plan.structure.modules.values()]


class StepMaker:
    """Makes steps by the routes that a `Staging` chooses."""

    def __init__(self, plan: Plan, passes: Passes, staging: Staging):
        self.passes = passes
        self.staging = staging
        self._clip_norm = plan.clip_norm
        self._shared = plan.team.size > 1
        self._bad: torch.Tensor | None = None  # on the device: 1 from the first step on whose figures went bad

    def make(self, choice: NextStep, batch: Batch, index: int, epoch: int) -> Made:
        """Make one step.

        Args:
            choice: the route; where its figures do not wait, those of all steps before have been read.
            batch: this process's rows, on their device.
            index: the step's number.
            epoch: the epoch's.
        """
        task, route = choice
        if task is Task.UNREAD:
            random = route.graph.random()
            return Made(self._unread(route, batch, index), batch, index, epoch, random)
        self.passes.begin(batch, index, epoch)
        if task is Task.STAGED:
            figures = self._staged(route, batch, index)
        elif task is Task.COMPARED:
            figures = self._compared(route, batch, index)
        else:
            figures = self._examined(route, batch) if task is Task.EXAMINED else self._plain(batch)
        return Made(figures, batch, index, epoch, None)

    # --- by Pyro's own pass ---------------------------------------------------------------------------

    def _plain(self, batch: Batch) -> torch.Tensor:
        self.passes.alternate(batch)
        figures = self.passes.plain_pass(batch)
        self.staging.passed()
        return self._finished(figures)

    def _finished(self, figures: torch.Tensor) -> torch.Tensor:
        figures = self.passes.finish(figures)
        self.passes.update()
        return figures

    def _examined(self, route: StepRoute, batch: Batch) -> torch.Tensor:
        with route.examination.looking():
            figures = self.passes.plain_pass(batch)
        self.staging.passed()
        figures = self._finished(figures)
        self.staging.examined(route)
        return figures

    def _compared(self, route: StepRoute, batch: Batch, index: int) -> torch.Tensor:
        before = route.graph.snapshot()
        figures = self.passes.plain_pass(batch)
        self.staging.passed()
        words = route.graph.compare(route.function, batch, before, figures, self.passes.live())
        figures = self._finished(figures)
        self.staging.compared(route, words, batch, index)
        if route.wants_recording(batch):
            self._record(route, batch)
        return figures

    def _record(self, route: StepRoute, batch: Batch) -> None:
        """Replay the kernels without Python, where that gives what Pyro's pass gives."""
        function = route.function
        try:
            route.function = route.graph.recorded(function, batch)
            words = self._difference(route, batch)
        except Exception as error:
            words = words_of(error)
        if words is not None:
            route.not_recorded(function, words, batch)

    def _difference(self, route: StepRoute, batch: Batch) -> str | None:
        """What the route's function gives otherwise than Pyro's pass; nothing is changed by the look."""
        before = route.graph.snapshot()
        try:
            figures = self.passes.plain_pass(batch)
            return route.graph.compare(route.function, batch, before, figures, self.passes.live())
        finally:
            route.graph.restore(before)
            self.passes.clear_gradients()

    # --- by a graph -----------------------------------------------------------------------------------

    def _staged(self, route: StepRoute, batch: Batch, index: int) -> torch.Tensor:
        """One step by the graph; where its figures go bad, by Pyro's own pass, which says what is wrong."""
        graph = route.graph
        before = graph.snapshot()
        figures, gradients, state = self._run(route, batch)
        if not all(map(math.isfinite, figures.tolist())):
            graph.restore(before)
            figures = self._plain(batch)
            self.staging.agree_on_changes()
            return figures
        graph.keep(state)
        graph.update(gradients, index, None)
        return figures[:4]

    def _unread(self, route: StepRoute, batch: Batch, index: int) -> torch.Tensor:
        """One step by the graph that nobody looks at; from the first bad one on no update is made."""
        if self._bad is None:
            self._bad = torch.zeros((), device=device_of(batch))
        figures, gradients, _ = self._run(route, batch)
        torch.maximum(self._bad, (~torch.isfinite(figures).all()).to(self._bad.dtype), out=self._bad)
        route.graph.update(gradients, index, self._bad)
        return figures.clone()  # a replayed graph writes its next figures to the same place

    @torch.no_grad()
    def _run(self, route: StepRoute, batch: Batch) -> Outputs:
        """Figures, gradients and state by the graph, of the whole batch where others have parts of it."""
        figures, gradients, state = route.graph.run(route.function, batch)
        if self._shared:
            if self.staging.pending is not None:
                figures = torch.full_like(figures, math.nan)  # tells the others, which make this step plain, too
            figures, gradients = self.passes.together(figures, gradients)
            norm, gradients = clipped(gradients, self._clip_norm)
            figures[4] = torch.where(figures[4].isnan(), figures[4], norm.to(figures))  # one process's flag stays
        return Outputs(figures, gradients, state)

    # --- figures that waited --------------------------------------------------------------------------

    def read(self, made: Sequence[Made]) -> list[list[float]]:
        """The figures of steps that all wait, or none of which does, in one look at the device.

        From the first step on whose figures went bad no update was made: from there on the steps are made
        again, by Pyro's own pass, which says what is wrong.
        """
        if not made or not made[0].waits:
            return [step.figures.tolist() for step in made]
        looked = torch.stack([step.figures for step in made]).tolist()
        bad = next((place for place, row in enumerate(looked) if not all(map(math.isfinite, row))), None)
        figures = [row[:4] for row in looked[:bad]]
        return figures if bad is None else figures + self._again(made[bad:])

    def _again(self, made: Sequence[Made]) -> list[list[float]]:
        assert self._bad is not None
        assert made[0].random is not None
        self._bad.zero_()
        set_random(made[0].random, self._bad.device)
        figures = []
        for _, batch, index, epoch, _ in made:
            self.passes.begin(batch, index, epoch)
            figures.append(self._plain(batch).tolist())
        self.staging.agree_on_changes()
        return figures
