"""What one setting of a search came to."""

from __future__ import annotations

from typing import Any, NamedTuple


class Trial(NamedTuple):
    """One setting: its held-out log evidence per datum, and the standard error of that over data.

    Examples:
        >>> Trial(setting=2, evidence=-3.0, error=0.1, folds=(-3.1, -2.9)).setting
        2
    """

    setting: Any
    evidence: float
    error: float
    folds: tuple[float, ...]
