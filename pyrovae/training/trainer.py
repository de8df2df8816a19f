"""The training loop and its state: one optimiser step after another, and what happens at an epoch's end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches, as_batches
from pyrovae.evaluation.active_units import ActiveUnits, active_in
from pyrovae.evaluation.mutual_information import information_in
from pyrovae.evaluation.rate_distortion import Measured, measure
from pyrovae.objectives.losses import own_loss
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import Use
from pyrovae.staged.routes.task import Task
from pyrovae.training.aggressive_phase import AggressivePhase
from pyrovae.training.epoch import Epoch
from pyrovae.training.moving_averages import update_averages
from pyrovae.training.parallel.shares import share_of
from pyrovae.training.passes import Passes, is_of_bad_numbers
from pyrovae.training.plan import Plan
from pyrovae.training.step import Step
from pyrovae.training.step_maker import Made, StepMaker, make_staging
from pyrovae.training.verdict import BEGINNING

_ROWS_LOOKED_AT = 1_000

_QUERIES = 500  # at which codes of all these rows are compared

_UNREAD = 32  # steps whose figures may wait on the device


BatchesFrom = Callable[[int, int], Iterator[Batch]]  # of an epoch, from a position on


class Trainer:
    """A plan under way: everything that a checkpoint must hold is an attribute of this object.

    Args:
        plan: what is to be done.
        batches_from: the batches of an epoch, from a position on.
    """

    def __init__(self, plan: Plan, batches_from: BatchesFrom):
        self.plan = plan
        self._batches_from = batches_from
        self.passes = Passes(plan)
        self.aggressive = AggressivePhase(plan.optimiser, plan.team)
        self.staging = make_staging(plan, self.passes)
        self.step_maker = StepMaker(plan, self.passes, self.staging)
        self.history: tuple[Epoch, ...] = ()
        self.step = 0
        self.epoch = 0
        self.position = 0  # batches of this epoch that are done
        self.sums = [0.0, 0.0, 0.0, 0.0]  # loss, elbo, rate, distortion, each times rows
        self.rows = 0
        self.first_elbos = [math.nan] * BEGINNING  # of the first steps, per datum
        self.seconds = 0.0
        self.epoch_seconds = 0.0
        self.averages: dict[str, torch.Tensor] = {}
        self.best: dict[str, torch.Tensor] = {}
        self.best_bound = -math.inf
        self.bad_epochs = 0
        self.reason: str | None = None
        self._unread: list[tuple[Step, Made, int]] = []  # and the rows of the whole batch
        self._started = time.monotonic()

    # --- the loop -------------------------------------------------------------------------------------

    def run(self) -> Iterator[Step | Epoch]:
        """Make steps until the plan is fulfilled; a step or an epoch is complete when it is yielded."""
        while not self.finished():
            self._started = time.monotonic()
            for batch in self._batches_from(self.epoch, self.position):
                step = self.advance(batch)
                self._clock()
                yield step
                self._started = time.monotonic()
                if self.steps_done():
                    break
            if not self.steps_done() or self._epoch_complete():
                self.end_epoch()
                yield self.history[-1]

    def finished(self) -> bool:
        """Whether nothing is left to do."""
        if self.reason is None and self._out_of_patience():
            self.reason = "patience"
        if self.reason is None and (self.steps_done() or self._epochs_done()):
            self.reason = "finished"
        return self.reason is not None

    def _out_of_patience(self) -> bool:
        return self.plan.patience is not None and self.bad_epochs >= self.plan.patience

    def steps_done(self) -> bool:
        """Whether as many steps were made as the plan asks for."""
        return self.plan.steps is not None and self.step >= self.plan.steps

    def _epochs_done(self) -> bool:
        return self.plan.epochs is not None and self.epoch >= self.plan.epochs

    def _epoch_complete(self) -> bool:
        return self.position == self.plan.batches.batches_per_epoch

    def _clock(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._started
        self.epoch_seconds += now - self._started
        self._started = now

    # --- one step -------------------------------------------------------------------------------------

    def advance(self, batch: Batch) -> Step:
        """One optimiser step on one batch."""
        plan, rows = self.plan, batch.rows
        batch = self._own_part(batch)
        plan.tempered.step = self.step
        weight = plan.tempered.weight
        made = self._made(batch, rows)
        if plan.average is not None:
            update_averages(self.averages, self.passes.shown.parameters, plan.average, self.step)
        done = Step(self.step, self.epoch, weight, plan.optimiser.learning_rate(), self.read)
        self._unread.append((done, made, rows))
        self.step, self.position, self.rows = self.step + 1, self.position + 1, self.rows + rows
        if not made.waits or len(self._unread) >= _UNREAD or plan.tempered.states:
            self.read()
        return done

    def _made(self, batch: Batch, rows: int) -> Made:
        """One step by the route that is right now."""
        start = time.perf_counter()
        choice = self.staging.choose(batch, rows, self.step, self.steps_left())
        if choice.task is not Task.UNREAD:
            self.read()
        made = self.step_maker.make(choice, batch, self.step, self.epoch)
        choice.route.note_step(start, made.figures.device)
        return made

    def _own_part(self, batch: Batch) -> Batch:
        """This process's rows, on its device."""
        place, shares = self.plan.placement.place, self.plan.shares
        if shares is None:
            return place(batch)
        part = place(share_of(batch, shares.team))
        self.passes.share = shares.find(batch, part, place)
        if self.passes.weighted is not None:
            self.passes.weighted.weights = self.passes.share.sites
        return part

    def read(self) -> None:
        """Read the figures of the steps that wait, in one look at the device.

        Raises:
            DivergedError: one of them went bad; the weights are those before it.
        """
        unread, self._unread = self._unread, []
        read = self.step_maker.read([made for _, made, _ in unread])
        for (step, _, rows), figures in zip(unread, read, strict=True):
            step.give(figures)
            if step.index < BEGINNING:
                self.first_elbos[step.index] = step.elbo
            self.plan.tempered.observe(step.rate, step.distortion)
            for slot, value in enumerate(figures):
                self.sums[slot] += rows * value

    def steps_left(self) -> float:
        """How many steps are to come, as far as the plan says."""
        plan, left = self.plan, math.inf
        if plan.steps is not None:
            left = plan.steps - self.step
        if plan.epochs is not None and plan.batches.batches_per_epoch is not None:
            left = min(left, (plan.epochs - self.epoch) * plan.batches.batches_per_epoch - self.position)
        return left

    # --- the end of an epoch --------------------------------------------------------------------------

    def end_epoch(self) -> None:
        """Write the epoch's row, step schedulers, look at the validation data, and turn to the next epoch."""
        self.read()
        self._share_buffers()
        row = self._row()
        self.plan.optimiser.end_epoch(row.loss)
        self.aggressive.end_epoch(self.step, self._information)
        self.history = (*self.history, row)
        self.epoch, self.position = self.epoch + 1, 0
        self.sums, self.rows, self.epoch_seconds = [0.0, 0.0, 0.0, 0.0], 0, 0.0
        if self.plan.patience is not None and row.validation_bound is not None:
            self._keep_if_best(self.plan.team.broadcast(row.validation_bound))

    def _share_buffers(self) -> None:
        """Each process has statistics of its own rows; their average goes on."""
        floating = [buffer for buffer in self.plan.structure.buffers().values() if buffer.is_floating_point()]
        if floating:
            self.plan.team.average_(floating)

    def rows_so_far(self) -> tuple[Epoch, ...]:
        """The history, with a row for an epoch that was left half way."""
        self.read()
        return (*self.history, self._row()) if self.position else self.history

    def _row(self) -> Epoch:
        self._started = time.monotonic()
        validated = self._validate()
        self._clock()
        held_out = validated and validated.figures
        loss, _, rate, distortion = (total / max(self.rows, 1) for total in self.sums)
        return Epoch(
            epoch=self.epoch + 1,
            step=self.step,
            loss=loss,
            elbo=-(rate + distortion),  # exactly, whatever the rounding of sums
            rate=rate,
            distortion=distortion,
            weight=self.plan.tempered.weight,
            learning_rate=self.plan.optimiser.learning_rate(),
            validation_elbo=held_out and held_out.elbo,
            validation_rate=held_out and held_out.rate,
            validation_distortion=held_out and held_out.distortion,
            validation_bound=validated and validated.bound,
            seconds=self.epoch_seconds,
        )

    def _validate(self) -> Measured | None:
        if self.plan.validation is None:
            return None
        # The same seed after each epoch: the noise is the same, and two epochs differ by their weights alone.
        try:
            return measure(
                self.plan.tempered.pair,  # figures are never weighted
                self.plan.validation.in_order(),
                self.plan.placement,
                own_loss(self.plan.loss),
                self.plan.structure,
                seed=self.plan.seed % 2**32,
            )
        except ValueError as error:
            if not is_of_bad_numbers(error):
                raise
            words = "the validation data get a distribution whose parameters are not finite"
            raise self.passes.diverged(words, " ".join(str(error).split())[:500]) from error

    def _keep_if_best(self, bound: float) -> None:
        if bound > self.best_bound:
            self.best_bound, self.bad_epochs = bound, 0
            self.best = {name: tensor.detach().clone() for name, tensor in self._moving().items()}
            return
        self.bad_epochs += 1

    # --- weights --------------------------------------------------------------------------------------

    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers, frozen ones too: what a prediction depends on."""
        return {**self._moving(), **self.plan.structure.untrained}

    def _moving(self) -> dict[str, torch.Tensor]:
        """Those that training may change."""
        return {**self.passes.shown.parameters, **self.plan.structure.buffers()}

    @torch.no_grad()
    def choose_weights(self) -> str:
        """Leave the best weights, the averaged ones or the last ones in the pair, and say which."""
        chosen, name = (
            (self.best, "best") if self.best else (self.averages, "average") if self.averages else ({}, "last")
        )
        for key, tensor in self._moving().items():
            if key in chosen:
                tensor.copy_(chosen[key])
        return name

    def active_units(self) -> dict[str, ActiveUnits]:
        """How many latent dimensions are used, on about a thousand rows, in batches like those of the training."""
        return active_in(self._sampler(self.plan.batches))

    def _information(self) -> float:
        """What codes say of the validation rows, or else of those that are trained on."""
        sampler = self._sampler(self.plan.validation or self.plan.batches)
        return information_in(sampler, queries=_QUERIES).mutual_information

    def _sampler(self, batches: Batches) -> Sampler:
        """Of about a thousand rows, in batches like those of the training."""
        plan, size = self.plan, self.plan.batches.batch_size or _ROWS_LOOKED_AT
        rows = batches.first(max(_ROWS_LOOKED_AT // size, 1) * size)
        use = Use(plan.pair, as_batches(_as_given(rows), batch_size=size), plan.placement, plan.structure)
        return Sampler(use, seed=0, tile_rows=None)


def _as_given(batch: Batch) -> tuple | dict:
    return batch.kwargs or batch.args
