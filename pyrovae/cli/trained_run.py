"""A trained run, opened: its pair with its weights, and the data to look at it with."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import pyrovae as pv
from pyrovae.cli.annotation import Annotation
from pyrovae.cli.built_pair import built_pair
from pyrovae.cli.check_other_data import check_own_pair, check_units
from pyrovae.cli.model_config import ModelConfig
from pyrovae.cli.other_data import names_beside, other_data, other_table, other_text
from pyrovae.cli.own_pair import make_pair
from pyrovae.cli.prepare import Prepared, check_pair_option
from pyrovae.cli.run_config import RunConfig
from pyrovae.cli.run_data import run_data
from pyrovae.cli.run_folder import RunFolder
from pyrovae.cli.table_config import AnyConfig, TableConfig
from pyrovae.cli.text_config import TextConfig
from pyrovae.cli.threads import spare_threads
from pyrovae.data.batch_sources import Batch
from pyrovae.data.origin import Data, DataSource
from pyrovae.data.placement import placed
from pyrovae.errors import DataError, FileError
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.training.saved.checkpoints import checkpoints_in, identity_of

logger = logging.getLogger("pyrovae")


class Trained(NamedTuple):
    """A run: `data` are raw rows to look at, `words` say which; `own_pair` is what the user called the pair."""

    folder: RunFolder
    config: RunConfig
    own_pair: str | None
    pair: Any
    model_config: AnyConfig | None
    data: Data
    words: str

    def rows(self, count: int | None = None) -> torch.Tensor:
        """The first rows as the pair takes them."""
        values = self.data.values[:count]
        if self.model_config is None:
            return torch.from_numpy(np.array(values))
        ready = torch.from_numpy(np.array(self.model_config.prepare(values)))
        if self.model_config.scaling != "binary":
            return ready
        # Drawn once, with a seed of its own: figures of two commands are of the same zeros and ones.
        return torch.bernoulli(ready, generator=torch.Generator().manual_seed(0))

    @property
    def annotation(self) -> Annotation | None:
        """What the run knows of a row beside its values."""
        return None if self.model_config is None else self.model_config.annotation

    @property
    def condition(self) -> torch.Tensor | None:
        """The condition of each row, where the pair takes one."""
        if self.annotation is None or self.annotation.role != "condition":
            return None
        return torch.from_numpy(self.annotation.codes(self.data.annotations))

    def arguments(self, count: int | None = None) -> tuple[torch.Tensor, ...]:
        """What the pair takes of the first rows; labels are what it is to tell, and withheld."""
        rows, condition = self.rows(count), self.condition
        return (rows,) if condition is None else (rows, condition[:count])

    def restore(self, values: torch.Tensor) -> np.ndarray:
        """What the pair gives, in the units and the shape of the data."""
        array = values.detach().numpy()
        array = array if self.model_config is None else self.model_config.restore(array)
        event = self.data.values.shape[1:]
        return array.reshape(len(array), *event) if array[0].size == np.prod(event) else array

    def structure(self) -> Structure:
        """The sites and plates of the pair, on two rows of the type that it takes."""
        return structure_of(self.pair, self.arguments(2))

    def observed(self) -> str:
        """The observed site that holds the data."""
        sites = pv.reconstruct(self.pair, *self.arguments(2))
        if not sites:
            raise DataError("this pair observes no site, so there is nothing to draw or to reconstruct.")
        shape = self.rows(1).shape[1:]
        return next((site for site, value in sites.items() if value.shape[1:] == shape), next(iter(sites)))


def structure_of(pair: Any, data: tuple[torch.Tensor, ...]) -> Structure:
    """The sites and plates of a pair, on rows of any type."""
    batch = Batch(data, {})
    return inspect(pair, placed(pair, batch).place(batch).args, {})


def open_run(path: Path, *, pair: str | None, data: str | None, command: str) -> Trained:
    """Build the pair again, read its weights, and load the data: those given, or the run's own held-out rows."""
    folder = RunFolder.existing(path)
    config = folder.read_config()
    check_pair_option(pair, config.pair, f"{command} {path}")
    opened = opened_as(folder, config, pair, data)
    spare_threads(opened.pair)
    return opened


def open_pair(path: Path, *, pair: str | None, command: str) -> tuple[Any, AnyConfig | None]:
    """A run's pair with its weights, and what describes it, where no data are needed."""
    folder = RunFolder.existing(path)
    config = folder.read_config()
    check_pair_option(pair, config.pair, f"{command} {path}")
    described = config.made_of
    built = make_pair(pair or "") if described is None else built_pair(described, str(folder.config))
    pv.load(built, _weights(folder, config))
    spare_threads(built)
    return built, described


def opened_as(folder: RunFolder, config: RunConfig, pair: str | None, data: str | None, made: Any = None) -> Trained:
    """The same for a folder whose configuration is read; `made` is a pair of the user's own that is there already."""
    source, model_config = config.data, config.made_of
    if data is None:
        chosen, words = _own(source, config, model_config)
    elif isinstance(model_config, TableConfig):
        chosen, words = other_table(source, data, model_config)
    elif isinstance(model_config, TextConfig):
        chosen, words = other_text(data, model_config)
    else:
        chosen, words = other_data(source, data, config.columns, model_config and model_config.annotation)
    if model_config is not None and model_config.annotation is not None and chosen.annotations is not None:
        model_config.annotation.codes(chosen.annotations)  # refuses what it does not know
    _check_shape(chosen, model_config, words)
    if config.columns and not chosen.names and chosen.kind == "table":
        listed = ", ".join(config.columns[:5]) + (", ..." if len(config.columns) > 5 else "")
        logger.warning("%s has no names of columns: they are taken to be %s, in this order.", data, listed)
    if data is not None and isinstance(model_config, ModelConfig):
        check_units(model_config, chosen, words)
    opened = _opened(folder, config, pair, model_config, chosen, words, made)
    if data is not None and model_config is None:
        check_own_pair(opened.pair, opened.rows())
    return opened


def after_training(prepared: Prepared) -> Trained:
    """The run that was trained just now, with the data that are there already."""
    data, words = _looked_at(*prepared.split_data)
    config = prepared.folder.read_config()
    # A pair of the user's own as it stands: made again, it would claim the names of its own parameters.
    own = prepared.pair if prepared.model_config is None else None
    return _opened(prepared.folder, config, prepared.own_pair, prepared.model_config, data, words, own)


def _opened(
    folder: RunFolder,
    config: RunConfig,
    pair: str | None,
    model_config: AnyConfig | None,
    data: Data,
    words: str,
    made: Any = None,
) -> Trained:
    built = made or (make_pair(pair or "") if model_config is None else built_pair(model_config, str(folder.config)))
    opened = Trained(folder, config, pair, built, model_config, data, words)
    pv.load(built, _weights(folder, config), *opened.arguments(8))
    # Figures are of rows: what is asked for frames gets the schema back.
    bare = isinstance(model_config, TableConfig | TextConfig)
    return opened._replace(pair=model_config.bare(built)) if bare else opened


def _weights(folder: RunFolder, config: RunConfig) -> Path:
    """The trained weights; those of the newest checkpoint where the run was killed before it could write them."""
    if folder.model.is_file():
        _check_own_model(folder, config)
        return folder.model
    kept = checkpoints_in(folder.checkpoints) if folder.checkpoints.is_dir() else []
    if not kept:
        raise FileError(f"{folder.path} holds no weights yet: `pyrovae train --resume --out {folder.path}` goes on.")
    if config.identity not in (None, identity_of(kept[0])):
        raise FileError(
            f"{kept[0]} is not of the run that {folder.config} describes, but of another seed, other data, pair or "
            "arguments. Put the run's own checkpoints back."
        )
    words = "%s is not there: the weights are those of %s, in the middle of a training or at its last step."
    logger.warning(words, folder.model, kept[0])
    return kept[0]


def _check_own_model(folder: RunFolder, config: RunConfig) -> None:
    """Refuse a model that the run has not written: one of the same shapes gives figures, which are another run's."""
    outcome = config.outcome
    if outcome is None:
        words = "the training of %s has not ended, or was killed: the weights are those that %s holds since before it."
        logger.warning(words, folder.path, folder.model)
    elif outcome.model != folder.digest(folder.model):
        raise FileError(
            f"{folder.model} is not the model that this run has written, but another run's, or a changed one. Put its "
            "own back, or take the file away: the weights of the newest checkpoint are read then."
        )


def _own(source: DataSource, config: RunConfig, model_config: AnyConfig | None) -> tuple[Data, str]:
    if source.has_test_part:
        return _test_part(source)
    found = run_data(source, model_config)
    if found.digest != config.digest or list(found.names) != config.columns:
        raise FileError(
            f"{source.name} has changed since the run was trained on it. Put it back, or name the data to look at."
        )
    return _looked_at(source, *found.split(config.fit.validation, config.fit.seed))


def _looked_at(source: DataSource, training: Data, held_out: Data | None) -> tuple[Data, str]:
    if source.has_test_part:
        return _test_part(source)
    if held_out is None:
        return training, f"all {len(training.values):,} training rows (the run held none out)"
    return held_out, f"{len(held_out.values):,} held-out rows of {Path(source.name).name}"


def _test_part(source: DataSource) -> tuple[Data, str]:
    data = replace(source, **names_beside(source, source.name, source.annotations)).load(test=True)
    return data, f"{len(data.values):,} rows of the test part of {source.name}"


def _check_shape(data: Data, model_config: AnyConfig | None, words: str) -> None:
    if model_config is not None and np.prod(data.values.shape[1:]) != np.prod(model_config.shape):
        raise DataError(
            f"{words}: one datum has shape {data.values.shape[1:]}, and the run was trained on {model_config.shape}; "
            "give data of the same columns or pixels."
        )
