"""What a frame calls a column, where that is no text."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np

Label = Any  # a number, a date, or a tuple of texts and such; a tree of tuples has no better type


def column_text(name: Any) -> str:
    """The text by which a schema knows a column, whichever library's numbers its name is of."""
    return str(_own(name))


def _own(name: Any) -> Any:
    """Python's numbers in the place of numpy's."""
    if isinstance(name, tuple):
        return tuple(map(_own, name))
    return name.item() if isinstance(name, np.generic) and not isinstance(name, np.datetime64) else name


def column_label(name: Any) -> Label | None:
    """What is no text of a frame's names, as TOML can hold it; None for texts, and for what becomes one."""
    return None if isinstance(name, str) else _plain(_own(name))


def _plain(value: Any) -> Label | None:
    if isinstance(value, tuple):
        parts = tuple(map(_plain, value))
        return None if None in parts else parts
    if hasattr(value, "to_pydatetime"):  # of pandas
        return value.to_pydatetime() if value.nanosecond == 0 and value.tzinfo is None else None
    finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if isinstance(value, str | datetime.datetime) or finite else None


def is_label(value: Any) -> bool:
    """Whether a file may say that a column is called so; lists stand for tuples there."""
    return _plain(of_lists(value)) is not None and not isinstance(value, str)


def of_lists(value: Any) -> Any:
    """Tuples in the place of lists, which files have."""
    return tuple(map(of_lists, value)) if isinstance(value, list) else value
