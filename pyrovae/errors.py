"""The errors and the warning of this package: each says what is wrong, where, and how to mend it."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PyrovaeError(Exception):
    """Base of every error that this package raises on purpose."""


class ArgumentError(PyrovaeError, ValueError):
    """An argument has a value that cannot work."""


class DataError(PyrovaeError, ValueError):
    """The data cannot be used as they are: holes, wrong shape, wrong type, outside a support."""


class PairError(PyrovaeError, ValueError):
    """A model and a guide that do not fit each other or the data."""


class FileError(PyrovaeError, OSError):
    """A file or folder that cannot be read or written, is damaged, or belongs to something else.

    `newer` says that a later version of this package wrote it.
    """

    def __init__(self, message: str, *, newer: bool = False):
        super().__init__(message)
        self.newer = newer


class DivergedError(PyrovaeError, ArithmeticError):
    """A loss or a gradient that is not finite; the weights are those before the failing step."""

    def __init__(self, message: str, *, step: int, site: str | None, checkpoint: str | None = None):
        super().__init__(message)
        self.step = step
        self.site = site
        self.checkpoint = checkpoint


class ParallelError(PyrovaeError, RuntimeError):
    """One of several processes that train together was lost."""


class PyrovaeWarning(UserWarning):
    """Something that works but probably does not do what its author meant."""


def warn_user(words: str) -> None:
    """Warn, at the line of the code that called into this package.

    Args:
        words: what is to be known.
    """
    level, frame, between = 2, inspect.currentframe(), _between()
    frame = frame and frame.f_back
    while frame is not None and frame.f_code.co_filename.startswith(between):
        level, frame = level + 1, frame.f_back
    warnings.warn(words, PyrovaeWarning, stacklevel=level if frame is not None else 2)


def _between() -> tuple[str, ...]:
    """Whose lines are not the user's: ours, and of those that call ours, as `skip_file_prefixes` of Python 3.12."""
    known = (sys.modules.get(name) for name in ("pyrovae", "torch", "pyro"))
    return (contextlib.__file__, *(os.path.dirname(str(one.__file__)) + os.sep for one in known if one))


# --- how sentences call arguments ---------------------------------------------------------------------
def _in_python(name: str, value: str) -> str:
    return f"{name}={value}"


_spellings: list[Callable[[str, str], str]] = [_in_python]


def argument(name: str, *value: object, text: str = "") -> str:
    """An argument as a sentence calls it: in Python's way, or in that of the program that shows the sentence.

    Args:
        name: of the argument.
        *value: what it is, if that is said.
        text: code that stands for a value, in place of one.

    Examples:
        >>> f"{argument('epochs', -1)}; give a whole number. Stop early ({argument('patience')})."
        'epochs=-1; give a whole number. Stop early (patience=).'
    """
    return _spellings[-1](name, repr(*value) if value else text)


@contextmanager
def spelled(spelling: Callable[[str, str], str]) -> Iterator[None]:
    """Let sentences that are made inside call arguments by `spelling(name, value)`, both texts.

    As with translations, the whole process speaks one way at a time, threads included.

    Examples:
        >>> with spelled(lambda name, value: f"--{name} {value}"):
        ...     argument("epochs", -1)
        '--epochs -1'
    """
    _spellings.append(spelling)
    try:
        yield
    finally:
        _spellings.pop()
