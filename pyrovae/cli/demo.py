"""`pyrovae demo`, and what `train` says when it is done."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from pyrovae.cli import outputs
from pyrovae.cli.evaluate import evaluate
from pyrovae.cli.measures import Effort
from pyrovae.cli.request import TrainRequest
from pyrovae.cli.run_folder import RunFolder
from pyrovae.cli.train import train
from pyrovae.cli.trained_run import open_run
from pyrovae.errors import ArgumentError
from pyrovae.training.parallel.team import find_team

# A mixture as prior: ten kinds of digit are ten clusters, and draws between the clusters look like no digit.
_DEMO = {"prior": "mixture", "components": 50, "choices": {"latent": 8}}

# Small batches make many steps of few rows, and few epochs are enough.
_DEMO_FIT = {"batch_size": 64, "learning_rate": 2e-3}


def train_and_tell(request: TrainRequest, *, report: bool) -> None:
    """Train, write the report, and say how it went and what can be done next."""
    team = find_team(request.device)
    folder = train(request, team)
    if not team.first:
        return  # one of several processes speaks for all
    outcome = folder.read_config()["outcome"]
    if not request.quiet:
        typer.echo(outcome["verdict"])
        if outcome["weights"] == "best":
            typer.echo("The weights kept are those of the best epoch.")
    if report:
        outputs.write_report(open_run(folder.path, pair=request.pair, data=None, command="report"))
    if not request.quiet:
        pair = f" --pair {shlex.quote(request.pair)}" if request.pair else ""
        typer.echo(f"Wrote {folder.path}{' with report.html' if report else ''}.")
        typer.echo(f"Next: pyrovae evaluate {shlex.quote(str(folder.path))}{pair}")


def demonstrate(out: Path | None, *, epochs: int, quiet: bool) -> None:
    """Train on the digits, evaluate, write the report."""
    if epochs < 1:
        raise ArgumentError(f"--epochs {epochs}; give 1 at least.")
    place = out or _numbered(Path("pyrovae-demo"))
    if not quiet:
        typer.echo(f"Training on the bundled digits, into {place}")
    folder: RunFolder = train(TrainRequest("digits", place, fit={"epochs": epochs, **_DEMO_FIT}, quiet=quiet, **_DEMO))
    run = open_run(folder.path, pair=None, data=None, command="evaluate")
    if not quiet:
        evaluate(run, Effort())
        typer.echo(run.config["outcome"]["verdict"])
    path = outputs.write_report(run)
    typer.echo(f"Open the report in a browser: {path.resolve()}")


def _numbered(path: Path) -> Path:
    """The first name that is free: a demo replaces nothing, not even an earlier demo."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
