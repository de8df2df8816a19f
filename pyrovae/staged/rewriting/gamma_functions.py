"""Log-gamma and its derivative as arithmetic that processors do many at a time: their own functions go one by one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten

_FEWEST = 4_096  # numbers below which a call costs less than the operations that would take its place

_LARGE = 8.0  # from here on the series needs no help

_SHIFT = 6.0  # smaller numbers are moved up by so many, since gamma(x + 1) = x gamma(x)

# The series of Stirling's formula holds for all that is moved up; what lies lower is NaN, and its step is Pyro's own.
_LEAST = -2.0

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def vectorise_gamma_functions(module: GraphModule) -> int:
    r"""Write log-gamma and digamma of many numbers in single precision as Stirling's series.

    $\log\Gamma(z) = (z - \tfrac12) \log z - z + \tfrac12 \log 2\pi + \tfrac1{12z} - \tfrac1{360z^3} + \tfrac1{1260z^5}$
    for $z \ge 6$, where the next term is below 3e-9.

    Returns:
        How many were rewritten.
    """
    parts: dict[Node, _GammaParts] = {}
    found = [node for node in module.graph.nodes if node.target in _FORMS and _pays(node)]
    for node in found:
        with module.graph.inserting_before(node):
            given: Any = node.args[0]
            of = parts.setdefault(given, _GammaParts(module.graph, given))
            new = _FORMS[node.target](of)
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
    return len(found)


def _pays(node: Node) -> bool:
    value = node.meta.get("val")
    single = isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.device.type == "cpu"
    return single and value.numel() >= _FEWEST and node.args[0].meta["val"].dtype == torch.float32  # type: ignore[union-attr] - the one argument, a node


class _GammaParts:
    """What both functions of one tensor share, each written where it is first needed."""

    def __init__(self, graph: Graph, x: Node):
        self.x = x
        self._graph = graph
        self._made: dict[Any, Node] = {}

    def call(self, target: Any, *arguments: Any) -> Node:
        """An operation of the same shape, written once."""
        key = (target, arguments)
        if key not in self._made:
            self._made[key] = self._graph.call_function(target, arguments)
            self._made[key].meta["val"] = self.x.meta["val"].new_empty(self.x.meta["val"].shape)
        return self._made[key]

    def add(self, one: Any, other: Any) -> Node:
        return self.call(aten.add.Tensor, one, other)

    def sub(self, one: Any, other: Any) -> Node:
        return self.call(aten.sub.Tensor, one, other)

    def mul(self, one: Any, other: Any) -> Node:
        return self.call(aten.mul.Tensor, one, other)

    def polynomial(self, variable: Node, *coefficients: float) -> Node:
        """By rising powers."""
        *rest, last = coefficients
        value = self.mul(variable, last)
        for coefficient in reversed(rest[1:]):
            value = self.mul(self.add(value, coefficient), variable)
        return self.add(value, rest[0])

    @property
    def large(self) -> Node:
        return self.call(aten.ge.Scalar, self.x, _LARGE)

    @property
    def moved(self) -> Node:
        return self.call(aten.where.self, self.large, self.x, self.add(self.x, _SHIFT))

    @property
    def factors(self) -> tuple[Node, Node, Node]:
        """The six of x (x + 1) ... (x + 5), in pairs: x (x + 5) = y, then y + 4 and y + 6."""
        y = self.mul(self.x, self.add(self.x, 5.0))
        return y, self.add(y, 4.0), self.add(y, 6.0)

    @property
    def inverse(self) -> Node:
        return self.call(aten.reciprocal.default, self.moved)

    def corrected(self, series: Node, correction: Node) -> Node:
        """A series of what was moved, less what the move has added; NaN where it holds no more."""
        exact = self.call(aten.where.self, self.large, series, self.sub(series, correction))
        return self.call(aten.where.ScalarOther, self.call(aten.gt.Scalar, self.x, _LEAST), exact, math.nan)


def _log_gamma(of: _GammaParts) -> Node:
    z, inverse, (one, two, three) = of.moved, of.inverse, of.factors
    rest = of.mul(inverse, of.polynomial(of.mul(inverse, inverse), 1 / 12, -1 / 360, 1 / 1260))
    leading = of.sub(of.mul(of.sub(z, 0.5), of.call(aten.log.default, z)), z)
    series = of.add(of.add(leading, _HALF_LOG_TAU), rest)
    product = of.call(aten.abs.default, of.mul(one, of.mul(two, three)))
    return of.corrected(series, of.call(aten.log.default, product))


def _digamma(of: _GammaParts) -> Node:
    inverse, (one, two, three) = of.inverse, of.factors
    square = of.mul(inverse, inverse)
    rest = of.mul(square, of.polynomial(square, 1 / 12, -1 / 120, 1 / 252))
    series = of.sub(of.sub(of.call(aten.log.default, of.moved), of.mul(inverse, 0.5)), rest)
    inverses = [of.call(aten.reciprocal.default, factor) for factor in (one, two, three)]
    slope = of.add(of.mul(of.x, 2.0), 5.0)
    return of.corrected(series, of.mul(slope, of.add(of.add(inverses[0], inverses[1]), inverses[2])))


_FORMS = {aten.lgamma.default: _log_gamma, aten.digamma.default: _digamma}
