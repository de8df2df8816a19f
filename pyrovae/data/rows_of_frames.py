"""Frames among data, turned into rows by the schema that a pair carries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from pyrovae.data.blocks.on_disk import as_on_disk
from pyrovae.data.check_same_rows import check_same_rows
from pyrovae.data.lines_of_text import as_lines, is_lines
from pyrovae.errors import DataError
from pyrovae.pairs.argument_names import argument_words
from pyrovae.pairs.pair import check_is_pair
from pyrovae.pairs.with_schema import schema_of


def is_frame(thing: Any) -> bool:
    """Whether something is what a schema makes rows of: lines of text, or a table with named columns of any library."""
    if is_lines(thing):
        return True
    if isinstance(thing, torch.Tensor | np.ndarray):
        return False
    # A single column exchanges itself as a stream as well, and is an array.
    stream = hasattr(thing, "__arrow_c_stream__") and not hasattr(thing, "__array__")
    return stream or hasattr(thing, "__dataframe__") or (hasattr(thing, "columns") and hasattr(thing, "dtypes"))


def as_arguments(data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Data as `fit` takes them, as the arguments of a model; a list of lines of text is one of them."""
    if isinstance(data, dict):
        return (), data
    return (tuple(data) if isinstance(data, tuple | list) and not is_frame(data) else (data,)), {}


def frames_among(given: Any) -> dict[int | str, Any]:
    """The frames in data as `fit` takes them, by place or name."""
    if is_frame(given):
        return {0: given}
    if isinstance(given, dict):
        named = given
    else:
        named = dict(enumerate(given)) if isinstance(given, tuple | list) else {0: given}
    return {key: leaf for key, leaf in named.items() if is_frame(leaf)}


def with_each_frame(given: Any, function: Callable[[Any], Any]) -> Any:
    """Data as `fit` takes them, with what a function makes of each frame in its place."""
    if is_frame(given):
        return function(given)
    if not frames_among(given):
        return given
    if isinstance(given, dict):
        return {name: function(leaf) if is_frame(leaf) else leaf for name, leaf in given.items()}
    return tuple(function(leaf) if is_frame(leaf) else leaf for leaf in given)


def rows_of_frames(pair: Any, given: Any) -> Any:
    """Data as `fit` takes them, with rows in the place of frames.

    Raises:
        DataError: there is a frame, and the pair has no schema, or the frame none of its columns.
        ArgumentError: something beside a frame has the labels of its rows in another order.
    """
    if (rows := as_on_disk(given)) is not None:
        schema = schema_of(pair)
        return (None if schema is None else rows.encoded(schema.encode)) or rows
    several = isinstance(given, dict | tuple | list) and not is_frame(given) and len(given) > 1
    if several:
        _check_beside(given)
    return with_each_frame(given, partial(_rows, pair, alone=not several))


def rows_of_frame(frame: Any, rows: torch.Tensor) -> Any:
    """Some rows of a frame, as a frame of its own kind."""
    if is_lines(frame):
        lines = as_lines(frame)
        return [lines[row] for row in rows.tolist()]
    if hasattr(frame, "iloc"):
        return frame.iloc[rows.numpy()]
    return frame.take(rows.numpy()) if hasattr(frame, "take") else frame[rows.tolist()]


def _check_beside(given: Any) -> None:
    """That whatever stands beside frames has their rows in their order."""
    named = given if isinstance(given, dict) else dict(enumerate(given))
    for frame in frames_among(given).values():
        for name, leaf in named.items():
            check_same_rows(frame, leaf, argument_words(name))


def _rows(pair: Any, frame: Any, *, alone: bool) -> Any:
    schema = schema_of(pair)
    if schema is None:
        check_is_pair(pair)  # a Fit is none, and has no vocabulary either
    if schema is None and is_lines(frame):
        if not alone:
            return frame  # texts beside data are whatever the model makes of them
        raise DataError(
            "this pair has no vocabulary, so that nothing says how a line of text becomes its rows. Make it with one: "
            "pv.recipes.text_vae(pv.text.vocabulary(lines))."
        )
    if schema is None:
        kind = type(frame)
        raise DataError(
            f"this pair has no schema, so that nothing says how a {kind.__module__.split('.')[0]} {kind.__name__} "
            "becomes its rows. Give it one: pair = pv.tables.with_schema(pair, pv.tables.schema(frame)); of a pair "
            "that was saved, pv.tables.read_schema(path) has it. Or give an array of numbers: frame.to_numpy()."
        )
    return schema.encode(frame)
