"""`pyrovae demo`, and what `train` says when it is done."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from pyrovae.cli import outputs
from pyrovae.cli.evaluate import evaluate
from pyrovae.cli.measures import Effort
from pyrovae.cli.messages import INTERRUPTED, complain
from pyrovae.cli.prepare import Prepared
from pyrovae.cli.request import ModelOptions, TrainingOptions, TrainRequest
from pyrovae.cli.train import train, what_is_written
from pyrovae.cli.trained_run import after_training
from pyrovae.errors import ArgumentError
from pyrovae.training.parallel.team import find_team

# A mixture as prior: ten kinds of digit are ten clusters, and draws between the clusters look like no digit.
_MODEL = ModelOptions(latent=8, prior="mixture", components=50)

# Small batches make many steps of few rows, and few epochs are enough.
_TRAINING = TrainingOptions(batch_size=64, learning_rate=2e-3)


def train_and_tell(request: TrainRequest, *, report: bool) -> None:
    """Train, write the report, and say how it went and what can be done next."""
    team = find_team(request.device)
    prepared = train(request, team)
    if not team.first:
        return  # one of several processes speaks for all
    folder = prepared.folder
    outcome = folder.read_config().ended
    if not request.quiet:
        typer.echo(outcome.verdict)
        if outcome.weights == "best":
            typer.echo("The weights kept are those of the best epoch.")
    if report:
        with _told_when_stopped(prepared):
            outputs.write_report(after_training(prepared))
    if not request.quiet:
        pair = f" --pair {shlex.quote(request.pair)}" if request.pair else ""
        typer.echo(f"Wrote {folder.path}{' with report.html' if report else ''}.")
        typer.echo(f"Next: pyrovae evaluate {shlex.quote(str(folder.path))}{pair}")


@contextmanager
def _told_when_stopped(prepared: Prepared) -> Iterator[None]:
    """A stop after training says what is there already."""
    try:
        yield
    except KeyboardInterrupt:
        complain("Stopped", what_is_written(prepared), color=typer.colors.YELLOW)
        raise typer.Exit(INTERRUPTED) from None


def demonstrate(out: Path | None, *, epochs: int, quiet: bool) -> None:
    """Train on the digits, evaluate, write the report."""
    if epochs < 1:
        raise ArgumentError(f"--epochs {epochs}; give 1 at least.")
    place = out or _numbered(Path("pyrovae-demo"))
    if not quiet:
        typer.echo(f"Training on the bundled digits, into {place}")
    training = replace(_TRAINING, epochs=epochs)
    prepared = train(TrainRequest("digits", place, model=_MODEL, training=training, quiet=quiet))
    with _told_when_stopped(prepared):
        run = after_training(prepared)
        if not quiet:
            evaluate(run, Effort())
            typer.echo(run.config.ended.verdict)
        path = outputs.write_report(run)
    typer.echo(f"Open the report in a browser: {path.resolve()}")


def _numbered(path: Path) -> Path:
    """The first name that is free: a demo replaces nothing, not even an earlier demo."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
