"""A graph of tensor operations as the few steps that the page's script knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule, Interpreter, Node

from pyrovae.report.explorer.constant_pool import ConstantPool
from pyrovae.report.explorer.moved_places import fits, is_in_place, moved_places, tables_of

Operand = Mapping[str, Any]


class NotInPageError(Exception):
    """The graph does what the page's script cannot."""


class PageProgram:
    """Steps in the making.

    Each gives one run of numbers, whose shape only this class knows: {"do": kind, "in": operands, ...}. An operand is
    {"v": step}, with -1 for the input, {"c": constant} or {"n": number}; one with "spread" [inner, count] is read at
    `floor(i / inner) % count`.
    """

    def __init__(self, values: Mapping[Node, Any], live: Mapping[Node, Operand], pool: ConstantPool):
        self.values, self.live, self.pool = values, dict(live), pool
        self.steps: list[dict[str, Any]] = []

    def step(self, do: str, operands: list[Any], **rest: Any) -> Operand:
        """Write down one step."""
        self.steps.append({"do": do, "in": operands, **rest})
        return {"v": len(self.steps) - 1}

    # --- what operations read ---------------------------------------------------------------------------
    def operand(self, value: Any) -> Operand:
        """A node, a tensor or a number as a step reads it."""
        if isinstance(value, Node) and value in self.live:
            return self.live[value]
        held = self.known(value)
        if isinstance(held, torch.Tensor):
            return self.number(held.item()) if held.numel() == 1 else {"c": self.pool.add(held)}
        return self.number(held)

    def known(self, value: Any) -> Any:
        """What a node or a list of nodes is, where it depends on nothing that moves."""
        if isinstance(value, list | tuple):
            return type(value)(self.known(one) for one in value)
        if isinstance(value, Node):
            if value in self.live:
                raise NotInPageError("chooses elements by values that the latent variables decide")
            return self.values[value]
        return value

    @staticmethod
    def number(value: Any) -> Operand:
        """A number; those that JSON has not as texts."""
        value = float(value)
        return {"n": value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")}

    def shape(self, value: Any) -> torch.Size:
        """The shape of what a node or a number is."""
        held = self.values[value] if isinstance(value, Node) else value
        return held.shape if isinstance(held, torch.Tensor) else torch.Size()

    # --- steps that several operations share ------------------------------------------------------------
    def each(self, function: str, inputs: list[Any], shape: torch.Size) -> Operand:
        """A function of single numbers, shapes broadcast."""
        operands = [self.spread(self.operand(one), self.shape(one), shape) for one in inputs]
        return self.step("each", operands, f=function, n=shape.numel())

    def spread(self, operand: Operand, own: torch.Size, shape: torch.Size) -> Operand:
        """An operand of a shape read as one of a larger shape."""
        if "n" in operand or own.numel() == shape.numel():
            return operand
        padded = (1,) * (len(shape) - len(own)) + tuple(own)
        moving = [dim for dim, size in enumerate(padded) if size > 1]
        if not moving:
            return {**operand, "spread": [1, 1]}
        inside = range(moving[0], moving[-1] + 1)
        if all(padded[dim] == shape[dim] for dim in inside):
            return {**operand, "spread": [math.prod(shape[moving[-1] + 1 :]), own.numel()]}
        return self.moved(operand, moved_places(lambda x: x.expand(shape), own), own.numel())

    def moved(self, operand: Operand, places: torch.Tensor, count: int, *, fill: float = 0.0) -> Operand:
        """Numbers from other places; `fill` where a place is 0."""
        if is_in_place(places, count):
            return operand
        tables = tables_of(places)
        if tables is not None:
            return self.step("move", [operand], **tables)
        if not fits(places):
            raise NotInPageError(f"moves {places.numel():,} numbers about in no simple order")
        return self.step("pick", [operand], places=self.pool.add(places.int()), fill=fill)

    def last(self, value: Any, dims: list[int]) -> tuple[Operand, int, int]:
        """A tensor with some dims moved to its end: how many numbers stand before them, and how many in them."""
        shape = self.shape(value)
        dims = [dim % len(shape) for dim in dims] if shape else []
        order = [dim for dim in range(len(shape)) if dim not in dims] + dims
        operand = self.moved(self.operand(value), moved_places(lambda x: x.permute(order), shape), shape.numel())
        size = math.prod(shape[dim] for dim in dims)
        return operand, shape.numel() // max(1, size), size


class Compiled(NamedTuple):
    """The steps of a program, and what its outputs are."""

    steps: list[dict[str, Any]]
    outputs: list[Operand]
    sizes: list[int]
    graph: GraphModule

    def plain(self) -> dict[str, Any]:
        """What the page's script takes."""
        return {"steps": self.steps, "outputs": self.outputs, "sizes": self.sizes}

    def exactly(self, free: torch.Tensor) -> list[torch.Tensor]:
        """The outputs in double precision throughout, as torch has them: what the page is compared with."""
        return _Double(self.graph).run(free.double())


# By the name of an operation: from the program and the node to what stands for its result.
Handler = Callable[[PageProgram, Node], Any]

_OF_SHAPE = {"full_like", "zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}


def compiled(
    graph: GraphModule, example: torch.Tensor, pool: ConstantPool, handlers: Mapping[str, Handler]
) -> Compiled:
    """The steps of a graph of one input; what does not depend on it is computed here.

    Raises:
        NotInPageError: it does something else than the handlers know.
    """
    recorded = _Recorded(graph)
    recorded.run(example)
    program = PageProgram(recorded.seen, {}, pool)
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    needed = needed_nodes(graph)
    for node in graph.graph.nodes:
        if node not in needed:
            continue
        if node.op == "placeholder":
            program.live[node] = {"v": -1}
        elif node.op == "call_function" and _depends(node, program.live):
            name = name_of(node)
            if name not in handlers:
                raise NotInPageError(f"uses {name}")
            program.live[node] = handlers[name](program, node)
    given: Any = output.args[0]
    sizes = [program.shape(one).numel() for one in given]
    return Compiled(program.steps, [program.operand(one) for one in given], sizes, graph)


def needed_nodes(graph: GraphModule) -> dict[Node, None]:
    """All that the outputs depend on; what is drawn and not used is none of it."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    found, waiting = {output: None}, [output]
    while waiting:
        for one in waiting.pop().all_input_nodes:
            if one not in found:
                found[one] = None
                waiting.append(one)
    return found


def name_of(node: Node) -> str:
    """The name of an operation, whatever types it takes."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


def _depends(node: Node, live: Mapping[Node, Any]) -> bool:
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        raise NotInPageError(f"draws random numbers ({name_of(node)})")
    return name_of(node) not in _OF_SHAPE and any(one in live for one in node.all_input_nodes)


class _Double(Interpreter):
    """Runs a graph with every floating number as a double."""

    def fetch_attr(self, target: Any) -> Any:
        return _doubled(super().fetch_attr(target))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        made = super().call_function(target, args, {name: _wide(value) for name, value in kwargs.items()})
        return _doubled(made)


def _wide(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value


def _doubled(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


class _Recorded(Interpreter):
    """Runs a graph and keeps what each node came to."""

    def __init__(self, graph: GraphModule):
        super().__init__(graph, garbage_collect_values=False)
        self.seen: dict[Node, Any] = {}

    def run_node(self, n: Node) -> Any:
        self.seen[n] = super().run_node(n)
        return self.seen[n]
