"""Data of which a mask says what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyrovae.data.check_same_rows import check_same_rows
from pyrovae.data.holed_rows import split
from pyrovae.data.inspection import as_tensor
from pyrovae.data.rows_of_frames import is_frame
from pyrovae.errors import ArgumentError
from pyrovae.pairs.part_observed import with_holes
from pyrovae.pairs.with_schema import schema_of
from pyrovae.tables.as_frame import as_frame


def marked(given: Any, mask: Any) -> Any:
    """The data with NaN where the mask says that nothing was observed."""
    if mask is None:
        return given
    args, kwargs = split(given)
    if isinstance(mask, Mapping):
        if unknown := [name for name in mask if name not in kwargs]:
            raise ArgumentError(f"mask has {unknown[0]!r}; the data have {', '.join(map(repr, kwargs)) or 'no names'}.")
        return {name: _holed(leaf, mask[name]) if name in mask else leaf for name, leaf in kwargs.items()}
    if not args:
        raise ArgumentError("mask is one array, and the data are given by name: give a dictionary of masks, too.")
    return (_holed(args[0], mask), *args[1:])


def mask_of_rows(pair: Any, frames: Mapping[int | str, Any], mask: Any) -> Any:
    """A mask of a frame as one of its rows: by name, whatever the order of its columns."""
    if mask is None or not frames:
        return mask
    key, schema = next(iter(frames)), schema_of(pair)
    if isinstance(mask, Mapping) and not is_frame(mask):
        return {name: _in_order(schema, frames[key], one) if name == key else one for name, one in mask.items()}
    if isinstance(key, int) and key:
        raise ArgumentError("mask is that of a frame behind other data: give all by name, and mask={name: ...}.")
    seen = _in_order(schema, frames[key], mask)
    return seen if isinstance(key, int) else {key: seen}


def _in_order(schema: Any, frame: Any, mask: Any) -> np.ndarray:
    if not is_frame(mask):
        raise ArgumentError("mask is an array, and the data are a frame: give a frame of booleans, frame.notna() say.")
    check_same_rows(frame, mask, "mask")
    seen = as_frame(mask)
    columns = [
        seen[one.name].to_numpy() if one.name in seen.columns else np.ones(len(seen), bool) for one in schema.columns
    ]
    if odd := [one.name for one, column in zip(schema.columns, columns, strict=True) if column.dtype != bool]:
        raise ArgumentError(f"mask: column {odd[0]!r} holds something else than True (observed) and False (missing).")
    return np.stack(columns, 1)


def _holed(leaf: Any, mask: Any) -> torch.Tensor:
    leaf, seen = _as_cells(leaf), _as_mask(mask)
    if seen.dtype != torch.bool or seen.shape != leaf.shape:
        raise ArgumentError(
            f"mask is {str(seen.dtype).removeprefix('torch.')} of shape {tuple(seen.shape)}, and the data have the "
            f"shape {tuple(leaf.shape)}: give True where a cell is observed and False where it is missing, for each."
        )
    return with_holes(leaf, seen)


def _as_cells(leaf: Any) -> torch.Tensor:
    if not hasattr(leaf, "shape") and not isinstance(leaf, list | tuple):
        raise ArgumentError(
            f"mask is given, and the data are a {type(leaf).__name__}: give them as arrays, or with NaN for what is "
            "missing and no mask."
        )
    return as_tensor(leaf if isinstance(leaf, torch.Tensor) else np.asarray(leaf))


def _as_mask(mask: Any) -> torch.Tensor:
    try:
        array = mask if isinstance(mask, torch.Tensor) else np.asarray(mask)
        return as_tensor(array) if array.ndim else torch.as_tensor(array)
    except (ValueError, TypeError):  # lists of several lengths, texts, objects
        raise ArgumentError(
            f"mask is a {type(mask).__name__} of which no array of booleans can be made: give True where a cell is "
            "observed and False where it is missing, for each."
        ) from None
