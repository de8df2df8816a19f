"""`pyrovae explore`: a page in which a run's decoder answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pyrovae.cli.outputs import value_range
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.table_outputs import ELSEWHERE, new_file
from pyrovae.cli.trained_run import Trained
from pyrovae.errors import ArgumentError
from pyrovae.pairs.turns import turn
from pyrovae.report.explorer.explore import write_explorer
from pyrovae.report.explorer.explored_sites import DataUnits, PageOptions


def explore_run(run: Trained, *, rows: int, out: Path | None) -> Path:
    """Write the page, into the folder of the run where no other place is given."""
    count = len(run.data.values)
    if not 0 <= rows <= count:
        raise ArgumentError(f"--rows {rows}: give 0 to {count}, the rows that there are.")
    place = run.folder.path / "explorer.html" if out is None else new_file(out, (".html",))
    labels = run.data.labels
    options = PageOptions(
        title=run.folder.path.resolve().name,
        rows=rows,
        names=run.data.names,
        labels=None if labels is None or not rows else [str(one) for one in np.asarray(labels)[:rows].tolist()],
        shape=run.data.values.shape[1:] if run.data.kind == "images" else None,
        schema=run.model_config.read() if isinstance(run.model_config, TableConfig) else None,
        units=_units(run),
        limits=value_range(run) if run.data.kind == "images" else None,
        given=_given(run),
    )
    with turn():
        return write_explorer(run.pair, run.arguments(), {}, place, options, mend=ELSEWHERE)


def _units(run: Trained) -> DataUnits:
    """What `Trained.restore` does to numbers."""
    config = run.model_config
    if config is None or isinstance(config, TableConfig):
        return DataUnits()
    zero, one = config.restore(np.array([0.0, 1.0]))
    return DataUnits(float(one - zero), float(zero))


def _given(run: Trained) -> Callable[[int], str] | None:
    """The condition of a row in words."""
    if run.condition is None or run.annotation is None:
        return None
    frame = run.data.annotations

    def words(row: int) -> str:
        return ", ".join(f"{name} {frame[name].iloc[row]}" for name in frame.columns)

    return words
