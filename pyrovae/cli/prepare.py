"""From a request to everything that a training needs: the data, the pair, and what config.json says."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer

from pyrovae.cli.advice import GUIDES, PRIORS, advise, look, one_of
from pyrovae.cli.annotation import Annotation
from pyrovae.cli.built_pair import built_pair
from pyrovae.cli.model_config import ModelConfig
from pyrovae.cli.own_pair import make_pair
from pyrovae.cli.read_text import read_text
from pyrovae.cli.request import TrainingSettings, TrainRequest, given, resumed
from pyrovae.cli.run_config import RunConfig
from pyrovae.cli.run_data import RunData, run_data
from pyrovae.cli.run_folder import RunFolder
from pyrovae.cli.table_config import AnyConfig, TableConfig
from pyrovae.cli.text_config import TextConfig
from pyrovae.cli.threads import spare_threads
from pyrovae.data.blocks.big_table import BigTable
from pyrovae.data.origin import Data, DataSource, square_images
from pyrovae.errors import ArgumentError, FileError
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.read_schema import ReadColumn, read_schema, schema_from, schema_text
from pyrovae.tables.schema import Schema, schema, schema_by_column


class SplitData(NamedTuple):
    """The rows of the data, as they came, that are trained on, and those that are held out."""

    source: DataSource
    training: Data
    held_out: Data | None


class Prepared(NamedTuple):
    """Everything that a training needs, and what config.json says about it; data are as the pair takes them."""

    folder: RunFolder
    own_pair: str | None
    pair: Any
    training: Any
    held_out: Any
    settings: TrainingSettings
    transform: Any
    config: RunConfig
    model_config: AnyConfig | None
    split_data: SplitData

    @property
    def batches_per_epoch(self) -> int:
        """How many steps an epoch has."""
        return math.ceil(len(self.rows) / max(1, self.settings.batch_size))

    @property
    def rows(self) -> Any:
        """What is trained on, without labels or conditions."""
        return self.training[0] if isinstance(self.training, tuple) else self.training


def prepare(request: TrainRequest) -> Prepared:
    """Look at the data, and make the pair or the one that the run had before; nothing is written."""
    return _resumed(request) if _goes_on(request) else _new(request)


def _goes_on(request: TrainRequest) -> bool:
    if not request.resume:
        return False
    if request.out is None:
        raise ArgumentError("--resume needs --out, the folder of the run to go on with.")
    # With nothing to go on with it is a start afresh, so that one command can be repeated until it is done.
    return request.data is None or (request.out.exists() and not RunFolder.unbegun(request.out))


# --- a new run ----------------------------------------------------------------------------------------
def _new(request: TrainRequest) -> Prepared:
    if request.data is None:
        raise ArgumentError(
            "train needs DATA: digits, mnist, a .npy, .npz, .csv, .parquet or .txt file, a folder of images."
        )
    folder = RunFolder.fresh(request.out or Path("runs") / Path(request.data).resolve().stem)
    source = DataSource(request.data, **vars(request.source))
    source, model_config, found = _read(request, source)
    settings = TrainingSettings.of(request.training, found.rows)
    parts = SplitData(source, *found.split(settings.validation, settings.seed))
    config = RunConfig(
        data=source.in_full(),
        digest=found.digest,
        columns=list(found.names),
        pair=request.pair,
        model_config=model_config if isinstance(model_config, ModelConfig) else None,
        table=model_config if isinstance(model_config, TableConfig) else None,
        text=model_config if isinstance(model_config, TextConfig) else None,
        fit=settings,
    )
    return _prepared(folder, request.pair, parts, config)


def _read(request: TrainRequest, source: DataSource) -> tuple[DataSource, AnyConfig | None, RunData]:
    """The data, and what their pair is made of; None where it is somebody's own."""
    if source.is_text:
        config, data = read_text(request, source)
        return source, config, RunData.in_memory(data, config)
    table = BigTable.of(source) if request.one_family in (None, "--pair") else None
    if table is not None:
        if not request.quiet:
            typer.echo(str(table))
        guessed = (
            None
            if request.pair
            else _table_config(
                request,
                table.rows,
                table.columns,
                lambda: schema_by_column(table.columns, table.column),
                lambda name: as_frame(table.column(name))[name] if name in table.columns else None,
            )
        )
        return source, guessed, RunData.on_disk(table, guessed)
    frame = _frame(request, source)
    if frame is None:
        data, source = _pictured(source.load(), source, own=request.pair is not None)
        model_config = None if request.pair else _model_config(request, data)
    else:
        model_config = _table_config(request, len(frame), frame.columns, lambda: schema(frame), frame.get)
        data = source.load_rows(model_config.read(), frame)
    if model_config is not None and data.annotations is not None:
        model_config = replace(model_config, annotation=_annotation(request, data))
    return source, model_config, RunData.in_memory(data, model_config)


def _frame(request: TrainRequest, source: DataSource) -> Any:
    """The table, where each column gets a family of its own; None where all have one, as the pixels of images do."""
    if not source.is_table or request.one_family:
        if request.schema is not None:
            raise ArgumentError(f"--schema is for a .csv or .parquet file; {source.name} is none.")
        return None
    frame = source.of_the_model(source.load_frame())
    nameless = [str(name) for name in frame.columns] == [str(number) for number in range(len(frame.columns))]
    numbers = all(kind.kind in "iuf" for kind in frame.dtypes) and not frame.isna().any(axis=None)
    if nameless and numbers and square_images(Data(frame.to_numpy(), "table")):
        return None
    return frame


def _table_config(
    request: TrainRequest, rows: int, columns: Sequence[str], guessed: Callable[[], Schema], column: ReadColumn
) -> TableConfig:
    path = request.schema
    found = guessed() if path is None else schema_from(schema_text(path), str(path), column)
    beside = (request.source.label, request.source.labels, *(request.source.condition or ()))
    found = found._replace(table=tuple(one for one in found.table if one.name not in beside))
    if not request.quiet:
        typer.echo(f"{rows:,} rows of {len(columns)} columns:\n{found}")
        if request.schema is None:
            typer.echo("Not so? Edit schema.toml in the run, and train with --schema FILE.")
    chosen = {name: value for name, value in given(request.model).items() if name in ("hidden", "latent")}
    if chosen.get("latent", 1) < 1:
        raise ArgumentError(f"--latent {chosen['latent']}; give a whole number, 1 at least.")
    return TableConfig(found.toml(), **chosen)


def _annotation(request: TrainRequest, data: Data) -> Annotation:
    annotation = Annotation.of("condition" if request.source.condition else "labels", data.annotations)
    if not request.quiet:
        typer.echo(annotation.words(data.annotations))
    return annotation


def _pictured(data: Data, source: DataSource, *, own: bool) -> tuple[Data, DataSource]:
    """Rows that look like flattened images become images; a pair of the user's own gets what the file holds."""
    shape = None if own else square_images(data)
    if shape is None:
        return data, source
    source = replace(source.in_full(), shape=shape)
    columns = data.values.shape[-1]
    typer.echo(f"Rows of {columns} grey levels are read as images of {shape[0]}x{shape[1]}; --shape says otherwise.")
    return source.load(), source


def _model_config(request: TrainRequest, data: Data) -> ModelConfig:
    facts = look(data.values, data.kind)
    model = request.model
    advice = advise(facts, given(model))
    prior = one_of("--prior", model.prior or "standard", PRIORS)
    if model.components is not None and prior not in ("mixture", "vamp"):
        raise ArgumentError(f"--components is for --prior mixture or vamp; --prior is {prior}.")
    guide = one_of("--guide", model.guide or "normal", GUIDES)
    if advice.latent.value == 1 and guide == "iaf":
        raise ArgumentError("--guide iaf bends dims by one another, and --latent is 1: take --guide mixture.")
    if not request.quiet:
        typer.echo(f"{facts.words()}: {advice.line()}")
    return ModelConfig.of(facts, advice, prior=prior, components=model.components or 50, guide=guide)


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
    named = {} if request.data is None else {"name": DataSource(request.data).in_full().name}
    resumed({**given(request.source), **named}, config.data)
    check_pair_option(request.pair, config.pair, f"train --resume --out {request.out}")
    if config.made_of is not None:
        resumed(given(request.model), config.made_of)
    if request.schema is not None and read_schema(request.schema).toml() != (config.table and config.table.schema):
        raise ArgumentError("--schema is another one than that of the run to resume. Leave it out, or start afresh.")
    settings = resumed(given(request.training), config.fit, free=("epochs", "staged"))
    return prepare_again(folder, replace(config, fit=settings, pair=request.pair), request.pair)


def prepare_again(folder: RunFolder, config: RunConfig, own_pair: str | None) -> Prepared:
    """Everything that the training of a run begins with, from its configuration; nothing is written.

    What a pair of the user's own is called comes from the user alone: a folder that says it would say what is run.
    """
    source = config.data
    found = run_data(source, config.made_of)
    if found.digest != config.digest or list(found.names) != config.columns:
        raise FileError(f"{source.name} has changed since {folder.path} was trained on it; a run needs its own data.")
    parts = SplitData(source, *found.split(config.fit.validation, config.fit.seed))
    return _prepared(folder, own_pair, parts, replace(config, outcome=None))


def check_pair_option(given: str | None, before: str | None, command: str) -> None:
    """A pair of the user's own must be named again: no file says what code is run."""
    if before is not None and given is None:
        raise ArgumentError(
            "this run trained a pair of somebody's own. No folder says what code is run, so name the pair again if you "
            f"trust it; the folder calls it {before!r}: pyrovae {command} --pair {shlex.quote(before)}"
        )
    if before is None and given is not None:
        raise ArgumentError("this run was made without --pair; leave it out.")


def _prepared(folder: RunFolder, own_pair: str | None, parts: SplitData, config: RunConfig) -> Prepared:
    model_config, settings = config.made_of, config.fit
    training, held_out = (part and part.values for part in (parts.training, parts.held_out))
    annotation = None if model_config is None else model_config.annotation
    with forked_random(settings.seed % 2**32):
        if model_config is None:
            pair = make_pair(own_pair or "")
        else:
            training, held_out = (None if rows is None else model_config.prepare(rows) for rows in (training, held_out))
            described_by = str(folder.config) if folder.config.exists() else "the command"
            pair = built_pair(model_config, described_by, training)
    if annotation is not None:
        codes = annotation.codes(parts.training.annotations)
        annotation.check_training(codes)
        training = (training, codes)
        held_out = parts.held_out and (held_out, annotation.codes(parts.held_out.annotations))
    spare_threads(pair)
    binary = model_config is not None and model_config.scaling == "binary"
    transform = binarised if binary and annotation is not None else torch.bernoulli if binary else None
    return Prepared(folder, own_pair, pair, training, held_out, settings, transform, config, model_config, parts)


def binarised(rows: torch.Tensor, beside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch whose grey levels are drawn as zeros and ones."""
    return torch.bernoulli(rows), beside
