"""Two passes of Pyro's on one shape of batch, looked at: what they read, and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyrovae.staged.pair_code.changes import Changes
from pyrovae.staged.pair_code.fields import Field
from pyrovae.staged.pair_code.reachable import Reachable
from pyrovae.staged.unstageable import Unstageable


class Examination:
    """Finds out, before anything is traced, whether passes change what the next one reads.

    Attributes:
        done: whether two passes were looked at.
        words: why no graph can follow the pair; None where the last pass gave no reason.
        rebound: where a pass puts tensors in the place of others.
    """

    def __init__(self, changes: Changes):
        self.done = False
        self.words: str | None = None
        self.rebound: list[Field] = []
        self._changes = changes
        self._last: Reachable | None = None  # what the pass before has left behind

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look at the pass that is made inside."""
        storages = [(parameter, parameter.data_ptr()) for parameter in self._changes.shown.parameters.values()]
        self.words = None
        before = self._look() if self._last is not None else None
        with self._changes.seen():
            yield
        after = self._look()
        if any(parameter.data_ptr() != storage for parameter, storage in storages):
            self.words = (
                "the pair puts other numbers behind a parameter (.data = ...); write into it under torch.no_grad() "
                "(copy_, clamp_), or train it under a constraint"
            )
        last, self._last = self._last, after
        if last is not None and before is not None and after is not None:
            self._compare(last, before, after)

    def _compare(self, last: Reachable, before: Reachable, after: Reachable) -> None:
        try:
            self.rebound = self._changes.compare(last, before, after)
            self.done = True
        except Unstageable as error:
            self.words = self.words or str(error)

    def _look(self) -> Reachable | None:
        try:
            return self._changes.look()
        except Unstageable as error:
            self.words = self.words or str(error)
        except Exception as error:  # an object of the user's that cannot be asked for its attributes, say
            self.words = self.words or f"what the pair keeps cannot be looked at ({type(error).__name__}: {error})"
        return None
