"""Lines of text among data."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from pyrovae.errors import DataError


def is_lines(thing: Any) -> bool:
    """Whether something is lines of text: a list, tuple, array or column of texts."""
    if isinstance(thing, np.ndarray):
        return thing.ndim == 1 and thing.dtype.kind in "UO" and len(thing) > 0 and isinstance(thing[0], str)
    if isinstance(thing, list | tuple):
        return len(thing) > 0 and isinstance(thing[0], str)
    return hasattr(thing, "to_list") and hasattr(thing, "dtype") and isinstance(next(iter(thing), None), str)


def as_lines(lines: Any) -> list[str]:
    """Lines of text as a list.

    Raises:
        DataError: they are something else, or there are none.
    """
    if isinstance(lines, str):
        raise DataError("this is one text; give a list of lines, such as text.splitlines().")
    if hasattr(lines, "columns"):  # to go through a table gives the names of its columns, which are texts
        name = type(lines).__name__
        raise DataError(f"this is a {name}; give one column of it, which holds the lines: frame['text'].")
    if isinstance(lines, Mapping | Set):  # names of what it holds, and texts in no order
        raise DataError(f"this is a {type(lines).__name__}; give a list of lines.")
    found = lines.to_list() if hasattr(lines, "to_list") else list(lines) if hasattr(lines, "__iter__") else None
    if found is None:
        raise DataError(f"lines are a list of texts; this is {type(lines).__name__}.")
    if not found:
        raise DataError("there are no lines.")
    for place, line in enumerate(found):
        if not isinstance(line, str):
            raise DataError(f"line {place + 1} is {type(line).__name__}, and no text: {line!r:.40}.")
    return [str(line) for line in found]
