"""A run of the command line, opened in Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae.cli.run_folder import RunFolder
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.table_outputs import with_schema
from pyrovae.cli.text_config import TextConfig
from pyrovae.cli.text_outputs import with_vocabulary
from pyrovae.cli.trained_run import opened_as
from pyrovae.errors import ArgumentError
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.pair import HasPair
from pyrovae.training.epoch import Epoch


@dataclass(frozen=True)
class LoadedRun:
    """A trained pair, data to ask it about, and how it was trained; see `load_run`.

    Args:
        pair: the pair with its trained weights; that of a table takes frames.
        data: rows as the pair takes them: a tensor, or of a table a frame. Of a run with `--condition` two things, rows
            and their condition: `pv.log_evidence(run.pair, *run.data)`.
        words: which rows these are.
        labels: their classes, where the data have some.
        history: one row an epoch.
        settings: how it was trained.
        restore: from values that the pair gives to the units and the shape of the raw data.
    """

    pair: Any = field(repr=False)
    data: Any = field(repr=False)
    words: str
    labels: np.ndarray | None = field(repr=False)
    history: tuple[Epoch, ...] = field(repr=False)
    settings: Mapping[str, Any]
    restore: Callable[[torch.Tensor], np.ndarray] = field(repr=False)


def load_run(
    folder: str | os.PathLike[str], pair: HasPair | None = None, *, data: str | os.PathLike[str] | None = None
) -> LoadedRun:
    """Open a folder that `pyrovae train` made: its pair, ready for every question, and the rows that it held out.

    Nothing in the folder is imported or run. A pair of your own, trained by `--pair`, is therefore handed in as you
    make it; the weights are read into it.

    Args:
        folder: of the run.
        pair: a pair of your own that the run has trained; left out for the built-in ones.
        data: a file of other rows, read as those of the run were; left out, the rows that the run held out, or all
            that it was trained on where it held out none.

    Returns:
        A `LoadedRun`.

    Raises:
        FileError: no run, a damaged one, or one whose data have changed since.
        ArgumentError: a pair where the run has its own, or none where it needs yours.

    Examples:
        >>> import pyrovae as pv
        >>> pv.load_run("runs/none")
        Traceback (most recent call last):
        pyrovae.errors.FileError: there is no run runs/none. `pyrovae train DATA --out runs/none` makes one.

        After `pyrovae train digits --out runs/digits`, `run = pv.load_run("runs/digits")` has the pair, and
        `pv.log_evidence(run.pair, run.data)` asks it about the digits that it has not seen.
    """
    found = RunFolder.existing(Path(folder))
    config = found.read_config()
    _check_pair(found.path, config.pair, pair)
    with forked_random():
        opened = opened_as(found, config, config.pair, None if data is None else os.fspath(data), pair)
    table, text = (isinstance(opened.model_config, kind) for kind in (TableConfig, TextConfig))
    condition = opened.condition
    rows = opened.data.frame if table or text else opened.rows()
    return LoadedRun(
        pair=with_schema(opened) if table else with_vocabulary(opened) if text else opened.pair,
        data=rows if condition is None else (rows, condition),
        words=opened.words,
        labels=opened.data.labels,
        history=found.read_metrics(config.ended.history),
        settings=asdict(config.fit),
        restore=opened.restore,
    )


def _check_pair(path: Path, name: str | None, pair: HasPair | None) -> None:
    if name is not None and pair is None:
        raise ArgumentError(
            f"load_run: {path} trained a pair of somebody's own, and no folder says what code is run. Hand the pair "
            f"in, load_run(folder, pair); the folder calls it {name!r}."
        )
    if name is None and pair is not None:
        raise ArgumentError(f"load_run: {path} was trained without --pair and knows its own: leave pair out.")
