"""Intervals in which a number lies, as frames write them: "30-39", "<5", "100+", "(0, 18]", pandas' own."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pyrovae.errors import DataError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_INFINITE = r"|[+-]?inf"
_RANGE = re.compile(rf"({_NUMBER})\s*(?:-|–|—|to|\.\.)\s*({_NUMBER})")
_BRACKETS = re.compile(rf"([\[(])\s*({_NUMBER}{_INFINITE})\s*[,;]\s*({_NUMBER}{_INFINITE})\s*([\])])")
_BELOW, _ABOVE = re.compile(rf"(<=|≤|<)\s*({_NUMBER})"), re.compile(rf"(>=|≥|>)\s*({_NUMBER})")
_FROM, _ONE = re.compile(rf"({_NUMBER})\s*\+"), re.compile(_NUMBER)


class Band(NamedTuple):
    """One interval as it is written: its ends, whether they belong to it, and how many decimals they have."""

    low: float
    high: float
    low_within: bool = True
    high_within: bool = True
    decimals: int = 0


def band(value: Any) -> Band | None:
    """The interval that a text, a number or an interval of pandas says; None where it says none.

    Examples:
        >>> band("30-39")
        Band(low=30.0, high=39.0, low_within=True, high_within=True, decimals=0)
        >>> band("<0.5")
        Band(low=-inf, high=0.5, low_within=False, high_within=False, decimals=1)
        >>> band("tall")
    """
    if hasattr(value, "closed_left"):
        if not isinstance(value.left, int | float | np.number):  # of dates
            return None
        return Band(float(value.left), float(value.right), value.closed_left, value.closed_right)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Band(float(value), float(value))
    return _of_text(value.strip()) if isinstance(value, str) else None


def _of_text(text: str) -> Band | None:
    places = _decimals(text)
    if found := _ONE.fullmatch(text):
        return Band(float(text), float(text), decimals=places)
    if found := _RANGE.fullmatch(text):
        return Band(float(found[1]), float(found[2]), decimals=places)
    if found := _BRACKETS.fullmatch(text):
        return Band(float(found[2]), float(found[3]), found[1] == "[", found[4] == "]", places)
    if found := _BELOW.fullmatch(text):
        return Band(-math.inf, float(found[2]), False, found[1] != "<", places)
    if found := _ABOVE.fullmatch(text):
        return Band(float(found[2]), math.inf, found[1] != ">", False, places)
    if found := _FROM.fullmatch(text):
        return Band(float(found[1]), math.inf, True, False, places)
    return None


def _decimals(text: str) -> int:
    return max((len(part) for part in re.findall(r"\.(\d+)", text)), default=0)


def ends_of(bands: Sequence[Band]) -> tuple[tuple[float, float], ...]:
    """Where each interval begins and ends, for numbers that vary without steps.

    Where one begins a unit of the last decimal after another ends (30-39, 40-49; 0.0-0.4, 0.5-0.9), the numbers were
    rounded down to that unit: 30-39 is from 30 up to 40, "5" from 5 up to 6, and ">65" from 66 on.
    """
    unit = 10.0 ** -max(one.decimals for one in bands)
    begins = [one.low for one in bands if one.low_within]
    stepped = any(
        one.high_within and math.isclose(low - one.high, unit, rel_tol=1e-6) for one in bands for low in begins
    )
    if not stepped:
        return tuple((one.low, one.high) for one in bands)
    return tuple(
        (
            one.low if one.low_within else round(one.low + unit, 12),
            round(one.high + unit, 12) if one.high_within else one.high,
        )
        for one in bands
    )


def place_of(value: Any, bands: Sequence[Band | None], ends: Sequence[tuple[float, float]]) -> int | None:
    """In which of a column's intervals a number, or another interval, lies; None where in none, or not in one."""
    one = band(value)
    if one is None or math.isnan(one.low):
        return None
    if one in bands:
        return bands.index(one)
    if one.low < one.high:
        inside = [place for place, (low, high) in enumerate(ends) if low <= one.low and one.high <= high]
    elif any(two and two.high_within and not two.low_within and math.isfinite(two.low) for two in bands):
        inside = [place for place, (low, high) in enumerate(ends) if low < one.low <= high]
    else:
        inside = [place for place, (low, high) in enumerate(ends) if low <= one.low < high]
    return inside[0] if len(inside) == 1 else None


def intervals_of(levels: Sequence[Any], dtype: str, codes: Any) -> Any:
    """Pandas' intervals of their texts, those of `codes` (-1 for none), as themselves or as categories."""
    import pandas as pd

    bands = [one for one in map(band, levels) if one is not None]
    if len(bands) != len(levels):
        raise DataError(f"the levels of a column of {dtype} are no intervals any more: write them as '(0, 18]'.")
    inner = dtype.removeprefix("category[")
    closed: Any = next(one for one in ("right", "left", "both", "neither") if one in inner)
    known = pd.IntervalIndex.from_tuples([(one.low, one.high) for one in bands], closed=closed)
    if "int" in inner.removeprefix("interval["):
        known = known.astype(f"interval[int64, {closed}]")
    if inner != dtype:
        return pd.Categorical.from_codes(codes, categories=known, ordered=True)
    return known.take(codes, allow_fill=True, fill_value=None) if (codes < 0).any() else known.take(codes)
