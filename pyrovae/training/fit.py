"""`fit`: training of any pair, from its first step to its last."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any

import torch

from pyrovae.objectives.losses import Loss
from pyrovae.pairs.argument_names import asked
from pyrovae.pairs.looks.isolation import IsolationBlock, forked_random
from pyrovae.pairs.pair import HasPair
from pyrovae.training.fit_options import FitOptions
from pyrovae.training.fit_result import Fit
from pyrovae.training.interrupts import Interruption, interruptible
from pyrovae.training.progress import Display, display, show
from pyrovae.training.session import Session, training_turn
from pyrovae.training.step import Step
from pyrovae.training.trackers.tracker import Tracker


def fit(
    pair: HasPair,
    data: Any = (),
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    optim: Any = None,
    learning_rate: Any = None,
    clip_norm: float | None = None,
    loss: Loss | None = None,
    temper: Any = 1.0,
    row_weights: Any = None,
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
    tracker: Tracker | None = None,
    data_plate: str | None = None,
) -> Fit:
    r"""Train a pair by stochastic variational inference, in place.

    Minimises `distortion + weight * rate` by default: `Trace_ELBO`, Adam, and the KL weight `temper`. The
    caller's random state, Pyro's settings and other entries of its parameter store are as before afterwards.

    Args:
        pair: any pair: an object with `.model` and `.guide`.
        data: a tensor or array for `model(x)`, a tuple for `model(*data)`, a dict for `model(**data)`, a
            `Dataset`, or a `DataLoader`. Left out for a pair whose functions take no arguments: it holds its data
            itself, and each pass is one step.
        epochs: passes over the data.
        steps: optimiser steps; with `epochs` too, whichever is reached first ends the training.
        batch_size: rows in a batch, 128 if left out; not with a `DataLoader`.
        optim: a `pyro.optim` optimiser (its scheduler is stepped once an epoch), or a function
            `parameters -> torch.optim.Optimizer`; left out, a fused Adam.
        learning_rate: a number, a schedule, or `{pattern of names: number or schedule}`, where 0 freezes and
            the first pattern that fits decides; left out, 1e-3 for the default Adam, and the optimiser's own otherwise.
            `pv.Aggressive(rate)` lets the guide go ahead of the model.
        clip_norm: the largest norm of the gradient.
        loss: any `pyro.infer.ELBO`; left out, `Trace_ELBO()`, or `TraceEnum_ELBO()` if the model enumerates.
        temper: the weight of the rate: a number, a schedule, a `TargetRate`, or `{site: number or schedule}`.
        row_weights: how often an epoch meets each row, in proportion: a number of 0 or more for each,
            `pv.balanced(labels)` say. Divided by their mean, that is \( w_n \) times. What is minimised, and the
            figures of the history, are then those of \( \sum_n w_n \mathrm{ELBO}_n \): a row of weight 2 is one that
            is there twice. Questions (`elbo`, `log_evidence`) and `validation` are of rows as they are.
        validation: data like `data`, looked at after each epoch.
        patience: epochs without a better validation bound after which training stops; the best weights are kept. The
            bound is that of `loss`: the ELBO, or under `IWAE`, `DReG` and `RenyiELBO` that of several draws.
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
        progress: show a line on a terminal or in a notebook; elsewhere one a minute, on standard error.
        tracker: where the figures go while it runs: `pv.trackers.TensorBoard("runs/a")`, `MLflow`, `WandB`, or one
            of your own; see `pv.trackers`.
        data_plate: the name of the plate that holds the data, where several follow the batch.

    Returns:
        A `Fit`: the same pair, the history, why it ended, and what its weights are.

    Ctrl-C ends it after the step it is in (`reason="interrupted"`, told in the log). So does a request that the
    process end (SIGTERM), which takes its course once the checkpoint is written.

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
    options = FitOptions(
        epochs=epochs, steps=steps, batch_size=batch_size, optim=optim, learning_rate=learning_rate,
        clip_norm=clip_norm, loss=loss, temper=temper, row_weights=row_weights, validation=validation,
        patience=patience, average=average, transform=transform, seed=seed, device=device, precision=precision,
        staged=staged, checkpoint=checkpoint, checkpoint_every=checkpoint_every, resume=resume, progress=progress,
        tracker=tracker, data_plate=data_plate,
    )  # fmt: skip
    with training_turn(), asked(pair):
        session = Session(pair, data, options)
        with closing(session):
            run, interruption = _run(
                session,
                display(progress and session.team.first, epochs=epochs, steps=session.trainer.plan.steps_in_all()),
            )
    interruption.take_its_course()
    return run


def _run(session: Session, shown: AbstractContextManager[Display]) -> tuple[Fit, Interruption]:
    with (
        session.telling(),
        IsolationBlock(),
        forked_random(),
        interruptible(session.team) as interrupted,
        shown as line,
    ):
        session.begin()
        for done in session.run():
            if isinstance(done, Step):
                show(line, done)
                if interrupted(done.index):
                    session.interrupt()
                    break
        run = session.finish()
        if run.reason == "interrupted":
            session.stopped(run)
        elif interrupted.requested:
            session.came_too_late(run)
        return run, interrupted
