"""Numbers of draws, rows and steps as users give them."""

from __future__ import annotations

from typing import Any

from pyrovae.errors import ArgumentError


def check_draws(draws: Any) -> None:
    """Refuse a number of draws that is none."""
    check_counts(draws=draws)


def check_counts(*, least: int = 1, **numbers: Any) -> None:
    """Refuse what is no whole number of `least` or more, by the names of the arguments."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"{name}={value!r}; give a whole number of {least} or more.")
