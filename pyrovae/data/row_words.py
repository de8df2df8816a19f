"""What the rows of a frame are called in a sentence."""

from __future__ import annotations

from typing import Any

LINE = "line"  # the name of an index that holds the lines of a file


def row_words(index: Any, place: int) -> str:
    """A row as whoever looks for it finds it: the line of a file, the label of an index, or a number from 0.

    Args:
        index: of a pandas frame.
        place: of the row.

    Examples:
        >>> import pandas as pd
        >>> indices = pd.RangeIndex(2, 9, name="line"), pd.RangeIndex(9), pd.Index(["a", "b"])
        >>> [row_words(index, 1) for index in indices]
        ['line 3', 'row 1 (counted from 0)', "row 'b'"]
    """
    label = index[place]
    if index.name == LINE:
        return f"line {label}"
    if index.name is None and type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1:
        return f"row {label} (counted from 0)"
    return f"row {label}" if isinstance(label, int) or hasattr(label, "dtype") else f"row {str(label)!r}"
