"""`pyrovae train`: from a request to a trained run in its folder."""

from __future__ import annotations

import math
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer

import pyrovae as pv
from pyrovae import checkpoints
from pyrovae import progress as progress_line
from pyrovae.advice import PRIORS, advise, look, one_of
from pyrovae.batches import as_batches
from pyrovae.blueprints import Blueprint
from pyrovae.cli.folder import RunFolder
from pyrovae.cli.group import INTERRUPTED, complain
from pyrovae.cli.own_pair import make_pair
from pyrovae.cli.requests import FitOptions, Request, resumed
from pyrovae.cli.sources import Data, Source, split, square_images
from pyrovae.cli.threads import spare_threads
from pyrovae.errors import ArgumentError, DivergedError, FileError
from pyrovae.interruption import deferred_interrupts
from pyrovae.isolation import forked_random
from pyrovae.results import Epoch, Fit
from pyrovae.resumption import describe_data


class Prepared(NamedTuple):
    """Everything that a training needs, and what config.json says about it."""

    folder: RunFolder
    pair: Any
    training: Any
    held_out: Any
    options: FitOptions
    transform: Any
    config: dict[str, Any]


def train(request: Request) -> RunFolder:
    """Train as asked; the folder of the run."""
    prepared = _resumed(request) if _goes_on(request) else _new(request)
    outcome = _run(prepared, request)
    prepared.folder.write_config({**prepared.config, "outcome": outcome})
    if outcome["reason"] == "interrupted":
        complain("Stopped", _how_to_resume(prepared, outcome), color=typer.colors.YELLOW)
        raise typer.Exit(INTERRUPTED)
    return prepared.folder


def _goes_on(request: Request) -> bool:
    if not request.resume:
        return False
    if request.out is None:
        raise ArgumentError("--resume needs --out, the folder of the run to go on with.")
    # With nothing to go on with it is a start afresh, so that one command can be repeated until it is done.
    return request.out.exists() or request.data is None


# --- a new run ----------------------------------------------------------------------------------------


def _new(request: Request) -> Prepared:
    if request.data is None:
        raise ArgumentError("train needs DATA: digits, mnist, a .npy, .npz, .csv or .parquet file, a folder of images.")
    folder = RunFolder.fresh(request.out or Path("runs") / Path(request.data).resolve().stem)
    source = Source(request.data, **request.source)
    data, source = _pictured(source.load(), source, own=request.pair is not None)
    options = FitOptions.of(request.fit, len(data.values))
    training, held_out = split(data, options.validation, options.seed)
    blueprint = None if request.pair else _blueprint(request, data)
    config = {
        "data": source.to_json(),
        "digest": digest(data),
        "columns": list(data.names),
        "pair": request.pair,
        "blueprint": blueprint and blueprint.to_json(),
        "fit": options.to_json(),
        "outcome": None,
    }
    return _prepared(folder, request, blueprint, training, held_out, options, config)


def _pictured(data: Data, source: Source, *, own: bool) -> tuple[Data, Source]:
    """Rows that look like flattened images become images; a pair of the user's own gets what the file holds."""
    shape = None if own else square_images(data)
    if shape is None:
        return data, source
    source = Source.from_json({**source.to_json(), "shape": shape})
    columns = data.values.shape[-1]
    typer.echo(f"Rows of {columns} grey levels are read as images of {shape[0]}x{shape[1]}; --shape says otherwise.")
    return source.load(), source


def _blueprint(request: Request, data: Data) -> Blueprint:
    facts = look(data.values, data.kind)
    advice = advise(facts, request.choices)
    prior = one_of("--prior", request.prior or "standard", PRIORS)
    if request.components is not None and prior not in ("mixture", "vamp"):
        raise ArgumentError(f"--components is for --prior mixture or vamp; --prior is {prior}.")
    if not request.quiet:
        typer.echo(f"{facts.words()}: {advice.line()}")
    return Blueprint.of(facts, advice, prior=prior, components=request.components or 50)


def digest(data: Data) -> str:
    """A text that tells one data set from another."""
    return describe_data(as_batches(data.values))["leaves"]["0"]


# --- a run that goes on -------------------------------------------------------------------------------


def _resumed(request: Request) -> Prepared:
    assert request.out is not None
    folder = RunFolder.existing(request.out)
    config = folder.read_config()
    named = {} if request.data is None else {"name": Source(request.data).to_json()["name"]}
    source = Source.from_json(resumed({**request.source, **named}, config["data"]))
    check_pair_option(request.pair, config["pair"], f"train --resume --out {request.out}")
    told = {**request.choices, "prior": request.prior, "components": request.components}
    before = config["blueprint"]
    blueprint = None if before is None else Blueprint.from_json(resumed(told, before))
    options = FitOptions(**resumed(request.fit, config["fit"], free=("epochs",)))
    data = source.load()
    if digest(data) != config["digest"]:
        raise FileError(f"{source.name} has changed since {folder.path} was trained on it; a run needs its own data.")
    training, held_out = split(data, options.validation, options.seed)
    return _prepared(
        folder, request, blueprint, training, held_out, options, {**config, "fit": options.to_json(), "outcome": None}
    )


def check_pair_option(given: str | None, before: str | None, command: str) -> None:
    """A pair of the user's own must be named again: no file says what code is run."""
    if before is not None and given is None:
        raise ArgumentError(
            "this run trained a pair of your own. Loading executes nothing, so the pair must be named again: "
            f"pyrovae {command} --pair {before}"
        )
    if before is None and given is not None:
        raise ArgumentError("this run was made without --pair; leave it out.")


# --- the training itself ------------------------------------------------------------------------------


def _prepared(
    folder: RunFolder,
    request: Request,
    blueprint: Blueprint | None,
    training: Data,
    held_out: Data | None,
    options: FitOptions,
    config: dict[str, Any],
) -> Prepared:
    with forked_random(options.seed % 2**32):
        if blueprint is None:
            pair, rows, held = make_pair(request.pair or ""), training.values, held_out and held_out.values
        else:
            rows = blueprint.prepare(training.values)
            held = None if held_out is None else blueprint.prepare(held_out.values)
            pair = blueprint.build(rows)
    spare_threads(pair)
    binary = blueprint is not None and blueprint.scaling == "binary"
    return Prepared(folder, pair, rows, held, options, torch.bernoulli if binary else None, config)


def _steps(prepared: Prepared, request: Request) -> Generator[Any, None, Fit]:
    options = prepared.options
    per_epoch = math.ceil(len(prepared.training) / max(1, options.batch_size))
    rising = pv.linear(0, options.beta, steps=options.anneal * per_epoch) if options.anneal else options.beta
    return pv.steps(
        prepared.pair,
        prepared.training,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        clip_norm=options.clip_norm,
        temper=rising,
        validation=prepared.held_out,
        patience=options.patience or None,
        transform=prepared.transform,
        seed=options.seed,
        device=request.device,
        checkpoint=prepared.folder.checkpoints,
        resume=request.resume,
    )


def _run(prepared: Prepared, request: Request) -> dict[str, Any]:
    """Train to the end, to Ctrl-C or to a loss that goes bad; what config.json says about it."""
    folder, options = prepared.folder, prepared.options
    per_epoch = math.ceil(len(prepared.training) / max(1, options.batch_size))
    with deferred_interrupts() as interruption:
        stepping = _steps(prepared, request)  # checks everything, and writes nothing yet
        folder.write_config(prepared.config)
        metrics = _Metrics(folder)
        shown = progress_line.display(not request.quiet, epochs=options.epochs, steps=options.epochs * per_epoch)
        with shown as line:
            try:
                while not interruption.requested:
                    step = next(stepping)
                    metrics.note(step.epoch)
                    line.update(
                        step=step.index + 1, epoch=step.epoch + 1, loss=step.loss, elbo=step.elbo, rate=step.rate
                    )
            except StopIteration as end:
                return _finished(prepared, metrics, end.value)
            except DivergedError as error:
                folder.write_config({**prepared.config, "outcome": {"reason": "diverged", "words": str(error)}})
                pv.save(prepared.pair, folder.model)
                raise
            stepping.close()  # writes a checkpoint
            metrics.catch_up()
            pv.save(prepared.pair, folder.model)
    return {"reason": "interrupted", "epochs": len(metrics.rows), "weights": "last"}


def _finished(prepared: Prepared, metrics: _Metrics, run: Fit) -> dict[str, Any]:
    metrics.add(run.history)
    pv.save(prepared.pair, prepared.folder.model)
    return {
        "reason": run.reason,
        "epochs": len(run.history),
        "weights": run.weights,
        "seconds": round(run.seconds, 1),
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
