"""What a look at a pair and its data finds before anything is drawn: where rows stand, and which routes it allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.checks.shapes import misplaced
from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError
from pyrovae.pairs.points import is_delta, own_log_prob
from pyrovae.pairs.same_numbers import same_numbers
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.first_look import UncutError
from pyrovae.sampling.layout import Layout, learn_layout
from pyrovae.sampling.observed_together import observed_together
from pyrovae.sampling.programs import Kind, WholePlate, cut, depth, only_global, run_against, run_once
from pyrovae.sampling.routes import LOOP, ROWS, Route, RunRequest, agrees, by_plate, by_rows_of_model, together_in_plate
from pyrovae.sampling.use import Use

logger = logging.getLogger("pyrovae")

_FEW = 6  # rows on which routes are tried


class Capabilities(NamedTuple):
    """How a pair can be run.

    Attributes:
        pair: the pair, its data plate held.
        layout: where the rows stand in each site's tensors.
        plates: how many dims to the left of the events its plates take.
        inner: how several draws are made at once with the global sites given.
        outer: the same with global sites of their own.
        per_row: whether the pair has parameters of which each belongs to one row of its own data.
        tile_rows: how many rows are worked on together.
        row_width: numbers in the widest site, for each row.
        common_width: numbers in the widest site that all rows have in common.
        shared_last: a site that all rows share, and that the guide draws by what it drew for single rows; "" where all
            of them may be drawn first, and the rows given them.
        model_last: the same of the model.
    """

    pair: WholePlate
    layout: Layout
    plates: int
    inner: Route
    outer: Route
    per_row: bool
    tile_rows: int
    row_width: int
    common_width: int
    shared_last: str = ""
    model_last: str = ""


def global_sites(structure: Structure) -> list[str]:
    """Unobserved sites that all rows have in common."""
    return structure.drawn(local=False)


def shared_by_model_alone(structure: Structure) -> list[str]:
    """Those of them that the guide does not draw, nor is asked for."""
    return [name for role in ("enumerated", "unguided") for name in structure.named(role, local=False)]


def capabilities(use: Use, tile_rows: int | None) -> Capabilities:
    """Look at a pair on the first rows of its data; call it inside `use.quietly`.

    Raises:
        PairError: the pair does not run against given draws.
        UncutError: it does not run, or means something else, on a part of its rows.
    """
    return _Look(use, tile_rows).found()


class _Look:
    def __init__(self, use: Use, tile_rows: int | None):
        self.use, self.structure, self.tile_rows, self.rows = use, use.structure, tile_rows, use.batches.rows
        self.pair = WholePlate(use.pair, use.structure.data_plate, follows=False)
        self.trouble = ""  # why the last try of a run failed

    def found(self) -> Capabilities:
        first = self.use.first(self.tile_rows)
        few, one = self.few(first)
        _refuse_sequential(one, self.structure.data_plate)
        refuse_shapes(one, few.rows, self.structure.data_plate)
        self.check_may_be_cut(few, first)
        last = self.shared_last(few, one), self.model_last(few, one)
        other = self.tried(cut(few, few.rows - 1)) if few.rows > 1 else None
        per_row = _has_parameters_by_row(one, self.structure.data_plate)
        layout = learn_layout(one, other, self.structure.data_plate, few.rows)
        self.pair.follows = layout.follows
        ask = RunRequest(self.pair, self.structure, layout, few, "posterior")
        inner, outer = self.routes(ask, depth(one), per_row=per_row)
        rows = self.tile_rows or first.rows
        widths = _widths(one, layout, few.rows)
        return Capabilities(self.pair, layout, depth(one), inner, outer, per_row, rows, *widths, *last)

    def few(self, first: Batch) -> tuple[Batch, Traces]:
        """A few rows, or all of the first ones where the pair takes its own number of rows only, and a run on them."""
        few = cut(first, min(first.rows, _FEW))
        one = self.tried(few) if few is not first else self.tried(first, self.on_first)
        if one is not None and self.shows_all_sites(one) and not self.observes_its_own_rows(few, one):
            if few is not first:
                self.check_runs_on(first)
            return few, one
        one = self.tried(first, self.on_first)
        if one is not None:
            return first, one
        if first.rows == self.rows:
            raise PairError(f"the model does not run against given draws: {self.trouble}")
        raise UncutError("the pair runs on all of its rows only")

    def observes_its_own_rows(self, few: Batch, run: Traces) -> bool:
        """Whether it observes the same numbers on fewer rows: data in a closure, or by `pyro.condition`."""
        ill = [name for name, node in samples(run.model) if misplaced(node, few.rows, self.structure.data_plate)]
        whole = self.tried(self.use.first(self.tile_rows), self.on_first) if ill else None
        values: list[Any] = [[one.model.nodes[name]["value"] for one in (run, whole)] for name in ill if whole]
        return bool(values) and all(one.shape == other.shape and torch.equal(one, other) for one, other in values)

    def shows_all_sites(self, run: Traces) -> bool:
        """Not so where each datum has a site of its own, `obs_0`, `obs_1`, ..."""
        shown = {name for trace in run for name, _ in samples(trace)}
        return all(name in shown for name in self.structure.sites)

    def check_may_be_cut(self, few: Batch, first: Batch) -> None:
        """Refuse to work tile by tile on what all rows have to do with."""
        cuts = self.tile_rows is not None and (self.rows or 0) > self.tile_rows
        if (alone := shared_by_model_alone(self.structure)) and (self.tile_rows is None or cuts):
            # Anew for every tile, that is.
            raise UncutError(f"the model alone draws {alone[0]!r}, or sums it out, and all rows share it")
        if not cuts:
            return
        if self.structure.data_plate is None:
            raise UncutError("no plate says that the pair's rows are independent")
        if self.tried(self.last()) is None:
            raise UncutError("the pair does not run on its last rows alone")
        self.pair.turn_to(few)
        if together := observed_together(self.pair, few, self.structure):
            raise UncutError(f"{together[0]!r} is observed outside the data plate, for all rows together")
        if found := self.use.moving_with_others.found:
            raise UncutError(f"the distribution of {found[0][1]!r} in a row moves with the other rows")
        one = self.run(few)
        if self.shared_last(few, one) or self.model_last(few, one):
            raise UncutError("what all rows share is drawn after what is drawn for single rows")
        if self.draws_global_sites_by_rows(few, first):
            raise UncutError("the guide draws global sites by looking at all rows")

    def run(self, batch: Batch, kind: Kind = "posterior") -> Traces:
        self.pair.turn_to(batch)
        return run_once(self.pair, batch, self.structure, kind)

    def tried(self, batch: Batch, run: Callable[[Batch], Traces] | None = None) -> Traces | None:
        try:
            return (run or self.run)(batch)
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"
            return None

    def on_first(self, batch: Batch) -> Traces:
        """A run on the first rows, which others look at, too."""
        return self.use.posterior_run if batch.rows == self.use.first(None).rows else self.run(batch)

    def check_runs_on(self, batch: Batch) -> None:
        try:
            self.on_first(batch)
        except Exception as error:
            words = str(error).split("Trace Shapes", 1)[0].strip()
            raise PairError(
                f"the pair runs on a few rows, but not on {batch.rows} of them: {type(error).__name__}: {words}. If it "
                "has a parameter for each row of the data that it was trained on, it can be used on these data alone."
            ) from error

    def last(self) -> Batch:
        assert self.rows is not None
        assert self.tile_rows is not None
        start = (self.rows - 1) // self.tile_rows * self.tile_rows
        batch = self.use.batches.source.take(slice(start, self.rows))
        positions = torch.arange(start, self.rows)
        return self.use.placement.place(batch._replace(positions=positions))

    def routes(self, ask: RunRequest, plates: int, *, per_row: bool) -> tuple[Route, Route]:
        """How several draws are made at once: given the global sites, and with global sites of their own."""
        shared = None
        has_global = bool(global_sites(self.structure))
        if has_global:
            shared = only_global(self.run(ask.batch).guide, self.structure)
        plate = Route("plate", by_plate(plates))
        rows = self.by_rows(plates) if self.structure.data_plate is not None and not per_row else []
        inner = next((route for route in (*rows, plate) if agrees(route, ask, shared)), LOOP)
        outer = inner if not has_global else plate if agrees(plate, ask) else LOOP
        if outer is LOOP:
            logger.info("the pair's code does not broadcast over draws: they are made one by one")
        return inner, outer

    def by_rows(self, plates: int) -> list[Route]:
        # The contraction over what a model enumerates needs guide and model in one form.
        once = (
            [] if self.structure.named("enumerated") else [Route("rows", by_rows_of_model(plates), together_in_plate)]
        )
        return [*once, ROWS]

    def draws_global_sites_by_rows(self, few: Batch, first: Batch) -> bool:
        """Whether the guide gives a global site another distribution where it is given other rows."""
        given = only_global(self.run(few).guide, self.structure)
        if not given.nodes:
            return False
        self.pair.turn_to(first)
        other = run_once(self.pair, first, self.structure, "posterior", given).guide
        return any(differs(node, other.nodes[name]) for name, node in given.nodes.items())

    def model_last(self, few: Batch, one: Traces) -> str:
        """A global site that the model draws after one of single rows, and whose prior moves with those, or ""."""
        names = [name for name, _ in samples(one.model) if name in self.structure.sites]
        first = next((place for place, name in enumerate(names) if self.structure.sites[name].local), len(names))
        late = [name for name in names[first:] if name in global_sites(self.structure) and name in one.guide]
        if not late:
            return ""
        self.pair.turn_to(few)
        given = only_global(one.guide, self.structure)
        runs = (run_against(self.pair, few, self.structure, "generative", given) for _ in range(2))
        before, after = runs
        return next((name for name in late if differs(before.nodes[name], after.nodes[name])), "")

    def shared_last(self, few: Batch, one: Traces) -> str:
        """A global site whose distribution in the guide moves with other draws for single rows, or ""."""
        given = only_global(one.guide, self.structure)
        if not given.nodes or not self.structure.drawn(local=True):
            return ""
        self.pair.turn_to(few)
        # Where it moves with all draws held, too, that is noise beside the sites.
        others, same = (run_once(self.pair, few, self.structure, "guide", held).guide for held in (given, one.guide))
        return next(
            (
                name
                for name, node in given.nodes.items()
                if differs(node, others.nodes[name]) and not differs(node, same.nodes[name])
            ),
            "",
        )


def differs(node: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs that hold a site's value have another distribution there."""
    value, here, there = node["value"], node["fn"], other["fn"]
    if is_delta(here) and not same_numbers(here.sample(), there.sample(), rtol=1e-4, atol=1e-5):
        return True
    return not torch.equal(own_log_prob(here, value), own_log_prob(there, value))


def _widths(run: Traces, layout: Layout, rows: int) -> tuple[int, int]:
    """Numbers in the widest site: of those with rows, for each of them; of those that all rows have in common."""
    local = common = 1
    for name, node in samples(run.model):
        if isinstance(node["value"], torch.Tensor):
            size = node["value"].numel()
            if layout.place(("model", name)).axis is None:
                common = max(common, size)
            else:
                local = max(local, size // max(rows, 1))
    return local, common


def _refuse_sequential(run: Traces, data_plate: str | None) -> None:
    frames = [frame for trace in run for _, node in samples(trace) for frame in node["cond_indep_stack"]]
    if any(frame.name == data_plate and frame.dim is None for frame in frames):
        raise PairError(
            f"the plate {data_plate!r} of the rows is a loop, so that every row has sites of its own. Write it as "
            f"`with pyro.plate({data_plate!r}, len(x)):`, with sites that hold all rows."
        )


def refuse_shapes(run: Traces, rows: int | None, data_plate: str | None) -> None:
    """Where dims of rows and of a datum are taken for one another, no figure is that of a row."""
    for side, trace in zip(Traces._fields, run, strict=True) if data_plate is not None else ():
        for name, node in samples(trace):
            if words := misplaced(node, rows, data_plate):
                raise PairError(f"{name!r} in the {side} {words}")


def _has_parameters_by_row(run: Traces, data_plate: str | None) -> bool:
    """Whether Pyro picks the data plate's rows from a parameter, which has one for each row of the data."""
    return any(
        _is_by_row(node, frame.dim)
        for trace in run
        for node in trace.nodes.values()
        if node["type"] == "param"
        for frame in node["cond_indep_stack"]
        if frame.name == data_plate and frame.dim is not None
    )


def _is_by_row(node: Mapping[str, Any], dim: int) -> bool:
    event, shape = node["kwargs"].get("event_dim"), node["value"].shape
    return event is not None and len(shape) >= event - dim and shape[dim - event] != 1
