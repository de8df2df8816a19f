"""What a run of a table gives: filled, drawn and encoded rows as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer

import pyrovae as pv
from pyrovae.cli.read_where import read_where
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.trained_run import Trained
from pyrovae.data.row_words import LINE
from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, DataError, FileError
from pyrovae.prediction.encode import encode_rows

ELSEWHERE = "--out names another place."

_FRAMES = (".csv", ".parquet")

_LABEL = "y.mean"  # probabilities of the classes of a run with labels

_DRAW = "draw"  # the column that numbers the imputations


def with_schema(run: Trained) -> Any:
    """The pair of a run, that takes frames."""
    if not isinstance(run.model_config, TableConfig):
        raise ArgumentError(
            f"{run.folder.path} was trained on no table, but on arrays without holes or on text. A table of columns "
            "of all kinds is trained on by: pyrovae train table.csv"
        )
    return pv.tables.with_schema(run.pair, run.model_config.read())


def impute(run: Trained, *, draws: int | None, candidates: int | None, seed: int, out: Path | None) -> Path:
    """Write the table without holes: one value in each, or as many whole tables as draws are asked for."""
    pair, frame = with_schema(run), run.data.frame
    beside = run.arguments()[1:]
    if out is not None:
        new_file(out, _FRAMES)
    if draws is None:
        filled = pv.impute(pair, frame, *beside, candidates=candidates, seed=seed)
        return write_frame(run, _with_annotations(run, filled), "imputed", out)
    import pandas as pd

    if _DRAW in frame.columns:
        raise DataError(f"the table has a column {_DRAW!r}, which is to number the imputations: rename it.")
    frames = pv.impute(pair, frame, *beside, draws=draws, candidates=candidates, seed=seed).frames()
    frames = [_with_annotations(run, one) for one in frames]
    for number, one in enumerate(frames):
        one.insert(0, _DRAW, number)
    return write_frame(run, pd.concat(frames), "imputed", out)


def _with_annotations(run: Trained, frame: Any) -> Any:
    """The rows with their labels or conditions, as they were."""
    return frame if run.data.annotations is None else frame.join(run.data.annotations)


def sample_where(
    run: Trained, count: int, where: Sequence[str], *, candidates: int | None, seed: int | None, out: Path | None
) -> Path:
    """Write new rows of which some cells are given, and say how many of the draws count."""
    pair = with_schema(run)
    if out is not None:
        new_file(out, _FRAMES)
    given = read_where(pair.schema, where)
    frame = pv.tables.generate_where(pair, count, given, candidates=candidates, seed=seed)
    words = f"{count:,} rows where {' and '.join(where)}: the effective size is {frame.attrs['effective_size']:,.0f}"
    typer.echo(f"{words}, so many draws of the latent variables count.", err=True)
    return write_frame(run, frame, "samples", out)


def outliers(
    run: Trained, *, drop: float | None, holes: float | None, draws: int, seed: int, out: Path | None
) -> Iterator[str]:
    """Say which cells and rows are outliers, and write the table without them, or the list of them.

    Yields:
        Lines for the user, the file last.
    """
    pair, frame, above = with_schema(run), run.data.frame, drop if holes is None else holes
    if run.condition is not None:
        raise ArgumentError(
            "outliers looks at whole rows, and this run is of columns under a condition: train without."
        )
    if drop is not None and holes is not None:
        raise ArgumentError("--drop and --holes: give one of them.")
    if above is not None and not 0 < above < 1:
        raise ArgumentError(f"{'--drop' if holes is None else '--holes'} {above:g}: give a probability, such as 0.9.")
    if out is not None:
        new_file(out, _FRAMES)
    found = pv.tables.outliers(pair, frame, draws=draws, seed=seed)
    yield str(found)
    if above is None:
        if out is not None:
            listed = found.expected.rename(columns={"row": found.frame.index.name or "row"})
            yield str(write_frame(run, listed, "outliers", out))
        return
    kept = found.dropped(above) if holes is None else found.cleaned(above)
    if not len(kept):
        raise ArgumentError(
            f"all {len(frame):,} rows are outliers with a probability above {above:g}, and nothing would be left: the "
            "run knows too little of the table (train it for longer), or the probability is too low."
        )
    gone = f"{len(frame) - len(kept):,} of {len(frame):,} rows are left out"
    if holes is None:
        yield f"{gone}: they are outliers with a probability above {above:g}, as a whole or in one of their cells."
    else:
        cells = int(kept.isna().sum().sum() - frame.loc[kept.index].isna().sum().sum())
        yield (
            f"{cells:,} cells are left empty, outliers with a probability above {above:g}, and {gone}: outliers as a "
            "whole, of which no cell is to blame."
        )
    yield str(write_frame(run, kept, "clean", out))


def encode(run: Trained, *, out: Path | None) -> Path:
    """Write mean and scale of the latent variables of each row: columns of a table, or arrays in an .npz file."""
    place = run.folder.path / "encoded.csv" if out is None else new_file(out, (*_FRAMES, ".npz"))
    found = encode_rows(run.pair, run.arguments(), {})
    arrays = {f"{site}.{name}": value.numpy() for site, one in found.items() for name, value in one._asdict().items()}
    if place.suffix == ".npz":
        with whole_file(place, make_folder=True, mend=ELSEWHERE) as stream:
            np.savez(stream, **arrays)
        return place
    import pandas as pd

    classes = {} if run.annotation is None else {(code,): str(one) for code, one in enumerate(run.annotation.levels)}
    columns = {
        f"{name}[{_place(index, classes if name == _LABEL else {})}]" if index else name: array[(slice(None), *index)]
        for name, array in arrays.items()
        for index in np.ndindex(*array.shape[1:])
    }
    index = None if run.data.frame is None else run.data.frame.index
    if run.data.kind == "text":
        columns = {"line": run.data.frame, **columns}
    return write_frame(run, pd.DataFrame(columns, index=index), "encoded", out)


def _place(index: tuple[int, ...], known: dict[tuple[int, ...], str]) -> str:
    return known.get(index, ",".join(map(str, index)))


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
