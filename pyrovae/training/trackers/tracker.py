"""What a tracker has to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pyrovae.errors import ArgumentError, argument


class Tracker(Protocol):
    """Anything that takes figures: `TensorBoard`, `MLflow`, `WandB`, or an object of your own."""

    def begin(self, settings: Mapping[str, str], step: int) -> None:
        """A training begins, or goes on at a step, with these arguments of `fit`."""
        ...

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Figures by name, `step/elbo` and `epoch/validation_elbo` among them, after so many steps."""
        ...

    def end(self, summary: Mapping[str, float | str]) -> None:
        """It is over: why, how many steps and seconds it took, and what it came to."""
        ...


def check_tracker(tracker: Any) -> None:
    """Refuse what is no tracker."""
    missing = [name for name in ("begin", "log", "end") if not callable(getattr(tracker, name, None))]
    if tracker is not None and (missing or isinstance(tracker, type)):
        what = f"the class {tracker.__name__}" if isinstance(tracker, type) else f"a {type(tracker).__name__}"
        raise ArgumentError(
            f"{argument('tracker')} is {what}; give pv.trackers.TensorBoard('runs/a'), say, or an object of your own "
            f"with begin(settings, step), log(figures, step) and end(summary)."
        )
