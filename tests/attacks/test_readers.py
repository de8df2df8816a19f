"""Any bytes in any data file: our error or the right values. Every case has its seed; a failing one names it."""

from __future__ import annotations

import ast
import csv
import gzip
import io
import random
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import damaged
from PIL import Image

from pyrovae.data.datasets import load
from pyrovae.errors import PyrovaeError

VALUES = np.random.default_rng(0).normal(size=(12, 3))
BYTES = np.random.default_rng(1).integers(0, 256, (4, 6, 5), dtype=np.uint8)


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, VALUES)
    return stream.getvalue()


def npz(save=np.savez_compressed) -> bytes:
    stream = io.BytesIO()
    save(stream, x=VALUES)
    return stream.getvalue()


def sparse(form: str, **options) -> bytes:
    import scipy.sparse

    stream = io.BytesIO()
    scipy.sparse.save_npz(stream, getattr(scipy.sparse, f"{form}_matrix")(VALUES), **options)
    return stream.getvalue()


def idx() -> bytes:
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", *BYTES.shape) + BYTES.tobytes()


def table() -> bytes:
    lines = ["a,b,c", *(",".join(f"{number:.6g}" for number in row) for row in VALUES)]
    return ("\n".join(lines) + "\n").encode()


def parquet(**options) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet as pq

    stream = io.BytesIO()
    columns = {name: VALUES[:, place] for place, name in enumerate("abc")}
    pq.write_table(pa.table(columns), stream, write_page_checksum=True, **options)
    return stream.getvalue()


def image(format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.kron(BYTES[0], np.ones((4, 4), np.uint8))).save(stream, format)
    return stream.getvalue()


# --- what the bytes say, read by others ---------------------------------------------------------------
def npy_says(content: bytes) -> np.ndarray:
    width = 2 if content[6] == 1 else 4
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    header = ast.literal_eval(content[8 + width : start].decode("latin1"))
    order = "F" if header["fortran_order"] else "C"
    return np.frombuffer(content[start:], header["descr"]).reshape(header["shape"], order=order)


def idx_says(content: bytes) -> np.ndarray:
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    kind = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[content[2]]
    return np.frombuffer(content[4 + 4 * content[3] :], kind).reshape(shape)


def table_says(content: bytes) -> np.ndarray:
    """Every field that is a number, line by line; a first line of names is left out."""
    text = content.decode("utf-8-sig")
    first = next(line for line in text.splitlines() if line.strip())
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=first.count)) if row]
    return np.array([[float(field) for field in row] for row in rows[not _numbers(rows[0]) :]])


def _numbers(fields: list[str]) -> bool:
    try:
        return bool([float(field) for field in fields])
    except ValueError:
        return False


def picture_says(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture)[np.newaxis]
    return np.moveaxis(pixels, -1, 1) if pixels.ndim == 4 else pixels


def as_before(values: np.ndarray) -> Callable[[bytes], np.ndarray]:
    """A file with checksums holds what was written, or is refused."""
    return lambda content: values


READERS = {
    "x.npy": (npy, npy_says),
    "x.npz": (npz, as_before(VALUES)),
    "stored.npz": (lambda: npz(np.savez), as_before(VALUES)),
    **{f"{form}.npz": (lambda form=form: sparse(form), as_before(VALUES)) for form in ("csr", "coo", "bsr", "dia")},
    "stored.csc.npz": (lambda: sparse("csc", compressed=False), as_before(VALUES)),
    "x-ubyte": (idx, idx_says),
    "x-ubyte.gz": (lambda: gzip.compress(idx(), mtime=0), as_before(BYTES)),
    "x.csv": (table, table_says),
    "x.parquet": (parquet, as_before(VALUES)),
    "plain.parquet": (lambda: parquet(compression="none", use_dictionary=False), as_before(VALUES)),
    "png": (lambda: image("PNG"), picture_says),
    "bmp": (lambda: image("BMP"), picture_says),
    "tif": (lambda: image("TIFF"), picture_says),
    "jpg": (lambda: image("JPEG"), picture_says),
    "webp": (lambda: image("WEBP"), picture_says),
}


def read(path: Path) -> np.ndarray | None:
    """What is read, None where it is refused by an error of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about words beside the pixels
            return np.array(load(path).values)
    except PyrovaeError:
        return None


@pytest.mark.parametrize("cases", [40, pytest.param(1_500, marks=pytest.mark.trial)])
@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_an_error_of_ours_or_the_right_values(name, cases, tmp_path):
    make, says = READERS[name]
    whole = make()
    folder = "." not in name and "-" not in name
    path = tmp_path / (f"folder/a.{name}" if folder else name)
    path.parent.mkdir(exist_ok=True)
    refused = 0
    for case in range(cases):
        content = damaged(whole, random.Random(case))
        path.write_bytes(content)
        found = read(path.parent if folder else path)
        if found is None:
            refused += 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = says(content)
        assert found.shape == expected.shape, (case, content)
        assert np.array_equal(found, expected), (case, content)
    path.write_bytes(whole)
    assert np.array_equal(read(path.parent if folder else path), says(whole))
    assert refused > cases / 20
