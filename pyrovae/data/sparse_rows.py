"""Rows of SciPy's sparse matrices, which are made dense batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pyrovae.data.check_memory import check_memory
from pyrovae.data.inspection import leaves_of, pick
from pyrovae.errors import DataError, argument
from pyrovae.pairs.argument_names import argument_words

_LOOKED_AT = 2**28  # bytes of a batch above which free memory is asked for: that takes a while itself


class SparseRows(Dataset):
    """Arrays of the same rows, some of them sparse: a row is what a `Dataset` gives, dense.

    Args:
        leaves: arrays and matrices by position or name.
        single: whether the data are one matrix, and not a tuple of it.
    """

    def __init__(self, leaves: Mapping[Any, Any], *, single: bool):
        self.single = single
        self.sparse = {name: _rows_of(leaf, argument_words(name)) for name, leaf in leaves.items() if is_sparse(leaf)}
        dense = {name: leaf for name, leaf in leaves.items() if name not in self.sparse}
        self.dense = _checked(dense)
        self.names = list(leaves)
        sizes = {name: leaf.shape[0] for name, leaf in (self.sparse | self.dense).items()}
        if len(set(sizes.values())) > 1:
            words = ", ".join(f"{argument_words(name)} has {rows}" for name, rows in sizes.items())
            raise DataError(f"the arguments have different numbers of rows: {words}")
        self.rows = next(iter(sizes.values()))

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> Any:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[Any]:
        """Several rows, made dense at once."""
        index = np.asarray(rows)
        parts = {name: torch.from_numpy(_dense(matrix[index], name)) for name, matrix in self.sparse.items()}
        parts |= {name: pick(leaf, torch.from_numpy(index)) for name, leaf in self.dense.items()}
        if self.single:
            return list(parts[self.names[0]])
        by_place = all(isinstance(name, int) for name in self.names)
        return [
            tuple(parts[name][row] for name in self.names)
            if by_place
            else {name: parts[name][row] for name in self.names}
            for row in range(len(rows))
        ]


def is_sparse(leaf: Any) -> bool:
    """Whether it is a sparse matrix or array of SciPy."""
    return type(leaf).__module__.startswith("scipy.sparse") and hasattr(leaf, "tocsr")


def dense_rows(matrix: Any, where: str) -> np.ndarray:
    """A matrix of few rows as a dense array.

    Raises:
        DataError: it holds something else than finite numbers.
    """
    return _dense(_rows_of(matrix, where), where)


def sparse_rows(data: Any) -> SparseRows | None:
    """Data of which a part is sparse, as a `Dataset`; None where none is."""
    if is_sparse(data):
        return SparseRows({0: data}, single=True)
    named = data if isinstance(data, dict) else dict(enumerate(data)) if isinstance(data, tuple | list) else {}
    if any(map(is_sparse, named.values())):
        return SparseRows(dict(named), single=False)
    return None


def _rows_of(matrix: Any, where: str) -> Any:
    """A matrix whose rows can be had, with numbers that are some."""
    if matrix.ndim != 2 or not matrix.shape[0]:
        raise DataError(f"{where} is a sparse array of shape {matrix.shape}; give rows and columns, one row at least.")
    rows = _sound(matrix, where)
    if rows.dtype.kind not in "fiub":
        raise DataError(f"{where} is a sparse matrix of {rows.dtype}; give numbers.")
    if not np.isfinite(rows.data).all():
        raise DataError(
            f"{where} is a sparse matrix that holds NaN or infinity; give the finite numbers, or a dense array."
        )
    return rows


def _sound(matrix: Any, where: str) -> Any:
    """The rows of a matrix each of whose places is there: SciPy makes and turns others, and reads and writes outside.

    What is cut and cast while it is looked at is a matrix of its own; the numbers are shared.

    Raises:
        DataError: an index is none.
    """
    try:
        checked = _rebuilt(matrix)
        _check_indices(checked)
        rows = checked.tocsr()
        _check_indices(rows)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise DataError(f"{where} is a sparse matrix ({matrix.format}) that is damaged: {error}.") from error
    return rows


def _check_indices(matrix: Any) -> None:
    """Not by SciPy's own check alone, which takes a matrix whose last row ends at 0 for empty, and looks no further."""
    if matrix.format not in ("csr", "csc", "bsr"):
        return
    matrix.check_format(full_check=True)
    ends = matrix.indptr
    if ends[0] != 0 or (ends[1:] < ends[:-1]).any() or ends[-1] > len(matrix.indices):
        raise ValueError(f"indptr does not go from 0 to {len(matrix.indices)} upwards")


def _rebuilt(matrix: Any) -> Any:
    import scipy.sparse

    if matrix.format in ("csr", "csc", "bsr"):
        parts: Any = matrix.data, matrix.indices, matrix.indptr
    elif matrix.format == "coo":
        parts = matrix.data, (matrix.row, matrix.col)
    else:
        return matrix
    return getattr(scipy.sparse, f"{matrix.format}_matrix")(parts, shape=matrix.shape, copy=False)


def _dense(rows: Any, name: Any) -> np.ndarray:
    needed = rows.shape[0] * rows.shape[1] * rows.dtype.itemsize
    if needed > _LOOKED_AT:
        words = f"{argument_words(name)}, {rows.shape[0]:,} rows of {rows.shape[1]:,} columns at once,"
        check_memory(needed, words, f"Give fewer columns, or {argument('batch_size', text='...')}.")
    return rows.toarray()


def _checked(dense: dict[int | str, Any]) -> dict[int | str, Any]:
    if not dense:
        return {}
    found = leaves_of(tuple(dense.values()))
    return dict(zip(dense, found.values(), strict=True))
