"""Selections by a mask whose values go back to where they came from, without shapes that depend on values."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from pyrovae.staged.rewriting.selecting_mask import PUTS, selecting_mask

aten = torch.ops.aten


_CONSTANTS: dict[Any, float] = {aten.zeros.default: 0.0, aten.ones.default: 1.0}


def select_in_place(module: GraphModule) -> set[Node]:
    """Write `y[mask] = x[mask]`, and what differentiation makes of it, as `torch.where(mask, x, y)`.

    A spline that is the identity outside its interval is written so. The values are the same, and so are the
    gradients; what selects by a mask and does anything else with it is left as it is. As with all changes of a graph,
    `graphs.plain` writes the code.

    Returns:
        The operations that were there and are no more.
    """
    before = set(module.graph.nodes)
    for node in list(module.graph.nodes):
        if node.target in PUTS:
            _rewrite(module.graph, node)
    for node in list(module.graph.nodes):
        selected: Any = _without_detour(node.args[0]) if node.target is aten.new_zeros.default else None
        if selecting_mask(selected) is not None:
            node.update_arg(0, selected.args[0])  # which takes no more than its type and device
    module.graph.eliminate_dead_code()
    return before - set(module.graph.nodes)


def _rewrite(graph: Graph, put: Node) -> None:
    base, mask, value = put.args[0], selecting_mask(put), _without_detour(put.args[2])
    if mask is None or not isinstance(base, Node) or not isinstance(value, Node):
        return
    other: Any = None
    if selecting_mask(value) is mask and value.target is aten.index.Tensor and _shape(value.args[0]) == _shape(base):
        other = value.args[0]
    elif value.target in _CONSTANTS and _shape(value)[:1] == (_count(mask),):
        other = _CONSTANTS[value.target]
    if other is None:
        return
    with graph.inserting_before(put):
        new = _chosen(graph, put, _widened(graph, mask, base), base, other)
    put.replace_all_uses_with(new)
    graph.erase_node(put)


_SUMS = (aten.sum.default, aten.sum.dim_IntList)


def _without_detour(value: Any) -> Any:
    """The selection behind what torch makes of one chosen entry: it without that dim, and a derivative's sum."""
    passed: Any = _viewed(value)
    if passed is not value and isinstance(passed, Node) and passed.target in _SUMS:
        passed = passed.args[0]
    selects = isinstance(passed, Node) and passed.target is aten.index.Tensor and _shape(passed)[:1] == (1,)
    return passed if selects and passed.meta["val"].numel() == value.meta["val"].numel() else value


def _viewed(value: Any) -> Any:
    while isinstance(value, Node) and value.target is aten.view.default:
        value = value.args[0]
    return value


def _chosen(graph: Graph, put: Node, mask: Node, base: Node, other: Any) -> Node:
    """`base` with `other`, a tensor or a number, where the mask says so; added, where the values were added."""
    if not isinstance(other, Node):
        other = _like(graph.call_function(aten.full_like.default, (base, other)), base)
    if len(put.args) > 3 and put.args[3]:
        zeros = _like(graph.call_function(aten.zeros_like.default, (other,)), base)
        other = _like(graph.call_function(aten.where.self, (mask, other, zeros)), base)
        new = _like(graph.call_function(aten.add.Tensor, (base, other)), base)
    else:
        new = _like(graph.call_function(aten.where.self, (mask, other, base)), base)
    if put.target is aten.index_put_.default:  # views of the base are to see it, too
        new = _like(graph.call_function(aten.copy_.default, (base, new)), base)
    return new


def _widened(graph: Graph, mask: Node, base: Node) -> Node:
    """The mask with as many dimensions as the base."""
    missing = len(_shape(base)) - len(_shape(mask))
    for _ in range(missing):
        before, mask = mask, graph.call_function(aten.unsqueeze.default, (mask, -1))
        mask.meta = {**before.meta, "val": before.meta["val"].unsqueeze(-1)}
    return mask


def _like(node: Node, base: Node) -> Node:
    node.meta = dict(base.meta)
    return node


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _count(mask: Node) -> int | None:
    """How many values the mask chose while tracing, where it chose any for their own sake."""
    chosen = (user for user in mask.users if user.target is aten.index.Tensor and selecting_mask(user) is mask)
    return next((_shape(user)[0] for user in chosen), None)
