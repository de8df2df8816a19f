"""A function of tensors as a graph of operations that write into nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._subclasses.functional_tensor import dispatch_functionalize
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.pairs.looks.isolation import validation
from pyrovae.report.explorer.page_operations import HANDLERS
from pyrovae.report.explorer.page_program import NotInPageError, needed_nodes
from pyrovae.staged.tracing.reads import unvalidated

_APART = """
native_layer_norm native_group_norm _native_batch_norm_legit _native_batch_norm_legit_no_training native_batch_norm
_softmax _log_softmax gelu elu leaky_relu hardtanh hypot linalg_vector_norm upsample_bilinear2d upsample_bicubic2d
upsample_linear1d upsample_nearest1d
"""


def traced_graph(program: Callable[[torch.Tensor], list[torch.Tensor]], point: torch.Tensor) -> GraphModule:
    """The operations of a program, as they are done at a point; use it without gradients.

    Raises:
        NotInPageError: it cannot be traced, or writes into tensors that it has not made.
    """
    graph = _traced(program, point)
    if _writes(graph):  # such as ReLU(inplace=True)
        functional: Any = dispatch_functionalize(program)
        graph = _traced(functional, point)
    if _writes(graph):
        raise NotInPageError("writes into tensors that it has not made")
    return graph


def _traced(program: Any, point: torch.Tensor) -> GraphModule:
    try:
        with validation(False), unvalidated():
            return make_fx(program, decomposition_table=_decompositions(), tracing_mode="real")(point)
    except Exception as error:  # a trace may fail in any way
        raise NotInPageError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return (
        f"cannot be traced ({type(error).__name__}: {first[:160]}); what decides by a value what is done next (an if, "
        "a loop, .item()) is to be written with torch.where"
    )


@functools.cache
def _decompositions() -> dict[Any, Any]:
    """How operations are taken apart, those left out that the page does at once."""
    core: Any = core_aten_decompositions()
    kept = {one for one in core if one._schema.name.split("::")[1] in HANDLERS}
    apart = [getattr(torch.ops.aten, name) for name in _APART.split()]
    return {**{one: how for one, how in core.items() if one not in kept}, **get_decompositions(apart)}


# --- what is written into -----------------------------------------------------------------------------
def _writes(graph: GraphModule) -> bool:
    """Whether an operation writes into a tensor, or what it is a view of, that the outputs depend on."""
    roots: dict[Node, Node] = {}
    written = set()
    for node in graph.graph.nodes:
        schema: Any = getattr(node.target, "_schema", None)
        inputs = node.all_input_nodes
        view = schema is not None and inputs and any(one.alias_info is not None for one in schema.returns)
        # A part of several results is a view of all.
        roots[node] = roots[inputs[0]] if view or (inputs and schema is None and node.op != "output") else node
        if schema is not None and schema.is_mutable and inputs:
            written.add(roots[inputs[0]])
    return any(roots[node] in written for node in needed_nodes(graph))
