"""The routes of one shape of batch, where graphs hold for values of the batch only: one route for each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from pyrovae.data.batch_sources import Batch
from pyrovae.staged.batch_leaves import leaves_of
from pyrovae.staged.routes.inert_reads import InertReads, InertTrial
from pyrovae.staged.routes.step_route import StepRoute
from pyrovae.staged.tracing.batch_reads import BatchReads, Values

GRAPHS = 16  # that are kept for one shape of batch; of more, the least recently used goes

_DROPPED = 16  # graphs after which no new ones are made: they take longer than they save

_MET = 32  # values after which it is asked whether they ever come again

_BEFORE_TRIAL = 2  # other values that wait for graphs of their own, before it is asked whether they need any

_ROUTES = 256  # of values; beyond them all others have one


class _Branch:
    """The route of those batches that come as far as here, and where the others go on, by what the graph here reads."""

    def __init__(self, route: StepRoute):
        self.route = route
        self.reads: BatchReads | None = None
        self.inert: InertReads
        self.others: dict[Values | None, _Branch] = {}


class ValueRoutes:
    """Finds the route of a batch by the values that graphs were made for.

    A graph with which a batch goes on is one whose own reads give of this batch what they gave when it was traced: by
    induction, the pair then does the same, read by read.

    Attributes:
        rest: the one route of all further values, once there are too many.
        trial: of the batch that was looked for last, where its graph may hold for its values, and has to show it.
    """

    def __init__(self, make: Callable[[str | None], StepRoute]):
        """Begin with one route for all batches.

        Args:
            make: makes a route; of one that is to stay on the plain path, the argument says why.
        """
        self._make = make
        self._first = _Branch(make(None))
        self._branches = {id(self._first.route): self._first}
        self._held: OrderedDict[int, _Branch] = OrderedDict()  # those with a graph, the least recently used first
        self._dropped = 0
        self._found = 0
        self.rest: StepRoute | None = None
        self.trial: InertTrial | None = None

    def __iter__(self) -> Iterator[StepRoute]:
        yield from (branch.route for branch in self._branches.values())
        if self.rest is not None:
            yield self.rest

    @property
    def first(self) -> StepRoute:
        """The route of the batches before anything was known to be read."""
        return self._first.route

    @property
    def words(self) -> str:
        """How many graphs there are, and for values of what."""
        reads = self._first.reads
        if reads is None:
            return ""
        if self._first.inert.known:
            return f"one graph for all values of {reads.words}, which change nothing in it"
        count = len(self._held)
        return f"{count} graph{'s' * (count != 1)} by the value of {reads.words}"

    def find(self, batch: Batch) -> StepRoute:
        """The route of a batch, by its tensors."""
        branch, known, self.trial = self._first, dict[Any, Values | None](), None
        leaves = leaves_of(batch)
        while branch.reads is not None:
            reads = branch.reads
            values = known[reads.signature] = known.get(reads.signature) or reads.of(leaves)
            if branch.inert.hold(values) or self._tries(branch, values, batch):
                break
            if values not in branch.others:
                rest = self._rest_for(reads)
                if rest is not None:
                    return rest
                branch.others[values] = self._new()
            branch = branch.others[values]
        self._found += 1
        if id(branch.route) in self._held:
            self._held.move_to_end(id(branch.route))
        return branch.route

    def _tries(self, branch: _Branch, values: Values | None, batch: Batch) -> bool:
        """Whether the graph of a branch is to be tried on a batch of other values, some of which were met before."""
        route, inert = branch.route, branch.inert
        ready = route.name != "plain" and route.outdated is None and len(branch.others) >= _BEFORE_TRIAL
        if not ready or values is None or not inert.may_hold(values):
            return False
        if inert.wants_tracing:
            if not route.graph.repeats(batch):
                inert.refute()
                return False
            inert.traced()
        route.graph.inert.update(inert.differing(values))
        self.trial = InertTrial(inert, values)
        return True

    def _new(self) -> _Branch:
        branch = _Branch(self._make(None))
        self._branches[id(branch.route)] = branch
        return branch

    def decided(self, route: StepRoute, batch: Batch, index: int) -> None:
        """A route may have got a graph, or lost it."""
        branch = self._branches.get(id(route))
        if branch is None:
            return
        if route.name == "plain":
            self._held.pop(id(route), None)
        elif id(route) not in self._held:
            branch.reads = route.graph.reads
            if branch.reads is not None:
                branch.inert = InertReads(branch.reads)
            self._held[id(route)] = branch
            self._drop_seldom_used(batch, index)

    def _drop_seldom_used(self, batch: Batch, index: int) -> None:
        """Drop the graph that was not used for longest, where there are too many."""
        while len(self._held) > GRAPHS:
            _, branch = self._held.popitem(last=False)
            branch.route.drop_graph(batch, index)
            self._dropped += 1
            if self._dropped >= _DROPPED and branch.reads is not None:
                self._stop_tracing(branch.reads, seldom=False)

    # --- too many values ------------------------------------------------------------------------------

    def _rest_for(self, reads: BatchReads) -> StepRoute | None:
        """The one route of all further values, once there are too many."""
        met = len(self._branches)
        seldom = met > _MET and 2 * met > self._found
        if self.rest is None and (met >= _ROUTES or seldom):
            self._stop_tracing(reads, seldom=seldom)
        return self.rest

    def _stop_tracing(self, reads: BatchReads, *, seldom: bool) -> None:
        """Make no more graphs; those that are there go on."""
        why = self._words(reads, seldom=seldom)
        self.rest = self._make(why)
        for branch in self._branches.values():
            if branch.route.name == "plain":
                branch.route.stay_plain(why)

    def _words(self, reads: BatchReads, *, seldom: bool) -> str:
        found = "is another one in most batches" if seldom else f"has more values than {GRAPHS} graphs can hold for"
        return (
            f"a value that the pair reads of its batch ({reads.words}) {found}; read less of it (a comparison in place "
            "of a number, a length rounded up), or use masks and torch.where, which read nothing"
        )
