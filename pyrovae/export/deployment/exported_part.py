"""A part of a pair as a program of `torch.export`, for any number of rows, held against the pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.graph import CodeGen

from pyrovae.errors import ArgumentError, PairError, PyrovaeError, argument
from pyrovae.export.deployment.any_rows import TRACED_ROWS, for_any_rows
from pyrovae.export.deployment.pair_parts import PARTS, PairPart
from pyrovae.export.deployment.row_graph import Example, RowGraph, example_of, row_graph
from pyrovae.pairs.looks.isolation import validation
from pyrovae.sampling.sampler import Sampler

LARGEST_DIFFERENCE = 1e-5  # of single precision, in which networks of some layers differ by 1e-6 between libraries

# Numbers of rows on which every file is held against the pair: one, that of the data, and one that no graph has seen.
_CHECKED_ROWS = (1, 13)
_MOST_ROWS = 64


class PartInput(NamedTuple):
    """What a part is given.

    Attributes:
        name: an argument of the pair, a latent site, or `noise.` and the site that it is for.
        shape: `"rows"` stands for any number of them.
        dtype: of its numbers, as numpy calls it.
        noise: "standard normal" or "uniform" (from 0 to 1, without 1); "" where it is no noise.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    noise: str = ""


class ExportedPart(NamedTuple):
    """A part of a pair, as a file holds it.

    Attributes:
        name: "encode", "decode" or "elbo".
        file: where it is.
        inputs: in the order of the program.
        outputs: names, in the order of the program.
        left_out: what the pair says and the file does not, such as a draw that no given noise makes, and why.
        difference: the largest one between file and pair: of numbers above 1, in parts of them.
        rows: numbers of rows on which that was seen.
    """

    name: str
    file: str
    inputs: tuple[PartInput, ...]
    outputs: tuple[str, ...]
    left_out: Mapping[str, str]
    difference: float
    rows: tuple[int, ...]


class PartProgram(NamedTuple):
    """A part as a program, its inputs in order."""

    part: PairPart
    program: ExportedProgram
    inputs: tuple[PartInput, ...]
    outputs: tuple[str, ...]
    left_out: Mapping[str, str]


Runner = Callable[[dict[str, torch.Tensor]], Sequence[torch.Tensor]]


def check_parts(parts: Any) -> tuple[str, ...]:
    """The parts that were asked for."""
    listed = (parts,) if isinstance(parts, str) else tuple(parts)
    if not listed or any(one not in PARTS for one in listed) or len(set(listed)) < len(listed):
        raise ArgumentError(f"{argument('parts', parts)}; give some of {', '.join(map(repr, PARTS))}.")
    return listed


def programs(sampler: Sampler, parts: Sequence[str]) -> list[PartProgram]:
    """Each part as a program.

    Raises:
        PairError: some of them cannot be one; the others are named.
    """
    if sampler.device.type != "cpu":
        raise PairError(f"parts are exported on the processor, and the pair stands on {sampler.device}; move it there.")
    if sampler.found.per_row:
        raise PairError(
            "the pair has parameters of which each belongs to one row of its own data: of other rows it says nothing, "
            "and a program would give those for any. A guide that is made from the data (an encoder) has codes for all."
        )
    found, refused = [], {}
    for name in parts:
        try:
            found.append(_program(sampler, PARTS[name]))
        except PyrovaeError as error:
            refused[name] = error
    if refused:
        rest = [one.part.name for one in found]
        others = f" What can be exported: {argument('parts', tuple(rest))}." if rest else ""
        words = " ".join(f"{name!r} cannot be exported: {_words(error)}." for name, error in refused.items())
        raise PairError(f"{words}{others}") from next(iter(refused.values()))
    return found


def _words(error: BaseException) -> str:
    """What an error of this package says, without what Pyro appends of shapes to one that it passes on."""
    while isinstance(error.__cause__, PyrovaeError):
        error = error.__cause__
    return str(error).rstrip(".")


def _program(sampler: Sampler, part: PairPart) -> PartProgram:
    part.check(sampler)
    graphs = [row_graph(sampler, part, rows) for rows in TRACED_ROWS]
    _check_complete(graphs[0])
    module = for_any_rows(graphs, TRACED_ROWS)
    inputs, dims = _inputs(graphs)
    places = [node for node in module.graph.nodes if node.op == "placeholder"]
    used = [place for place in places if place.users]
    named = dict(zip(places, zip(inputs, dims, graphs[0].example.inputs.values(), strict=True), strict=True))
    for place in set(places) - set(used):
        module.graph.erase_node(place)
    module.graph.set_codegen(CodeGen())
    module.recompile()
    with validation(None), torch.no_grad():
        kept = [named[place] for place in used]
        program = torch.export.export(
            module, tuple(one[2] for one in kept), dynamic_shapes=tuple(one[1] for one in kept), strict=False
        )
    return PartProgram(part, program, tuple(one[0] for one in kept), graphs[0].names, graphs[0].left_out)


def _check_complete(one: RowGraph) -> None:
    """Refuse a part that says nothing of a site."""
    for name, why in one.left_out.items():
        of = name.partition(".")[0]
        if not any(kept.partition(".")[0] == of for kept in one.names):
            raise PairError(why)
    if not one.names:
        raise PairError("the distributions of its sites have neither parameters nor a mean that could be said")


def _inputs(graphs: Sequence[RowGraph]) -> tuple[list[PartInput], list[dict[int, Any]]]:
    rows, kinds = Dim("rows", min=1), {one.name: one.kind for one in graphs[0].example.noise}
    inputs, dims = [], []
    for (name, tensor), other in zip(graphs[0].example.inputs.items(), graphs[1].example.inputs.values(), strict=True):
        moved = [place for place, (a, b) in enumerate(zip(tensor.shape, other.shape, strict=True)) if a != b]
        shape = tuple("rows" if place in moved else size for place, size in enumerate(tensor.shape))
        inputs.append(PartInput(name, shape, str(tensor.dtype).removeprefix("torch."), kinds.get(name, "")))
        dims.append(dict.fromkeys(moved, rows))
    return inputs, dims


# --- held against the pair ----------------------------------------------------------------------------
def checked(sampler: Sampler, one: PartProgram, run: Runner) -> tuple[float, tuple[int, ...]]:
    """The largest difference between a file and the pair, and on which numbers of rows it was looked for.

    Raises:
        PairError: it is larger than rounding.
    """
    rows = tuple(dict.fromkeys([*_CHECKED_ROWS, min(sampler.use.first(None).rows, _MOST_ROWS)]))
    worst = 0.0
    for seed, count in enumerate(rows, 1):
        example = example_of(sampler, one.part, count, seed)
        said = _run(one, run, example, count)
        for name, value in zip(one.outputs, said, strict=True):
            worst = max(worst, _check_close(one, name, value, example, count))
    return worst, rows


def _run(one: PartProgram, run: Runner, example: Example, rows: int) -> Sequence[torch.Tensor]:
    try:
        return run({given.name: example.inputs[given.name] for given in one.inputs})
    except Exception as error:
        raise PairError(
            f"{one.part.name!r} cannot be exported: on {rows} rows the file stops with {str(error).splitlines()[0]}"
        ) from error


def _check_close(one: PartProgram, name: str, value: torch.Tensor, example: Example, rows: int) -> float:
    wanted = example.outputs[name]
    found = difference(value, wanted) if value.shape == wanted.shape else float("inf")
    if not found <= LARGEST_DIFFERENCE:
        raise PairError(
            f"{one.part.name!r} cannot be exported: on {rows} rows the file says another {name!r} than the pair, by "
            f"{found:.1e} (at most {LARGEST_DIFFERENCE:.0e} would be rounding). The pair's code does with values or "
            "with their number what a graph does not repeat, or it needs double precision."
        )
    return found


def difference(value: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference of two tensors; of numbers above 1 in parts of them."""
    value, wanted = value.detach().double(), wanted.detach().double()
    same = (value == wanted) | (value.isnan() & wanted.isnan())
    found = torch.where(same, 0.0, (value - wanted).abs() / wanted.abs().clamp(min=1.0))
    return float(found.nan_to_num(nan=float("inf")).max()) if found.numel() else 0.0
