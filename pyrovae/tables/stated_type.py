"""Whether the type that a schema says of a column is one that its cells can have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyrovae.tables.of_type import type_of

_OF = {"number": "numbers", "date": "dates", "day": "dates", "classes": "these levels"}


def wrong_type(form: str, dtype: str, levels: Sequence[Any]) -> str | None:
    """What is wrong with a column's type, in words.

    Types of other libraries, such as "pint[m]", may be unknown here; nothing is said of these.
    """
    try:
        import pandas as pd
    except ImportError:  # a saved pair is loaded without it, too
        return None
    kind = type_of(dtype)
    if kind is None and ("[" in dtype or not dtype):
        return None
    if kind is None:
        return f"dtype = {dtype!r} is no type that pandas knows; write that of the frame's column, such as 'float64'"
    dates, numbers = pd.api.types.is_datetime64_any_dtype(kind), pd.api.types.is_numeric_dtype(kind)
    held = {
        "number": (numbers and not pd.api.types.is_bool_dtype(kind)) or pd.api.types.is_object_dtype(kind),
        "date": dates,
        "day": dates,
        "classes": _holds(kind, levels),
    }
    if held.get(form, True):
        return None
    words = f"form = {form!r} is one of {_OF[form]}, which dtype = {dtype!r} does not hold"
    return f"{words}; write that of the frame's column"


def _holds(kind: Any, levels: Sequence[Any]) -> bool:
    import pandas as pd

    if isinstance(kind, pd.CategoricalDtype | pd.IntervalDtype) or pd.api.types.is_object_dtype(kind):
        return True
    try:
        return list(pd.Series(list(levels), dtype=kind)) == list(levels)
    except (ValueError, TypeError, OverflowError):
        return False
