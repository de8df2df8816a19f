"""A part of a pair, traced on some rows as a graph of tensor operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

import torch
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import Distribution
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.data.batch_sources import Batch
from pyrovae.export.deployment.given_noise import GivenNoise, GraphNoise
from pyrovae.export.deployment.pair_parts import PairPart
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.trace import with_rows
from pyrovae.sampling.sampler import Sampler

_SEED = 0

NO_NOISE = "is no function of noise that could be given (a Gamma, a Beta, classes)"

_READ = "the distribution looks at values for it, and a graph cannot"


class Example(NamedTuple):
    """A part on some rows: what it is given, noise included, and what it says.

    Attributes:
        inputs: by name, in order; noise comes last.
        noise: which of them are noise.
        outputs: by name.
    """

    inputs: dict[str, torch.Tensor]
    noise: tuple[GraphNoise, ...]
    outputs: dict[str, torch.Tensor]


class RowGraph(NamedTuple):
    """A part as `graph(*example.inputs.values())`, right for this number of rows."""

    graph: GraphModule
    example: Example
    names: tuple[str, ...]  # of the graph's outputs
    left_out: dict[str, str]  # what the pair says and the graph does not, and why


def example_of(sampler: Sampler, part: PairPart, rows: int, seed: int = _SEED) -> Example:
    """The pair itself on so many rows, repeated from their start, with noise of some seed."""
    first = sampler.use.first(None)
    args, kwargs = with_rows(first.args, first.kwargs, rows)
    with _as_it_is(sampler, seed):
        given = part.inputs(sampler, Batch(args, kwargs, None))
        with GivenNoise() as noting:
            part.outputs(sampler, given)
        noise = {one.name: one.drawn() for one in noting.noted}
        with GivenNoise(list(noise.values())):
            outputs = part.outputs(sampler, given)
    return Example({**given, **noise}, tuple(noting.noted), outputs)


def row_graph(sampler: Sampler, part: PairPart, rows: int) -> RowGraph:
    """Trace a part on so many rows.

    Raises:
        PairError: it looks at values that depend on what it is given.
    """
    example = example_of(sampler, part, rows)
    noise = [one.name for one in example.noise]
    numbers = [name for name, value in example.outputs.items() if not value.isnan().all()]  # NaN says "there is none"
    drawn: dict[str, str | None] = {}

    def program(*flat: torch.Tensor) -> list[torch.Tensor]:
        every = dict(zip(example.inputs, flat, strict=True))
        given = {name: leaf for name, leaf in every.items() if name not in noise}
        with GivenNoise([every[name] for name in noise], list(given.values())) as giving:
            said = part.outputs(sampler, given)
        drawn.update({name: giving.origin(value).drawn for name, value in said.items()})
        return [said[name] for name in numbers if drawn.get(name, "") is None]

    # The shapes of all operations are noted in one mode: a mode for each takes longer than all else about it.
    with _as_it_is(sampler, _SEED), tracing(TracingContext(FakeTensorMode())):
        graph = make_fx(program)(*example.inputs.values())
    graph.graph.eliminate_dead_code(is_needed)
    graph.recompile()
    told = tuple(name for name in numbers if drawn.get(name, "") is None)
    read = {name: _READ for name in numbers if name not in drawn}
    undrawn = {name: f"it needs a draw of {site!r}, which {NO_NOISE}" for name, site in drawn.items() if site}
    return RowGraph(graph, example, told, {**read, **undrawn})


def is_needed(node: Node) -> bool:
    """Whether an operation stays though nobody uses what it gives: it writes into a tensor that others may look at."""
    if node.op in ("placeholder", "output"):
        return True
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or torch.Tag.nondeterministic_seeded in node.target.tags:  # type: ignore[union-attr] - an operator
        return False
    (filled, *_) = node.all_input_nodes
    return not (filled.target is torch.ops.aten.empty.memory_format and len(filled.users) == 1)


@contextmanager
def _as_it_is(sampler: Sampler, seed: int) -> Iterator[None]:
    """The pair in eval mode, with nothing checked: what is checked was so when the data came in."""
    # A distribution that was made before this keeps its own wish to check.
    unchecked = mock.patch.object(Distribution, "_validate_sample", return_value=None)
    with sampler.use.quietly(seed), validation(False), unchecked:
        yield
