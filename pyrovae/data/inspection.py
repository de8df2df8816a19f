"""Data looked at before training: what cannot be trained on is named, with the place and the mend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from pyrovae.errors import DataError
from pyrovae.pairs.argument_names import argument_words

# About 4 million numbers are looked at together: 16 MB of float32, small beside any data that matter,
# large enough that Python's share of the time is nothing.
_CHUNK = 2**22

# As many places are named; more would not help to find the cause.
_SHOWN = 5


# torch cannot pick rows of these, but of their signed twins.
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


Leaf = torch.Tensor | np.ndarray


def leaves_of(data: Any) -> dict[int | str, Leaf]:
    """The arrays in `data` by position (a tuple, a list or one array) or by name (a dict), checked.

    Args:
        data: a tensor or array, or a tuple, list or dict of them; anything with `to_numpy` too, and a list of tensors
            without a dimension, which are rows.

    Returns:
        The arrays as they are, never copied; such a list as one.

    Raises:
        DataError: something that is not an array of numbers with rows.
    """
    if isinstance(data, dict):
        named = dict(data)
        for name in named:
            if not isinstance(name, str) or not name.isidentifier():
                raise DataError(f"the key {name!r} cannot be the name of an argument of the model; rename it")
    else:
        several = isinstance(data, tuple | list) and not isinstance(data, PackedSequence)
        several = several and not _are_rows(data)
        named = dict(enumerate(data)) if several else {0: data}
    if isinstance(data, list | tuple) and data and all(_is_number(item) for item in data):
        kind = type(data).__name__
        raise DataError(f"the data are a {kind} of {len(data)} numbers; give an array: np.asarray(data)")
    if not named:
        raise DataError(f"the data are an empty {type(data).__name__}; give an array with at least one row")
    leaves = {name: _as_array(item, argument_words(name)) for name, item in named.items()}
    _check_rows(leaves)
    return leaves


def _are_rows(given: Any) -> bool:
    """Whether it is a list of one number a row, each a tensor, as the coin of Pyro's first tutorial."""
    return isinstance(given, list) and bool(given) and all(isinstance(x, torch.Tensor) and not x.ndim for x in given)


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float | complex | np.number)


def _as_array(item: Any, where: str) -> Leaf:
    if _are_rows(item):
        return torch.stack(item).detach()
    for kind, mend in _REFUSED:
        if kind(item):
            raise DataError(f"{where} is {_name(item)}; {mend}")
    if isinstance(item, torch.Tensor):
        return _checked_tensor(item, where)
    if not isinstance(item, np.ndarray) and hasattr(item, "to_numpy"):
        _check_columns(item, where)
        item = item.to_numpy()
    if isinstance(item, np.ndarray):
        return _checked_array(item, where)
    raise DataError(f"{where} is {_name(item)}; give a tensor or an array, a Dataset or a DataLoader")


# What looks like data and is not, and how to mend it.
_REFUSED = (
    (lambda item: item is None, "leave it out, or give an array"),
    (
        lambda item: isinstance(item, PackedSequence),
        "its rows cannot be told apart: give padded sequences and their lengths, pad_packed_sequence(x, "
        "batch_first=True), and pack them inside model and guide",
    ),
    (
        lambda item: isinstance(item, str | bytes | os.PathLike),
        "a path or a text is no data: load the file first, such as np.load(path), or use the command line",
    ),
    (
        lambda item: isinstance(item, tuple) and bool(item) and all(hasattr(one, "shape") for one in item),
        "give its arrays one after another, as in elbo(pair, x, y); fit takes one tuple of them",
    ),
    (
        lambda item: isinstance(item, list | tuple),
        "give an array of numbers: np.asarray(data); a tuple or a dict may hold arrays only",
    ),
    (lambda item: isinstance(item, dict), "give its arrays side by side in one dict"),
    (
        lambda item: hasattr(item, "toarray") and hasattr(item, "nnz"),
        "a sparse matrix cannot be cut into batches: make it dense with .toarray()",
    ),
    (
        lambda item: isinstance(item, np.ma.MaskedArray),
        "its mask would be lost: fill the holes with .filled(0) and pass ~mask as another argument",
    ),
    (
        _is_number,
        "a single number has no rows; give an array whose first dimension counts them. An option of "
        "the model is bound to model and guide: pv.Pair(functools.partial(model, option=...), ...)",
    ),
)


def _name(item: Any) -> str:
    kind = type(item).__name__
    if isinstance(item, str | os.PathLike):
        return f"a {kind}, {os.fspath(item)!r:.60}"
    return "None" if item is None else f"a {kind}"


def _checked_tensor(tensor: torch.Tensor, where: str) -> torch.Tensor:
    if tensor.layout != torch.strided or tensor.is_nested:
        raise DataError(f"{where} is a sparse or nested tensor; make it dense with .to_dense()")
    if tensor.is_meta or tensor.is_quantized:
        raise DataError(f"{where} is a meta or quantized tensor; give one with plain values")
    if tensor.is_complex():
        raise DataError(f"{where} has complex numbers; split them: torch.view_as_real(x)")
    _check_shape(tensor.shape, where)
    return tensor.detach()


def _checked_array(array: np.ndarray, where: str) -> np.ndarray:
    kind = array.dtype.kind
    if array.dtype.names:
        raise DataError(
            f"{where} is a structured array with the fields {', '.join(array.dtype.names)}; "
            "give a plain one: numpy.lib.recfunctions.structured_to_unstructured(x)"
        )
    if kind == "c":
        raise DataError(f"{where} has complex numbers; split them: np.stack([x.real, x.imag], -1)")
    if kind not in "biuf":
        words = {"O": "Python objects", "U": "texts", "S": "bytes", "M": "dates", "m": "times"}
        raise DataError(
            f"{where} holds {words.get(kind, 'no numbers')} (dtype {array.dtype}), {_first_odd(array)}"
            "give numbers: x.astype(np.float32), or codes in place of texts"
        )
    if kind == "f" and array.dtype.itemsize > 8:
        raise DataError(f"{where} has dtype {array.dtype}, which torch does not know; x.astype(np.float64)")
    _check_shape(array.shape, where)
    return array


def _first_odd(array: np.ndarray) -> str:
    for index, value in zip(np.ndindex(array.shape), array.flat, strict=False):
        if array.dtype.kind == "O" and not _is_number(value):
            return f"such as a {type(value).__name__} at {_place(index)}; "
    return ""


def _check_columns(table: Any, where: str) -> None:
    """Name the columns of a table that are no numbers; a plain array of it would only say 'object'."""
    kinds = getattr(table, "dtypes", None)
    if kinds is None or not hasattr(table, "columns"):
        return
    odd = [str(name) for name, kind in zip(table.columns, kinds, strict=True) if _odd_kind(kind)]
    if odd:
        raise DataError(
            f"{where}: the columns {', '.join(odd[:_SHOWN])}{' ...' if len(odd) > _SHOWN else ''} hold no plain "
            "numbers; leave them out, or turn them into codes or numbers first"
        )


def _odd_kind(dtype: Any) -> bool:
    return getattr(dtype, "kind", "f") not in "biuf"


def _check_shape(shape: Any, where: str) -> None:
    shape = tuple(shape)
    if not shape:
        raise DataError(f"{where} has no dimension; the first dimension must count the rows")
    if shape[0] == 0:
        raise DataError(f"{where} is empty: it has shape {shape}, so no row; give at least one row")


def _check_rows(leaves: dict[int | str, Leaf]) -> None:
    empty = [(name, tuple(leaf.shape)) for name, leaf in leaves.items() if 0 in leaf.shape]
    if len(empty) == len(leaves):  # beside data there may be no covariates: zeros(T, 0)
        name, shape = empty[0]
        raise DataError(f"{argument_words(name)} is empty: each of its rows, shape {shape[1:]}, holds no number")
    if len({len(leaf) for leaf in leaves.values()}) > 1:
        counts = ", ".join(f"{argument_words(name)} has {len(leaf)}" for name, leaf in leaves.items())
        raise DataError(f"the arguments differ in their number of rows: {counts}; row n of each is one datum")


def nonfinite(leaf: Leaf) -> tuple[int, list[tuple[int, ...]], torch.Tensor]:
    """NaN and infinity in an array, looked for in chunks so that it is never copied whole.

    Returns:
        How many rows have one, the first few places, and all of those rows.
    """
    count, places, rows = 0, [], []
    for start, chunk in _chunks(leaf):
        if torch.isfinite(chunk.sum()):  # one pass; a sum that overflows is looked at number by number
            continue
        bad = ~torch.isfinite(chunk)
        per_row = bad.flatten(1).any(1) if bad.ndim > 1 else bad
        count += int(per_row.sum())
        found = bad.nonzero()[:_SHOWN].tolist()
        places += [(start + first, *rest) for first, *rest in found][: _SHOWN - len(places)]
        rows.append(per_row.nonzero().flatten() + start)
    return count, places, torch.cat([*rows, torch.zeros(0, dtype=torch.int64)])


def _chunks(leaf: Leaf) -> Iterator[tuple[int, torch.Tensor]]:
    size = max(1, _CHUNK // max(1, int(np.prod(leaf.shape[1:]))))
    for start in range(0, len(leaf), size):
        yield start, pick(leaf, slice(start, start + size))


def is_floating(leaf: Leaf) -> bool:
    """Whether an array can hold NaN at all."""
    return leaf.is_floating_point() if isinstance(leaf, torch.Tensor) else leaf.dtype.kind == "f"


def pick(leaf: Leaf, rows: torch.Tensor | slice) -> torch.Tensor:
    """Some rows as a tensor of the same type of number, in memory of its own.

    Only these rows of a mapped file are read, and a model that writes into them leaves the data alone.

    Args:
        leaf: a tensor, or an array of any byte order, strides and flags.
        rows: which, a tensor of indices or a slice.
    """
    if isinstance(leaf, torch.Tensor):
        if isinstance(rows, slice):
            return leaf[rows].clone()
        return signed(leaf).index_select(0, rows.to(leaf.device)).view(leaf.dtype)
    native = leaf.dtype.newbyteorder("=")
    if isinstance(rows, slice):
        return torch.from_numpy(np.array(leaf[rows], dtype=native, order="C"))
    # Rows picked by index are a copy already.
    return torch.from_numpy(leaf[rows.numpy()].astype(native, order="C", copy=False, subok=False))


def as_tensor(leaf: Leaf) -> torch.Tensor:
    """All rows as a tensor; an array, of any byte order and strides, is copied."""
    return leaf if isinstance(leaf, torch.Tensor) else pick(leaf, slice(None))


def signed(leaf: torch.Tensor) -> torch.Tensor:
    """The same memory as numbers of which torch picks and writes rows."""
    return leaf.view(_SIGNED.get(leaf.dtype, leaf.dtype))


def nonfinite_words(leaf: Leaf, name: int | str) -> str | None:
    """In words where an array has NaN or infinity; None where it has none."""
    count, places, _ = nonfinite(leaf) if is_floating(leaf) else (0, [], None)
    if not count:
        return None
    shown = "; ".join(_place(place) for place in places)
    return (
        f"{argument_words(name)} has NaN or infinity in {count} of {len(leaf)} rows, first at {shown}. "
        "Let what is missing count nowhere (pv.masked(pair)), or fill it, and pass a mask as another argument where "
        "the model should know of it"
    )


def _place(index: tuple[int, ...]) -> str:
    if len(index) == 1:
        return f"row {index[0]}"
    return f"row {index[0]}, column {index[1]}" if len(index) == 2 else f"row {index[0]}, element {index[1:]}"
