"""What sentences call an argument of a pair: as the model's signature has it, where it says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pyrovae.pairs.pair import HasPair, unwrapped

# Data are looked at where no pair is in sight: whose they are is known to whoever was asked.
_asked: ContextVar[Any] = ContextVar("pyrovae_asked", default=None)


@contextmanager
def asked(pair: Any) -> Iterator[None]:
    """What is said inside is said of the data of this pair; what is no pair leaves it at the one before."""
    before = _asked.set(pair if isinstance(pair, HasPair) else _asked.get())
    try:
        yield
    finally:
        _asked.reset(before)


@contextmanager
def asked_of_nothing() -> Iterator[None]:
    """What is said inside is of arrays by themselves, which no signature names."""
    before = _asked.set(None)
    try:
        yield
    finally:
        _asked.reset(before)


def argument_words(name: int | str) -> str:
    """How an argument is spoken of: `argument 'counts'`, and `argument 0` where nothing says what it is called."""
    if isinstance(name, int) and (pair := _asked.get()) is not None:
        known = positional_names(pair.model) or positional_names(unwrapped(pair).model)
        name = known[name] if name < len(known) else name
    return f"argument {name!r}"


def positional_names(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters that take arguments by position; none where the function says none."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []  # a builtin, or no function at all
    return [one.name for one in parameters if one.kind < one.VAR_POSITIONAL]
