"""Equal operations of a graph done once, where nothing is written in place."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten

_IN_PLACE = {
    aten.add_.Tensor: aten.add.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
    aten.logical_and_.default: aten.logical_and.default,
    aten.transpose_.default: aten.transpose.int,
}


def share_operations(graph: Graph) -> bool:
    """Do equal operations once; whether that was possible: not where the graph writes into what others see.

    Nor where it takes numbers by how they lie in memory, which changes with what they come from.
    """
    if any(node.target is aten.as_strided.default for node in graph.nodes) or not _write_anew(graph):
        return False
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.target is aten.lift_fresh_copy.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.op == "call_function" and not draws(node) and node.target is not aten.empty.memory_format:
            key = (str(node.target), _key(node.args), _key(node.kwargs))
            if seen.setdefault(key, node) is not node:
                node.replace_all_uses_with(seen[key])
                graph.erase_node(node)
    graph.eliminate_dead_code()
    return True


def draws(node: Node) -> bool:
    """Whether an operation takes random numbers, whose order stays."""
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def is_view(node: Node) -> bool:
    """Whether a node gives the numbers of another one."""
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(given.alias_info is not None for given in schema.returns)


def _write_anew(graph: Graph) -> bool:
    """Turn what writes in place into operations that do not, where nobody else sees the difference."""
    for node in list(graph.nodes):
        if not (isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable):
            continue
        base: Any = node.args[0]
        alone = isinstance(base, Node) and base.op == "call_function" and not is_view(base) and len(base.users) == 1
        if not alone:
            return False
        if draws(node) and base.target is aten.empty.memory_format:
            continue
        if node.target not in _IN_PLACE:
            return False
        node.target = _IN_PLACE[node.target]
    return True


def _key(argument: Any) -> Any:
    if isinstance(argument, Node):
        return ("node", argument.name)
    if isinstance(argument, list | tuple):
        return tuple(map(_key, argument))
    if isinstance(argument, dict):
        return tuple((name, _key(value)) for name, value in sorted(argument.items()))
    return type(argument).__name__, repr(argument)
