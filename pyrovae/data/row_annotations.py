"""What is known of each row beside its values, labels or a condition, as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.datasets.array_files import array_names, existing, npy, npz
from pyrovae.data.datasets.read_frame import read_frame
from pyrovae.data.datasets.table_files import column_names
from pyrovae.errors import ArgumentError, DataError

TABLES = (".csv", ".parquet")  # files whose columns may have names

OWN = "labels"  # what the labels that come with a data set are called


def row_annotations(
    name: str,
    wanted: Sequence[str],
    rows: int,
    *,
    header: bool | None = None,
    own: np.ndarray | None = None,
    unknown: float | None = None,
) -> Any:
    """The columns that go with the rows of a file or a data set.

    Args:
        name: of the file or the data set.
        wanted: columns of a table, arrays of an .npz file, "labels" of a data set that has some, or other files.
        rows: how many there are.
        header: whether the first line of a .csv file holds names; None finds out.
        own: the labels of a data set.
        unknown: the number that stands for a hole in arrays.

    Raises:
        ArgumentError: there is nothing of such a name.
        DataError: of as many rows as there are not.
    """
    import pandas as pd

    found = [_columns(name, one, header, own, unknown) for one in wanted]
    for one, frame in zip(wanted, found, strict=True):
        if len(frame) != rows:
            raise DataError(f"{one!r} is of {len(frame):,} rows, and {name} has {rows:,}: give one for each.")
    joined = pd.concat([one.set_axis(found[0].index) for one in found], axis=1)
    if twice := sorted(joined.columns[joined.columns.duplicated()]):
        raise ArgumentError(f"there are two columns {twice[0]!r} among {', '.join(map(repr, wanted))}: rename one.")
    return joined


def _columns(name: str, wanted: str, header: bool | None, own: np.ndarray | None, unknown: float | None) -> Any:
    inside = [OWN] if own is not None else _names(Path(name).expanduser(), header)
    if wanted in inside:
        return _inside(Path(name).expanduser(), wanted, header, own, unknown)
    path = Path(wanted).expanduser()
    if path.suffix.lower() in TABLES and path.exists():
        return read_frame(existing(path))
    if path.suffix.lower() == ".npy" and path.exists():
        return _of_array(path.stem, npy(path), unknown)
    listed = f"it has {', '.join(map(repr, inside[:20]))}; or " if inside else ""
    raise ArgumentError(f"{name} has no {wanted!r}: {listed}name a .npy, .csv or .parquet file with a line a row.")


def _names(path: Path, header: bool | None) -> list[str]:
    if path.suffix.lower() in TABLES:
        return column_names(path, header=header)
    return array_names(path) if path.suffix.lower() == ".npz" else []


def _inside(path: Path, wanted: str, header: bool | None, own: np.ndarray | None, unknown: float | None) -> Any:
    if own is not None:
        return _of_array(wanted, own, unknown)
    if path.suffix.lower() == ".npz":
        return _of_array(wanted, npz(path, wanted), unknown)
    return read_frame(path, header=header, columns=[wanted])


def _of_array(name: str, values: np.ndarray, unknown: float | None) -> Any:
    """One column, or one for each number of a row."""
    import pandas as pd

    if values.ndim not in (1, 2):
        raise DataError(f"{name!r} has the shape {values.shape}; give (rows,), or (rows, columns).")
    many = values.ndim == 2 and values.shape[1] > 1
    names = [f"{name}[{number}]" for number in range(values.shape[1])] if many else [name]
    frame = pd.DataFrame(np.array(values).reshape(len(values), len(names)), columns=names)
    return frame if unknown is None else frame.mask(frame == unknown).convert_dtypes()
