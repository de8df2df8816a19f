"""`pyrovae sample` of a run with labels or a condition: new rows of chosen ones, or of those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import pyrovae as pv
from pyrovae.cli.outputs import check_number, raw_values, repeated, value_range, written
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.table_outputs import write_frame
from pyrovae.cli.trained_run import Trained
from pyrovae.pairs.pair import unwrapped
from pyrovae.plots import pictures


def annotated_samples(
    run: Trained, count: int, where: Sequence[str], *, seed: int | None, mean: bool | None, out: Path | None
) -> list[Path]:
    """Draw new data and write them, of a table with the columns that they stand under; the files.

    Args:
        run: with labels or a condition.
        count: how many.
        where: `column=value` for all of the run's; without one, labels are drawn and conditions are those of its rows.
        seed: of the draws.
        mean: means of the likelihood; None takes them of images.
        out: a new file.
    """
    check_number(count)
    assert run.annotation is not None
    images = run.data.kind == "images"
    taken = images if mean is None else mean
    codes = repeated(torch.from_numpy(run.annotation.chosen(where)), count) if where else None
    drawn, codes = _drawn(run, count, codes, seed, taken)
    values = drawn[run.observed()]
    if images:
        raw = raw_values(run, values, mean=taken)
        return written(run, raw, "samples", out, lambda: pictures.grid(raw, value_range(run)))
    return [write_frame(run, _frame(run, values, taken).join(run.annotation.frame(codes)), "samples", out)]


def _drawn(
    run: Trained, count: int, codes: torch.Tensor | None, seed: int | None, mean: bool
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What was drawn, and the label or the condition of each row."""
    rows = repeated(run.rows(), count)  # of which only the shape counts
    if run.condition is not None:
        codes = repeated(run.condition, count) if codes is None else codes
        return pv.generate(run.pair, rows, codes, seed=seed, mean=mean), codes
    if codes is None:
        found = pv.generate(run.pair, rows, seed=seed, mean=mean)
        return found, found["y"]
    # One label for all of them.
    labelled: Any = unwrapped(run.pair)
    chosen = labelled.conditional().under(int(codes[0]))
    return pv.generate(chosen, count, seed=seed, mean=mean), codes


def _frame(run: Trained, values: torch.Tensor, mean: bool) -> Any:
    """Rows as a frame."""
    if isinstance(run.model_config, TableConfig):
        return run.model_config.read().decode(values, nearest=mean)
    import pandas as pd

    flat = raw_values(run, values, mean=mean).reshape(len(values), -1)
    return pd.DataFrame(flat, columns=list(run.data.names) or [f"column {number}" for number in range(flat.shape[1])])
