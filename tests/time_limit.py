"""A limit on the time of each test: one that waits for something that never comes ends, in words, with its children."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# No test takes half as long, on a machine that does three other things besides.
SECONDS = 240.0


@contextlib.contextmanager
def limited(seconds: float, name: str, before: set[int] | None = None) -> Iterator[None]:
    """Ends what runs within after so many seconds: children that were not there before are killed, the test fails.

    Where Python itself no longer answers, `faulthandler_timeout` in pyproject.toml ends the whole process.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = children() if before is None else before

    def end(number: int, frame: object) -> None:
        for child in children() - before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        pytest.fail(f"{name} took longer than {seconds:g} s, and was ended")

    handler = signal.signal(signal.SIGALRM, end)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, outer)
        signal.signal(signal.SIGALRM, handler)


def children(process: int | str = "self") -> set[int]:
    """Processes that this one has started, and those have started; none where the system does not list them."""
    lists = Path(f"/proc/{process}/task").glob("*/children")
    with contextlib.suppress(OSError):  # one that ends while it is looked at
        own = {int(child) for each in lists for child in each.read_text().split()}
        return own.union(*map(children, own))
    return set()
