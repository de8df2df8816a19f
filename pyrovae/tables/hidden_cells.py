"""Cells of a table that are hidden, to see how well they are imputed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyrovae.data.check_same_rows import check_same_rows
from pyrovae.data.rows_of_frames import is_frame
from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.numbers import as_number, check_count
from pyrovae.pairs.seeds import seed_for
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.schema import Schema


def hidden_cells(frame: Any, schema: Schema, hidden: Any, masks: int, seed: int) -> Iterator[np.ndarray]:
    """Which cells of the schema's columns are hidden, (rows, columns) for each mask.

    Args:
        frame: a pandas frame.
        schema: what its columns are.
        hidden: a share of the cells that are there, at random, of which every class keeps one cell that is seen; or
            what is hidden, as one frame or array of booleans or several.
        masks: how many, where `hidden` is a share.
        seed: of the random ones.
    """
    names = [one.name for one in schema.columns]
    there = frame[names].notna().to_numpy()
    share = as_number(hidden)
    if share is None:
        several = [hidden] if is_frame(hidden) or hasattr(hidden, "shape") else list(hidden)
        for one in several:
            check_same_rows(frame, one, "hidden")
        found = iter([_as_given(one, names, there.shape) & there for one in several])
    elif 0 < share < 1:
        codes = [one.numbers(frame[one.name])[0] for one in schema.table if one.column is not None]
        classes = [values if one.form == "classes" else None for one, values in zip(_kept(schema), codes, strict=True)]
        found = (
            _at_random(there, classes, share, seed_for(seed, "mask", n)) for n in range(check_count("masks", masks))
        )
    else:
        raise ArgumentError(f"hidden={hidden!r}; give a share between 0 and 1, or what is hidden as booleans.")
    for number, one in enumerate(found):
        if not one.any():
            raise DataError(f"mask {number} hides no cell that is there; give a larger share, or another mask.")
        yield one


def with_holes(frame: Any, schema: Schema, hidden: np.ndarray) -> Any:
    """The frame without what is hidden."""
    holed = frame.copy()
    for place, one in enumerate(schema.columns):
        holed[one.name] = holed[one.name].where(~hidden[:, place])
    return holed


def _kept(schema: Schema) -> list[Any]:
    return [one for one in schema.table if one.column is not None]


def _as_given(mask: Any, names: list[str], shape: tuple[int, ...]) -> np.ndarray:
    if is_frame(mask):
        mask = as_frame(mask)
        if others := [name for name in mask.columns if name not in names and mask[name].any()]:
            raise ArgumentError(f"hidden has cells of column {others[0]!r}, which is none of the schema's columns.")
        mask = np.stack([mask[name] if name in mask.columns else np.zeros(len(mask), bool) for name in names], 1)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != shape:
        raise ArgumentError(
            f"hidden is {mask.dtype} of shape {mask.shape}; give booleans of shape {shape}, a column for each that the "
            "schema has, or a frame of them."
        )
    return mask


def _at_random(there: np.ndarray, classes: list[np.ndarray | None], share: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed)
    hidden = there & (noise.random(there.shape) < share)
    for place, codes in enumerate(classes):
        for code in () if codes is None else np.unique(codes[there[:, place]]):
            rows = np.flatnonzero(codes == code)
            if hidden[rows, place].all():  # a class that nobody could know of
                hidden[noise.choice(rows), place] = False
    return hidden
