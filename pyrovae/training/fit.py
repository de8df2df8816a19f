"""Training of any pair: `steps`, one optimiser step after another, and `fit`, which runs it to its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pyrovae.objectives.losses import Loss
from pyrovae.pairs.isolation import IsolationBlock, RandomState, forked_random
from pyrovae.pairs.pair import HasPair
from pyrovae.training import progress as progress_line
from pyrovae.training.fit_result import Fit
from pyrovae.training.interrupts import deferred_interrupts
from pyrovae.training.parallel.team import agreed
from pyrovae.training.session import Session
from pyrovae.training.step import Step, progress_figures


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
    loss: Loss | None = None,
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
        session = Session(**options)
        with IsolationBlock(), forked_random(), _deferred(session) as interruption, _display(session) as line:
            session.begin()
            for step in session.run():
                line.update(step=step.index + 1, epoch=step.epoch + 1, **progress_figures(step))
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
        session = Session(pair=pair, data=data, **{**(fit.__kwdefaults__ or {}), **options, "progress": False})
    return _swapping(session)


@contextmanager
def _grad() -> Iterator[None]:
    """Gradients, also under the caller's no_grad or inference_mode, where nothing would be trained, silently."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _swapping(session: Session) -> Generator[Step, None, Fit]:
    """Run a session with random states of its own, and the caller's in force while it is paused."""
    with _grad(), forked_random():
        session.begin()
        own = RandomState.capture()
    running = session.run()
    try:
        while True:
            if session.draws_from_torch_alone():  # numpy's states are large, and cost as much as a small step
                with _grad(), IsolationBlock():
                    callers, _ = own.capture_torch(), own.restore_torch()
                    try:
                        step = next(running, None)
                        own = own.capture_torch()
                    finally:
                        callers.restore_torch()
            else:
                with _grad(), IsolationBlock(), forked_random():
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
    with IsolationBlock(), forked_random():
        own.restore()
        return session.finish()


def _deferred(session: Session) -> Any:
    return deferred_interrupts(terminate=session.team.size > 1)


def _display(session: Session) -> Any:
    """The progress line of a session."""
    plan = session.trainer.plan
    per_epoch = plan.batches.batches_per_epoch
    total = None if plan.epochs is None or per_epoch is None else plan.epochs * per_epoch
    total = plan.steps if total is None else min(total, plan.steps or total)
    return progress_line.display(session.progress and session.team.first, epochs=plan.epochs, steps=total)
