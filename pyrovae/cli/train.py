"""`pyrovae train`: run the steps, write the files of the run, and stop well."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import typer

import pyrovae as pv
from pyrovae.cli.messages import INTERRUPTED, complain
from pyrovae.cli.prepare import Prepared, prepare
from pyrovae.cli.request import STAGED, TrainRequest
from pyrovae.cli.run_config import RunOutcome
from pyrovae.cli.run_folder import RunFolder, Unwritten
from pyrovae.errors import DivergedError, FileError, warn_user
from pyrovae.training.epoch import Epoch
from pyrovae.training.fit_options import SeedlessKeywords, StudyKeywords
from pyrovae.training.fit_result import Fit
from pyrovae.training.interrupts import Interruption, interruptible
from pyrovae.training.parallel.team import SingleProcess
from pyrovae.training.progress import display, show
from pyrovae.training.saved.checkpoints import checkpoints_in
from pyrovae.training.saved.folder_lock import in_use
from pyrovae.training.steps import Steps


def train(request: TrainRequest, team: SingleProcess | None = None) -> Prepared:
    """Train as asked; the first of several processes writes the folder."""
    team = team or SingleProcess()
    if not team.first:
        request = replace(request, quiet=True)
    prepared = prepare(request)
    if not team.first:
        prepared = prepared._replace(folder=Unwritten(prepared.folder.path))
    with interruptible(team) as interrupted:
        new = not prepared.folder.config.exists()
        with _said_where_to_go_on(prepared, team), _left_as_it_was(prepared.folder, new=new):
            outcome = _run(prepared, request, interrupted)
    if outcome.reason == "interrupted" and team.first:
        complain("Stopped", _how_to_resume(prepared, outcome), color=typer.colors.YELLOW)
    elif interrupted.requested and team.first:
        complain("Stopped", what_is_written(prepared), color=typer.colors.YELLOW)
    if outcome.reason == "interrupted" or interrupted.requested:
        raise typer.Exit(INTERRUPTED)
    return prepared


@contextmanager
def _left_as_it_was(folder: RunFolder, *, new: bool) -> Iterator[None]:
    """A training that failed before there was anything to keep leaves no folder in the way of the same command."""
    there, made = folder.path.exists(), [parent for parent in folder.path.parents if not parent.exists()]
    try:
        yield
    except BaseException:
        if (
            new
            and not in_use(folder.checkpoints)
            and not folder.model.exists()
            and not checkpoints_in(folder.checkpoints)
        ):
            folder.forget(whole=not there)
            for parent in made:
                with suppress(OSError):  # somebody else's things in it stay
                    parent.rmdir()
        raise


@contextmanager
def _said_where_to_go_on(prepared: Prepared, team: SingleProcess) -> Iterator[None]:
    """A second Ctrl-C, which ends at once, costs what came after the newest checkpoint."""
    try:
        yield
    except KeyboardInterrupt:
        kept = checkpoints_in(prepared.folder.checkpoints)
        if not kept:
            raise
        if team.first:
            words = f"at once, after the checkpoint {kept[0].name}. Go on with: {_resuming(prepared)}"
            complain("Stopped", words, color=typer.colors.YELLOW)
        raise typer.Exit(INTERRUPTED) from None


def what_is_written(prepared: Prepared) -> str:
    """What a stop after training costs."""
    path = shlex.quote(str(prepared.folder.path))
    pair = f" --pair {shlex.quote(prepared.config.pair)}" if prepared.config.pair else ""
    return (
        f"when training was over: {prepared.folder.path} holds model, history and checkpoints. What follows, "
        f"the report, was not done: pyrovae report {path}{pair}"
    )


def fit_arguments(prepared: Prepared) -> StudyKeywords:
    """The arguments of `fit` that stand in config.json, but the seed."""
    settings = prepared.settings
    steps = settings.anneal * prepared.batches_per_epoch
    return {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "clip_norm": settings.clip_norm,
        "temper": pv.linear(0, settings.beta, steps=steps) if steps else settings.beta,
        "validation": prepared.held_out,
        "patience": settings.patience or None,
        "transform": prepared.transform,
        "staged": STAGED[settings.staged],
        "precision": settings.precision,
    }


def _steps(prepared: Prepared, request: TrainRequest) -> Steps:
    options: SeedlessKeywords = {
        **fit_arguments(prepared),
        "device": request.device,
        "checkpoint": prepared.folder.checkpoints,
        "resume": request.resume,
    }
    tracker = pv.trackers.TensorBoard(prepared.folder.tensorboard) if request.tensorboard else None
    return pv.steps(prepared.pair, prepared.training, seed=prepared.settings.seed, tracker=tracker, **options)


def _run(prepared: Prepared, request: TrainRequest, interrupted: Interruption) -> RunOutcome:
    """Train to the end, to Ctrl-C or to a loss that goes bad, and write into config.json how it ended."""
    folder, settings = prepared.folder, prepared.settings
    running = _steps(prepared, request)  # checks everything, and writes nothing yet
    interrupted.team = running.team
    config = replace(prepared.config, identity=running.identity)
    folder.write_config(config)
    metrics = _Metrics(folder)
    shown = display(not request.quiet, epochs=settings.epochs, steps=settings.epochs * prepared.batches_per_epoch)
    with shown as line:
        try:
            made = False
            for step in running:
                made = True
                metrics.follow(running.history)
                show(line, step)
                if interrupted(step.index):
                    outcome = _interrupted(running)
                    break
            else:
                metrics.follow(running.result.history)
                outcome = _finished(running.result)
                if not made and not request.quiet:
                    complain("Nothing to do", _why_nothing(running.result), color=typer.colors.YELLOW)
        except DivergedError as error:
            metrics.follow(running.history)
            outcome = RunOutcome("diverged", words=str(error))
            folder.write_config(replace(config, outcome=outcome))  # whatever comes of the model
            folder.write_config(replace(config, outcome=folder.save(prepared.pair, outcome)))
            raise
    folder.write_config(replace(config, outcome=folder.save(prepared.pair, outcome)))
    return outcome


def _interrupted(running: Steps) -> RunOutcome:
    running.close()  # writes a checkpoint
    return RunOutcome("interrupted", epochs=len(running.history), weights="last")


def _finished(run: Fit) -> RunOutcome:
    return RunOutcome(
        run.reason,
        epochs=len(run.history),
        weights=run.weights,
        seconds=round(run.seconds, 1),
        route=run.route,
        verdict=run.verdict,
        first_elbos=[elbo for elbo in run.first_elbos if math.isfinite(elbo)],
        no_elbo=run.no_elbo or None,
    )


class _Metrics:
    """metrics.jsonl, which follows the history of a training: the rows that a run before left are replaced by it."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.written: int | None = None
        self.failing = False

    def follow(self, history: tuple[Epoch, ...]) -> None:
        """Write the epochs that the file does not hold, also those that a full disk did not take the last time."""
        try:
            if self.written is None:
                self.folder.write_metrics(history)
            elif len(history) > self.written:
                self.folder.write_metrics(history[self.written :], mode="a")
        except FileError as error:
            if not self.failing:  # said once, until they are written again
                words = f"{str(error).rstrip('.')}. The training goes on without it."
                warn_user(words)
            self.written, self.failing = None, True
        else:
            self.written, self.failing = len(history), False


def _why_nothing(run: Fit) -> str:
    """Why a run that was to go on has made no step."""
    ended = f"the run is over after {len(run.history)} epochs"
    if run.reason == "patience":
        return (
            f"{ended}: its patience ended it, since the bound of held-out rows no longer rose, and a run goes on with "
            "the patience that it began with. For a longer one train anew, into another folder (--out)."
        )
    return f"{ended}, as many as were asked for; `--epochs` with a larger number makes it longer."


def _how_to_resume(prepared: Prepared, outcome: RunOutcome) -> str:
    return f"after {outcome.epochs} epochs; everything is saved. Go on with: {_resuming(prepared)}"


def _resuming(prepared: Prepared) -> str:
    """The command that goes on with a run."""
    pair = f" --pair {shlex.quote(prepared.config.pair)}" if prepared.config.pair else ""
    return f"pyrovae train --resume --out {shlex.quote(str(prepared.folder.path))}{pair}"
