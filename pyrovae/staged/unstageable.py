"""The error of a step that cannot be turned into a graph."""

from __future__ import annotations

from pyrovae.errors import PyrovaeError
from pyrovae.staged.pair_code.user_lines import place_of


class Unstageable(PyrovaeError):
    """A step that cannot be turned into a graph; the words say why."""


def words_of(error: Exception | None) -> str:
    """Why something could not be done, in words: for other errors where they came from, and their first line."""
    if error is None:
        return "it gave no reason"
    if isinstance(error, Unstageable):
        return " ".join(str(error).split())
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__} in {place_of(error)}: {first}"
