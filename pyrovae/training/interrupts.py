"""Ctrl-C and requests to end during training: wait until a step is complete, so that what is saved is sound."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyrovae.training.parallel.team import SingleProcess, agreed

# What asks a program to end: Ctrl-C, and what a scheduler, `kill` or torchrun sends before it makes short work.
_SIGNALS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Interruption:
    """Whether an interrupt has come since the training began.

    Attributes:
        requested: whether one has come to this process.
        to_end: whether it was a request that the process end, and not Ctrl-C, which is about the training.
    """

    def __init__(self, team: SingleProcess):
        self.team = team
        self.requested = False
        self.to_end = False

    def __call__(self, step: int) -> bool:
        """Whether to end after a step, to be asked after each: one has come to any process, and all know of it."""
        return agreed(self.team, step, self.requested)

    def note(self, number: int, frame: object) -> None:
        """The handler of the signals."""
        if self.requested:  # the second time it is urgent
            raise KeyboardInterrupt
        self.requested, self.to_end = True, number == signal.SIGTERM

    def take_its_course(self) -> None:
        """End the process as it had been asked to, now that all is saved.

        Else the program would go on with a pair that is not trained, and nothing that asked it to end would know why.
        """
        if self.to_end:
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def interruptible(team: SingleProcess) -> Iterator[Interruption]:
    """Note the first interrupt in place of ending at once; the caller's handlers are back afterwards.

    A handler of the user's own is left alone, and so are threads, which no interrupt reaches.
    """
    interruption, before = Interruption(team), {}
    if threading.current_thread() is threading.main_thread():
        before = {number: usual for number, usual in _SIGNALS.items() if signal.getsignal(number) is usual}
    try:
        for number in before:
            signal.signal(number, interruption.note)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
