"""The errors and the warning of this package: each says what is wrong, where, and how to mend it."""

from __future__ import annotations


class PyrovaeError(Exception):
    """Base of every error that this package raises on purpose."""


class ArgumentError(PyrovaeError, ValueError):
    """An argument has a value that cannot work."""


class DataError(PyrovaeError, ValueError):
    """The data cannot be used as they are: holes, wrong shape, wrong type, outside a support."""


class PairError(PyrovaeError, ValueError):
    """A model and a guide that do not fit each other or the data."""


class FileError(PyrovaeError, OSError):
    """A file or folder that cannot be read or written, is damaged, or belongs to something else."""


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
