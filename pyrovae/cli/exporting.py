"""`pyrovae export`: what a trained run says, as a file for ArviZ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyrovae as pv
from pyrovae.cli.trained import Trained
from pyrovae.pairs import inspect


def export(run: Trained, out: Path, *, draws: int, seed: int | None) -> None:
    """Write draws of everything, with columns and classes as labels."""
    pv.to_arviz(run.pair, run.rows(), draws=draws, seed=seed, out=out, **_labels(run))


def _labels(run: Trained) -> dict[str, Any]:
    dims, coords = {}, {}
    site = run.observed()
    if run.data.names and run.rows(1).shape[1:] == (len(run.data.names),):
        dims[site], coords["column"] = ["column"], list(run.data.names)
    structure = inspect(run.pair, (run.rows(2),), {})
    plate = structure.data_plate
    if run.data.labels is not None and plate is not None:
        coords["label"] = (f"{plate}_plate" if plate in structure.sites else plate, run.data.labels)
    return {"dims": dims, "coords": coords}
