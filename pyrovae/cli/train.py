"""`pyrovae train`: run the steps, write the files of the run, and stop well."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Generator
from typing import Any

import typer

import pyrovae as pv
from pyrovae.cli.messages import INTERRUPTED, complain
from pyrovae.cli.prepare import Prepared, prepare
from pyrovae.cli.request import STAGED, TrainRequest
from pyrovae.cli.run_folder import RunFolder, Unwritten
from pyrovae.errors import DivergedError
from pyrovae.training import progress as progress_line
from pyrovae.training.epoch import Epoch
from pyrovae.training.fit_result import Fit
from pyrovae.training.interrupts import deferred_interrupts
from pyrovae.training.parallel.team import SingleProcess, agreed
from pyrovae.training.saved import checkpoints
from pyrovae.training.step import progress_figures


def train(request: TrainRequest, team: SingleProcess | None = None) -> RunFolder:
    """Train as asked; the folder of the run, in which the first of several processes writes."""
    team = team or SingleProcess()
    if not team.first:
        request = dataclasses.replace(request, quiet=True)
    prepared = prepare(request)
    if not team.first:
        prepared = prepared._replace(folder=Unwritten(prepared.folder.path))
    outcome = _run(prepared, request, team)
    prepared.folder.write_config({**prepared.config, "outcome": outcome})
    if outcome["reason"] == "interrupted":
        if team.first:
            complain("Stopped", _how_to_resume(prepared, outcome), color=typer.colors.YELLOW)
        raise typer.Exit(INTERRUPTED)
    return prepared.folder


def fit_arguments(prepared: Prepared) -> dict[str, Any]:
    """The arguments of `fit` that stand in config.json."""
    options = prepared.options
    per_epoch = math.ceil(len(prepared.training) / max(1, options.batch_size))
    rising = pv.linear(0, options.beta, steps=options.anneal * per_epoch) if options.anneal else options.beta
    return {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "clip_norm": options.clip_norm,
        "temper": rising,
        "validation": prepared.held_out,
        "patience": options.patience or None,
        "transform": prepared.transform,
        "seed": options.seed,
        "staged": STAGED[options.staged],
        "precision": options.precision,
    }


def _steps(prepared: Prepared, request: TrainRequest) -> Generator[Any, None, Fit]:
    return pv.steps(
        prepared.pair,
        prepared.training,
        **fit_arguments(prepared),
        device=request.device,
        checkpoint=prepared.folder.checkpoints,
        resume=request.resume,
    )


def _run(prepared: Prepared, request: TrainRequest, team: SingleProcess) -> dict[str, Any]:
    """Train to the end, to Ctrl-C or to a loss that goes bad; what config.json says about it."""
    folder, options = prepared.folder, prepared.options
    per_epoch = math.ceil(len(prepared.training) / max(1, options.batch_size))
    with deferred_interrupts(terminate=team.size > 1) as interruption:
        stepping = _steps(prepared, request)  # checks everything, and writes nothing yet
        folder.write_config(prepared.config)
        metrics = _Metrics(folder)
        shown = progress_line.display(not request.quiet, epochs=options.epochs, steps=options.epochs * per_epoch)
        with shown as line:
            try:
                stopped = False
                while not stopped:
                    step = next(stepping)
                    stopped = agreed(team, step.index, interruption.requested)
                    metrics.note(step.epoch)
                    line.update(step=step.index + 1, epoch=step.epoch + 1, **progress_figures(step))
            except StopIteration as end:
                return _finished(prepared, metrics, end.value)
            except DivergedError as error:
                folder.write_config({**prepared.config, "outcome": {"reason": "diverged", "words": str(error)}})
                folder.save(prepared.pair)
                raise
            stepping.close()  # writes a checkpoint
            metrics.catch_up()
            folder.save(prepared.pair)
    return {"reason": "interrupted", "epochs": len(metrics.rows), "weights": "last"}


def _finished(prepared: Prepared, metrics: _Metrics, run: Fit) -> dict[str, Any]:
    metrics.add(run.history)
    prepared.folder.save(prepared.pair)
    return {
        "reason": run.reason,
        "epochs": len(run.history),
        "weights": run.weights,
        "seconds": round(run.seconds, 1),
        "route": run.route,
        "verdict": run.verdict,
    }


class _Metrics:
    """metrics.jsonl, which follows the history in the checkpoints, so that the two never disagree."""

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self.rows: list[Epoch] = list(self._kept())
        folder.write_metrics(self.rows)

    def note(self, epoch: int) -> None:
        """A step of an epoch was made: write down the epochs before it."""
        if epoch > len(self.rows):
            self.catch_up()

    def catch_up(self) -> None:
        """Write what the newest checkpoint knows and the file does not."""
        self.add(self._kept())

    def add(self, history: tuple[Epoch, ...]) -> None:
        """Write the epochs of a history that the file does not hold."""
        new = history[len(self.rows) :]
        self.folder.write_metrics(new, mode="a")
        self.rows += new

    def _kept(self) -> tuple[Epoch, ...]:
        newest = checkpoints.newest(self.folder.checkpoints) if self.folder.checkpoints.is_dir() else None
        return () if newest is None else tuple(Epoch(*row) for row in newest[2]["history"])


def _how_to_resume(prepared: Prepared, outcome: dict[str, Any]) -> str:
    pair = f" --pair {shlex.quote(prepared.config['pair'])}" if prepared.config["pair"] else ""
    command = f"pyrovae train --resume --out {shlex.quote(str(prepared.folder.path))}{pair}"
    return f"after {outcome['epochs']} epochs; everything is saved. Go on with: {command}"
