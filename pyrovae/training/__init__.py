"""Training of any pair: `steps`, one optimiser step after another, and `fit`, which runs it to its end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch

from pyrovae import checkpoints, objectives
from pyrovae.errors import ArgumentError, DivergedError, FileError, ParallelError
from pyrovae.evaluation import ActiveUnits
from pyrovae.isolation import RandomState, Wall, forked_random, reseed
from pyrovae.pairs import HasPair
from pyrovae.parallel import agreed, find_team
from pyrovae.training import progress as progress_line
from pyrovae.training.interruption import deferred_interrupts
from pyrovae.training.planning import (
    agree_on,
    check_arguments,
    check_folder,
    check_seed,
    described,
    make_plan,
    warn_of_handlers,
)
from pyrovae.training.results import Epoch, Fit, Step, seen_later
from pyrovae.training.resumption import Resumption
from pyrovae.training.trainer import Trainer

__all__ = ["Epoch", "Fit", "Step", "fit", "steps"]

logger = logging.getLogger("pyrovae")
verdicts = logging.getLogger("pyrovae.verdicts")


def fit(
    pair: HasPair,
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    optim: Any = None,
    learning_rate: Any = None,
    clip_norm: float | None = None,
    loss: objectives.Loss | None = None,
    temper: Any = 1.0,
    validation: Any = None,
    patience: int | None = None,
    average: float | None = None,
    transform: Callable[..., Any] | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    precision: str | None = None,
    staged: bool | str = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 300,
    resume: bool = False,
    progress: bool = True,
    data_plate: str | None = None,
) -> Fit:
    """Train a pair by stochastic variational inference, in place.

    Minimises `distortion + weight * rate` by default: `Trace_ELBO`, Adam, and the KL weight `temper`. The
    caller's random state, Pyro's settings and other entries of its parameter store are as before afterwards.

    Args:
        pair: any pair: an object with `.model` and `.guide`.
        data: a tensor or array for `model(x)`, a tuple for `model(*data)`, a dict for `model(**data)`, a
            `Dataset`, or a `DataLoader`.
        epochs: passes over the data.
        steps: optimiser steps; with `epochs` too, whichever is reached first ends the training.
        batch_size: rows in a batch, 128 if left out; not with a `DataLoader`.
        optim: a `pyro.optim` optimiser (its scheduler is stepped once an epoch), or a function
            `parameters -> torch.optim.Optimizer`; left out, a fused Adam.
        learning_rate: a number, a schedule, or `{pattern of names: number or schedule}`, where 0 freezes and
            the first pattern that fits decides; left out, 1e-3 for the default Adam, and the optimiser's own otherwise.
        clip_norm: the largest norm of the gradient.
        loss: any `pyro.infer.ELBO`; left out, `Trace_ELBO()`, or `TraceEnum_ELBO()` if the model enumerates.
        temper: the weight of the rate: a number, a schedule, a `TargetRate`, or `{site: number or schedule}`.
        validation: data like `data`, looked at after each epoch.
        patience: epochs without a better validation ELBO after which training stops; the best weights are kept.
        average: the decay of a moving average of the weights, 0.999 say, which the pair holds at the end.
        transform: called with each batch, `torch.bernoulli` to binarise grey images afresh.
        seed: of all random numbers; left out, one is drawn from the caller's generator.
        device: "auto" is CUDA where there is one.
        precision: "bfloat16" for the networks' matrix products and convolutions; weights, their updates and
            log-probabilities stay as they are.
        staged: True compiles the whole step, "traced" runs it as a graph without Pyro, False by Pyro's own pass;
            "auto" starts with the last and goes on to the others where the time left repays it. See `Fit.route`.
        checkpoint: a folder, for one checkpoint an epoch and one every `checkpoint_every` seconds.
        checkpoint_every: seconds between checkpoints within an epoch.
        resume: go on from the folder's newest sound checkpoint, or start afresh if it has none.
        progress: show a line on a terminal or in a notebook.
        data_plate: the name of the plate that holds the data, where several follow the batch.

    Returns:
        A `Fit`: the same pair, the history, why it ended, and what its weights are.

    Raises:
        ArgumentError: an argument that cannot work.
        DataError: holes in the data, or values outside the likelihood's support.
        PairError: a model and guide that do not fit; see `check_pair`.
        FileError: a checkpoint that cannot be written or read.
        DivergedError: a loss or gradient that is not finite; the weights are those before that step.

    References:
        Hoffman et al., "Stochastic variational inference" (2013); Kingma and Welling, "Auto-encoding
        variational Bayes" (2014).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> x = torch.randn(256, 5, generator=torch.Generator().manual_seed(0)) + 3
        >>> run = pv.fit(vae, x, epochs=5, seed=0, learning_rate=0.01, progress=False)
        >>> len(run.history), run.history[-1].elbo > run.history[0].elbo
        (5, True)
    """
    options = locals()
    with _grad():
        session = _Session(**options)
        with Wall(), forked_random(), _deferred(session) as interruption, _display(session) as line:
            session.begin()
            for step in session.run():
                line.update(step=step.index + 1, epoch=step.epoch + 1, **seen_later(step))
                if agreed(session.team, step.index, interruption.requested):
                    session.interrupt()
                    break
            return session.finish()


def steps(pair: HasPair, data: Any, **options: Any) -> Generator[Step, None, Fit]:
    """Train as `fit` does, and give back control after each optimiser step.

    Args:
        pair: any pair.
        data: as in `fit`.
        **options: all other arguments of `fit`; nothing is displayed.

    Returns:
        A generator of `Step`s. Leaving its loop early is fine: the last checkpoint is written, if there is a
        folder. The caller's random state is in force between steps. The generator's own value is the `Fit`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> for step in pv.steps(vae, torch.randn(64, 5), steps=100, seed=0):
        ...     if step.rate > 0.5:
        ...         break
        >>> step.index < 100
        True
    """
    unknown = set(options) - set(fit.__kwdefaults__ or ())
    if unknown:
        raise TypeError(f"steps() got an unexpected argument {sorted(unknown)[0]!r}; it takes those of fit")
    with _grad():
        session = _Session(pair=pair, data=data, **{**(fit.__kwdefaults__ or {}), **options, "progress": False})
    return _swapping(session)


@contextmanager
def _grad() -> Iterator[None]:
    """Gradients, also under the caller's no_grad or inference_mode, where nothing would be trained, silently."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _swapping(session: _Session) -> Generator[Step, None, Fit]:
    """Run a session with random states of its own, and the caller's in force while it is paused."""
    with _grad(), forked_random():
        session.begin()
        own = RandomState.capture()
    running = session.run()
    try:
        while True:
            if session.draws_from_torch_alone():  # numpy's states are large, and cost as much as a small step
                with _grad(), Wall():
                    callers, _ = own.capture_torch(), own.restore_torch()
                    try:
                        step = next(running, None)
                        own = own.capture_torch()
                    finally:
                        callers.restore_torch()
            else:
                with _grad(), Wall(), forked_random():
                    own.restore()
                    step = next(running, None)
                    own = RandomState.capture()
            if step is None:
                break
            yield step
    except GeneratorExit:
        with forked_random():
            own.restore()
            session.part()
        raise
    with Wall(), forked_random():
        own.restore()
        return session.finish()


def _deferred(session: _Session) -> Any:
    return deferred_interrupts(terminate=session.team.size > 1)


def _display(session: _Session) -> Any:
    """The progress line of a session."""
    plan = session.trainer.plan
    per_epoch = plan.batches.batches_per_epoch
    total = None if plan.epochs is None or per_epoch is None else plan.epochs * per_epoch
    total = plan.steps if total is None else min(total, plan.steps or total)
    return progress_line.display(session.progress and session.team.first, epochs=plan.epochs, steps=total)


class _Session:
    """One call of `fit` or `steps`: checks everything, makes the plan, runs it, and tidies up."""

    def __init__(self, *, pair, data, seed, checkpoint, checkpoint_every, resume, progress, **options: Any):
        warn_of_handlers()
        self.team = find_team(options["device"])
        check_arguments(pair, checkpoint_every=checkpoint_every, **options)
        agree_on({**options, "seed": seed, "resume": resume}, self.team)
        checkpoint = self.team.told(checkpoint)  # the first process writes, so its folder counts
        self.progress = progress
        self._store_before = set(pyro.get_param_store().keys())
        self.resumption = Resumption(check_folder(checkpoint), checkpoint_every, resume=resume, team=self.team)
        self.seed = self._seed(seed)
        plan, self.findings = make_plan(pair, data, self.seed, born=self.resumption.found, team=self.team, **options)
        first = plan.batches.first()
        self.resumption.describe(described(options), plan, first)
        self.resumption.prepare()
        checkpoints.remember(pair, first)
        self.trainer = Trainer(plan, self.resumption)

    def _seed(self, seed: int | None) -> int:
        known = self.resumption.seed
        seed = check_seed(seed)
        if seed is None:
            drawn = self.team.told(int(torch.randint(2**31 - 1, ())))  # moves the caller's generator, as any draw would
            return drawn if known is None else known
        if known is not None and known != seed:
            raise ArgumentError(
                f"seed was {known} in the run to resume and is {seed} now; leave it out, or give {known}."
            )
        return seed

    def begin(self) -> None:
        """Seed, set train mode, and go back to the checkpoint if there is one."""
        reseed(self._own_seed())
        for module in self.trainer.plan.structure.modules.values():
            # Parts in eval mode inside a module in train mode are so on purpose: a frozen BatchNorm, say.
            if not module.training:
                module.train()
        self.resumption.restore(self.trainer)
        self.team.copy_(self.trainer.plan.structure.parameters.values())
        self.team.copy_(self.trainer.plan.structure.buffers().values())

    def _own_seed(self) -> int:
        """The first process draws what one process would; the others draw other numbers."""
        return (self.seed + self.team.rank * 0x9E3779B97F4A7C15) % 2**63

    def draws_from_torch_alone(self) -> bool:
        """Whether no step draws from numpy or Python: a staged pair does not, and arrays of data do not."""
        batches = self.trainer.plan.batches
        return self.trainer.staging.staged and bool(batches.leaves()) and batches.transform is None

    def run(self) -> Iterator[Step]:
        """The steps; where the loss goes bad, the weights from before that step are saved first."""
        try:
            yield from self.trainer.run()
        except DivergedError as error:
            self._save_after(error)
            raise
        except ParallelError as error:
            self.resumption.write_alone(self.trainer)
            if self.resumption.last is not None:
                error.args = (f"{error.args[0]} They go on from {self.resumption.last}.",)
            logger.error("%s", error)  # at once: torchrun may end this process before its traceback is out
            raise

    def _save_after(self, error: DivergedError) -> None:
        try:
            if all(bool(torch.isfinite(tensor).all()) for tensor in self.trainer.weights().values()):
                self.resumption.write(self.trainer)
        except FileError as also:
            error.add_note(f"No checkpoint could be written either: {also}")
        if self.resumption.last is not None:
            error.checkpoint = str(self.resumption.last)
            error.args = (f"{error.args[0]} The last good checkpoint is {self.resumption.last}.",)

    def interrupt(self) -> None:
        """Note that the user stopped the run."""
        self.trainer.reason = "interrupted"

    def part(self) -> None:
        """The user has left the loop: write a checkpoint, and say so where other processes wait for this one."""
        if not self.resumption.part(self.trainer):
            logger.error(
                "process %d of %d left the training after step %d, and the others went on: they end now. Leave the "
                "loop at the same step in all of them; if an error ended it, mend that and start all of them again.",
                self.team.rank,
                self.team.size,
                self.trainer.step - 1,
            )

    def finish(self) -> Fit:
        """Write the last checkpoint, leave the right weights in the pair, and say how it went."""
        trainer = self.trainer
        history = trainer.rows_so_far()
        self.resumption.write(trainer)
        weights = trainer.settle()
        self._forget_loss_state()
        run = Fit(
            pair=trainer.plan.pair,
            history=history,
            weights=weights,
            reason=trainer.reason or "finished",
            step=trainer.step,
            seconds=trainer.seconds,
            seed=self.seed,
            active=self._active_units(),
            checkpoint=self.resumption.last,
            route=trainer.staging.summary,
        )
        if self.team.first:
            self._log(run)
        return run

    @staticmethod
    def _log(run: Fit) -> None:
        verdicts.log(logging.WARNING if run.troubled else logging.INFO, "%s", run.verdict)

    def _active_units(self) -> dict[str, ActiveUnits]:
        """What is only looked at afterwards must not cost the result of the training."""
        try:
            return self.trainer.active_units()
        except Exception as error:
            logger.warning("active latent dimensions could not be counted: %s: %s", type(error).__name__, error)
            return {}

    def _forget_loss_state(self) -> None:
        """Take out of Pyro's store what only the loss put there."""
        store = pyro.get_param_store()
        for name in set(self.trainer.passes.loss_state) - self._store_before:
            if name in store:
                del store[name]
