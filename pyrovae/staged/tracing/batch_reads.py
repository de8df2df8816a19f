"""What a pair reads of a batch while it is traced: the values that a graph holds for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_proxy_mode,
    get_proxy_slot,
    has_proxy_slot,
)

from pyrovae.staged.unstageable import Unstageable

Reader = Callable[..., Any]

Values = tuple[Any, ...]

_LARGEST = 4_096  # numbers that a value may hold; what reads more of a batch never meets the same again


class BatchReads(NamedTuple):
    """What a trace has read of its batch, as a function of any batch.

    Attributes:
        function: gives the tensors that are read, from those of `sources`.
        sources: the places of the batch's tensors, and tensors that stay (buffers, an author's own).
        readers: what reads each of them, and how many tensors it takes.
        values: what was read: the graph holds for these.
        words: where the first of them was read.
        signature: the same for all that read the same in the same way.
        numbers: for each value whether it is one number, neither a truth value nor the length of a selection.
    """

    function: Callable[..., Sequence[torch.Tensor]]
    sources: tuple[int | torch.Tensor, ...]
    readers: tuple[tuple[Reader, int], ...]
    values: Values
    words: str
    signature: Any
    numbers: tuple[bool, ...]

    @torch.no_grad()
    def of(self, leaves: Sequence[torch.Tensor]) -> Values | None:
        """The values of another batch; None where they cannot be read."""
        try:
            tensors = list(self.function(*(leaves[one] if isinstance(one, int) else one for one in self.sources)))
            values = []
            for reader, count in self.readers:
                values.append(_key(reader(*tensors[:count])))
                del tensors[:count]
            return tuple(values)
        except Exception:
            return None  # on such a batch the pair would not have come as far as this read

    @property
    def held(self) -> list[torch.Tensor]:
        """The tensors that stay."""
        return [one for one in self.sources if isinstance(one, torch.Tensor)]


class _Record(NamedTuple):
    """One value that was read."""

    reader: Reader
    nodes: list[Node]  # of the way there
    value: Any
    number: bool
    words: str
    kind: str
    needed_by: Node | None  # the operation of the trace whose shape it decides


class BatchReading:
    """Collects the reads of one trace, and the operations that lead to them."""

    def __init__(self, inputs: Sequence[int | torch.Tensor]):
        """Begin.

        Args:
            inputs: for each input of the trace its place in the batch, or the tensor itself.
        """
        self._inputs = inputs
        self._graph = Graph()
        self._copies: dict[Any, Node] = {}
        self._sources: list[int | torch.Tensor] = []
        self._last: Node | None = None  # of the graph's own inputs
        self._varying: set[Node] = set()  # what depends on any input
        self._records: list[_Record] = []

    def read(
        self, reader: Reader, tensors: Sequence[torch.Tensor], words: str, kind: str, needed_by: Node | None = None
    ) -> Any:
        """The value that a reader gives of tensors, from now on one of those that the graph holds for.

        Args:
            reader: a function of tensors.
            tensors: they depend on the inputs of the trace alone.
            words: what reads, and where.
            kind: what tells the reader from others.
            needed_by: the operation of the trace that needs it; where that is rewritten, nothing does.
        """
        with disable_proxy_modes_tracing():
            value = reader(*tensors)
        if np.size(value) > _LARGEST:
            raise Unstageable(
                f"the pair reads {np.size(value):,} numbers of its batch ({words}), which are others in each batch; "
                "keep them tensors"
            )
        found = [self._copy_of(tensor) for tensor in tensors]
        if not self._varying.intersection(found):
            return value  # of constants, which are the same in each pass
        number = isinstance(value, int | float) and not isinstance(value, bool) and needed_by is None
        self._records.append(_Record(reader, found, _key(value), number, words, kind, needed_by))
        return value

    def finished(self, rewritten: Collection[Node]) -> BatchReads | None:
        """All that was read; None where nothing was.

        Args:
            rewritten: operations of the trace that need no value any more.
        """
        records = [one for one in self._records if one.needed_by is None or one.needed_by not in rewritten]
        if not records:
            return None
        self._graph.output([node for record in records for node in record.nodes])
        self._graph.eliminate_dead_code()
        module = GraphModule({}, self._graph)
        fixed = tuple(one if isinstance(one, int) else id(one) for one in self._sources)
        return BatchReads(
            module.forward,
            tuple(self._sources),
            tuple((record.reader, len(record.nodes)) for record in records),
            tuple(record.value for record in records),
            records[0].words,
            (module.code, fixed, tuple(record.kind for record in records)),
            tuple(record.number for record in records),
        )

    # --- the way to a tensor --------------------------------------------------------------------------

    def _copy_of(self, tensor: torch.Tensor) -> Node:
        mode: Any = get_proxy_mode()
        if not has_proxy_slot(tensor, mode.tracer):
            return self._source(id(tensor), tensor)
        node = get_proxy_slot(tensor, mode.tracer).proxy.node
        pending = [node]
        while pending:
            one = pending[-1]
            missing = [before for before in one.all_input_nodes if before not in self._copies]
            if missing:
                pending += missing
            else:
                pending.pop()
                self._copy(one, mode.tracer.root)
        return self._copies[node]

    def _copy(self, node: Node, root: Any) -> None:
        if node in self._copies:
            return
        if node.op == "placeholder":
            place = [one for one in node.graph.nodes if one.op == "placeholder"].index(node)
            self._copies[node] = self._source(node, self._inputs[place])
        elif node.op == "get_attr":
            self._copies[node] = self._source(node, getattr(root, str(node.target)))
        else:
            new = self._copies[node] = self._graph.node_copy(node, lambda before: self._copies[before])
            if self._varying.intersection(new.all_input_nodes):
                self._varying.add(new)

    def _source(self, key: Any, value: int | torch.Tensor) -> Node:
        if key not in self._copies:
            last = self._last
            with self._graph.inserting_before() if last is None else self._graph.inserting_after(last):
                self._last = self._copies[key] = self._graph.placeholder(f"source_{len(self._sources)}")
            self._varying.add(self._last)
            self._sources.append(value)
        return self._copies[key]


def _key(value: Any) -> Any:
    """A value as something that can be compared and looked up; NaN is NaN here."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    return repr(value)
