"""`pyrovae report model.safetensors`: the report on a pair of somebody's own whose weights were saved by Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import pyrovae as pv
from pyrovae.cli.own_pair import make_pair
from pyrovae.cli.table_outputs import new_file
from pyrovae.data.origin import DataSource
from pyrovae.errors import ArgumentError


def report_of_model(model: Path, data: str | None, pair: str | None, out: Path | None) -> Path:
    """Make the pair, read its weights, and write the report beside them where no other place is given."""
    if pair is None:
        raise ArgumentError(
            f"{model} holds weights, and nothing says of which pair: name what makes it, --pair module:function. A run "
            "of train is named by its folder."
        )
    if data is None:
        raise ArgumentError(f"name the data to look at the pair with: pyrovae report {model} DATA --pair {pair}")
    place = new_file(model.with_suffix(".html") if out is None else out, (".html",))
    found = DataSource(data).load()
    rows = torch.from_numpy(np.array(found.values))
    built = make_pair(pair)
    pv.load(built, model, rows[:8])
    return pv.write_report(built, rows, path=place, names=found.names, labels=found.labels)
