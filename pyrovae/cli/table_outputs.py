"""What a run of a table gives: filled, drawn and encoded rows as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import pyrovae as pv
from pyrovae.cli.table_blueprint import TableBlueprint
from pyrovae.cli.trained_run import Trained
from pyrovae.data.row_words import LINE
from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, DataError, FileError

ELSEWHERE = "--out names another place."

_FRAMES = (".csv", ".parquet")

_DRAW = "draw"  # the column that numbers the imputations


def with_schema(run: Trained) -> Any:
    """The pair of a run, that takes frames."""
    if not isinstance(run.blueprint, TableBlueprint):
        raise ArgumentError(
            f"{run.folder.path} was trained on arrays of numbers without holes. A table of columns of all kinds is "
            "trained on by: pyrovae train table.csv"
        )
    return pv.tables.with_schema(run.pair, run.blueprint.read())


def impute(run: Trained, *, draws: int | None, seed: int, out: Path | None) -> Path:
    """Write the table without holes: one value in each, or as many whole tables as draws are asked for."""
    pair, frame = with_schema(run), run.data.frame
    if out is not None:
        new_file(out, _FRAMES)
    if draws is None:
        return write_frame(run, pv.impute(pair, frame, seed=seed), "imputed", out)
    import pandas as pd

    if _DRAW in frame.columns:
        raise DataError(f"the table has a column {_DRAW!r}, which is to number the imputations: rename it.")
    frames = pv.impute(pair, frame, draws=draws, seed=seed).frames()
    for number, one in enumerate(frames):
        one.insert(0, _DRAW, number)
    return write_frame(run, pd.concat(frames), "imputed", out)


def encode(run: Trained, *, out: Path | None) -> Path:
    """Write mean and scale of the latent variables of each row: columns of a table, or arrays in an .npz file."""
    place = run.folder.path / "encoded.csv" if out is None else new_file(out, (*_FRAMES, ".npz"))
    found = pv.encode(run.pair, run.rows())
    arrays = {f"{site}.{name}": value.numpy() for site, one in found.items() for name, value in one._asdict().items()}
    if place.suffix == ".npz":
        with whole_file(place, make_folder=True, mend=ELSEWHERE) as stream:
            np.savez(stream, **arrays)
        return place
    import pandas as pd

    columns = {
        f"{name}[{','.join(map(str, index))}]" if index else name: array[(slice(None), *index)]
        for name, array in arrays.items()
        for index in np.ndindex(*array.shape[1:])
    }
    index = None if run.data.frame is None else run.data.frame.index
    return write_frame(run, pd.DataFrame(columns, index=index), "encoded", out)


def write_frame(run: Trained, frame: Any, name: str, out: Path | None) -> Path:
    """Write a frame by the ending of its file, whole or not at all; without one into the folder of the run."""
    place = run.folder.path / f"{name}.csv" if out is None else new_file(out, _FRAMES)
    with whole_file(place, make_folder=True, mend=ELSEWHERE) as stream:
        frame = frame.reset_index(drop=True) if frame.index.name == LINE else frame
        if place.suffix == ".parquet":
            frame.to_parquet(stream)
        else:
            frame.to_csv(stream, index=frame.index.name is not None)
    return place


def new_file(out: Path, kinds: tuple[str, ...]) -> Path:
    """Refuse a file that is there, or whose ending says of no kind that can be written."""
    if out.suffix not in kinds:
        raise ArgumentError(f"--out {out}: its name must end in {' or '.join(kinds)}.")
    if out.exists():
        raise FileError(f"{out} exists and is left as it is; choose another name with --out.")
    return out
