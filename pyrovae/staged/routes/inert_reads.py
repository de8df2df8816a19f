"""Which numbers that a pair reads of its batch change nothing in its graph: the largest count of a Multinomial, say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pyrovae.staged.rewriting.graphs import attribute
from pyrovae.staged.tracing.batch_reads import BatchReads, Values
from pyrovae.staged.tracing.capture import Captured
from pyrovae.staged.tracing.writes import storage_of

_TRACED = 2  # other values for which the same graph has to come out

_KNOWN = 32  # values that were compared, after which those between the least and the largest need no comparison

_MOST = 64  # comparisons after which they may be no more than half of what is done


class InertReads:
    """Finds out at which values of its reads a graph holds besides those that it was traced at.

    A number that is read may decide what a pair does, or stand in its graph, or reach nothing at all. At two other
    values the pair is traced again, and the same graph has to come out, every constant in it: then no operation takes
    the number. What is left is that the pair decides by it elsewhere: so each further value is first met in a step of
    Pyro's own, which the graph has to repeat. After enough of them, those between the least and the largest count as
    known.

    Attributes:
        refuted: whether any number made a difference.
    """

    def __init__(self, reads: BatchReads):
        self.refuted = False
        self._reads = reads
        self._known: set[Values] = set()
        self._bounds: dict[int, tuple[float, float]] = {}  # by the place of a read
        self._traced = 0
        self._compared = self._asked = 0

    @property
    def known(self) -> bool:
        """Whether the graph was found to hold for any other value."""
        return bool(self._known) and not self.refuted

    def hold(self, values: Values | None) -> bool:
        """Whether the graph is known to hold for these values."""
        if values == self._reads.values:
            return True
        if values is None or self.refuted or not self._known:
            return False
        self._asked += 1
        return values in self._known or (len(self._known) >= _KNOWN and self._between(values))

    def _between(self, values: Values) -> bool:
        return all(
            place in self._bounds and self._bounds[place][0] <= float(values[place]) <= self._bounds[place][1]
            for place in self.differing(values)
        )

    def differing(self, values: Values) -> list[int]:
        """The places of the reads that give another value."""
        return [place for place, value in enumerate(values) if value != self._reads.values[place]]

    def may_hold(self, values: Values | None) -> bool:
        """Whether it is worth finding out whether the graph holds for these values: numbers alone differ."""
        if values is None or self.refuted:
            return False
        if self._compared >= _MOST and 2 * self._compared > self._asked:
            self.refuted = True  # hardly any value comes again: comparing takes longer than a plain step
        return not self.refuted and all(self._reads.numbers[place] for place in self.differing(values))

    @property
    def wants_tracing(self) -> bool:
        """Whether a graph for the next value has to be compared with this one."""
        return self._traced < _TRACED

    def traced(self) -> None:
        """Another value gave the same graph."""
        self._traced += 1

    def confirm(self, values: Values) -> None:
        """The graph has repeated a step of Pyro's at these values."""
        self._compared += 1
        self._known.add(values)
        for place in self.differing(values):
            least, largest = self._bounds.get(place, 2 * (float(self._reads.values[place]),))
            now = float(values[place])
            self._bounds[place] = min(least, now), max(largest, now)

    def refute(self) -> None:
        """A number does make a difference."""
        self.refuted = True


class InertTrial(NamedTuple):
    """A step in which a graph has to repeat Pyro's own, at values that it is not known to hold for."""

    reads: InertReads
    values: Values


class Print(NamedTuple):
    """All that makes up a traced pass, so that two can be compared."""

    code: str
    constants: Sequence[torch.Tensor]
    rest: object


def print_of(captured: Captured) -> Print:
    """The print of a pass as `capture` gives it, before the graph is made quicker."""
    nodes = (node for node in captured.graph.graph.nodes if node.op == "get_attr")
    constants = [attribute(captured.graph, str(node.target)) for node in nodes]
    guards = [(tuple(guard.tensor.shape), guard.tensor.dtype) for guard in captured.guards]
    written = [storage_of(tensor) for tensor in captured.written]
    signature = captured.reads.signature if captured.reads is not None else None
    rest = (captured.graded, captured.state, captured.size, guards, written, signature)
    return Print(captured.graph.graph.python_code("self").src, constants, rest)


def same_print(one: Print, other: Print) -> bool:
    """Whether two traced passes are one: the same operations on the same numbers."""
    # A tensor of the pair's own is the same one in both, and guarded; another was made of a number inside the pass.
    same = one.code == other.code and one.rest == other.rest and len(one.constants) == len(other.constants)
    return same and all(map(_same_constant, one.constants, other.constants))


def _same_constant(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one is other:
        return True
    alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    return alike and one.stride() == other.stride() and torch.equal(one, other)
