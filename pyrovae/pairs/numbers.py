"""Numbers that a caller gave, checked."""

from __future__ import annotations

import math
import numbers
from typing import Any

from pyrovae.errors import ArgumentError, argument


def as_number(value: Any) -> float | None:
    """A float, from a number or from a tensor or array that holds just one; else None."""
    if isinstance(value, bool):
        return None
    if not isinstance(value, numbers.Real):
        if getattr(value, "ndim", None) != 0 or not hasattr(value, "item"):
            return None
        return as_number(value.item())
    return float(value)


def finite(function: str, name: str, value: Any) -> float:
    """The argument `name` of `function` as a finite float, or an error that says so."""
    number = as_number(value)
    if number is None or not math.isfinite(number):
        raise ArgumentError(f"{function}: {name} is {value!r}; give a finite number")
    return number


def whole(function: str, name: str, value: Any) -> int:
    """The argument `name` of `function` as a whole number of at least 1, or an error that says so."""
    number = finite(function, name, value)
    if number < 1 or number != int(number):
        raise ArgumentError(f"{function}: {name} is {value!r}; give a whole number, 1 at least")
    return int(number)


def check_draws(draws: Any) -> None:
    """Refuse a number of draws that is none."""
    check_counts(draws=draws)


def check_counts(*, least: int = 1, **numbers: Any) -> None:
    """Refuse what is no whole number of `least` or more, by the names of the arguments."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"{argument(name, value)}; give a whole number of {least} or more.")
