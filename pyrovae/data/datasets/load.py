"""A file or folder of your own as an array."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pyrovae.data.datasets.array_files import check_values, existing, idx, npy, npz
from pyrovae.errors import ArgumentError, FileError, argument


class Loaded(NamedTuple):
    """What `load` found: the numbers, what they are, and what the file calls them.

    `values` is (rows, columns) for a table, (n, height, width) or (n, channels, height, width) for images. `names`
    are the columns of a table or the files of a folder of images, and empty where the file has none.
    """

    values: np.ndarray
    kind: Literal["images", "table"]
    names: tuple[str, ...] = ()


def load(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    header: bool | None = None,
    columns: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    mode: Literal["L", "RGB"] | None = None,
) -> Loaded:
    """Reads a file or folder of your own: .npy, .npz, .csv, .parquet, IDX, or a folder of images.

    Arrays of two dims and tables are `kind="table"`, arrays of three or four dims and folders `kind="images"`.
    Arrays keep their own type (a .npy file is memory-mapped), tables are float64, images uint8. Four-dim arrays with
    1, 3 or 4 channels in the last dim come back with the channels first.

    Args:
        path: the file or folder.
        key: which array of a .npz file; needed where more than one has rows and columns. A sparse matrix that
            `scipy.sparse.save_npz` wrote needs none, and comes dense.
        header: whether the first line of a .csv file holds names; None finds out.
        columns: names of the columns of a .csv or .parquet file that are read, in this order; None reads all.
        size: (height, width) that images of a folder are resized to; None refuses mixed sizes.
        mode: "L" (grey) or "RGB" that images of a folder are converted to; None refuses mixed modes.

    Returns:
        `Loaded(values, kind, names)`.

    Raises:
        FileError: missing (with the nearest names), empty, damaged, cut short, of a kind that cannot be read.
        DataError: no rows, wrong number of dims, text or objects, missing values, NaN or infinity (row and column).
        ArgumentError: no such array or column in the file, or no such mode.

    Examples:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = path.write_text("age,height\\n31,1.75\\n45,1.62\\n")
        >>> load(path).names, load(path).values.tolist()
        (('age', 'height'), [[31.0, 1.75], [45.0, 1.62]])
    """
    path = existing(path)
    options = {"key": key, "header": header, "columns": columns, "size": size, "mode": mode}
    _refuse_unused(path, **options)
    values, names = _read(path, **options)
    kind = "images" if values.ndim > 2 else "table"
    check_values(values, str(path), names if kind == "table" else ())
    return Loaded(_channels_first(values), kind, names)


def _read(path: Path, *, key, header, columns, size, mode) -> tuple[np.ndarray, tuple[str, ...]]:
    # pillow and pyarrow are imported by those who need them: together they take longer than numpy.
    if path.is_dir():
        from pyrovae.data.datasets.image_folder import read_folder

        return read_folder(path, size=size, mode=mode)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".parquet"):
        from pyrovae.data.datasets.table_files import read_csv, read_parquet

        return read_csv(path, header=header, columns=columns) if suffix == ".csv" else read_parquet(path, columns)
    if suffix in (".npy", ".npz"):
        return (npy(path) if suffix == ".npy" else npz(path, key)), ()
    if "-ubyte" in path.name or ".idx" in path.name:
        return idx(path), ()
    if suffix == ".txt":
        raise FileError(
            f"{path} is no array: `pyrovae train {path.name}` trains on its lines, and pv.text.read_lines reads them."
        )
    raise FileError(
        f"{path} is of a kind that cannot be read. Known: .npy, .npz, .csv, .parquet, IDX, a folder of images; lines "
        "of text are a .txt file. Pickles (.pkl, .pt) are never read, since they can execute code."
    )


def _refuse_unused(path: Path, **options: object) -> None:
    """An option that would do nothing is a mistake somewhere: say so rather than ignore it."""
    kind = "folder" if path.is_dir() else path.suffix.lower()
    known = {".npz": ("key",), ".csv": ("header", "columns"), ".parquet": ("columns",), "folder": ("size", "mode")}
    uses = known.get(kind, ())
    for name, value in options.items():
        if value is not None and name not in uses:
            raise ArgumentError(f"{argument(name, value)} means nothing for {path}: leave it out.")


def _channels_first(values: np.ndarray) -> np.ndarray:
    last = values.ndim == 4 and values.shape[-1] in (1, 3, 4) and values.shape[1] not in (1, 3, 4)
    return np.moveaxis(values, -1, 1) if last else values
