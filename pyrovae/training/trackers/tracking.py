"""A training that sends its figures to a tracker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from pyrovae.errors import warn_user
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.training.epoch import Epoch
from pyrovae.training.fit_options import FitOptions
from pyrovae.training.fit_result import Fit
from pyrovae.training.step import Step
from pyrovae.training.trackers.tracker import Tracker

# Of the time since the last figures were sent, what sending them may have taken.
_SHARE = 0.01

_INTERVAL = 1.0  # seconds between steps that are shown; a curve of more points shows no more

_LONGEST = 250  # characters of a setting, as MLflow takes them

_OF_STEPS = ("loss", "elbo", "rate", "distortion", "weight", "learning_rate")
_VALIDATED = ("validation_elbo", "validation_rate", "validation_distortion", "validation_bound")
_OF_EPOCHS = (*_OF_STEPS, *_VALIDATED)
_AT_THE_END = ("elbo", "rate", "distortion", *_VALIDATED)


class Tracking:
    """What a training sends to its tracker; an error there ends the tracking, and not the training.

    Steps are sent once a second at most, and all of it takes a hundredth of the time: after figures that took long to
    send, the next ones wait. Epochs that wait are sent together, each at its step, and none is left out.
    """

    def __init__(self, tracker: Tracker | None, options: FitOptions, clock: Callable[[], float] = time.perf_counter):
        self.tracker, self._options, self._clock = tracker, options, clock
        self._waiting: list[Epoch] = []
        self._due = 0.0
        self._begun = False

    def begin(self, step: int) -> None:
        """The training begins, or goes on, at a step."""
        if self.tracker is None:
            return
        settings = {field.name: _words(getattr(self._options, field.name)) for field in fields(self._options)}
        given = {name: words for name, words in settings.items() if words and name not in ("tracker", "progress")}
        self._begun = True
        self._sent(lambda tracker: tracker.begin(given, step))

    def follow(self, done: Step | Epoch) -> None:
        """Send what is complete, now or together with what comes next."""
        if self.tracker is None:
            return
        if isinstance(done, Epoch):
            self._waiting.append(done)
        start = self._clock()
        if start < self._due:
            return
        self._send_epochs()
        if isinstance(done, Step):
            self._log("step", {name: getattr(done, name) for name in _OF_STEPS}, done.index + 1)
        now = self._clock()
        self._due = now + max(_INTERVAL, (now - start) / _SHARE)

    def end(self, run: Fit) -> None:
        """The training is over, and this is what it came to."""
        last = run.history[-1]._asdict() if run.history else {}
        figures = {name: last[name] for name in _AT_THE_END if last.get(name) is not None}
        self._close({"reason": run.reason, "steps": run.step, "seconds": run.seconds, **figures})

    def leave(self, reason: str = "left") -> None:
        """The training was left, by its user or by an error; nothing where it is over."""
        self._close({"reason": reason})

    def _close(self, summary: Mapping[str, float | str]) -> None:
        if self.tracker is not None and self._begun:
            self._begun = False
            self._send_epochs()
            self._sent(lambda tracker: tracker.end(summary))

    def _send_epochs(self) -> None:
        waiting, self._waiting = self._waiting, []
        for row in waiting:
            self._log("epoch", {name: getattr(row, name) for name in _OF_EPOCHS}, row.step)

    def _log(self, kind: str, figures: Mapping[str, Any], step: int) -> None:
        found: dict[str, float] = {}
        for name, value in figures.items():
            if isinstance(value, dict):  # the weights of single sites
                found |= {f"{kind}/{name}/{site}": float(one) for site, one in value.items()}
            elif value is not None:
                found[f"{kind}/{name}"] = float(value)
        self._sent(lambda tracker: tracker.log(found, step))

    def _sent(self, send: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            with forked_random():  # some draw a name, say: the training's random numbers stay what they are
                send(self.tracker)
        except Exception as error:
            name, self.tracker = type(self.tracker).__name__, None
            warn_user(
                f"the tracker {name} stopped with {type(error).__name__}: {error}. The training goes on without it."
            )


def _words(value: Any) -> str:
    """A setting as text: values and schedules as they are written, of data and objects the kind alone."""
    if value is None:
        return ""
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text and " at 0x" not in text else type(value).__name__
