"""A long graph with its loops' equal operations done at once, and the sums over their iterations as single products."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map

from pyrovae.staged.rewriting.loop_iterations import find_iterations, operands
from pyrovae.staged.rewriting.mapped_operation import RESHAPES, mapped
from pyrovae.staged.rewriting.sums import Product, Sum

aten = torch.ops.aten


class VectorisedGraph:
    """Writes a graph anew, group by group; a group's operation is written where its result is first needed."""

    def __init__(self, graph: Graph):
        iterations = find_iterations(graph)
        self._sums = iterations.sums
        self._groups = iterations.groups
        self._new = Graph()
        self._done: dict[Node, Node] = {}
        self._member: dict[Node, tuple[int, int]] = {}  # the group, and the place in it
        self._whole: dict[int, Any] = {}
        for unit in iterations.order:
            if isinstance(unit, int):
                self._enter(unit)
            elif unit.op == "output":
                self._new.output(map_arg(unit.args[0], self._look))
            else:
                self._done[unit] = self._sum(unit) if unit in self._sums else self._copy(unit)

    def module(self) -> GraphModule:
        """The graph as it is now."""
        self._new.eliminate_dead_code()
        self._new.lint()
        return GraphModule({}, self._new)

    def _put(self, target: Any, *arguments: Any) -> Node:
        return self._new.call_function(target, arguments)

    def _copy(self, node: Node) -> Node:
        copied = self._new.node_copy(node, self._look)
        copied.target = RESHAPES.get(node.target, node.target)  # its operand may lie otherwise in memory now
        return copied

    # --- groups ---------------------------------------------------------------------------------------

    def _enter(self, number: int) -> None:
        """Order a group like that of which its operations take one each."""
        group = self._groups[number]
        for place in range(len(operands(group[0]))):
            found = [self._member.get(operands(node)[place], (-1, 0)) for node in group]
            if found[0][0] >= 0 and len({one for one, _ in found}) == 1 and len(set(found)) == len(found):
                group = [node for _, node in sorted(zip(found, group, strict=True), key=lambda pair: pair[0])]
                break
        self._groups[number] = group
        self._member.update({node: (number, place) for place, node in enumerate(group)})

    def _look(self, node: Node) -> Node:
        """The result of one operation."""
        if node not in self._done:
            number, place = self._member[node]
            self._done[node] = self._put(aten.select.int, self._of(number), 0, place)
        return self._done[node]

    def _of(self, number: int) -> Any:
        """The results of a group, along a first dimension."""
        if number not in self._whole:
            group = self._groups[number]
            form = {operator.getitem: self._entries, aten.select.int: self._selected}.get(
                group[0].target, self._at_once
            )
            self._whole[number] = form(group)
        return self._whole[number]

    def _entries(self, group: list[Node]) -> Any:
        (number,) = {self._member[node.args[0]][0] for node in group}  # type: ignore[index] - an argument of this operation
        return self._of(number)[group[0].args[1]]

    def _selected(self, group: list[Node]) -> Any:
        base: Any = group[0].args[0]
        if any(node.args[0] is not base for node in group):
            return self._at_once(group)
        shape = base.meta["val"].shape
        dim: Any = group[0].args[1]
        moved = self._front(self._look(base), dim % len(shape), len(shape))
        return self._run(moved, [node.args[2] % shape[dim] for node in group])  # type: ignore[operator] - an argument of this operation

    def _front(self, node: Node, dim: int, dims: int) -> Node:
        rest = [one for one in range(dims) if one != dim]
        return self._put(aten.permute.default, node, [dim, *rest]) if dim else node

    def _run(self, whole: Node, places: list[int]) -> Node:
        """Some of what stands along the first dimension."""
        first, count = places[0], len(places)
        if places == list(range(first, first + count)):
            return self._put(aten.slice.Tensor, whole, 0, first, first + count)
        if places == list(range(first, first - count, -1)):
            part = self._put(aten.slice.Tensor, whole, 0, places[-1], first + 1)
            return self._put(aten.flip.default, part, [0])
        return self._put(aten.stack.default, [self._put(aten.select.int, whole, 0, place) for place in places], 0)

    def _at_once(self, group: list[Node]) -> Any:
        """One operation in the place of a group's."""
        first, count = group[0], len(group)
        if len({repr(operand_shapes(node)) for node in group}) > 1:
            return self._one_by_one(group)
        given = [self._gathered([operands(node)[place] for node in group]) for place in range(len(operands(first)))]
        dims = tuple(dim for _, dim in given)
        try:
            traced = mapped(first, dims, count)
            return self._written(traced, [node for node, _ in given])
        except Exception:  # what torch has no rule for
            return self._one_by_one(group)

    def _one_by_one(self, group: list[Node]) -> Any:
        copies = [self._copy(node) for node in group]
        if isinstance(group[0].meta.get("val"), torch.Tensor):
            return self._put(aten.stack.default, copies, 0)
        several = range(len(group[0].meta["val"]))
        parts = [[self._put(operator.getitem, copy, entry) for copy in copies] for entry in several]
        return [self._put(aten.stack.default, part, 0) for part in parts]

    def _written(self, traced: Graph, given: list[Node]) -> Any:
        places = iter(given)
        at: dict[Node, Any] = {}
        for node in traced.nodes:
            if node.op == "placeholder":
                at[node] = next(places)
            elif node.op == "output":
                return tree_map(lambda one: at[one] if isinstance(one, Node) else one, node.args[0])
            else:
                if node.op == "get_attr":
                    raise NotImplementedError("a tensor of its own")
                at[node] = self._new.node_copy(node, at.__getitem__)
        return None

    def _gathered(self, nodes: list[Node]) -> tuple[Node, int | None]:
        """What the operations of a group take at one place, and along which dimension; None where all take the same."""
        if all(node is nodes[0] for node in nodes):
            return self._look(nodes[0]), None
        return self._stacked(nodes), 0

    def _stacked(self, nodes: list[Node]) -> Node:
        """Results along a new first dimension: parts of groups as they are, where there are any."""
        found = [self._member.get(node) for node in nodes]
        numbers = {one[0] for one in found if one is not None}
        if len(numbers) == 1 and None not in found:
            places = [one[1] for one in found if one is not None]
            if len(set(places)) == len(places):
                whole, (number,) = self._of(next(iter(numbers))), numbers
                return whole if places == list(range(len(self._groups[number]))) else self._run(whole, places)
        parts = list(self._parts(nodes))
        if all(len(part) == 1 for part in parts):
            return self._put(aten.stack.default, [self._look(node) for node in nodes], 0)
        return self._put(aten.cat.default, [self._part(part) for part in parts], 0)

    def _parts(self, nodes: list[Node]) -> Iterator[list[Node]]:
        """Cut where one does not follow the other in its group."""
        part: list[Node] = []
        for node in nodes:
            number, place = self._member.get(node, (-1, 0))
            if part and (number < 0 or self._member.get(part[-1]) != (number, place - 1)):
                yield part
                part = []
            part.append(node)
        yield part

    def _part(self, nodes: list[Node]) -> Node:
        if len(nodes) == 1:
            return self._put(aten.unsqueeze.default, self._look(nodes[0]), 0)
        number, place = self._member[nodes[0]]
        return self._put(aten.slice.Tensor, self._of(number), 0, place, place + len(nodes))

    # --- sums -----------------------------------------------------------------------------------------

    def _sum(self, root: Node) -> Node:
        terms = [self._product(products) for products in self._sums[root].products]
        terms += [self._joined(parts) for parts in self._sums[root].parts]
        terms += self._others(self._sums[root])
        total = terms[0]
        for term in terms[1:]:
            total = self._put(aten.add.Tensor, total, term)
        return total

    def _others(self, one: Sum) -> Iterator[Node]:
        places = defaultdict(list)
        for node in one.others:
            number, place = self._member.get(node, (-1, 0))
            if number < 0:
                yield self._look(node)
            else:
                places[number].append(place)
        for number, found in places.items():
            group = self._groups[number]
            if len(found) < 3 or len(set(found)) < len(found):
                yield from (self._look(group[place]) for place in found)
            else:
                yield self._put(aten.sum.dim_IntList, self._stacked([group[place] for place in sorted(found)]), [0])

    def _product(self, products: Sequence[Product]) -> Node:
        """The sum of products: one product of what stands beside one another."""
        factors = self._in_order([product.factors for product in products])
        left = self._beside([one for one, _ in factors], columns=True)
        right = self._beside([other for _, other in factors], columns=False)
        product = self._put(aten.mm.default, left, right)
        return self._put(aten.t.default, product) if products[0].transposed else product

    def _in_order(self, factors: list[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
        """In the order of a group that one of both belongs to."""
        for side in (0, 1):
            found = [self._member.get(_untransposed(pair[side]), (-1, 0)) for pair in factors]
            if found[0][0] >= 0 and len({number for number, _ in found}) == 1 and len(set(found)) == len(found):
                return [pair for _, pair in sorted(zip(found, factors, strict=True), key=lambda one: one[0])]
        return factors

    def _beside(self, nodes: list[Node], *, columns: bool) -> Node:
        """Matrices side by side, or below one another: as views of one tensor, where they are transposed to be so."""
        turned = all(node.target is aten.t.default for node in nodes)
        whole = self._stacked([_untransposed(node) for node in nodes] if turned else nodes)
        rows, width = nodes[0].meta["val"].shape
        if turned == columns:
            count, width = (len(nodes) * width, rows) if turned else (len(nodes) * rows, width)
            below = self._put(aten.reshape.default, whole, [count, width])
            return self._put(aten.t.default, below) if turned else below
        if columns:
            return self._put(aten.reshape.default, self._put(aten.permute.default, whole, [1, 0, 2]), [rows, -1])
        return self._put(aten.reshape.default, self._put(aten.permute.default, whole, [0, 2, 1]), [-1, width])

    def _joined(self, parts: list[Node]) -> Node:
        """Tensors that are 0 but for one place each, added up."""
        shape: Any = parts[0].args[1]
        dim: Any = parts[0].args[2]
        dim = dim % len(shape)
        first: Any = parts[0].args[3]
        whole = self._stacked([part.args[0] for part in parts])  # type: ignore[misc] - an argument of this operation
        after = shape[dim] - first - len(parts)
        if first or after:
            bounds = [0, 0] * (len(shape) - 1) + [first, after]
            whole = self._put(aten.constant_pad_nd.default, whole, bounds, 0.0)
        order = [*range(1, dim + 1), 0, *range(dim + 1, len(shape))]
        return self._put(aten.permute.default, whole, order) if dim else whole


def operand_shapes(node: Node) -> list[Any]:
    """Of all that an operation takes."""
    return [tuple(one.meta["val"].shape) for one in operands(node)]


def _untransposed(node: Node) -> Node:
    return node.all_input_nodes[0] if node.target is aten.t.default else node
