"""A long graph made shorter: what the iterations of its loops have in common is done at once."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from pyrovae.staged.rewriting.mapped_operation import no_fallbacks
from pyrovae.staged.rewriting.shared_operations import share_operations
from pyrovae.staged.rewriting.vectorised_graph import VectorisedGraph

logger = logging.getLogger("pyrovae")

aten = torch.ops.aten

_LONG = 1_000  # operations from which on a graph has loops that are worth looking for


def vectorise_loops(module: GraphModule, examples: Sequence[torch.Tensor]) -> GraphModule | None:
    """A long graph in which what the iterations of its loops have in common is done at once.

    Args:
        module: the graph, of a flat list of tensors; it is left as it is.
        examples: its inputs.

    Returns:
        The same as fewer operations, in another order but for random draws; None where there is nothing to gain.
    """
    if len(module.graph.nodes) < _LONG:
        return None
    graph = copy.deepcopy(module.graph)
    if not share_operations(graph):
        return None
    try:
        with no_fallbacks():
            batched = VectorisedGraph(graph).module()
        FakeTensorProp(batched).propagate(*examples)
        _lay_out(batched, module)
    except Exception:  # an operation of any kind; the graph as it is does as well
        logger.debug("what the iterations of a loop have in common was not found", exc_info=True)
        return None
    return batched if len(batched.graph.nodes) < len(module.graph.nodes) else None


def _lay_out(batched: GraphModule, module: GraphModule) -> None:
    """Have results lie in memory as they did: the kernel that moves the weights takes them by their order there."""
    output, before = (next(iter(reversed(one.graph.nodes))) for one in (batched, module))
    given: Any = list(output.args[0])  # type: ignore[arg-type] - a list of nodes, as of every output
    for place, (node, old) in enumerate(zip(given, before.args[0], strict=True)):  # type: ignore[arg-type] - a list of nodes, as of every output
        now, then = node.meta["val"], old.meta["val"]
        if now.stride() != then.stride():
            if not then.is_contiguous():
                raise NotImplementedError("a result that lies otherwise")
            with batched.graph.inserting_before(output):
                given[place] = batched.graph.call_function(
                    aten.clone.default, (node,), {"memory_format": torch.contiguous_format}
                )
                given[place].meta["val"] = then
    output.args = (given,)
