"""`pyrovae compress` and `pyrovae decompress`: data of a run as a file, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pyrovae as pv
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.table_outputs import new_file
from pyrovae.cli.trained_run import Trained, open_pair
from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, DataError, FileError

_ENDINGS = (".npy", ".npz")


def compress_data(run: Trained, out: Path, *, portable: bool) -> str:
    """Write the run's data, compressed; a sentence on what it came to."""
    if isinstance(run.model_config, TableConfig):
        raise DataError(
            "a table of columns of several kinds has no code: most columns are continuous. In Python, pv.compress "
            "takes any pair whose columns are discrete."
        )
    if out.exists():
        raise FileError(f"{out} exists and is left as it is; choose another name with --out.")
    rows = run.arguments()
    restored = run.restore(rows[0])
    if restored.shape != run.data.values.shape or not np.array_equal(restored, run.data.values):
        raise DataError(
            "the run takes grey values as draws of black and white, so that what is compressed would not be the data. "
            "Train one on the levels, by --likelihood discretized-logistic, or give data of 0 and 1."
        )
    done = pv.compress(run.pair, *rows, file=out, portable=portable)
    cells = int(np.prod(run.data.values.shape[1:]))
    return (
        f"{out}: {done.rows:,} rows in {done.size:,} bytes, {done.bits / cells:.4g} bits for each of {cells:,} values "
        f"({done.raw_size / done.size:.3g} times smaller)"
    )


def decompress_data(path: Path, file: Path, out: Path, *, pair: str | None) -> Path:
    """Write what a compressed file holds; its path."""
    new_file(out, _ENDINGS)
    built, described = open_pair(path, pair=pair, command="decompress")
    found = pv.decompress(built, file)
    parts = [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]
    if described is not None:
        parts[0] = described.restore(parts[0])
    if len(parts) > 1 and out.suffix == ".npy":
        raise ArgumentError(f"{file} holds rows and a condition; give a name that ends in .npz by --out.")
    with whole_file(out) as stream:
        if out.suffix == ".npy":
            np.save(stream, parts[0], allow_pickle=False)
        else:
            names = ("rows", "condition", *(f"part_{number}" for number in range(2, len(parts))))
            np.savez(stream, **dict(zip(names, parts, strict=False)))
    return out
