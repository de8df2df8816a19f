"""One graph for any number of rows, made of graphs of several numbers of them.

Python asks a tensor for its length and gets a number, which a traced graph then holds. Where such a number is not the
same in graphs of several lengths, it is read as a multiple of the length and something more, and computed from it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from pyrovae.errors import PairError
from pyrovae.export.deployment.row_graph import RowGraph, is_needed

# No two of them have a common divisor, and two graphs can be alike by chance where three cannot.
TRACED_ROWS = (5, 7, 11)

_aten = torch.ops.aten


def for_any_rows(graphs: Sequence[RowGraph], rows: Sequence[int]) -> GraphModule:
    """The graph that all of these are, each for its own number of rows.

    Raises:
        PairError: they differ by more than that number.
    """
    return _Merged(graphs, rows).module()


class _Merged:
    def __init__(self, graphs: Sequence[RowGraph], rows: Sequence[int]):
        self.graphs, self.rows = [one.graph for one in graphs], list(rows)
        self.graph, self.made = Graph(), {}
        self.length: Node | None = None
        self.source = _source(graphs)

    def module(self) -> GraphModule:
        every = [list(graph.graph.nodes) for graph in self.graphs]
        if len({len(nodes) for nodes in every}) > 1:
            raise _differ("does another number of operations")
        for alike in zip(*every, strict=True):
            self.add(alike)
        module = GraphModule(self.graphs[0], self.graph)
        module.graph.eliminate_dead_code(is_needed)
        module.recompile()
        return module

    def add(self, alike: tuple[Node, ...]) -> None:
        first = alike[0]
        if first.op == "get_attr":
            self.made[first] = self.graph.get_attr(self.constant(alike))
            return
        if len({(node.op, str(node.target)) for node in alike}) > 1:
            raise _differ(f"does {first.target} or {alike[1].target}")
        if first.op == "placeholder":
            self.made[first] = self.graph.placeholder(first.name)
            if self.source == first.name:
                self.length = self.graph.call_function(_aten.sym_size.int, (self.made[first], 0))
            return
        args, kwargs = self.argument([node.args for node in alike]), self.argument([node.kwargs for node in alike])
        if first.target is _aten.squeeze.default:  # of a single row it would take the rows, too
            ones = _ones(alike)
            self.made[first] = self.graph.call_function(_aten.squeeze.dims, (args[0], ones)) if ones else args[0]
            return
        if first.op == "output":
            self.graph.output(args[0])
        else:
            self.made[first] = self.graph.call_function(first.target, args, kwargs)  # type: ignore[arg-type] - as fx itself holds them

    def constant(self, alike: tuple[Node, ...]) -> str:
        tensors = [getattr(graph, str(node.target)) for graph, node in zip(self.graphs, alike, strict=True)]
        if not all(_same(one, tensors[0]) for one in tensors[1:]):
            raise _differ("holds a tensor of constants of another shape or with other values")
        return str(alike[0].target)

    def argument(self, values: Sequence[Any]) -> Any:
        first = values[0]
        if isinstance(first, Node):
            return self.made[first]
        if isinstance(first, list | tuple):
            if len({len(value) for value in values}) > 1:
                raise _differ("gives an operation another number of arguments")
            return type(first)([self.argument(each) for each in zip(*values, strict=True)])
        if isinstance(first, dict):
            return {key: self.argument([value[key] for value in values]) for key in first}
        if all(value == first or value != value for value in values):  # a NaN is no number, and alike
            return first
        if isinstance(first, bool) or not isinstance(first, int):
            raise _differ(f"computes with the numbers {', '.join(map(str, values))}")
        return self.of_length(values)

    def of_length(self, values: Sequence[int]) -> Any:
        slope, rest = divmod(values[1] - values[0], self.rows[1] - self.rows[0])
        start = values[0] - slope * self.rows[0]
        told = [slope * length + start for length in self.rows]
        if rest or told != list(values) or self.length is None:
            raise _differ(f"computes with the whole numbers {', '.join(map(str, values))}")
        found: Any = self.length if slope == 1 else self.graph.call_function(operator.mul, (self.length, slope))
        return self.graph.call_function(operator.add, (found, start)) if start else found


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())  # a NaN is not equal to itself


def _ones(alike: Sequence[Node]) -> list[int]:
    """The dims of length 1 in what these nodes are given, whatever the number of rows."""
    shapes = [node.all_input_nodes[0].meta["val"].shape for node in alike]
    return [dim for dim, sizes in enumerate(zip(*shapes, strict=True)) if set(sizes) == {1}]


def _source(graphs: Sequence[RowGraph]) -> str | None:
    """The input whose length is the number of rows: one that is used for more than that, where there is one."""
    one, other = graphs[0].example.inputs.values(), graphs[1].example.inputs.values()
    places = [node for node in graphs[0].graph.graph.nodes if node.op == "placeholder"]
    rows = [p for p, a, b in zip(places, one, other, strict=True) if a.ndim and a.shape[0] != b.shape[0]]
    return next((p.name for p in rows if p.users), rows[0].name if rows else None)


def _differ(how: str) -> PairError:
    words = " and ".join([", ".join(map(str, TRACED_ROWS[:-1])), str(TRACED_ROWS[-1])])
    return PairError(
        f"the pair is another program for another number of rows (of {words} rows it {how}), and one graph cannot be "
        "all of them"
    )
