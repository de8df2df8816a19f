"""The only sampler: draws of any pair in tiles of fixed size, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import ArraySource, Batch
from pyrovae.data.batches import Batches, as_batches, tile_size
from pyrovae.errors import PairError
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed, seed_for
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.capabilities import capabilities, global_sites, shared_by_model_alone
from pyrovae.sampling.first_look import UncutError
from pyrovae.sampling.layout import Layout, fold_plate, fold_single
from pyrovae.sampling.programs import Kind, only_global, run_once, traced
from pyrovae.sampling.routes import InPlate, RunRequest, stacked_alike
from pyrovae.sampling.runs import Run, on_rows
from pyrovae.sampling.tiles import Tile, draw_ranges
from pyrovae.sampling.use import Use, arguments

TILE_ROWS = 256

_TILE_NUMBERS = 2**22  # of the widest site in a tile: 16 MiB in single precision

_KEPT_NUMBERS = 2**26  # of global sites whose draws are kept for the next rows: 256 MiB in single precision


class Sampler:
    """Draws from a pair on data.

    Attributes:
        use: the pair, the data and how the pair takes them.
        structure: the pair's sites and plates.
        found: what the look at them found.
    """

    def __init__(self, use: Use, *, seed: int, tile_rows: int | None):
        self.use = use
        self.structure: Structure = use.structure
        self.seed = seed
        self.tile_rows = tile_rows  # None: the batches as they come
        self._global: dict[tuple[Kind, int], Trace] = {}
        with use.quietly(seed_for(seed, "look")):
            self.found = capabilities(use, tile_rows)

    @classmethod
    def of(
        cls,
        pair: HasPair,
        data: tuple,
        named: Mapping[str, Any],
        *,
        seed: int | None,
        data_plate: str | None = None,
        stand_ins: bool = False,
    ) -> Sampler:
        """A sampler for data as the user gives them.

        Args:
            pair: the pair.
            data: its arguments by position.
            named: and by name.
            seed: of the draws.
            data_plate: the plate of the rows, where several plates follow their number.
            stand_ins: whether what is observed stands there for its shape alone, in no unit.

        Raises:
            PairError: the pair does not run on these data.
            DataError: the data are none that `fit` would take.
        """
        sampler = cls._looked_at(pair, arguments(pair, data, named), chosen_seed(seed), data_plate)
        sampler.use.tell_of_other_rows()
        if not stand_ins:
            sampler.use.tell_of_other_units()
        return sampler

    @classmethod
    def _looked_at(cls, pair: HasPair, given: Any, seed: int, data_plate: str | None) -> Sampler:
        batches = as_batches(given, batch_size=tile_size(given, TILE_ROWS))
        try:
            return cls(Use.of(pair, batches, data_plate=data_plate), seed=seed, tile_rows=cls._tile_rows(batches))
        except (PairError, UncutError) as error:
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
        return global_sites(self.structure)

    @property
    def shared_by_model_alone(self) -> list[str]:
        """Those of them that the guide does not draw, nor is asked for."""
        return shared_by_model_alone(self.structure)

    @property
    def layout(self) -> Layout:
        """Where the rows stand in each site's tensors."""
        return self.found.layout

    @property
    def route(self) -> str:
        """How several draws are made at once: "rows", "plate" or "loop"."""
        return self.found.outer.name

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
        self.use.tell_of_other_rows(means=kind in ("predictive", "generative", "prior"))
        for batch, rows, number in self.row_tiles():
            yield partial(self._tiles_of, batch, rows, number, draws, kind)

    def _tiles_of(self, batch: Batch, rows: range, number: int, draws: int, kind: Kind) -> Iterator[Tile]:
        for tile, part in enumerate(draw_ranges(draws, self.tile_draws)):
            yield Tile(part, rows, on_rows(rows, self._made(batch, kind, part, ("local", tile, number))), batch)

    def grid(self, shared_draws: int, local_draws: int, kind: Kind = "posterior") -> Iterator[Tile]:
        """For each tile of rows and each of `shared_draws` draws of the global sites, `local_draws` of the others.

        `Tile.part` counts the global draws. Without global sites they differ by their local draws alone.
        """
        shared_draws, local_draws = check_count("draws", shared_draws), check_count("draws", local_draws)
        for batch, rows, number in self.row_tiles():
            for part in range(shared_draws):
                shared = self.global_draw(part, kind) if self.global_sites else None
                for tile, inner in enumerate(draw_ranges(local_draws, max(1, _TILE_NUMBERS // self._tile_width))):
                    with self.use.quietly(seed_for(self.seed, "grid", part, tile, number)):
                        runs = self.found.inner.make(self.ask(batch, kind), len(inner), shared)
                    yield Tile(inner, rows, on_rows(rows, runs), batch, part)

    def global_draw(self, draw: int, kind: Kind = "posterior") -> Trace:
        """One draw of the sites that all rows have in common, the same at every call."""
        source: Kind = "prior" if kind == "prior" else "posterior"
        if source == "posterior" and self.found.shared_last:
            raise PairError(shared_last_words(self.found.shared_last))
        known = self._global.get((source, draw))
        if known is None:
            with self.use.quietly(seed_for(self.seed, "global", draw)):
                run = self.run(self.use.first(self.tile_rows), "guide" if source == "posterior" else source)
            known = _values_alone(self._common(run, source))
            numbers = sum(torch.as_tensor(node["value"]).numel() for node in known.nodes.values())
            if (len(self._global) + 1) * numbers <= _KEPT_NUMBERS:  # else it is made anew each time
                self._global[source, draw] = known
        return known

    def single(self, batch: Batch, kind: Kind = "posterior", *, draw: int = 0) -> Run:
        """One run outside the tiles, on a batch of any rows such as `Tile.batch`: for a look at sites and values."""
        with self.use.quietly(seed_for(self.seed, "single", draw)):
            return Run(self.run(batch, kind), 1, fold_single, self.layout, self.structure.data_plate)

    def reseeded(self, seed: int) -> Sampler:
        """The same pair and data, with other draws."""
        twin = copy(self)
        twin.seed, twin._global = seed, {}
        return twin

    def on(self, leaves: dict[int | str, torch.Tensor], *, gradients: bool = False) -> Sampler:
        """The same pair and random numbers, with other values of the same rows and no other look at the pair.

        Args:
            leaves: the data, by place or name.
            gradients: whether what is drawn keeps the way back to them.
        """
        twin = copy(self)
        batches = Batches(ArraySource(leaves), batch_size=self.use.batches.batch_size)
        twin.use = self.use.on(batches, gradients=gradients)
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
        # What is drawn after its rows is drawn with them, in one run: all rows are one tile then.
        last = self.found.model_last if kind == "prior" else self.found.shared_last
        first = self.global_sites and not last
        shared = [self.global_draw(draw, kind) for draw in part] if first else None
        with self.use.quietly(seed_for(self.seed, *place)):
            return self.found.outer.make(self.ask(batch, kind), len(part), shared)

    # --- single runs ----------------------------------------------------------------------------------

    def ask(self, batch: Batch, kind: Kind) -> RunRequest:
        """What a route is asked to run on a batch."""
        return RunRequest(self.found.pair, self.structure, self.layout, batch, kind)

    def run(self, batch: Batch, kind: Kind = "posterior") -> Traces:
        """One run of guide and model, by the random numbers of the moment; use it inside `use.quietly`."""
        self.found.pair.turn_to(batch)
        return run_once(self.found.pair, batch, self.structure, kind)

    def guide_given(self, batch: Batch, given: Trace, draws: int | None = None) -> Run:
        """The guide with given values; use it inside `use.quietly`.

        Args:
            batch: the rows.
            given: values by site; several of them in an outer plate to the left of `found.plates` dims.
            draws: how many stand in that plate; None where there is none.
        """
        self.found.pair.turn_to(batch)
        pair = self.found.pair if draws is None else InPlate(self.found.pair, draws, -1 - self.found.plates)
        traces = Traces(Trace(), traced(poutine.replay(pair.guide, trace=given), batch))
        fold = fold_single if draws is None else fold_plate
        return Run(traces, draws or 1, fold, self.layout, self.structure.data_plate)

    def run_given(self, batch: Batch, given: Sequence[Trace], kind: Kind, *, alike: bool) -> list[Run]:
        """Guide and model with given values; use it inside `use.quietly`.

        Args:
            batch: the rows.
            given: values by site, a trace for each draw, global sites included.
            kind: "scored" for their densities; see `run_once`.
            alike: whether the global sites are the same in all of them.
        """
        route = self.found.inner if alike else self.found.outer
        together = stacked_alike if alike and route.name == "plate" else route.together
        return route.make(self.ask(batch, kind), len(given), together(given, self.layout, self.found.plates))

    @property
    def _tile_width(self) -> int:
        return self.found.row_width * self.found.tile_rows

    @property
    def tile_draws(self) -> int:
        """How many draws are made together."""
        return max(1, _TILE_NUMBERS // max(self._tile_width, self.found.common_width))

    def row_tiles(self) -> Iterator[tuple[Batch, range, int]]:
        """The tiles of rows: batch, rows and number of each."""
        start = 0
        for number, batch in enumerate(self.use.placed_batches(self.tile_rows)):
            yield batch, range(start, start + batch.rows), number
            start += batch.rows

    def model_on(self, batch: Batch) -> Callable[..., Any]:
        """The pair's model, its data plate holding the rows of a batch."""
        self.found.pair.turn_to(batch)
        return self.found.pair.model


def shared_last_words(name: str) -> str:
    """Why rows have no figures given what they share."""
    return (
        f"the guide draws {name!r}, which all rows share, by what it draws for single rows, so that rows cannot be "
        "drawn given it: no row has an evidence of its own, and uncertainty does not split. elbo, posterior, "
        "predictions and log_evidence(..., joint=True) stand; for the rest, draw it first in the guide, and "
        "what belongs to rows given it."
    )


def _values_alone(trace: Trace) -> Trace:
    """Without distributions, which for the weights of a network can be many times as large as a draw."""
    for node in trace.nodes.values():
        node["fn"] = None  # type: ignore[typeddict-item]  # Pyro types it as always there, but replays the value alone
    return trace
