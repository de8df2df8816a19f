"""Whether a pair is from step to step what it was when its graphs were made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import pyro
import torch

from pyrovae.staged.pair_code.fields import Field
from pyrovae.staged.pair_code.reachable import Reachable
from pyrovae.staged.pair_code.user_code import UserCode, profiled
from pyrovae.staged.pair_code.watch import Watch, difference, moved_numbers, rebound, steady, steady_contents
from pyrovae.staged.settings import Shown
from pyrovae.staged.unstageable import Unstageable


class Changes:
    """Looks, before each step, at all that passes can have read."""

    def __init__(self, places: Callable[[], Iterable[Any]], shown: Shown):
        self.shown = shown
        self.seconds_to_trace: float | None = None  # that the last graph took
        self._places = places
        self._code = UserCode()
        self._watch: Watch | None = None
        self._grads: list[tuple[str, torch.Tensor, bool]] = []

    def seen(self) -> AbstractContextManager[None]:
        """See what of the user's code the pass runs that is made inside."""
        return profiled(self._code)

    @property
    def draws(self) -> str | None:
        """The line at which the pair was seen to draw random numbers that are not torch's."""
        return self._code.draws

    def look(self) -> Reachable:
        """Everything that the pair's code can reach now.

        Raises:
            Unstageable: it reads what no graph can follow: a clock, an iterator.
        """
        if self._code.clock is not None:
            raise Unstageable(
                f"the pair reads the clock ({self._code.clock}), which would stand still in a graph; give what depends "
                "on the time as an argument, or to temper= as a schedule"
            )
        return Reachable(self._code, self._places())

    def compare(self, last: Reachable, before: Reachable, after: Reachable) -> list[Field]:
        """Compare what two passes have left behind, and watch from now on what they leave alone.

        Args:
            last: after an earlier pass on such a batch.
            before: before a second pass.
            after: after it.

        Returns:
            The places where a pass puts tensors in the place of others: it must not read those in the next one.

        Raises:
            Unstageable: a pass changes what the next one may read.
        """
        self._code.given.clear()  # objects of single passes
        words = difference(last, before, after)
        if words is not None:
            raise Unstageable(f"the pair counts its passes, or keeps something from one to the next: {words}")
        if (words := moved_numbers(before, after)) is not None:
            raise Unstageable(
                f"the pair puts other numbers behind a tensor that it holds, {words} (.data = ...); write into it "
                "(add_, copy_)"
            )
        left_alone = steady(before, after)
        contents = steady_contents(before, after)
        self._watch = Watch([*left_alone, *self._stored()], after.registries, contents)
        tensors = {id(tensor): (name, tensor) for name, tensor in self.shown.parameters.items()}
        for field in left_alone:  # Pyro shows no parameter that is frozen
            if isinstance(field.value, torch.nn.Parameter):
                tensors.setdefault(id(field.value), (field.words, field.value))
        self._grads = [(name, tensor, tensor.requires_grad) for name, tensor in tensors.values()]
        return rebound(before, after)

    def _stored(self) -> list[Field]:
        """The places in Pyro's store that hold the parameters."""
        store: Any = pyro.get_param_store()
        own = {id(tensor) for tensor in self.shown.parameters.values()}
        held = [(name, value) for name, value in store._params.items() if id(value) in own]
        return [
            Field("Pyro's parameter store", vars(store), "_params", store._params),
            *(Field(f"parameter {name!r} in Pyro's store", store._params, name, value) for name, value in held),
        ]

    # --- before and after a step ------------------------------------------------------------------------

    def found(self) -> str | None:
        """The first thing that is another one than before, in words."""
        return None if self._watch is None else self._watch.changed() or self._frozen_or_freed()

    def forget(self) -> None:
        """Watch nothing, until passes are compared anew."""
        self._watch = None

    def _frozen_or_freed(self) -> str | None:
        for name, tensor, before in self._grads:
            if tensor.requires_grad is not before:
                return f"requires_grad of {name!r} was {before} and is {not before}"
        return None

    def passed(self) -> None:
        """A pass was made by Pyro; what it has changed is not the user's doing."""
        if self._watch is not None:
            self._watch.forget_changes()
