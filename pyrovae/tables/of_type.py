"""Numbers as a column of a type."""

from __future__ import annotations

from typing import Any

import numpy as np


def of_type(numbers: np.ndarray, dtype: str) -> Any:
    """A column of numbers, NaN for what is missing, of a type by its name where that can hold them."""
    import pandas as pd

    plain = pd.Series(numbers)
    try:
        kind = pd.api.types.pandas_dtype(dtype)
    except (TypeError, ImportError):  # a type of a library that is not here
        return plain
    if pd.api.types.is_integer_dtype(kind):
        plain = pd.Series(np.rint(numbers))
        if not plain.isna().any():
            plain = _in_type(plain, np.dtype("int64"))
    elif not pd.api.types.is_float_dtype(kind):
        return plain
    return _in_type(plain, kind)


def _in_type(numbers: Any, kind: Any) -> Any:
    """Numbers of another type, or as they are where it changes more than their last digits."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            found = numbers.astype(kind)
            again = found.astype("float64")
    except (ValueError, TypeError, OverflowError):  # no type for holes, or for numbers of this size
        return numbers
    same = np.isclose(again, numbers, rtol=1e-2, atol=0.0, equal_nan=True)
    return found if bool(same.all()) else numbers
