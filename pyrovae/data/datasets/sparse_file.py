"""Sparse matrices that `scipy.sparse.save_npz` wrote, as dense arrays; every place that a file names is looked at."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pyrovae.data.check_memory import check_memory
from pyrovae.errors import DataError, FileError

# How to go on where the dense array does not fit into memory.
_IN_BATCHES = (
    "pv.fit and every question take the matrix as it is, batch by batch: scipy.sparse.load_npz(path); or take fewer "
    "rows or columns."
)

_LONGEST_NAME = 256  # bytes of the array that holds the name of a format, which has 131

Member = Callable[[str], np.ndarray]


def is_sparse_file(names: Mapping[str, str]) -> bool:
    """Whether an .npz file holds what makes up a sparse matrix."""
    return {"format", "shape", "data"} <= names.keys()


def dense_array(archive: zipfile.ZipFile, members: Mapping[str, str], path: Path, read: Member) -> np.ndarray:
    """The matrix of a file as a dense array; a cell that it holds several times is their sum, as SciPy has it.

    Args:
        archive: the file.
        members: what its arrays are called in the archive.
        path: of the file, for errors.
        read: an array of numbers by its name, once it is known to fit into memory.

    Raises:
        FileError: damaged, or the dense array does not fit into memory.
        DataError: of another kind than SciPy's own.
    """
    form = _form(archive, members["format"], path)
    if missing := sorted({*_NEEDED[form]} - members.keys()):
        raise FileError(f"{path} is a sparse matrix ({form}) without its array {missing[0]!r}: it is damaged.")
    shape = _whole(read("shape"), "shape", path)
    if len(shape) != 2 or min(shape) < 0:
        raise DataError(f"{path} is a sparse array of shape {tuple(shape.tolist())}; give rows and columns.")
    rows, columns = shape.tolist()
    data = read("data")
    held = sum(entry.file_size for entry in archive.infolist())
    check_memory(rows * columns * data.dtype.itemsize + 4 * held, f"{path} as a dense array", _IN_BATCHES)
    dense = np.zeros((rows, columns), data.dtype)
    _FORMS[form](dense, data, lambda name: _whole(read(name), name, path), path)
    return dense


def _form(archive: zipfile.ZipFile, member: str, path: Path) -> str:
    """What stands in the array `format`, which is a text and no number."""
    size = archive.getinfo(member).file_size
    content = archive.read(member) if size <= _LONGEST_NAME else b""
    text = content[10 + int.from_bytes(content[8:10], "little") :]
    form = text.replace(b"\0", b"").decode("ascii", errors="replace")
    if form not in _FORMS or not content.startswith(b"\x93NUMPY\x01\x00"):
        raise DataError(f"{path} is a sparse array of the format {form[:40]!r}; known are {', '.join(_FORMS)}.")
    return form


def _whole(values: np.ndarray, name: str, path: Path) -> np.ndarray:
    """Whole numbers in a row, of a type that holds them all."""
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise FileError(f"{path} is damaged: {name} is {values.dtype} of shape {values.shape}, and not whole numbers.")
    if values.dtype.kind == "u" and len(values) and int(values.max()) > np.iinfo(np.int64).max:
        raise FileError(f"{path} is damaged: {name} holds {values.max()}.")
    return values.astype(np.int64)


def _places(numbers: np.ndarray, most: int, name: str, path: Path) -> np.ndarray:
    """Numbers of rows or columns, each of which is there."""
    if len(numbers) and (int(numbers.min()) < 0 or int(numbers.max()) >= most):
        raise FileError(f"{path} is damaged: {name} holds {numbers.min()} to {numbers.max()}, and there are {most}.")
    return numbers


def _alike(path: Path, *arrays: np.ndarray) -> None:
    if len({len(array) for array in arrays}) > 1:
        raise FileError(f"{path} is damaged: its arrays have {', '.join(str(len(array)) for array in arrays)} places.")


def _compressed(data: np.ndarray, whole: Member, rows: int, columns: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of each number, or of each block."""
    ends, indices = whole("indptr"), whole("indices")
    _alike(path, data, indices)
    if len(ends) != rows + 1 or ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] > len(indices):
        raise FileError(f"{path} is damaged: indptr does not go from 0 to {len(indices)} in {rows} steps upwards.")
    return np.repeat(np.arange(rows), np.diff(ends)), _places(indices[: ends[-1]], columns, "indices", path)


def _flat(data: np.ndarray, path: Path, dims: int = 1) -> None:
    if data.ndim != dims:
        raise FileError(f"{path} is damaged: data has shape {data.shape}.")


def _add_rows(dense: np.ndarray, data: np.ndarray, whole: Member, path: Path) -> None:
    _flat(data, path)
    rows, columns = _compressed(data, whole, dense.shape[0], dense.shape[1], path)
    np.add.at(dense, (rows, columns), data[: len(rows)])


def _add_columns(dense: np.ndarray, data: np.ndarray, whole: Member, path: Path) -> None:
    _add_rows(dense.T, data, whole, path)


def _add_blocks(dense: np.ndarray, data: np.ndarray, whole: Member, path: Path) -> None:
    _flat(data, path, dims=3)
    height, width = data.shape[1:]
    if not height * width or dense.shape[0] % height or dense.shape[1] % width:
        raise FileError(f"{path} is damaged: {dense.shape} is not made of blocks of {height} by {width}.")
    blocks = dense.reshape(dense.shape[0] // height, height, dense.shape[1] // width, width)
    rows, columns = _compressed(data, whole, blocks.shape[0], blocks.shape[2], path)
    np.add.at(blocks.transpose(0, 2, 1, 3), (rows, columns), data[: len(rows)])


def _add_cells(dense: np.ndarray, data: np.ndarray, whole: Member, path: Path) -> None:
    _flat(data, path)
    cells = whole("row"), whole("col")
    _alike(path, data, *cells)
    places = zip(cells, dense.shape, ("row", "col"), strict=True)
    np.add.at(dense, tuple(_places(cell, most, name, path) for cell, most, name in places), data)


def _add_diagonals(dense: np.ndarray, data: np.ndarray, whole: Member, path: Path) -> None:
    _flat(data, path, dims=2)
    offsets = whole("offsets")
    _alike(path, data, offsets)
    if len(np.unique(offsets)) < len(offsets):
        raise FileError(f"{path} is damaged: offsets names a diagonal twice.")
    rows, columns = dense.shape
    _places(offsets + rows, rows + columns + 1, f"offsets (counted from {-rows})", path)
    for offset, diagonal in zip(offsets.tolist(), data, strict=True):
        start, end = max(0, offset), min(columns, rows + offset, len(diagonal))
        if start < end:  # what lies outside counts nothing
            dense[np.arange(start - offset, end - offset), np.arange(start, end)] = diagonal[start:end]


_FORMS: Mapping[str, Callable[[np.ndarray, np.ndarray, Member, Path], None]] = {
    "csr": _add_rows,
    "csc": _add_columns,
    "bsr": _add_blocks,
    "coo": _add_cells,
    "dia": _add_diagonals,
}

_NEEDED = {
    "csr": ("indices", "indptr"),
    "csc": ("indices", "indptr"),
    "bsr": ("indices", "indptr"),
    "coo": ("row", "col"),
    "dia": ("offsets",),
}
