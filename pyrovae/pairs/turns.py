"""One thread at a time runs pairs: Pyro's handlers, its store and the random generators are one for a process."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch
from pyro.poutine.runtime import _PYRO_STACK

from pyrovae.errors import ArgumentError
from pyrovae.pairs.argument_names import asked

logger = logging.getLogger("pyrovae")

_LONG = 5.0  # seconds after which somebody who waits wants to know for what

_In = ParamSpec("_In")
_Out = TypeVar("_Out")


class _Turns:
    """The lock, and who holds it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.holder = ""

    def take(self) -> None:
        if not self.lock.acquire(timeout=_LONG):
            logger.warning(
                "waiting for thread %r, which runs a pair: Pyro's state is one for a whole process, so that one thread "
                "at a time runs pairs. It has its turn when fit is over, or between two steps of pyrovae.steps.",
                self.holder,
            )
            self.lock.acquire()
        self.holder = threading.current_thread().name


_turns = _Turns()


@contextmanager
def turn() -> Iterator[None]:
    """What runs pairs happens inside: threads wait for each other, and Pyro's handlers are afterwards as they were.

    A thread that has its turn may take it again.
    """
    _check_default_device()
    turns = _turns  # of this process: a fork has turns of its own
    turns.take()
    handlers = _PYRO_STACK[:]
    try:
        yield
    finally:
        _PYRO_STACK[:] = handlers
        turns.lock.release()


def in_turn(function: Callable[_In, _Out]) -> Callable[_In, _Out]:
    """A function that runs pairs, from its beginning to its end in one turn: no other thread trains meanwhile.

    Its first argument is the pair, by whose names sentences call the data.
    """

    @functools.wraps(function)
    def taking_turns(*args: _In.args, **kwargs: _In.kwargs) -> _Out:
        with turn(), asked(args[0] if args else None):
            return function(*args, **kwargs)

    return taking_turns


def _check_default_device() -> None:
    if torch.get_default_device().type == "meta":
        raise ArgumentError(
            "torch's default device is 'meta', whose tensors hold no numbers, so that nothing can be computed. Set it "
            "back first: torch.set_default_device('cpu'), or leave the block `with torch.device('meta'):`."
        )


def _anew() -> None:
    """In a fork, the thread that may have held the lock does not exist."""
    global _turns
    _turns = _Turns()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
