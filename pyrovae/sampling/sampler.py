"""The only sampler: draws of any pair in tiles of fixed size, each with a seed of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches, as_batches
from pyrovae.errors import PairError
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed, seed_for
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.layout import Layout, fold_single, learn_layout
from pyrovae.sampling.programs import Kind, WholePlate, cut, depth, only_global, run_once
from pyrovae.sampling.routes import LOOP, ROWS, Ask, Route, agrees, by_plate, by_rows_of_model, together_in_plate
from pyrovae.sampling.runs import Run
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.use import Use, arguments

logger = logging.getLogger("pyrovae")


TILE_ROWS = 256

_TILE_NUMBERS = 2**22  # of the widest site in a tile: 16 MiB in single precision

_KEPT_NUMBERS = 2**26  # of global sites whose draws are kept for the next rows: 256 MiB in single precision

_FEW = 6  # rows on which routes are tried


class Sampler:
    """Draws from a pair on data.

    Attributes:
        use: the pair, the data and how the pair takes them.
        structure: the pair's sites and plates.
        layout: where the rows stand in each site's tensors.
        route: how several draws are made at once: "rows", "plate" or "loop".
        per_row: whether the pair has parameters of which each belongs to one row of its own data.
    """

    def __init__(self, use: Use, *, seed: int, tile_rows: int | None):
        self.use = use
        self.structure: Structure = use.structure
        self.seed = seed
        self.tile_rows = tile_rows  # None: the batches as they come
        self._global: dict[tuple[Kind, int], Trace] = {}
        self._trouble = ""  # why the last try of a run failed
        self._whole = WholePlate(use.pair, use.structure.data_plate, follows=False)
        with use.quietly(seed_for(seed, "look")):
            self._look()

    @classmethod
    def of(
        cls, pair: HasPair, data: tuple, named: Mapping[str, Any], *, seed: int | None, data_plate: str | None = None
    ) -> Sampler:
        """A sampler for data as the user gives them.

        Raises:
            PairError: the pair does not run on these data.
            DataError: the data are none that `fit` would take.
        """
        given = arguments(data, named)
        batches = as_batches(given, batch_size=TILE_ROWS)
        seed = chosen_seed(seed)
        try:
            return cls(Use.of(pair, batches, data_plate=data_plate), seed=seed, tile_rows=cls._tile_rows(batches))
        except (PairError, _Uncut) as error:
            # A pair with one parameter for each row, say, takes all of them or none.
            if batches.rows is None or not batches.random_access or batches.rows <= TILE_ROWS:
                raise error if isinstance(error, PairError) else PairError(f"{error}; give them as arrays.") from None
        whole = as_batches(given, batch_size=batches.rows)
        return cls(Use.of(pair, whole, data_plate=data_plate), seed=seed, tile_rows=batches.rows)

    @staticmethod
    def _tile_rows(batches: Batches) -> int | None:
        return TILE_ROWS if batches.random_access else None

    @property
    def rows(self) -> int | None:
        """How many data there are; None where that shows only at the end."""
        return self.use.batches.rows

    @property
    def device(self) -> torch.device:
        """Where the pair runs."""
        return self.use.placement.device

    @property
    def global_sites(self) -> list[str]:
        """Unobserved sites that all rows have in common."""
        return [s.name for s in self.structure.sites.values() if s.role in _DRAWN and not s.local]

    @property
    def shared_by_model_alone(self) -> list[str]:
        """Those of them that the guide does not draw, nor is asked for."""
        return [name for role in ("enumerated", "unguided") for name in self.structure.named(role, local=False)]

    # --- draws ----------------------------------------------------------------------------------------

    def tiles(self, draws: int, kind: Kind = "posterior") -> Iterator[Tile]:
        """Every row with `draws` draws: for each tile of rows all tiles of draws.

        Each draw has its own global sites, the same for all rows.
        """
        for made in self.tiles_by_rows(draws, kind):
            yield from made()

    def tiles_by_rows(self, draws: int, kind: Kind = "posterior") -> Iterator[Callable[[], Iterator[Tile]]]:
        """For each tile of rows a function that makes all tiles of draws, the same ones at every call."""
        draws = check_count("draws", draws)
        for batch, rows, number in self._row_tiles():
            yield partial(self._tiles_of, batch, rows, number, draws, kind)

    def _tiles_of(self, batch: Batch, rows: range, number: int, draws: int, kind: Kind) -> Iterator[Tile]:
        for tile, part in enumerate(_split(draws, self.tile_draws)):
            yield Tile(part, rows, self._made(batch, kind, part, ("local", tile, number)), batch)

    def grid(self, shared_draws: int, local_draws: int, kind: Kind = "posterior") -> Iterator[Tile]:
        """For each tile of rows and each of `shared_draws` draws of the global sites, `local_draws` of the others.

        `Tile.part` counts the global draws. Without global sites they differ by their local draws alone.
        """
        shared_draws, local_draws = check_count("draws", shared_draws), check_count("draws", local_draws)
        for batch, rows, number in self._row_tiles():
            for part in range(shared_draws):
                shared = self.global_draw(part, kind) if self.global_sites else None
                for tile, inner in enumerate(_split(local_draws, self._inner_draws)):
                    ask = self._ask(batch, kind)
                    with self.use.quietly(seed_for(self.seed, "grid", part, tile, number)):
                        runs = self._inner.make(ask, len(inner), shared)
                    yield Tile(inner, rows, runs, batch, part)

    def global_draw(self, draw: int, kind: Kind = "posterior") -> Trace:
        """One draw of the sites that all rows have in common, the same at every call."""
        source: Kind = "prior" if kind == "prior" else "posterior"
        known = self._global.get((source, draw))
        if known is None:
            with self.use.quietly(seed_for(self.seed, "global", draw)):
                run = self._run(self._first(), "guide" if source == "posterior" else source)
            known = _values_alone(self._common(run, source))
            numbers = sum(torch.as_tensor(node["value"]).numel() for node in known.nodes.values())
            if (len(self._global) + 1) * numbers <= _KEPT_NUMBERS:  # else it is made anew each time
                self._global[source, draw] = known
        return known

    def single(self, batch: Batch, kind: Kind = "posterior", *, draw: int = 0) -> Run:
        """One run outside the tiles, on a batch of any rows such as `Tile.batch`: for a look at sites and values."""
        with self.use.quietly(seed_for(self.seed, "single", draw)):
            return Run(self._run(batch, kind), 1, fold_single, self.layout, self.structure.data_plate)

    def reseeded(self, seed: int) -> Sampler:
        """The same pair and data, with other draws."""
        twin = copy(self)
        twin.seed, twin._global = seed, {}
        return twin

    def _common(self, run: Traces, source: Kind) -> Trace:
        if source == "posterior":
            return only_global(run.guide, self.structure)
        kept = Trace()
        for name, node in samples(run.model):
            if name in self.global_sites:
                kept.add_node(name, **node)
        return kept

    def _made(self, batch: Batch, kind: Kind, part: range, place: tuple[str, int, int]) -> list[Run]:
        shared = [self.global_draw(draw, kind) for draw in part] if self.global_sites else None
        with self.use.quietly(seed_for(self.seed, *place)):
            return self._outer.make(self._ask(batch, kind), len(part), shared)

    def _ask(self, batch: Batch, kind: Kind) -> Ask:
        return Ask(self._whole, self.structure, self.layout, batch, kind)

    def _row_tiles(self) -> Iterator[tuple[Batch, range, int]]:
        start = 0
        for number, batch in enumerate(self.use.placed_batches(self.tile_rows)):
            yield batch, range(start, start + batch.rows), number
            start += batch.rows

    def _first(self) -> Batch:
        return self.use.placement.place(self.use.batches.first(self.tile_rows))

    def model_on(self, batch: Batch) -> Callable[..., Any]:
        """The pair's model, its data plate holding the rows of a batch."""
        self._whole.turn_to(batch)
        return self._whole.model

    # --- the look at the pair -------------------------------------------------------------------------

    def _look(self) -> None:
        """Learn the layout, and which routes the pair allows."""
        first = self._first()
        few = cut(first, min(first.rows, _FEW))
        one = self._tried(few)
        if one is None:  # it takes its own number of rows only
            few, one = first, self._tried(first)
            if one is None:
                if first.rows == self.rows:
                    raise PairError(f"the model does not run against given draws: {self._trouble}")
                raise _Uncut("the pair runs on all of its rows only")
        elif few is not first:
            self._check_runs_on(first)
        _refuse_sequential(one, self.structure.data_plate)
        if (alone := self.shared_by_model_alone) and (self.tile_rows is None or (self.rows or 0) > self.tile_rows):
            raise _Uncut(f"the model alone draws {alone[0]!r}, which all rows share")  # here anew for every tile
        if self.tile_rows is not None and (self.rows or 0) > self.tile_rows:
            if self.structure.data_plate is None:
                raise _Uncut("no plate says that the pair's rows are independent")
            if self._tried(self._last()) is None:
                raise _Uncut("the pair does not run on its last rows alone")
            if self._draws_global_sites_by_rows(few, first):
                raise _Uncut("the guide draws global sites by looking at all rows")
        other = self._tried(cut(few, few.rows - 1)) if few.rows > 1 else None
        self.per_row = _has_parameters_by_row(one, self.structure.data_plate)
        self.layout: Layout = learn_layout(one, other, self.structure.data_plate, few.rows)
        self._whole.follows = self.layout.follows
        self._plates = depth(one)
        self._inner, self._outer = self._routes(self._ask(few, "posterior"), self._plates)
        self.route = self._outer.name
        local, common = self._widths(one, few.rows)
        local *= self.tile_rows or first.rows
        self._inner_draws = max(1, _TILE_NUMBERS // local)
        self.tile_draws = max(1, _TILE_NUMBERS // max(local, common))

    def _run(self, batch: Batch, kind: Kind = "posterior") -> Traces:
        self._whole.turn_to(batch)
        return run_once(self._whole, batch, self.structure, kind)

    def _tried(self, batch: Batch) -> Traces | None:
        try:
            return self._run(batch)
        except Exception as error:
            self._trouble = f"{type(error).__name__}: {error}"
            return None

    def _check_runs_on(self, batch: Batch) -> None:
        try:
            self._run(batch)
        except Exception as error:
            words = str(error).split("Trace Shapes", 1)[0].strip()
            raise PairError(
                f"the pair runs on a few rows, but not on {batch.rows} of them: {type(error).__name__}: {words}. If it "
                "has a parameter for each row of the data that it was trained on, it can be used on these data alone."
            ) from error

    def _last(self) -> Batch:
        assert self.rows is not None
        assert self.tile_rows is not None
        start = (self.rows - 1) // self.tile_rows * self.tile_rows
        batch = self.use.batches.source.take(slice(start, self.rows))
        positions = torch.arange(start, self.rows)
        return self.use.placement.place(batch._replace(positions=positions))

    def _routes(self, ask: Ask, plates: int) -> tuple[Route, Route]:
        """How several draws are made at once: given the global sites, and with global sites of their own."""
        shared = None
        if self.global_sites:
            shared = only_global(self._run(ask.batch).guide, self.structure)
        plate = Route("plate", by_plate(plates))
        rows = self._by_rows(plates) if self.structure.data_plate is not None and not self.per_row else []
        inner = next((route for route in (*rows, plate) if agrees(route, ask, shared)), LOOP)
        outer = inner if not self.global_sites else plate if agrees(plate, ask) else LOOP
        if outer is LOOP:
            logger.info("the pair's code does not broadcast over draws: they are made one by one")
        return inner, outer

    def _by_rows(self, plates: int) -> list[Route]:
        # The contraction over what a model enumerates needs guide and model in one form.
        once = (
            [] if self.structure.named("enumerated") else [Route("rows", by_rows_of_model(plates), together_in_plate)]
        )
        return [*once, ROWS]

    def _draws_global_sites_by_rows(self, few: Batch, first: Batch) -> bool:
        """Whether the guide gives a global site another distribution where it is given other rows."""
        given = only_global(self._run(few).guide, self.structure)
        if not given.nodes:
            return False
        self._whole.turn_to(first)
        other = run_once(self._whole, first, self.structure, "posterior", given).guide
        for name, node in given.nodes.items():
            there = other.nodes[name]["fn"].log_prob(node["value"])
            if not torch.equal(node["fn"].log_prob(node["value"]), there):
                return True
        return False

    def _widths(self, run: Traces, rows: int) -> tuple[int, int]:
        """Numbers in the widest site: of those with rows, for each of them; of those that all rows have in common."""
        local = common = 1
        for name, node in samples(run.model):
            if isinstance(node["value"], torch.Tensor):
                size = node["value"].numel()
                if self.layout.place(("model", name)).axis is None:
                    common = max(common, size)
                else:
                    local = max(local, size // max(rows, 1))
        return local, common


def _values_alone(trace: Trace) -> Trace:
    """Without distributions, which for the weights of a network can be many times as large as a draw."""
    for node in trace.nodes.values():
        node["fn"] = None  # type: ignore[typeddict-item]  # Pyro types it as always there, but replays the value alone
    return trace


class _Uncut(Exception):
    """The pair takes all of its rows at once, or none."""


def _refuse_sequential(run: Traces, data_plate: str | None) -> None:
    frames = [frame for trace in run for _, node in samples(trace) for frame in node["cond_indep_stack"]]
    if any(frame.name == data_plate and frame.dim is None for frame in frames):
        raise PairError(
            f"the plate {data_plate!r} of the rows is a loop, so that every row has sites of its own. Write it as "
            f"`with pyro.plate({data_plate!r}, len(x)):`, with sites that hold all rows."
        )


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


_DRAWN = ("latent", "auxiliary", "enumerated", "unguided")


def _split(count: int, size: int) -> Iterator[range]:
    """Tiles of draws, one after the other: a list of them would itself fill memory where somebody asks for too many."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))
