"""Numbers as a column of a type."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np


def of_type(numbers: np.ndarray, dtype: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    """A column of numbers, NaN for what is missing, of a type: of each the nearest number that it holds.

    So all draws of a column are of one type, and a number that is too large for it is its largest, and not one that
    was wrapped around. Doubles where the type is none of numbers, or has none for holes.

    Args:
        numbers: (rows,).
        dtype: of pandas, or its name.
        low: the lowest number that the column can be: what is not below it is not rounded to below it.
        high: the highest one, likewise.
    """
    import pandas as pd

    kind = type_of(dtype)
    if kind is None:
        return pd.Series(numbers)
    if pd.api.types.is_float_dtype(kind):
        return pd.Series(_rounded(numbers, _inner(kind), low, high)).astype(kind)
    if not pd.api.types.is_integer_dtype(kind):
        return pd.Series(numbers)
    missing = np.isnan(numbers)
    whole = pd.Series(_whole(np.where(missing, 0.0, numbers), _inner(kind), low, high))
    if not missing.any():
        return whole.astype(kind)
    has_holes = not isinstance(kind, np.dtype | pd.SparseDtype)
    return whole.astype(kind if has_holes else "float64").mask(missing)


def type_of(dtype: Any) -> Any:
    """Pandas' type by its name; None where there is none, such as that of a library that is not here."""
    import pandas as pd

    try:
        return pd.api.types.pandas_dtype(dtype)
    # No such type; one of a library that is not here; parameters that pandas writes and does not read, as of these two.
    except (TypeError, ImportError, NotImplementedError):
        sparse = re.fullmatch(r"Sparse\[((?:u?int|float)\d+), ([\d.+-]+)\]", str(dtype))
        return pd.SparseDtype(sparse[1], np.dtype(sparse[1]).type(sparse[2]).item()) if sparse else _dictionary(dtype)


def _dictionary(dtype: Any) -> Any:
    """Arrow's type of texts of which each stands once, which pandas writes and does not read."""
    import pandas as pd

    found = re.fullmatch(r"dictionary<values=(\w+), indices=(\w+), ordered=([01])>\[pyarrow\]", str(dtype))
    if found is None:
        return None
    import pyarrow

    values, indices = (pyarrow.type_for_alias(name) for name in found.group(1, 2))
    return pd.ArrowDtype(pyarrow.dictionary(indices, values, ordered=found[3] == "1"))


def _inner(kind: Any) -> np.dtype:
    """Numpy's type of the numbers in a column."""
    return np.dtype(getattr(kind, "numpy_dtype", None) or getattr(kind, "subtype", None) or kind)


def _whole(numbers: np.ndarray, inner: np.dtype, low: float, high: float) -> np.ndarray:
    whole = np.rint(numbers)
    whole = np.where((whole < low) & (numbers >= low), np.ceil(low), whole)
    whole = np.where((whole > high) & (numbers <= high), np.floor(high), whole)
    least, most = (int(end) for end in (np.iinfo(inner).min, np.iinfo(inner).max))
    last = float(most)  # of 64 bits one more than there is, which would be wrapped around
    return whole.clip(least, last if int(last) <= most else math.nextafter(last, 0.0)).astype(inner)


def _rounded(numbers: np.ndarray, inner: np.dtype, low: float, high: float) -> np.ndarray:
    most = float(np.finfo(inner).max)
    near = np.where(np.isinf(numbers), numbers, numbers.clip(-most, most)).astype(inner)
    rounded = near.astype(float)
    with np.errstate(over="ignore", under="ignore"):  # of neighbours that nobody takes
        up, down = (np.nextafter(near, inner.type(end)) for end in (np.inf, -np.inf))
    near = np.where((rounded < low) & (numbers >= low), up, near)
    return np.where((rounded > high) & (numbers <= high), down, near)
