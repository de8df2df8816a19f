"""What a column of a frame is, guessed from its values."""

from __future__ import annotations

import logging
import math
import re
from typing import Any

import numpy as np

from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import KINDS
from pyrovae.tables.guess_bands import banded_column
from pyrovae.tables.heaped import heaped_words
from pyrovae.tables.less_skewed import less_skewed_by_logarithm
from pyrovae.tables.table_column import ORDERED, Level, TableColumn, column_of, plain_value, refuse_complex

logger = logging.getLogger("pyrovae")

_EXACT = 2**53  # up to which doubles hold all whole numbers
_TINY = 1e-6  # below which the logit of a proportion says no more: farads are none
_FEW = 20  # whole numbers of which there are no more are taken for codes
_WRITTEN = {
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*": "dates as texts? Dates are datetime64 in a frame, and 2020-01-31 in a file",
    r"[+-]?\d+([.,]\d+)?": "numbers as texts? These are classes until numbers are made of them",
}
_RARE = 10  # rows of a class below which it is hardly learned
_NEAR, _FAR = 3.0, 5.0  # means in spreads: a normal has 1 in 700 of its draws below 0, and 1 in 3 millions
_WIDE = 4.0  # a spread of logarithms that is that of other numbers and a few written for zeros, such as 1e-40


def guessed_column(name: str, values: Any, kind: str | None) -> TableColumn:
    """A column by its values; a kind that was given decides."""
    import pandas as pd

    seen, dtype = values.dropna(), str(values.dtype)
    if kind == "left out" or not len(seen):
        note = "left out" if kind else "left out: every cell is missing"
        return TableColumn(None, name, "identifier", dtype=dtype, note=note)
    refuse_complex(name, values)
    if values.dtype == object and all(_is_plain_number(plain_value(one)) for one in seen):
        values = _of_one_type(values)  # numbers beside None, as databases give them
        seen, dtype = values.dropna(), dtype if values.dtype == float else str(values.dtype)
    if values.dtype == object:
        for one in seen:
            if not isinstance(one, pd.Interval):
                _level(name, one)  # refuses what is no cell of a table
    if (kind is not None or seen.nunique() > 1) and (banded := banded_column(name, values, kind)) is not None:
        return banded
    if kind is None and seen.nunique() == 1:
        level = plain_value(seen.iloc[0])
        levels = (level,) if isinstance(level, str | int | float | bool) else ()
        return TableColumn(None, name, "constant", levels, dtype, "left out: the same everywhere")
    of_classes = kind is not None and KINDS[kind].has_classes
    if kind is not None and not of_classes and not _may_be_numbers(values):
        raise ArgumentError(f"kinds: {name!r} is to be {kind}, and holds {dtype}: numbers can be that, classes cannot.")
    if pd.api.types.is_datetime64_any_dtype(values):
        days = TableColumn(Column(name, kind or "real"), name, "day", (), dtype)
        whole = (days.numbers(seen)[0] % 1 == 0).all()
        return _with_numbers(days if whole else days._replace(form="date"), values)
    if _is_of_numbers(values) and not of_classes:
        numbers = seen.astype(float).to_numpy()
        if not np.isfinite(numbers).all():
            raise DataError(f"column {name!r} holds infinity; make it a hole.")
        if kind is None and len(numbers) > _FEW and (np.diff(np.sort(numbers)) == 1).all() and numbers[0] % 1 == 0:
            note = "left out: whole numbers in a row, as in an identifier"
            return TableColumn(None, name, "identifier", dtype=dtype, note=note)
        if kind is None and pd.api.types.is_integer_dtype(values) and np.abs(numbers).max() > _EXACT:
            note = "left out: whole numbers beyond 2**53, as identifiers are"
            return TableColumn(None, name, "identifier", dtype=dtype, note=note)
        chosen, note = (kind, "") if kind else _kind_of_numbers(numbers)
        if chosen != "categorical":
            note = "; ".join(filter(None, [note, "" if kind else heaped_words(numbers, chosen)]))
            return _with_numbers(TableColumn(Column(name, chosen), name, "number", (), dtype, note), values)
        return _classes(name, values, None, note)
    return _classes(name, values, kind, "")


def _of_one_type(values: Any) -> Any:
    """Objects that are numbers as such, whole ones as whole ones with holes."""
    try:
        if all(isinstance(plain_value(one), int) for one in values.dropna()):
            return values.where(values.notna(), None).astype("Int64")
    except OverflowError:  # of more than 64 bits
        pass
    return values.where(values.notna(), np.nan).astype(float)


def _with_numbers(one: TableColumn, values: Any) -> TableColumn:
    assert one.column is not None
    numbers, _ = one.numbers(values)
    return one._replace(column=column_of(one.column, numbers))


def _classes(name: str, values: Any, kind: str | None, note: str) -> TableColumn:
    import pandas as pd

    dtype, seen = str(values.dtype), values.dropna()
    ordered = isinstance(values.dtype, pd.CategoricalDtype) and bool(values.dtype.ordered)
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels = [_level(name, one) for one in values.dtype.categories]
    else:
        found = {_level(name, one) for one in seen}
        if len({str if isinstance(one, str) else float for one in found}) > 1:
            raise DataError(f"column {name!r} holds objects of several types (texts and numbers); make them one.")
        levels = sorted(found)  # type: ignore[type-var]  # of one type, as was just seen
    note = note or _written_as(levels)
    if kind is None and all(isinstance(one, str) for one in levels) and len(levels) > max(_FEW, len(seen) / 2):
        differ = "all values differ" if len(levels) == len(seen) else f"{len(levels)} texts in {len(seen)} cells"
        words = note or f"{differ}, as in an identifier"
        return TableColumn(None, name, "identifier", (), dtype, f"left out: {words}")
    if len(levels) < 2:
        return TableColumn(None, name, "constant", tuple(levels), dtype, "left out: the same everywhere")
    chosen = kind
    if chosen is None:
        chosen = "ordinal" if ordered and len(levels) > 2 else "binary" if len(levels) == 2 else "categorical"
    dtype = ORDERED if ordered and not KINDS[chosen].ordered else dtype
    one = TableColumn(Column(name, chosen, len(levels)), name, "classes", tuple(levels), dtype, note)
    assert one.column is not None
    numbers, _ = one.numbers(values)
    counts = np.bincount(numbers[~np.isnan(numbers)].astype(int), minlength=len(levels))
    rare = int((counts < _RARE).sum())
    notes = [note] if note else []
    if chosen == "ordinal" and not ordered and all(isinstance(level, str) for level in levels):
        notes.append(_by_alphabet(name, levels))
    if rare and len(seen) >= 10 * _RARE:
        notes.append(f"{rare} of {len(levels)} classes in fewer than {_RARE} rows")
    return one._replace(column=column_of(one.column, numbers), note="; ".join(notes))


def _by_alphabet(name: str, levels: list[Level]) -> str:
    """What to know of texts whose order nobody has said: the alphabet's is hardly ever the one that is meant."""
    words = f"in the order of the alphabet, {' < '.join(map(str, levels[:5]))}{' ...' * (len(levels) > 5)}"
    logger.warning(
        "column %r is ordinal %s; for another order make it pd.Categorical(..., categories=[...], ordered=True), "
        "or put its levels in order in the file of the schema",
        name,
        words,
    )
    return words


def _written_as(levels: list[Level]) -> str:
    """What to ask of texts that are written like something else."""
    for pattern, words in _WRITTEN.items():
        if all(isinstance(one, str) and re.fullmatch(pattern, one.strip()) for one in levels):
            return words
    return ""


def _kind_of_numbers(numbers: np.ndarray) -> tuple[str, str]:
    """A kind for numbers, and what to ask."""
    low, high, different = numbers.min(), numbers.max(), len(np.unique(numbers))
    if (numbers % 1 == 0).all():
        if different <= min(_FEW, len(numbers) // 2):
            return "categorical", f"{different} values, {low:g} to {high:g}: codes or counts? Taken for codes"
        # Counts vary as their mean at least; years and heights do not.
        if low >= 0 and high < 1e6 and numbers.var() > 0.8 * numbers.mean():
            return "count", ""
    inside = KINDS["proportion"]
    if inside.lowest <= low and high <= inside.highest and np.median(numbers) > _TINY:
        return "proportion", ""
    if (low == 0 and high <= 1) or (low > 0 and high == 1):
        words = "between 0 and 1, the ends included: taken for real, which goes past them; move these inside for a"
        return "real", f"{words} proportion"
    return _kind_from_zero_up(numbers) if low >= 0 and high > 0 else ("real", "")


def _kind_from_zero_up(numbers: np.ndarray) -> tuple[str, str]:
    """Real where they are far from 0, so that a normal has next to no draws below it."""
    with_zeros = numbers.min() == 0
    if with_zeros and (numbers == 0).mean() > 0.01:
        return "positive_or_zero", ""
    if less_skewed_by_logarithm(numbers):
        return "positive", ""
    shares = numbers / numbers.max()  # squares of 1e200 are infinite
    distance = float(shares.mean() / max(shares.std(), 1e-12))
    other = "positive_or_zero" if with_zeros else "positive"
    if distance < _NEAR and np.log(numbers[numbers > 0]).std() < _WIDE:
        return other, ""
    below = math.erfc(distance / math.sqrt(2)) / 2
    odd = f"never below 0, where a normal as wide has {below:.1g} of its draws: {other} has none"
    return "real", odd if distance < _FAR else ""


def _may_be_numbers(values: Any) -> bool:
    import pandas as pd

    return _is_of_numbers(values) or pd.api.types.is_datetime64_any_dtype(values)


def _is_plain_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_of_numbers(values: Any) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


# How to make a column of what these hold one that has a kind.
_MENDS = {
    "Decimal": "make numbers of it, frame[{0!r}].astype(float)",
    "Fraction": "make numbers of it, frame[{0!r}].astype(float)",
    "Timedelta": "make numbers of it, frame[{0!r}].dt.total_seconds()",
    "timedelta": "make numbers of it, pd.to_timedelta(frame[{0!r}]).dt.total_seconds()",
    "Period": "make dates of it, frame[{0!r}].dt.to_timestamp()",
    "date": "make dates of it, pd.to_datetime(frame[{0!r}])",
    "time": "make numbers of it, pd.to_timedelta(frame[{0!r}].astype(str)).dt.total_seconds()",
}


def _level(name: str, value: Any) -> Level:
    value = plain_value(value)
    if not isinstance(value, str | int | float | bool):
        raise DataError(
            f"column {name!r} holds {type(value).__name__}, which is no text, number or date (datetime64); "
            f"{_MENDS.get(type(value).__name__, 'make it one of these').format(name)}, or leave the column out."
        )
    return value
