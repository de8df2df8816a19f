"""A column of a frame: what it is taken for, and its values as numbers and back."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from pyrovae.data.row_words import row_words
from pyrovae.errors import DataError, argument
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import check_column, kind_of
from pyrovae.tables.bands import band, intervals_of, place_of
from pyrovae.tables.of_type import of_type, type_of

Level = str | int | float | bool

DATES = ("date", "day")  # forms of dates

ORDERED = "category[ordered]"  # the type of two ordered classes, whose kind has no order

_DAY = 86_400e9  # nanoseconds
_WIDEST = 1e150  # of a spread: densities square it


class TableColumn(NamedTuple):
    """What a column of a frame is taken for.

    Attributes:
        column: its name, kind and numbers; None where it is left out of the model.
        name: its name.
        form: "number", "classes", "date" (days since 1970), "day" (a date without a time), "constant" or "identifier".
        levels: the classes, in order; of a constant its one value.
        dtype: of the frame's column.
        note: what is worth knowing of it.
        label: what the frame calls it, where that is no text: a number, a date or a tuple.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> pv.tables.schema(pd.DataFrame({"x": [0.5, 1.5, -2.0]})).table[0].form
        'number'
    """

    column: Column | None
    name: str
    form: str
    levels: tuple[Level, ...] = ()
    dtype: str = ""
    note: str = ""
    label: Any = None

    def numbers(self, values: Any) -> tuple[np.ndarray, list[str]]:
        """The values of a frame's column as numbers, NaN for what is missing, and classes that are not known.

        Raises:
            DataError: they are none of the kind that the column is taken for.
        """
        if self.form in DATES:
            return self._dates(values), []
        if self.form == "classes":
            return self._codes(values)
        numbers = self._floats(values)
        self._check(numbers, values.index)
        return numbers, []

    def values(self, numbers: np.ndarray) -> Any:
        """Numbers as values of the frame's column, of its own type."""
        import pandas as pd

        missing = np.isnan(numbers)
        if self.form in DATES:
            numbers = np.rint(numbers) if self.form == "day" else numbers
            dates = pd.to_datetime(pd.Series(np.where(missing, 0, numbers) * _DAY).round().astype("int64"))
            return self._as_written(dates.mask(missing))
        if self.form == "classes":
            bad = ~missing & ((numbers % 1 != 0) | (numbers < 0) | (numbers >= len(self.levels)))
            if bad.any():
                raise DataError(
                    f"column {self.name!r} has classes, and {numbers[bad][0]:g} is the number of none of the "
                    f"{len(self.levels)}: decode single draws, not their means."
                )
            return self._of_levels(np.where(missing, -1, numbers).astype(int))
        return self.of_type(pd.Series(numbers), self.dtype)

    def of_type(self, values: Any, dtype: Any) -> Any:
        """A column of numbers as one of another type, and still what its kind can be."""
        assert self.column is not None
        low, high, _ = kind_of(self.column).range_of(self.column)
        numbers = values.astype("float64").to_numpy(dtype=float, na_value=np.nan)
        return of_type(numbers, dtype, low, high).set_axis(values.index)

    def _as_written(self, dates: Any) -> Any:
        """Dates in the column's own unit and timezone."""
        unit = re.fullmatch(r"datetime64\[(\w+)(?:, (.+))?\]", self.dtype)
        if unit is None:
            return _as_arrow(dates, self.dtype)
        dates = dates.astype(f"datetime64[{unit[1]}]")
        return dates if unit[2] is None else in_timezone(dates, unit[2])

    def _of_levels(self, codes: np.ndarray) -> Any:
        import pandas as pd

        assert self.column is not None
        if "interval[" in self.dtype:
            return pd.Series(intervals_of(self.levels, self.dtype, codes))
        if self.dtype in ("category", ORDERED):
            ordered = kind_of(self.column).ordered or self.dtype == ORDERED
            return pd.Series(pd.Categorical.from_codes(codes, categories=list(self.levels), ordered=ordered))
        picked = [None if code < 0 else self.levels[code] for code in codes]
        complete = (codes >= 0).all()
        return pd.Series(picked, dtype=type_of(self.dtype) if complete else None)

    def _dates(self, values: Any) -> np.ndarray:
        import pandas as pd

        if pd.api.types.is_numeric_dtype(values):
            raise DataError(f"column {self.name!r} is one of dates, and holds numbers: make dates of them first.")
        try:
            # As texts only the one form in which a month cannot be taken for a day.
            texts = not pd.api.types.is_datetime64_any_dtype(values)
            dates = pd.to_datetime(values, format="ISO8601") if texts else pd.to_datetime(values)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"column {self.name!r} is one of dates, and holds something else than 2020-01-31 or 2020-01-31 12:30. "
                "Make dates of them first."
            ) from error
        dates = dates.dt.tz_localize(None) if getattr(dates.dt, "tz", None) is not None else dates
        numbers = dates.astype("datetime64[ns]").astype("int64").to_numpy() / _DAY
        return np.where(dates.isna(), np.nan, numbers)

    def _codes(self, values: Any) -> tuple[np.ndarray, list[str]]:
        assert self.column is not None
        known: dict[Any, int] = {level: code for code, level in enumerate(self.levels)}
        if self.column.ends:
            bands = [band(level) for level in self.levels]
            places = {one: place_of(one, bands, self.column.ends) for one in map(plain_value, values.dropna().unique())}
            known = {one: place for one, place in places.items() if place is not None} | known
        missing = values.isna().to_numpy()
        found = [None if gone else known.get(plain_value(value)) for value, gone in zip(values, missing, strict=True)]
        strange = {
            str(value): None
            for value, one, gone in zip(values, found, missing, strict=True)
            if one is None and not gone
        }
        return np.array([np.nan if one is None else one for one in found], dtype=float), list(strange)

    def _floats(self, values: Any) -> np.ndarray:
        refuse_complex(self.name, values)
        try:
            holes = values.where(values.notna(), None) if values.dtype == object else values  # pd.NA is no float
            return holes.astype("float64").to_numpy(dtype=float, na_value=np.nan)
        except (ValueError, TypeError):
            row, bad = next((row, one) for row, one in enumerate(values) if not _is_number(one) and not _is_hole(one))
            raise DataError(
                f"column {self.name!r} is one of numbers, and holds {bad!r} in {row_words(values.index, row)}. Make it "
                f"a hole, or give the column another kind ({argument('kinds')})."
            ) from None

    def _check(self, numbers: np.ndarray, index: Any) -> None:
        assert self.column is not None
        low, high, whole = kind_of(self.column).range_of(self.column)
        wrong = (numbers < low) | (numbers > high)
        if whole:
            wrong |= np.rint(numbers) != numbers
        wrong &= ~np.isnan(numbers)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            other = argument("kinds", {self.name: "real"})
            raise DataError(
                f"column {self.name!r} is {self.column.kind}, and holds {numbers[row]:g} in {row_words(index, row)} "
                f"({int(wrong.sum())} such cells). Make it a hole, or give the column another kind ({other})."
            )


def column_of(column: Column, numbers: np.ndarray) -> Column:
    """A column with what its numbers say: level and spread, or the shares of the classes."""
    import torch

    found = kind_of(column).learned(column, torch.from_numpy(numbers[~np.isnan(numbers)].astype(float)))
    if not 1 / _WIDEST < found.spread < _WIDEST:
        raise DataError(
            f"column {column.name!r} varies by {found.spread:g}, whose square double precision does not hold: write it "
            f"in another unit, or leave it out ({argument('kinds', {column.name: 'left out'})})."
        )
    return check_column(found)


def in_timezone(dates: Any, zone: Any) -> Any:
    """Dates as clocks on the wall show them, in a timezone; an hour that these leave out is the next one."""
    ambiguous = np.zeros(len(dates), bool)
    return dates.dt.tz_localize(zone, ambiguous=ambiguous, nonexistent="shift_forward")


def refuse_complex(name: str, values: Any) -> None:
    """Refuse complex numbers, of which a cast would drop the imaginary part."""
    if getattr(values.dtype, "kind", "") == "c":
        raise DataError(
            f"column {name!r} holds complex numbers, which no kind of column has: make two columns of it, real and "
            "imaginary part or modulus and angle, or leave it out."
        )


def plain_value(value: Any) -> Any:
    """One of numpy's values as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _is_hole(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value)) if pd.api.types.is_scalar(value) else False


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True


def _as_arrow(dates: Any, dtype: str) -> Any:
    """Dates in a type of Arrow's, those without a time the nearest day; as they are where it is none."""
    known = re.fullmatch(r"(date(?:32|64)|timestamp)\[\w+(?:, tz=(.+))?\]\[pyarrow\]", dtype)
    if known is None:
        return dates
    dates = dates.dt.round("D") if known[1] != "timestamp" else dates
    return (dates if known[2] is None else in_timezone(dates, known[2])).astype(dtype)
