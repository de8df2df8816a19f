"""Three ways to make many draws at once, and the look that tells which of them a pair allows.

*Rows*: every datum is given to the pair as often as there are draws. Any pair whose sites all belong to single data
takes that, whatever its networks do with shapes, and its products stay products of two matrices. A guide that
broadcasts sees every datum once all the same, so that nothing is encoded twice. *Plate*: an outer
plate, for pairs with global sites whose code broadcasts. *Loop*: one run for each draw, which is always right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.objectives.figures import is_part_of_q
from pyrovae.pairs.looks.isolation import restart
from pyrovae.pairs.looks.state_keeper import rewind
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.same_numbers import same_numbers
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.layout import Layout, fold_plate, fold_rows, fold_single, unfold_rows
from pyrovae.sampling.programs import Kind, WholePlate, run_against, run_once, traced
from pyrovae.sampling.runs import Run, note_own_densities

DRAWS = "_pyrovae_draws"


class RunRequest(NamedTuple):
    """What a route is asked to run."""

    pair: WholePlate
    structure: Structure
    layout: Layout
    batch: Batch
    kind: Kind


class Route(NamedTuple):
    """A way to make several draws: its name, and `make(ask, draws, shared)`, which returns runs in order.

    `shared` is the trace of what is given, or one for each draw. `together(traces, layout, depth)` is what `make` takes
    where local sites are given, too, by a trace for each draw.
    """

    name: str
    make: Callable[[RunRequest, int, Any], list[Run]]
    together: Callable[[Sequence[Trace], Layout, int], Any] = lambda traces, layout, depth: list(traces)


class InPlate(Wrapped):
    """A pair inside an outer plate over draws."""

    def __init__(self, pair: HasPair, draws: int, dim: int):
        self.pair, self.draws, self.dim = pair, draws, dim

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """The plate over draws."""
        return pyro.plate(DRAWS, self.draws, dim=self.dim)


def repeated(batch: Batch, draws: int) -> Batch:
    """Every row `draws` times, one copy of the batch after the other."""
    if draws == 1:
        return batch
    leaves = {
        name: leaf.repeat(draws, *[1] * (leaf.ndim - 1)) if isinstance(leaf, torch.Tensor) and leaf.ndim else leaf
        for name, leaf in batch.leaves.items()
    }
    positions = None if batch.positions is None else batch.positions.repeat(draws)
    return Batch.of(leaves)._replace(positions=positions)


def _run(ask: RunRequest, batch: Batch, draws: int, shared: Trace | None, pair: HasPair, fold: Any) -> Run:
    ask.pair.turn_to(batch)
    traces = run_once(pair, batch, ask.structure, ask.kind, shared)
    return Run(traces, draws, fold, ask.layout, ask.structure.data_plate)


def by_rows(ask: RunRequest, draws: int, shared: Any) -> list[Run]:
    """All draws in one run, as more rows; what is given is the same for all."""
    return [_run(ask, repeated(ask.batch, draws), draws, shared, ask.pair, fold_rows)]


def by_rows_of_model(depth: int) -> Callable[[RunRequest, int, Any], list[Run]]:
    """As `by_rows`, but the guide runs inside an outer plate: it sees every datum once, whatever the draws."""

    last: list[tuple[Batch, int, Batch]] = []  # of the batches that were repeated: the next tile is often of the same

    def rows_of(batch: Batch, draws: int) -> Batch:
        if not last or last[0][0] is not batch or last[0][1] != draws:
            last[:] = [(batch, draws, repeated(batch, draws))]
        return last[0][2]

    def make(ask: RunRequest, draws: int, shared: Any) -> list[Run]:
        if draws == 1 or ask.kind in ("prior", "generative"):  # nothing that the guide would see twice
            return by_rows(ask, draws, shared)
        given = shared if shared is not None else Trace()
        ask.pair.turn_to(ask.batch)
        guide = traced(poutine.replay(InPlate(ask.pair, draws, -1 - depth).guide, trace=given), ask.batch)
        batch = rows_of(ask.batch, draws)
        ask.pair.turn_to(batch)
        held = _in_rows(guide, given, ask, draws)
        model = run_against(ask.pair, batch, ask.structure, ask.kind, held)
        return [Run(Traces(model, guide), draws, fold_rows, ask.layout, ask.structure.data_plate, fold_plate)]

    return make


def _in_rows(guide: Trace, given: Trace, ask: RunRequest, draws: int) -> Trace:
    """What a guide drew inside an outer plate, as a model takes it that is given every datum `draws` times."""
    held = Trace()
    for name, node in samples(guide):
        place = ask.layout.place(("guide", name))
        value = node["value"]
        if name not in given.nodes or place.axis is not None:
            value = unfold_rows(fold_plate(value, place, draws), place)
        held.add_node(name, **{**node, "value": value})
    return held


def by_plate(depth: int) -> Callable[[RunRequest, int, Any], list[Run]]:
    """All draws in one run, inside an outer plate to the left of `depth` dims."""

    def make(ask: RunRequest, draws: int, shared: Any) -> list[Run]:
        given = stacked(shared, ask.layout, depth) if isinstance(shared, list) else shared
        return [_run(ask, ask.batch, draws, given, InPlate(ask.pair, draws, -1 - depth), fold_plate)]

    return make


def by_loop(ask: RunRequest, draws: int, shared: Any) -> list[Run]:
    """One run for each draw."""
    given = shared if isinstance(shared, list) else [shared] * draws
    # Seeds of their own, so that what the guide draws does not hang on how much the model drew in the run before.
    seeds = torch.randint(2**62, (draws,)).tolist()
    return [_one_of_loop(ask, one, seed) for one, seed in zip(given, seeds, strict=True)]


def _one_of_loop(ask: RunRequest, shared: Trace | None, seed: int) -> Run:
    restart(seed)
    run = _run(ask, ask.batch, 1, shared, ask.pair, fold_single)
    note_own_densities(run.traces.guide)
    return run


def stacked(traces: Sequence[Trace], layout: Layout, depth: int) -> Trace:
    """The same sites of several single runs as one trace, as a plate to the left of `depth` dims holds them."""
    joined = Trace()
    for name, node in samples(traces[0]):
        values: torch.Tensor = torch.stack([trace.nodes[name]["value"] for trace in traces])  # type: ignore[misc]
        side = "guide" if ("guide", name) in layout.batches else "model"  # draws of the prior may be the model's alone
        pads = [1] * (depth - layout.place((side, name), batch=True).ndim)
        joined.add_node(name, **{**node, "value": values.reshape(len(traces), *pads, *values.shape[1:])})
    return joined


def together_in_rows(traces: Sequence[Trace], layout: Layout, depth: int) -> Trace:
    """The same sites of several single runs as one trace of more rows; global sites are alike in all of them."""
    joined = Trace()
    for name, node in samples(traces[0]):
        place = layout.place(("guide", name))
        if place.axis is not None:
            values: torch.Tensor = torch.stack([trace.nodes[name]["value"] for trace in traces])  # type: ignore[misc]
            node = {**node, "value": unfold_rows(values, place)}
        joined.add_node(name, **node)
    return joined


def together_in_plate(traces: Sequence[Trace], layout: Layout, depth: int) -> Trace:
    """The same for a guide inside an outer plate and a model of more rows; of one draw it is run without a plate."""
    if len(traces) == 1:
        return together_in_rows(traces, layout, depth)
    return stacked_alike(traces, layout, depth)


def stacked_alike(traces: Sequence[Trace], layout: Layout, depth: int) -> Trace:
    """The same for an outer plate, of runs with the same global sites: code may take no draws of these."""
    joined = stacked(traces, layout, depth)
    for name, node in samples(traces[0]):
        if layout.place(("guide", name)).axis is None:
            joined.nodes[name]["value"] = node["value"]  # type: ignore[typeddict-item]
    return joined


ROWS, LOOP = Route("rows", by_rows, together_in_rows), Route("loop", by_loop)


# --- which of them ------------------------------------------------------------------------------------
def agrees(route: Route, ask: RunRequest, shared: Any = None) -> bool:
    """Whether two draws by a route are what two runs of one draw make of the same values."""
    try:
        rewind()
        (run,) = route.make(ask._replace(kind="posterior"), 2, shared)
        return all(_agrees(run, ask, draw) for draw in range(2))
    except Exception:
        return False  # the pair does not run this way; another will do


def _agrees(run: Run, ask: RunRequest, draw: int) -> bool:
    given, drawn = Trace(), Trace()
    for side in (run.traces.model, run.traces.guide):
        for name, node in samples(side):
            if name not in given.nodes and not node["is_observed"]:
                key = "model" if name in run.traces.model else "guide"
                given.add_node(name, **{**node, "value": run.value(name, key)[draw]})
    for name, node in samples(run.traces.guide):
        # What a guide makes of its other sites, a single run makes again.
        if is_part_of_q(node) and not is_delta(node["fn"]):
            drawn.add_node(name, **given.nodes[name])
    ask.pair.turn_to(ask.batch)
    rewind()
    guide = traced(poutine.replay(ask.pair.guide, trace=drawn), ask.batch)
    model = traced(poutine.replay(ask.pair.model, trace=given), ask.batch)
    single = Run(Traces(model, guide), 1, fold_single, ask.layout, ask.structure.data_plate)
    return all(
        _close(run.log_prob(name, side)[draw], single.log_prob(name, side)[0])
        and _same(run.value(name, side), single.value(name, side)[0], draw)
        for side in ("model", "guide")
        for name, node in samples(getattr(single.traces, side))
        if side == "model" or is_part_of_q(node)  # a factor of a guide is in a loss alone
    )


def _same(values: torch.Tensor, single: torch.Tensor, draw: int) -> bool:
    return same_numbers(values[draw], single, rtol=1e-4, atol=1e-5, among=values)


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return bool(torch.allclose(one.double(), other.double(), rtol=1e-4, atol=1e-5, equal_nan=True))
