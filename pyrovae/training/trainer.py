"""The training loop and its state: one optimiser step after another, and what happens at an epoch's end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import pyro
import torch
from pyro import poutine

from pyrovae import evaluation, objectives
from pyrovae.batches import Batch, Batches
from pyrovae.errors import ArgumentError, DataError, DivergedError
from pyrovae.handlers import FixedPlate, Recorded, Tempered
from pyrovae.isolation import isolated, validation
from pyrovae.pairs import HasPair, Structure, canonical, run, samples, unconstrained
from pyrovae.placement import Placement
from pyrovae.prediction import Use
from pyrovae.training.optimisers import Optimiser
from pyrovae.training.results import Epoch, Step

# A moving average that counts every step alike at first forgets the random start sooner.
_AVERAGE_START = 10
_ROWS_FOR_ACTIVE = 1_000


class Plan(NamedTuple):
    """Everything about a training that does not change while it runs."""

    pair: HasPair
    batches: Batches
    validation: Batches | None
    structure: Structure
    placement: Placement
    loss: objectives.Loss
    optimiser: Optimiser
    tempered: Tempered
    epochs: int | None
    steps: int | None
    clip_norm: float | None
    patience: int | None
    average: float | None
    seed: int


def _is_of_bad_numbers(error: ValueError) -> bool:
    """Whether Pyro's validation refused a parameter that is NaN or infinite."""
    words = str(error)
    return "satisfy the constraint" in words and ("nan" in words or "inf" in words)


def once(parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor under its first name: weights that are tied under two names are one parameter."""
    seen: set[int] = set()
    return {name: p for name, p in parameters.items() if not (id(p) in seen or seen.add(id(p)))}


def _values(grad: torch.Tensor | None) -> torch.Tensor:
    """The numbers of a gradient, of a sparse one those that are there."""
    assert grad is not None
    return grad.coalesce().values() if grad.is_sparse else grad


class Keeper(Protocol):
    """Where a trainer's batches come from and its checkpoints go to."""

    def batches(self, trainer: Trainer) -> Iterator[Batch]:
        """The batches of the trainer's epoch, from its position on."""
        ...

    def after_step(self, trainer: Trainer) -> None:
        """A step is complete."""

    def after_epoch(self, trainer: Trainer) -> None:
        """An epoch is complete."""


class Trainer:
    """A plan under way: everything that a checkpoint must hold is an attribute of this object."""

    def __init__(self, plan: Plan, keeper: Keeper):
        self.plan = plan
        self.keeper = keeper
        self.fixed = FixedPlate(plan.tempered, plan.structure.data_plate)
        self.recorded = Recorded(self.fixed, data_plate=plan.structure.data_plate)
        self.parameters: dict[str, torch.Tensor] = {}  # every tensor that a pass showed, by canonical name
        self.loss_state: dict[str, torch.Tensor] = {}  # what an ELBO keeps in Pyro's store, by store name
        self.history: list[Epoch] = []
        self.step = 0
        self.epoch = 0
        self.position = 0  # batches of this epoch that are done
        self.sums = [0.0, 0.0, 0.0, 0.0]  # loss, elbo, rate, distortion, each times rows
        self.rows = 0
        self.seconds = 0.0
        self.epoch_seconds = 0.0
        self.averages: dict[str, torch.Tensor] = {}
        self.best: dict[str, torch.Tensor] = {}
        self.best_elbo = -math.inf
        self.bad_epochs = 0
        self.reason: str | None = None
        self._started = time.monotonic()

    # --- the loop -------------------------------------------------------------------------------------

    def run(self) -> Iterator[Step]:
        """Make steps until the plan is fulfilled; a step is complete when it is yielded."""
        while not self.finished():
            self._started = time.monotonic()
            for batch in self.keeper.batches(self):
                step = self.advance(batch)
                self._clock()
                self.keeper.after_step(self)
                yield step
                self._started = time.monotonic()
                if self.steps_done():
                    break
            if not self.steps_done() or self._epoch_complete():
                self.end_epoch()
                self.keeper.after_epoch(self)

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
        batch = self.plan.placement.place(batch)
        self.fixed.index = batch.positions
        self.plan.tempered.step = self.step
        # Before the first step these are what a loop before this one may have left gradients in.
        for parameter in (self.parameters or self.plan.structure.parameters).values():
            parameter.grad = None
        with poutine.trace(param_only=True) as captured:
            loss = self._loss(batch)
        self._note_parameters(captured.trace)
        size = self.recorded.size()
        worst = None if math.isfinite(loss) else (self.recorded.tally().worst_site() or "?")
        elbo, rate, distortion = (float(figure) for figure in self.recorded.figures())
        live = {
            name: p
            for name, p in self.parameters.items()
            if p.grad is not None and not self.plan.optimiser.frozen(name)
        }
        self._check_finite(loss, worst, live)
        self._clip(live)
        self.plan.optimiser.update(live, self.step)
        weight = self.plan.tempered.weight
        self.plan.tempered.observe(rate)
        self._update_averages()
        done = Step(
            self.step, self.epoch, loss / size, elbo, rate, distortion, weight, self.plan.optimiser.learning_rate()
        )
        self._count(done, batch.rows)
        return done

    def _loss(self, batch: Batch) -> float:
        try:
            return objectives.loss_and_gradients(self.plan.loss, self.recorded, batch.args, batch.kwargs)
        except ValueError as error:
            # Validation found the fault before the loss could: a parameter or a value that no distribution takes.
            words = " ".join(str(error).split())[:500]
            if _is_of_bad_numbers(error):
                site = self._to_blame(batch)
                named = f"site {site!r}" if site else "a distribution"
                raise self._diverged(f"{named} was given a parameter that is not finite", words, site=site) from error
            if "within the support" in words:
                raise DataError(
                    f"step {self.step}: a batch holds values outside the likelihood's support. {words}"
                ) from error
            raise

    def _to_blame(self, batch: Batch) -> str | None:
        """The first site that goes bad, found by running the pair once more without validation."""
        try:
            with isolated(0), validation(False), torch.no_grad():
                traces = run(self.fixed, batch.args, batch.kwargs)
                nodes = (item for trace in (traces.guide, traces.model) for item in samples(trace))
                bad = (name for name, node in nodes if not node["fn"].log_prob(node["value"]).isfinite().all())
                return next(bad, None)
        except Exception:
            return None  # it fails elsewhere, too; the error that is under way says enough

    def _note_parameters(self, captured: Any) -> None:
        """Take in the parameters of this pass; what only the loss touched is its own state."""
        own = self.recorded.tally().parameters
        raw = {name: unconstrained(node["value"]) for name, node in captured.nodes.items()}
        stored: dict[str, Any] = pyro.get_param_store()._params
        self.loss_state = {name: stored.get(name, tensor) for name, tensor in raw.items() if name not in own}
        raw = {name: tensor for name, tensor in raw.items() if name in own}
        named = dict(zip(canonical(raw), raw.values(), strict=True))
        self.parameters = once({**self.parameters, **named})

    def _check_finite(self, loss: float, site: str | None, live: Mapping[str, torch.Tensor]) -> None:
        if site is not None:
            named = f"the log-probability at site {site!r} went bad" if site != "?" else "no single site is to blame"
            raise self._diverged(f"the loss is {loss}", named, site=None if site == "?" else site)
        norms = torch._foreach_norm([_values(p.grad) for p in live.values()]) if live else []  # pyright: ignore[reportPrivateImportUsage]
        if norms and not math.isfinite(float(torch.stack([norm.float() for norm in norms]).sum())):
            bad = next(name for name, norm in zip(live, norms, strict=True) if not torch.isfinite(norm))
            raise self._diverged(f"the loss is finite ({loss:.6g}), but the gradient of {bad!r} is not", "")

    def _diverged(self, what: str, where: str, *, site: str | None = None) -> DivergedError:
        return DivergedError(
            f"step {self.step} (epoch {self.epoch + 1}): {what}{'; ' + where if where else ''}. The step was not made; "
            "the weights are those before it. Lower the learning rate, clip gradients (clip_norm=), or look at this "
            "batch.",
            step=self.step,
            site=site,
        )

    def _clip(self, live: Mapping[str, torch.Tensor]) -> None:
        if self.plan.clip_norm is not None and live:
            if any(p.grad is not None and p.grad.is_sparse for p in live.values()):
                raise ArgumentError("clip_norm cannot bound sparse gradients; leave it out, or use dense embeddings.")
            torch.nn.utils.clip_grad_norm_(list(live.values()), self.plan.clip_norm)

    @torch.no_grad()
    def _update_averages(self) -> None:
        if self.plan.average is None:
            return
        decay = min(self.plan.average, (1 + self.step) / (_AVERAGE_START + self.step))
        for name, parameter in self.parameters.items():
            if name in self.averages:
                self.averages[name].lerp_(parameter, 1 - decay)
            else:
                self.averages[name] = parameter.detach().clone()

    def _count(self, step: Step, rows: int) -> None:
        for slot, value in enumerate((step.loss, step.elbo, step.rate, step.distortion)):
            self.sums[slot] += rows * value
        self.rows += rows
        self.step += 1
        self.position += 1

    # --- the end of an epoch --------------------------------------------------------------------------

    def end_epoch(self) -> None:
        """Write the epoch's row, step schedulers, look at the validation data, and turn to the next epoch."""
        row = self._row()
        self.plan.optimiser.end_epoch(row.loss)
        self.history.append(row)
        self.epoch, self.position = self.epoch + 1, 0
        self.sums, self.rows, self.epoch_seconds = [0.0, 0.0, 0.0, 0.0], 0, 0.0
        if self.plan.patience is not None and row.validation_elbo is not None:
            self._judge(row.validation_elbo)

    def rows_so_far(self) -> tuple[Epoch, ...]:
        """The history, with a row for an epoch that was left half way."""
        return (*self.history, self._row()) if self.position else tuple(self.history)

    def _row(self) -> Epoch:
        self._started = time.monotonic()
        held_out = self._validate()
        self._clock()
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
            seconds=self.epoch_seconds,
        )

    def _validate(self) -> evaluation.RateDistortion | None:
        if self.plan.validation is None:
            return None
        # The same seed after each epoch: the noise is the same, and two epochs differ by their weights alone.
        try:
            return evaluation.measure(
                self.plan.tempered.pair,  # figures are never weighted
                self.plan.validation.in_order(),
                self.plan.placement,
                objectives.own_loss(self.plan.loss),
                self.plan.structure,
                seed=self.plan.seed % 2**32,
            )
        except ValueError as error:
            if not _is_of_bad_numbers(error):
                raise
            words = "the validation data get a distribution whose parameters are not finite"
            raise self._diverged(words, " ".join(str(error).split())[:500]) from error

    def _judge(self, elbo: float) -> None:
        if elbo > self.best_elbo:
            self.best_elbo, self.bad_epochs = elbo, 0
            self.best = {name: tensor.detach().clone() for name, tensor in self.weights().items()}
            return
        self.bad_epochs += 1

    # --- weights --------------------------------------------------------------------------------------

    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers: what a prediction depends on."""
        return {**self.parameters, **self.plan.structure.buffers()}

    @torch.no_grad()
    def settle(self) -> str:
        """Leave the best weights, the averaged ones or the last ones in the pair, and say which."""
        chosen, name = (
            (self.best, "best") if self.best else (self.averages, "average") if self.averages else ({}, "last")
        )
        for key, tensor in self.weights().items():
            if key in chosen:
                tensor.copy_(chosen[key])
        return name

    def active_units(self) -> dict[str, evaluation.ActiveUnits]:
        """How many latent dimensions are used, on up to a thousand rows."""
        plan = self.plan
        use = Use(
            plan.pair, plan.batches, plan.placement, plan.structure, FixedPlate(plan.pair, plan.structure.data_plate)
        )
        return evaluation.active_in(use, rows=_ROWS_FOR_ACTIVE)
