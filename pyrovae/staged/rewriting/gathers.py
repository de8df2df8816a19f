"""Selections by a mask of the batch as gathers: the graph holds for how much they select, so shapes are known."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from pyrovae.staged.rewriting.selecting_mask import selecting_mask

aten = torch.ops.aten

_ZEROS = (aten.new_zeros.default, aten.zeros.default, aten.zeros_like.default)


def gather_selections(module: GraphModule) -> int:
    """Write `x[mask]`, and its derivative, by the places where the mask is true, found once for each mask.

    By itself each of them looks for these places anew, and the derivative adds up where nothing comes twice.

    Returns:
        How many were rewritten.
    """
    counted = (node for node in module.graph.nodes if node.meta.get("counted") and selecting_mask(node))
    counts = {selecting_mask(node): _length(node) for node in counted}
    places: dict[Node, Node] = {}
    rewritten = 0
    for node in list(module.graph.nodes):
        mask = selecting_mask(node)
        if mask not in counts or mask is None or not _fits(node):
            continue
        if mask not in places:
            places[mask] = _places(module.graph, mask, counts[mask])
        with module.graph.inserting_before(node):
            new = _gathered(module.graph, node, mask, places[mask])
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
        rewritten += 1
    module.graph.eliminate_dead_code()
    return rewritten


def _length(node: Node) -> int:
    return int(node.meta["val"].shape[0])


def _fits(node: Node) -> bool:
    """Whether it is a selection, or puts values among zeros."""
    if node.target is aten.index.Tensor:
        return bool(node.meta.get("counted"))
    if node.target is not aten.index_put.default:
        return False  # it writes in place, which others may see
    base, value = node.args[0], node.args[2]
    whole = isinstance(value, Node) and isinstance(base, Node) and base.target in _ZEROS
    return whole and value.meta["val"].shape == (_chosen_shape(node))  # type: ignore[union-attr] - a node, by the test before


def _chosen_shape(node: Node) -> tuple[int, ...]:
    """The shape of what the mask selects of the base."""
    mask, base = selecting_mask(node), node.args[0]
    assert mask is not None
    assert isinstance(base, Node)
    value: Any = node.args[2]
    return (int(value.meta["val"].shape[0]), *base.meta["val"].shape[mask.meta["val"].dim() :])


def _places(graph: Graph, mask: Node, count: int) -> Node:
    """The places where a mask is true, counted through it in order."""
    with graph.inserting_after(mask):
        flat = graph.call_function(aten.reshape.default, (mask, [-1]))
    with graph.inserting_after(flat):
        found = graph.call_function(aten.nonzero_static.default, (flat,), {"size": count})
    with graph.inserting_after(found):
        return graph.call_function(aten.select.int, (found, 1, 0))


def _gathered(graph: Graph, node: Node, mask: Node, places: Node) -> Node:
    base: Any = node.args[0]
    rest = [int(size) for size in base.meta["val"].shape[mask.meta["val"].dim() :]]
    rows = math.prod(map(int, mask.meta["val"].shape))
    flat = graph.call_function(aten.reshape.default, (base, [rows, *rest]))
    if node.target is aten.index.Tensor:
        return graph.call_function(aten.index.Tensor, (flat, [places]))
    put = graph.call_function(aten.index_put.default, (flat, [places], node.args[2]))
    return graph.call_function(aten.reshape.default, (put, [int(size) for size in base.meta["val"].shape]))
