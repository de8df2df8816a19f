"""A captured graph as it runs: all passes over it, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.fx import GraphModule

from pyrovae.staged.rewriting import graphs
from pyrovae.staged.rewriting.gathers import gather_selections
from pyrovae.staged.rewriting.products import onednn_is_faster, product
from pyrovae.staged.rewriting.vectorise_loops import vectorise_loops


class Rewritten(NamedTuple):
    """A graph of a flat list of tensors, as code.

    Attributes:
        module: the graph.
        shorter: the same as fewer operations, where it has loops; which is faster, a run of both shows.
        constants: the tensors that it held, which are inputs now, behind the given ones.
    """

    module: GraphModule
    shorter: GraphModule | None
    constants: list[torch.Tensor]


def rewritten(module: GraphModule, inputs: Sequence[torch.Tensor]) -> Rewritten:
    """Rewrite a graph for running it; what is for the compiler alone, it does itself.

    Args:
        module: the graph, which is changed.
        inputs: its inputs.
    """
    graphs.simplify(module)
    gather_selections(module)
    constants = graphs.lift_constants(module, len(inputs))
    shorter = vectorise_loops(module, [*inputs, *constants])
    for one in (module, shorter):
        if one is not None:
            graphs.replace_products(one, onednn_is_faster, product)
            graphs.plain(one)
    return Rewritten(module, shorter, constants)
