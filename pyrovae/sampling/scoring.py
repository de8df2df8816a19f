"""Log-probabilities of given values of a guide's local sites, which gradients may pass through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.trace import samples
from pyrovae.sampling.densities import of_run
from pyrovae.sampling.layout import comes_and_goes
from pyrovae.sampling.programs import Kind, WholePlate
from pyrovae.sampling.runs import Run, on_rows
from pyrovae.sampling.sampler import Sampler

Values = Mapping[str, torch.Tensor]  # by site, (draws, *plates, *event)


class GuideScores(NamedTuple):
    """Two log densities of the same values given the global sites, (draws, rows).

    Attributes:
        base: log q of the sites that are given.
        target: log p of data and local sites, less log q of what the guide makes of the given sites (the Delta behind
            an auxiliary site, whose density is that of a change of variables).
    """

    base: torch.Tensor
    target: torch.Tensor


class Scorer:
    """Runs a pair on the rows of one tile with values that are given.

    Use it inside `sampler.use.quietly(seed)`, with gradients enabled where they are wanted.

    Attributes:
        rows: which rows of the data.
        sites: the guide's local sites that are random, as one run on these rows holds them.
    """

    def __init__(self, sampler: Sampler, batch: Batch, rows: range):
        self.sampler, self.batch, self.rows = sampler, batch, rows
        guide = sampler.run(batch, "guide").guide
        self.sites = {name: node for name, node in samples(guide) if self._is_moving(name, node)}

    def _is_moving(self, name: str, node: Mapping[str, Any]) -> bool:
        site = self.sampler.structure.sites.get(name)
        if site is None:
            raise comes_and_goes(name)
        if node["is_observed"] or not site.local:
            return False
        return not is_delta(node["fn"])

    def shared(self, draws: range) -> list[Trace] | None:
        """The global sites of some draws; None where the pair has none."""
        return [self.sampler.global_draw(draw) for draw in draws] if self.sampler.global_sites else None

    def drawn(
        self,
        draws: int,
        shared: Sequence[Trace] | None,
        around: Callable[[WholePlate], Any] = lambda pair: pair,
        kind: Kind = "scored",
    ) -> list[Run]:
        """Runs of the guide and of the model.

        Args:
            draws: how many.
            shared: the global sites of each; None where there are none.
            around: what is put around the pair, such as handlers of the guide.
            kind: "guide" for the guide alone.
        """
        ask = self.sampler.ask(self.batch, kind)
        alike = shared is None or _alike(shared)
        route = self.sampler.found.inner if alike else self.sampler.found.outer
        given = None if shared is None else shared[0] if alike else list(shared)
        return route.make(ask._replace(pair=around(ask.pair)), draws, given)

    def values(self, runs: Sequence[Run]) -> dict[str, torch.Tensor]:
        """What runs hold at the guide's random local sites."""
        return {site: torch.cat([run.value(site, "guide") for run in runs]) for site in self.sites}

    def runs(self, values: Values, shared: Sequence[Trace] | None) -> list[Run]:
        """Guide and model with values."""
        draws = len(next(iter(values.values())))
        given = [self._single(values, draw, shared) for draw in range(draws)]
        made = self.sampler.run_given(self.batch, given, "scored", alike=shared is None or _alike(shared))
        return on_rows(self.rows, made)

    def scores(self, values: Values, shared: Sequence[Trace] | None) -> GuideScores:
        """The densities of values."""
        made = self.runs(values, shared)
        return GuideScores(*(torch.cat(part) for part in zip(*map(self._of_run, made), strict=True)))

    def _of_run(self, run: Run) -> GuideScores:
        densities = of_run(run, len(self.rows))
        base = sum((run.per_datum(site, "guide").double() for site in self.sites), torch.zeros(()))
        return GuideScores(base, densities.model - (densities.guide - base))

    def _single(self, values: Values, draw: int, shared: Sequence[Trace] | None) -> Trace:
        trace = shared[draw].copy() if shared is not None else Trace()
        for site, value in values.items():
            trace.add_node(site, **{**self.sites[site], "value": value[draw]})
        return trace


def _alike(shared: Sequence[Trace]) -> bool:
    """Whether all draws have the same global sites."""
    return all(trace is shared[0] for trace in shared)


def scorers(sampler: Sampler) -> Iterator[Scorer]:
    """One for each tile of rows; use each before the next."""
    for batch, rows, _ in sampler.row_tiles():
        with sampler.use.quietly():
            scorer = Scorer(sampler, batch, rows)
        yield scorer
