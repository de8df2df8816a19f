"""Small rewritings of a captured graph: constants become inputs, and what does nothing goes.

They change the graph, and not yet the code that runs it: writing that costs as much as they do, so `plain` comes last.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.graph import CodeGen

aten = torch.ops.aten


def plain(module: GraphModule) -> GraphModule:
    """The graph as code: a function of a flat list of tensors that returns a flat list."""
    module.graph.set_codegen(CodeGen())
    module.recompile()
    return module


def simplify(module: GraphModule) -> None:
    """Take out what computes nothing: detached aliases, views and expansions to the same shape, dead ends."""
    for node in list(module.graph.nodes):
        if node.target is aten.native_batch_norm.default and isinstance(node.args[3], Node):
            node.target = aten._native_batch_norm_legit.default  # the same, and says that it writes its averages
        if _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()


_RESHAPES = (aten.view.default, aten.expand.default, aten._unsafe_view.default)


def _does_nothing(node: Node) -> bool:
    if node.target in (aten.detach.default, aten.alias.default):
        return True
    if node.target not in _RESHAPES or not isinstance(node.args[0], Node):
        return False
    before, after = node.args[0].meta.get("val"), node.meta.get("val")
    return before is not None and after is not None and _same_layout(before, after)


def _same_layout(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.stride() == other.stride()


def lift_constants(module: GraphModule, given: int) -> list[torch.Tensor]:
    """Turn the tensors that the graph holds into inputs behind the `given` ones.

    They are the live tensors of a pair's author (an attribute of a class, say): as constants of compiled code
    they would keep their values of today.

    Returns:
        The tensors, in the order of the new inputs.
    """
    constants: dict[str, torch.Tensor] = {}
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    assert len(placeholders) == given
    for node in [node for node in module.graph.nodes if node.op == "get_attr"]:
        constants[node.target] = attribute(module, node.target)
    last = placeholders[-1]
    for name in constants:
        with module.graph.inserting_after(last):
            last = module.graph.placeholder(f"held_{name.replace('.', '_')}")
        for node in [n for n in module.graph.nodes if n.op == "get_attr" and n.target == name]:
            last.meta = dict(node.meta)
            node.replace_all_uses_with(last)
            module.graph.erase_node(node)
    return list(constants.values())


def attribute(module: GraphModule, path: str) -> torch.Tensor:
    """A tensor that a graph holds, by its path."""
    value = module
    for part in path.split("."):
        value = getattr(value, part)
    assert isinstance(value, torch.Tensor)
    return value


# Their running averages are changed, of which their declarations say nothing.
SILENT_WRITERS = (aten.native_batch_norm.default, aten.cudnn_batch_norm.default)


def replace_products(
    module: GraphModule, wanted: Callable[[torch.Tensor, torch.Tensor], bool], product: Callable[..., torch.Tensor]
) -> int:
    """Replace matrix products by another operation, where it is wanted for these factors.

    Args:
        module: the graph.
        wanted: decides by the two factors, of which only shape and layout count.
        product: an operation of two factors and a bias or None.

    Returns:
        How many were replaced.
    """
    count = 0
    for node in list(module.graph.nodes):
        parts = _product(node)
        if parts is None or not wanted(parts[0].meta["val"], parts[1].meta["val"]):
            continue
        _put(module.graph, node, product, parts)
        count += 1
    return count


def _product(node: Node) -> tuple[Node, Node, Node | None] | None:
    """The factors and the bias of a product."""
    arguments: tuple = node.args
    if node.target is aten.mm.default:
        return arguments[0], arguments[1], None
    if node.target is aten.addmm.default and not node.kwargs and arguments[0].meta["val"].dim() == 1:
        return arguments[1], arguments[2], arguments[0]
    return None


def _put(graph: Graph, node: Node, product: Callable[..., torch.Tensor], parts: tuple) -> None:
    with graph.inserting_before(node):
        new = graph.call_function(product, parts)
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.erase_node(node)
