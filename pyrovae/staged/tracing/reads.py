"""What a pair may read of its tensors while it is traced: nothing that the graph could not repeat."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pyro.infer.traceenum_elbo
import pyro.util
import torch
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.overrides import TorchFunctionMode

from pyrovae.pairs.looks.isolation import validation
from pyrovae.staged.pair_code.user_lines import place
from pyrovae.staged.tracing.batch_reads import BatchReading, BatchReads
from pyrovae.staged.tracing.provenance import Provenance
from pyrovae.staged.unstageable import Unstageable

# Each turns a tensor into something that Python can branch on.
_READERS = ("item", "tolist", "numpy", "__array__", "__bool__", "__float__", "__int__", "__index__")


class Guard:
    """A tensor whose value was read while tracing, and the value: the graph holds only while it stays the same."""

    def __init__(self, tensor: torch.Tensor, read: Callable[[torch.Tensor], Any]):
        self.tensor = tensor
        self._before = tensor.detach().clone()
        self._version = None if tensor.is_inference() else tensor._version
        self.value = read(tensor)

    def holds(self) -> bool:
        """Whether the tensor still has that value."""
        return torch.equal(self.tensor, self._before)

    def may_have_moved(self) -> bool:
        """Whether anything was written into the tensor since it was last looked at; this costs next to nothing."""
        if self._version is None or self.tensor._version == self._version:
            return False
        self._version = self.tensor._version
        return not self.holds()


class TracedReads:
    """Decides about each value that is read: Pyro's own reports, constants of the pair, the batch, or a refusal."""

    def __init__(self, constants: Iterable[torch.Tensor], traced: Traced):
        self.guards: list[Guard] = []
        self.provenance = Provenance(traced.others, self.data, traced.like)
        self._constants = {id(tensor) for tensor in constants}
        self._traced = {id(tensor) for tensor in traced.inputs}
        self._batch = BatchReading(traced.sources) if traced.may_read_batch else None
        self._thread = threading.get_ident()

    def of_batch(self, rewritten: Collection[Node]) -> BatchReads | None:
        """What was read of the batch and is needed still; see `BatchReading.finished`."""
        return None if self._batch is None else self._batch.finished(rewritten)

    def reader(self, name: str) -> Callable[..., Any]:
        """What stands in for a method of `torch.Tensor` while tracing."""
        original = getattr(torch.Tensor, name)

        def read(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self._thread:
                return original(tensor, *args, **kwargs)
            asking = sys._getframe(1).f_globals.get("__name__", "")
            # An ELBO reports its loss as a number; here the number is an output of the graph.
            if name == "item" and asking.startswith("pyro.infer"):
                return tensor.detach()
            # Enumeration asks whether any probability is 0, and then leaves out what is masked: see `_zeroed`.
            if name == "__bool__" and asking == "pyro.infer.util":
                return False
            if self._is_constant(tensor):
                with disable_proxy_modes_tracing():
                    self.guards.append(Guard(tensor, lambda t: original(t, *args, **kwargs)))
                return self.guards[-1].value
            return self.data(
                lambda t: _copied(original(t, *args, **kwargs)),
                [tensor],
                f"{_call(name)} in {place()}",
                kind=f"{name}{args}{kwargs}",
            )

        return read

    def data(
        self,
        reader: Callable[..., Any],
        tensors: Sequence[torch.Tensor],
        words: str,
        kind: str,
        needed_by: Node | None = None,
    ) -> Any:
        """A value that was read of the batch, and nothing else.

        Args:
            reader: gives the value of the tensors.
            tensors: the tensors.
            words: what reads, and where.
            kind: what tells the reader from others.
            needed_by: the operation of the trace whose shape it decides.

        Raises:
            Unstageable: they depend on parameters or on random draws, so that no graph can hold for their value.
        """
        if not self.provenance.of_batch(tensors):
            raise Unstageable(
                f"the pair reads a value that parameters or random draws decide ({words}), on which what it does may "
                "depend; keep it a tensor: torch.where(condition, this, that) for an if, clamp for a bound"
            )
        if self._batch is None:
            raise Unstageable(
                f"the pair reads a value of its batch ({words}), of which each process has another part; train in one "
                "process, or keep it a tensor"
            )
        return self._batch.read(reader, tensors, words, kind, needed_by)

    def _is_constant(self, tensor: torch.Tensor) -> bool:
        if id(tensor) in self._constants:
            return True
        # A tensor that was there before and is no input: an attribute of the user's own.
        return id(tensor) not in self._traced and not _is_tracked(tensor)


class Traced(NamedTuple):
    """The inputs of a trace, by what may be read of them."""

    inputs: Sequence[torch.Tensor]
    sources: Sequence[int | torch.Tensor]  # for each of them its place in the batch, or the tensor itself
    others: Sequence[torch.Tensor]  # those of which nothing may be read: they change from step to step
    may_read_batch: bool
    like: Sequence[Any] | None = None  # the operations that are expected


def _is_tracked(tensor: torch.Tensor) -> bool:
    """Whether tracing has seen the tensor come out of an operation."""
    from torch.fx.experimental.proxy_tensor import get_proxy_mode, has_proxy_slot

    mode = get_proxy_mode()
    return mode is not None and has_proxy_slot(tensor, mode.tracer)


def _copied(value: Any) -> Any:
    """A value that stays what it is when the tensor it was read of changes."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _call(name: str) -> str:
    return f"{name.strip('_')}()" if name.startswith("__") else f".{name}()"


def _zeroed(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Stands in for `masked_select` where only the sum matters: its shape does not depend on values."""
    if sys._getframe(1).f_globals.get("__name__") != "pyro.infer.util":
        return torch.masked_select(tensor, mask)
    return torch.where(mask, tensor, 0).reshape(-1)


def _first(scales: Any) -> Any:
    """Stands in for Pyro's comparison of scales by value, which the plain passes before have made."""
    return scales[0]


class _WithoutChecks(TorchFunctionMode):
    """torch's functions that read values only to check them, without that; Pyro's plain passes have checked."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.one_hot:
            return _one_hot(*args, **kwargs)
        return func(*args, **kwargs)


def _one_hot(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    if num_classes < 1:
        num_classes = int(tensor.max()) + 1
    return (tensor.unsqueeze(-1) == torch.arange(num_classes, device=tensor.device)).long()


@contextmanager
def traceable(constants: Iterable[torch.Tensor], traced: Traced) -> Iterator[TracedReads]:
    """Make Pyro's passes traceable: its reports of numbers are tensors, its validation is off.

    The checks that are off have been made by the plain passes before, are made again by the pass that repeats
    a step whose figures went bad, and supports of data are checked where the data come in.

    Args:
        constants: tensors that a pair may read, since no step changes them.
        traced: the inputs of the graph.

    Yields:
        What was read.
    """
    reading = TracedReads(constants, traced)
    with ExitStack() as stack:
        stack.enter_context(validation(False))
        stack.enter_context(unvalidated())
        for name in _READERS:
            stack.enter_context(mock.patch.object(torch.Tensor, name, reading.reader(name)))
        stack.enter_context(mock.patch.object(torch.Tensor, "masked_select", _zeroed))
        stack.enter_context(_WithoutChecks())
        for name in ("torch_isnan", "torch_isinf"):
            stack.enter_context(mock.patch.object(pyro.util, name, return_value=False))
        stack.enter_context(mock.patch.object(pyro.infer.traceenum_elbo, "_get_common_scale", _first))
        yield reading


@contextmanager
def unvalidated() -> Iterator[None]:
    """Distributions do not check themselves, not even those that were asked to by `validate_args=True`."""
    kind = torch.distributions.Distribution
    original = kind.__init__

    def unchecked(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args[:2], **{**kwargs, "validate_args": False})

    with (
        mock.patch.object(kind, "__init__", unchecked),
        mock.patch.object(kind, "_validate_sample", return_value=None),
    ):
        yield
