"""One operation over a new first dimension, in the place of many."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map

from pyrovae.staged.rewriting.loop_iterations import operands

aten = torch.ops.aten

RESHAPES: dict[Any, Any] = {aten.view.default: aten.reshape.default, aten._unsafe_view.default: aten.reshape.default}


def mapped(node: Node, dims: tuple[int | None, ...], count: int) -> Graph:
    """An operation over the first dimension of those of its operands that have one, as a graph.

    Args:
        node: the operation.
        dims: 0 for each operand that has the dimension, else None.
        count: its length.

    Raises:
        Exception: torch has no rule for it.
    """
    examples = [_example(one, count if dim == 0 else None) for one, dim in zip(operands(node), dims, strict=True)]
    graph = make_fx(_mapped(node, dims, count))(*examples).graph
    graph.eliminate_dead_code()
    for one in graph.nodes:
        if one.target is aten.as_strided.default:
            raise NotImplementedError("an operation on a layout, which need not be that of the example")
        one.target = RESHAPES.get(one.target, one.target)  # for the same reason
    return graph


def _mapped(node: Node, dims: tuple[int | None, ...], count: int) -> Any:
    """An operation over a first dimension of those of its operands that have one."""
    target = RESHAPES.get(node.target, node.target)  # type: ignore[arg-type] - an operator on nodes

    def one(*tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        args, kwargs = map_arg((node.args, node.kwargs), lambda _: next(given))  # type: ignore[arg-type] - an operator on nodes
        return target(*args, **kwargs)

    if any(dim is not None for dim in dims):
        return torch.vmap(one, dims)
    return lambda *tensors: tree_map(lambda value: value.expand(count, *value.shape), one(*tensors))


def _example(node: Node, count: int | None) -> torch.Tensor:
    value = node.meta["val"]
    shape = value.shape if count is None else (count, *value.shape)
    return torch.zeros(shape, dtype=value.dtype, device=value.device)


@contextmanager
def no_fallbacks() -> Iterator[None]:
    """Where torch has no rule for doing an operation at once, an error: it would do one after the other."""
    before = _functorch._is_vmap_fallback_enabled()
    _functorch._set_vmap_fallback_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _functorch._set_vmap_fallback_enabled(before)
