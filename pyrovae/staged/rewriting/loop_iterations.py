"""The iterations of a loop in a graph: which of their operations are alike and do not wait for one another."""

from __future__ import annotations

import heapq
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map

from pyrovae.staged.rewriting.shared_operations import draws, is_view
from pyrovae.staged.rewriting.sums import FEWEST, Sum, find_sums, shape_of

aten = torch.ops.aten

_LARGEST = 1 << 16  # numbers in a result from which on its arithmetic outweighs the call, and a copy costs as much

# How far along its operands, and its users, an operation is told from others: as far as a layer's weight.
_BACK, _AHEAD = 5, 2


class Iterations(NamedTuple):
    """What is done together, and in which order.

    Attributes:
        groups: operations that are done at once.
        order: numbers of groups, and single operations; `inside` of sums are left out.
        sums: by their last addition.
    """

    groups: list[list[Node]]
    order: list[int | Node]
    sums: Mapping[Node, Sum]


def find_iterations(graph: Graph) -> Iterations:
    """Group the operations of a graph that are alike, and of which none needs the result of another."""
    sums = find_sums(graph)
    within = {node: root for root, one in sums.items() for node in one.inside if node is not root}
    nodes = [node for node in graph.nodes if node not in within]
    alike = defaultdict(list)
    roles = _roles(graph, within)
    for node in nodes:
        if node not in sums and _may_join(node):
            alike[roles[node]].append(node)

    def needs(node: Node) -> Iterable[Any]:
        return sums[node].needs() if node in sums else operands(node)

    groups = _independent([group for group in alike.values() if len(group) >= FEWEST], nodes, needs)
    while True:
        order = _ordered(groups, nodes, needs)
        if isinstance(order, list):
            return Iterations(groups, order, sums)
        groups = [group for number, group in enumerate(groups) if number != order]


def operands(node: Node) -> list[Node]:
    """The nodes that an operation takes, one for each place where it takes one."""
    found: list[Node] = []
    map_arg((node.args, node.kwargs), found.append)  # type: ignore[arg-type] - what it returns is not used
    return found


def _may_join(node: Node) -> bool:
    if node.op != "call_function" or draws(node) or not node.all_input_nodes or node.target is aten.as_strided.default:
        return False
    if node.target is operator.getitem:
        return True
    value = node.meta.get("val")
    large = isinstance(value, torch.Tensor) and value.numel() > _LARGEST
    return isinstance(node.target, torch._ops.OpOverload) and not (large and not is_view(node))


# --- what is alike ------------------------------------------------------------------------------------
def _roles(graph: Graph, within: Mapping[Node, Node]) -> dict[Node, int]:
    """A number for each node that is the same for those with the same place in their iteration of a loop."""
    own = {node: hash(_itself(node)) for node in graph.nodes}
    back = ahead = own
    for _ in range(_BACK):
        back = {node: hash((own[node], *(back[one] for one in operands(node)))) for node in graph.nodes}
    for _ in range(_AHEAD):
        before = ahead
        ahead = {
            node: hash((own[node], *sorted({own[within[one]] if one in within else before[one] for one in node.users})))
            if node.op == "call_function"
            else own[node]
            for node in graph.nodes
        }
    return {node: hash((back[node], ahead[node])) for node in graph.nodes}


def _itself(node: Node) -> Any:
    if node.op != "call_function":
        value = node.meta.get("val")
        single = isinstance(value, torch.Tensor) and value.dim() == 0 and node.name.startswith("held_")
        return shape_of(node) if single else node.name  # numbers that the pair has made of Python's are alike
    given: Any = tree_map(lambda one: "node" if isinstance(one, Node) else repr(one), (node.args, node.kwargs))
    if node.target is aten.select.int:
        given = given[0][:2]  # of whichever iteration
    return str(node.target), repr(given), shape_of(node)


# --- what waits for what ------------------------------------------------------------------------------
def _independent(groups: list[list[Node]], nodes: list[Node], needs: Any) -> list[list[Node]]:
    """Those groups of which no operation needs another, on whichever way."""
    bits = {node: 1 << number for number, group in enumerate(groups) for node in group}
    behind: dict[Node, int] = {}
    dependent = 0
    for node in nodes:
        found = 0
        for one in needs(node):
            found |= behind[one] | bits.get(one, 0)
        behind[node] = found
        dependent |= found & bits.get(node, 0)
    return [group for number, group in enumerate(groups) if not dependent >> number & 1]


def _ordered(groups: list[list[Node]], nodes: list[Node], needs: Any) -> list[int | Node] | int:
    """Groups and single operations, each after what it needs; a group that has to go, where they need one another."""
    group_of = {node: number for number, group in enumerate(groups) for node in group}
    first: dict[Any, int] = {}
    waits: dict[Any, int] = defaultdict(int)
    after: dict[Any, set[Any]] = defaultdict(set)
    last: Any = None
    for place, node in enumerate(nodes):
        unit = group_of.get(node, node)
        first.setdefault(unit, place)
        before = [group_of.get(one, one) for one in needs(node)]
        if draws(node):
            before, last = [*before, *([] if last is None else [last])], node
        for one in before:
            if one is not unit and one != unit and unit not in after[one]:
                after[one].add(unit)
                waits[unit] += 1
    ready = [(place, unit) for unit, place in first.items() if not waits[unit]]
    heapq.heapify(ready)
    order = []
    while ready:
        unit = heapq.heappop(ready)[1]
        order.append(unit)
        for one in after[unit]:
            waits[one] -= 1
            if not waits[one]:
                heapq.heappush(ready, (first[one], one))
    if len(order) == len(first):
        return order
    return min((unit for unit in first if isinstance(unit, int) and waits[unit]), key=lambda one: len(groups[one]))
