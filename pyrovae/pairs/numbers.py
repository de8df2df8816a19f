"""Numbers that a caller gave, checked."""

from __future__ import annotations

import math
import numbers
import operator
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


def as_whole(value: Any) -> int | None:
    """A whole number as Python's own: an int, NumPy's integers, an integer tensor or array without dims; else None."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or getattr(value, "ndim", 0):
        return None
    try:
        return None if str(getattr(value, "dtype", "")).endswith("bool") else operator.index(value)
    except TypeError:  # a tensor of fractions has the method, too
        return None


_MOST = 2**63 - 1  # what torch and Python itself (sys.maxsize) take for a number of anything


def check_count(name: str, value: Any, *, least: int = 1, where: str = "") -> int:
    """A whole number of `least` or more, as torch can hold it, or an error that says so.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest that is allowed.
        where: what stands before the argument in the error, such as "IWAE: ".
    """
    number = as_whole(value)
    if number is None or number < least:
        raise ArgumentError(f"{where}{argument(name, value)}; give a whole number, {least} at least.")
    if number > _MOST:
        raise ArgumentError(
            f"{where}{argument(name, value)}; give a whole number, {least} at least, 2**63 - 1 at most."
        )
    return number


def check_counts(*, least: int = 1, **numbers: Any) -> tuple[int, ...]:
    """Several of them by the names of the arguments, in order."""
    return tuple(check_count(name, value, least=least) for name, value in numbers.items())


def check_positive(name: str, value: Any, *, where: str = "") -> float:
    """A number above 0, or an error that says so."""
    number = as_number(value)
    if number is None or not number > 0:
        raise ArgumentError(f"{where}{argument(name, value)}; give a number above 0.")
    return number


def check_share(name: str, value: Any, *, example: str = "0.9") -> float:
    """A number between 0 and 1, neither of them, or an error that says so: a level, a probability, a decay."""
    number = as_number(value)
    if number is None or not 0 < number < 1:
        raise ArgumentError(f"{argument(name, value)}; give a number between 0 and 1, such as {example}.")
    return number
