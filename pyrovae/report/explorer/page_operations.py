"""How each operation of torch is done by the page's steps."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from pyrovae.report.explorer.moved_places import moved_places
from pyrovae.report.explorer.page_program import Handler, NotInPageError, Operand, PageProgram, name_of

_EACH = """
neg exp exp2 expm1 log log1p log2 log10 sqrt rsqrt reciprocal sigmoid tanh relu abs sin cos tan atan sinh cosh asinh
acosh atanh asin acos erf erfc special_erfcx sign floor ceil round trunc lgamma digamma isnan isinf logical_not square
mul pow maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor atan2 fmod remainder where floor_divide
"""

_MOVES = """
view _unsafe_view reshape permute transpose t expand slice select unsqueeze squeeze clone alias detach contiguous flip
repeat index index_select gather unfold as_strided roll diagonal diagonal_copy narrow constant_pad_nd index_put scatter
slice_scatter select_scatter cat stack _unsafe_index _reshape_alias lift_fresh_copy lift_fresh view_of tril triu rot90
diag_embed _unsafe_index_put pixel_shuffle channel_shuffle upsample_nearest2d reflection_pad1d reflection_pad2d
replication_pad1d replication_pad2d view_copy permute_copy expand_copy slice_copy select_copy unsqueeze_copy
squeeze_copy transpose_copy t_copy as_strided_copy detach_copy alias_copy unfold_copy copy
"""
_PARTS = """
split split_with_sizes unbind chunk unsafe_split unsafe_split_with_sizes split_copy split_with_sizes_copy unbind_copy
"""

_FIXED = ("index", "indices", "mask")  # what such operations choose by

_REDUCED = {"sum": "sum", "mean": "mean", "amax": "max", "amin": "min", "prod": "prod", "any": "any", "all": "all"}


def _each(program: PageProgram, node: Node) -> Operand:
    name = _name(node)
    return program.each(name, list(node.args), program.shape(node))


def _name(node: Node) -> str:
    return name_of(node)


def _added(program: PageProgram, node: Node) -> Operand:
    first, second = node.args[:2]
    shape, alpha = program.shape(node), node.kwargs.get("alpha", 1)
    name = "sub" if _name(node) in ("sub", "rsub") else "add"
    if alpha == 1:
        ordered = [second, first] if _name(node) == "rsub" else [first, second]
        return program.each(name, ordered, shape)
    if _name(node) == "rsub":
        raise NotInPageError("subtracts a multiple")
    own = program.shape(second)
    scaled = program.step("each", [program.operand(second), program.number(alpha)], f="mul", n=own.numel())
    return program.step(
        "each", [program.spread(program.operand(first), program.shape(first), shape),
                 program.spread(scaled, own, shape)], f=name, n=shape.numel()
    )  # fmt: skip


def _divided(program: PageProgram, node: Node) -> Operand:
    mode, shape = node.kwargs.get("rounding_mode"), program.shape(node)
    name = "floor_divide" if mode == "floor" else "div"
    found = program.each(name, list(node.args[:2]), shape)
    return program.step("each", [found], f="trunc", n=shape.numel()) if mode == "trunc" else found


def _clamped(program: PageProgram, node: Node) -> Operand:
    """Between two bounds, each of which may be missing."""
    low, high = _argument(node, 1, "min"), _argument(node, 2, "max")
    if _name(node) == "clamp_max":
        low, high = None, node.args[1]
    shape, found = program.shape(node), program.operand(node.args[0])
    for bound, name in ((low, "maximum"), (high, "minimum")):
        if bound is not None:
            other = program.spread(program.operand(bound), program.shape(bound), shape)
            found = program.step("each", [found, other], f=name, n=shape.numel())
    return found


def _argument(node: Node, place: int, name: str, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _cast(program: PageProgram, node: Node) -> Operand:
    """Numbers are what they are; only whole ones and truth values are others."""
    before, after = program.values[node.args[0]].dtype, program.values[node].dtype  # type: ignore[index] - an argument of this operation
    operand, count = program.operand(node.args[0]), program.shape(node).numel()
    if after == torch.bool and before != torch.bool:
        return program.step("each", [operand, program.number(0)], f="ne", n=count)
    if not after.is_floating_point and before.is_floating_point:
        return program.step("each", [operand], f="trunc", n=count)
    return operand


def _moved(program: PageProgram, node: Node, part: int | None = None) -> Operand:
    """An operation that moves numbers of one tensor or of several, done once with their places."""
    sources: list[Node] = []
    names = [one.name for one in node.target._schema.arguments]  # type: ignore[union-attr] - an operator
    fixed = [value for name, value in zip(names, node.args, strict=False) if name in _FIXED]
    chosen = {id(one) for value in fixed for one in _nodes(value)}
    for one in node.all_input_nodes:
        if id(one) not in chosen and one not in sources:
            sources.append(one)
    starts, total = {}, 0
    for one in sources:
        starts[one], total = total, total + program.shape(one).numel()

    def places(one: Node) -> Any:
        if one not in starts:
            return program.known(one)
        numbers = torch.arange(1, program.shape(one).numel() + 1, dtype=torch.float64) + starts[one]
        return numbers.reshape(program.shape(one))

    args = node.args[:2] if _name(node) == "constant_pad_nd" else node.args  # new numbers have the place 0
    made = node.target(*map_arg(args, places), **map_arg(node.kwargs, places))  # type: ignore[operator] - an operator
    found = (made if part is None else made[part]).long()
    operands = [program.operand(one) for one in sources]
    if len(operands) == 1:
        fill = _argument(node, 2, "value", 0) if _name(node) == "constant_pad_nd" else 0
        return program.moved(operands[0], found, total, fill=float(fill or 0))
    sizes = [program.shape(one).numel() for one in sources]
    return program.moved(program.step("join", operands, sizes=sizes), found, total)


def _nodes(value: Any) -> list[Node]:
    found: list[Node] = []
    map_arg(value, lambda one: found.append(one) or one)
    return found


def _item(program: PageProgram, node: Node) -> Operand:
    """One of several results."""
    source, number = node.args
    if isinstance(source, Node) and _name(source) in _PARTS.split():
        return _moved(program, source, int(number))  # type: ignore[arg-type] - an argument of this operation
    return program.live[source][number]  # type: ignore[index] - an argument of this operation


def _later(program: PageProgram, node: Node) -> Any:
    """Of an operation with several results each is made when it is taken."""
    return {}


def _reduced(program: PageProgram, node: Node) -> Operand:
    operand, count, size = program.last(node.args[0], _dims(program, node))
    return program.step("reduce", [operand], f=_REDUCED.get(_name(node), "mean"), n=count, size=size)


def _dims(program: PageProgram, node: Node) -> list[int]:
    """The dims that an operation gathers; all where none is named."""
    dims = _argument(node, 1, "dim")
    if dims is None or dims == []:
        return list(range(len(program.shape(node.args[0]))))
    return [dims] if isinstance(dims, int) else list(dims)


def _spread_and_mean(program: PageProgram, node: Node) -> Any:
    return [_spread(program, node), _reduced(program, node)]


def _spread(program: PageProgram, node: Node) -> Operand:
    """A variance: squares of distances from the mean, divided by one less than there are, or as many less as asked."""
    less = node.kwargs.get("correction", 1)
    operand, count, size = program.last(node.args[0], _dims(program, node))
    squares = program.step("reduce", [operand], f="squares", n=count, size=size)
    divisor = program.number(max(0.0, size - (1 if less is None else less)))  # type: ignore[operator] - an argument of this operation
    return program.step("each", [squares, divisor], f="div", n=count)


def _largest(program: PageProgram, node: Node) -> Operand:
    dim = _argument(node, 1, "dim")
    dims = list(range(len(program.shape(node.args[0])))) if dim is None else [dim]
    operand, count, size = program.last(node.args[0], dims)
    return program.step("reduce", [operand], f=_name(node), n=count, size=size)


def _pair_of_largest(program: PageProgram, node: Node) -> Any:
    """`max` over a dim gives values and places."""
    if not isinstance(node.args[1] if len(node.args) > 1 else None, int):
        return (
            program.each(_name(node), list(node.args), program.shape(node))
            if len(node.args) > 1
            else _whole(program, node)
        )
    operand, count, size = program.last(node.args[0], [node.args[1]])  # type: ignore[list-item] - an argument of this operation
    return [program.step("reduce", [operand], f=f, n=count, size=size) for f in (_name(node), f"arg{_name(node)}")]


def _whole(program: PageProgram, node: Node) -> Operand:
    shape = program.shape(node.args[0])
    return program.step("reduce", [program.operand(node.args[0])], f=_name(node), n=1, size=shape.numel())


def _running(program: PageProgram, node: Node) -> Operand:
    """Sums or products along one dim, brought to the end and back."""
    shape, dim = program.shape(node.args[0]), int(node.args[1])  # type: ignore[arg-type] - an argument of this operation
    operand, count, size = program.last(node.args[0], [dim])
    made = program.step("running", [operand], f=_name(node), n=count, size=size)
    return program.moved(made, moved_places(lambda x: x.movedim(-1, dim), shape.__class__(_ended(shape, dim))),
                         shape.numel())  # fmt: skip


def _ended(shape: torch.Size, dim: int) -> list[int]:
    sizes = list(shape)
    return [*sizes, sizes.pop(dim % len(sizes))] if sizes else sizes


def _product(program: PageProgram, node: Node) -> Operand:
    """Matrices, or batches of them, multiplied; `addmm` adds something."""
    added = _name(node) == "addmm"
    if added and (node.kwargs.get("alpha", 1), node.kwargs.get("beta", 1)) != (1, 1):
        raise NotInPageError("adds multiples of products")
    left, right = node.args[1:3] if added else node.args[:2]
    *batch, rows, inner = program.shape(left)
    made = program.step(
        "product",
        [program.operand(left), program.operand(right)],
        batch=torch.Size(batch).numel(),
        rows=rows,
        inner=inner,
        columns=program.shape(right)[-1],
    )
    if not added:
        return made
    shape = program.shape(node)
    bias = program.spread(program.operand(node.args[0]), program.shape(node.args[0]), shape)
    return program.step("each", [made, bias], f="add", n=shape.numel())


def _convolved(program: PageProgram, node: Node) -> Operand:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = node.args
    if len(program.shape(x)) > 4:
        raise NotInPageError("convolves in three dimensions")
    if weight in program.live or bias in program.live:
        raise NotInPageError("convolves with weights that the latent variables decide")

    def two(values: Any, fill: int) -> list[int]:
        return [fill, *values] if len(values) == 1 else list(values)

    def image(one: Any) -> list[int]:
        sizes = list(program.shape(one))
        return [*sizes[:2], 1, sizes[2]] if len(sizes) == 3 else sizes

    operands = [program.operand(x), program.operand(weight)]
    return program.step(
        "convolve",
        operands if bias is None else [*operands, program.operand(bias)],
        shape=image(x),
        kernel=image(weight),
        out=image(node),
        stride=two(stride, 1),
        padding=two(padding, 0),
        dilation=two(dilation, 1),
        transposed=bool(transposed),
        groups=groups,
    )


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_EACH.split(), _each),
    **dict.fromkeys(_MOVES.split(), _moved),
    **dict.fromkeys(_PARTS.split(), _later),
    **dict.fromkeys(("add", "sub", "rsub"), _added),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamped),
    **dict.fromkeys(("_to_copy", "convert_element_type"), _cast),
    **dict.fromkeys(_REDUCED, _reduced),
    **dict.fromkeys(("argmax", "argmin"), _largest),
    **dict.fromkeys(("max", "min"), _pair_of_largest),
    **dict.fromkeys(("cumsum", "cumprod"), _running),
    **dict.fromkeys(("mm", "bmm", "addmm"), _product),
    "bitwise_and": lambda program, node: _truth(program, node, "logical_and"),
    "bitwise_or": lambda program, node: _truth(program, node, "logical_or"),
    "bitwise_not": lambda program, node: _truth(program, node, "logical_not"),
    "div": _divided,
    "var": _spread,
    "var_mean": _spread_and_mean,
    "convolution": _convolved,
    operator.getitem.__name__: _item,
}


def _truth(program: PageProgram, node: Node, name: str) -> Operand:
    if program.values[node].dtype != torch.bool:
        raise NotInPageError("works on the bits of numbers")
    return program.each(name, list(node.args), program.shape(node))
