"""What an author says of a pair by an attribute: on the pair, on its class, or on its model function."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from pyrovae.pairs.pair import unwrapped


def declared(pair: Any, name: str) -> bool:
    """Whether the pair, or its model, has a true attribute of that name."""
    pair = unwrapped(pair)
    return any(bool(getattr(one, name, False)) for one in (pair, *_layers(pair.model)))


def _layers(function: Any) -> Iterator[Any]:
    """A function and those inside of partials, of which Pyro's handlers are some."""
    yield function
    if isinstance(function, functools.partial):
        for inner in (function.func, *function.args):
            if callable(inner):
                yield from _layers(inner)
