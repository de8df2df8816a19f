"""Ctrl-C during training: wait until a step is complete, so that what is saved is sound."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyrovae.training.parallel.team import SingleProcess, agreed


class Interruption:
    """Whether an interrupt has come since the training began."""

    def __init__(self):
        self.requested = False

    def _note(self, number, frame) -> None:
        if self.requested:  # the second time it is urgent
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def deferred_interrupts(*, terminate: bool = False) -> Iterator[Interruption]:
    """Note the first interrupt in place of raising it; the caller's handler is back afterwards.

    A handler of the user's own is left alone, and so are threads, which no interrupt reaches.

    Args:
        terminate: the same for a request to end, which comes to each of several processes when one of them is lost.
    """
    interruption = Interruption()
    ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield interruption
        return
    before = {signal.SIGINT: signal.default_int_handler}
    if terminate and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        before[signal.SIGTERM] = signal.SIG_DFL  # type: ignore[assignment]
    for number in before:
        signal.signal(number, interruption._note)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(team: SingleProcess) -> Iterator[Callable[[int], bool]]:
    """Whether to end after a step, to be asked after each: an interrupt has come to any process, and all know of it."""
    with deferred_interrupts(terminate=team.size > 1) as interruption:
        yield lambda step: agreed(team, step, interruption.requested)
