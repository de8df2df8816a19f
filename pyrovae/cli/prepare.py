"""From a request to everything that a training needs: the data, the pair, and what config.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer

from pyrovae.cli.advice import PRIORS, advise, look, one_of
from pyrovae.cli.blueprint import Blueprint
from pyrovae.cli.own_pair import make_pair
from pyrovae.cli.request import TrainOptions, TrainRequest, resumed
from pyrovae.cli.run_folder import RunFolder
from pyrovae.cli.threads import spare_threads
from pyrovae.data.batches import as_batches
from pyrovae.data.origin import Data, DataSource, split, square_images
from pyrovae.errors import ArgumentError, FileError
from pyrovae.pairs.isolation import forked_random
from pyrovae.training.saved.resumption import describe_data


class Prepared(NamedTuple):
    """Everything that a training needs, and what config.json says about it."""

    folder: RunFolder
    pair: Any
    training: Any
    held_out: Any
    options: TrainOptions
    transform: Any
    config: dict[str, Any]


def prepare(request: TrainRequest) -> Prepared:
    """Look at the data, and make the pair or the one that the run had before; nothing is written."""
    return _resumed(request) if _goes_on(request) else _new(request)


def _goes_on(request: TrainRequest) -> bool:
    if not request.resume:
        return False
    if request.out is None:
        raise ArgumentError("--resume needs --out, the folder of the run to go on with.")
    # With nothing to go on with it is a start afresh, so that one command can be repeated until it is done.
    return request.out.exists() or request.data is None


# --- a new run ----------------------------------------------------------------------------------------
def _new(request: TrainRequest) -> Prepared:
    if request.data is None:
        raise ArgumentError("train needs DATA: digits, mnist, a .npy, .npz, .csv or .parquet file, a folder of images.")
    folder = RunFolder.fresh(request.out or Path("runs") / Path(request.data).resolve().stem)
    source = DataSource(request.data, **request.source)
    data, source = _pictured(source.load(), source, own=request.pair is not None)
    options = TrainOptions.of(request.fit, len(data.values))
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


def _pictured(data: Data, source: DataSource, *, own: bool) -> tuple[Data, DataSource]:
    """Rows that look like flattened images become images; a pair of the user's own gets what the file holds."""
    shape = None if own else square_images(data)
    if shape is None:
        return data, source
    source = DataSource.from_json({**source.to_json(), "shape": shape})
    columns = data.values.shape[-1]
    typer.echo(f"Rows of {columns} grey levels are read as images of {shape[0]}x{shape[1]}; --shape says otherwise.")
    return source.load(), source


def _blueprint(request: TrainRequest, data: Data) -> Blueprint:
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
def _resumed(request: TrainRequest) -> Prepared:
    assert request.out is not None
    folder = RunFolder.existing(request.out)
    config = folder.read_config()
    if folder.model.exists() and not (folder.checkpoints.is_dir() and any(folder.checkpoints.iterdir())):
        raise FileError(
            f"{folder.path} holds a trained model, but no checkpoint to go on from; a start afresh would overwrite it. "
            "Train into another folder (--out)."
        )
    named = {} if request.data is None else {"name": DataSource(request.data).to_json()["name"]}
    source = DataSource.from_json(resumed({**request.source, **named}, config["data"]))
    check_pair_option(request.pair, config["pair"], f"train --resume --out {request.out}")
    told = {**request.choices, "prior": request.prior, "components": request.components}
    before = config["blueprint"]
    blueprint = None if before is None else Blueprint.from_json(resumed(told, before))
    options = TrainOptions(**resumed(request.fit, config["fit"], free=("epochs", "staged")))
    return _of_config(folder, request, source, blueprint, options, config)


def prepare_again(folder: RunFolder, config: dict[str, Any]) -> Prepared:
    """Everything that the run's training began with; nothing is written."""
    before = config["blueprint"]
    return _of_config(
        folder,
        TrainRequest(pair=config["pair"]),
        DataSource.from_json(config["data"]),
        None if before is None else Blueprint.from_json(before),
        TrainOptions(**config["fit"]),
        config,
    )


def _of_config(
    folder: RunFolder,
    request: TrainRequest,
    source: DataSource,
    blueprint: Blueprint | None,
    options: TrainOptions,
    config: dict[str, Any],
) -> Prepared:
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


def _prepared(
    folder: RunFolder,
    request: TrainRequest,
    blueprint: Blueprint | None,
    training: Data,
    held_out: Data | None,
    options: TrainOptions,
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
