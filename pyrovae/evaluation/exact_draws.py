"""Draws from the posterior that the caller knows to be exact, as annealing back from them takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import ArgumentError
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import Scorer


class ExactDraws(NamedTuple):
    """Draws from the posterior that are known to be exact: local values, and a trace of global ones."""

    local: dict[str, torch.Tensor]  # as one run holds them
    common: Trace | None

    @classmethod
    def of(cls, scorer: Scorer, given: Mapping[str, torch.Tensor]) -> ExactDraws:
        """Those of a tile's rows, from what the user gives for all."""
        sampler = scorer.sampler
        wanted = [*scorer.sites, *(s for s in sampler.global_sites if s in sampler.structure.named("latent"))]
        missing = [site for site in wanted if not isinstance(given, Mapping) or site not in given]
        if missing:
            raise ArgumentError(
                f"reverse lacks {missing[0]!r}: it takes the values of {', '.join(map(repr, wanted))} from which the "
                "data were drawn, such as pyrovae.generate returns. Where the guide draws through auxiliary sites, "
                "leave start at 'prior'."
            )
        local = {site: _placed(scorer, site, given[site]) for site in scorer.sites}
        return cls(local, _common(sampler, given) if sampler.global_sites else None)

    def values(self, draws: int) -> dict[str, torch.Tensor]:
        """The local values, the same for each draw."""
        return {site: value.expand(draws, *value.shape) for site, value in self.local.items()}

    def shared(self, draws: int) -> list[Trace] | None:
        """The global values, the same for each draw."""
        return None if self.common is None else [self.common] * draws


def _placed(scorer: Scorer, site: str, value: Any) -> torch.Tensor:
    """Values of all rows, rows in front, as a run on the tile's rows holds them."""
    there: torch.Tensor = scorer.sites[site]["value"]
    part = torch.as_tensor(value)[scorer.rows.start : scorer.rows.stop]
    axis = scorer.sampler.layout.place(("guide", site)).axis
    part = part.to(there) if axis is None or part.ndim != there.ndim else part.to(there).movedim(0, axis)
    if part.shape != there.shape:
        raise ArgumentError(
            f"reverse has shape {tuple(torch.as_tensor(value).shape)} at {site!r}; the rows {scorer.rows.start} to "
            f"{scorer.rows.stop - 1} of the data need {tuple(there.shape)}."
        )
    return part


def _common(sampler: Sampler, given: Mapping[str, torch.Tensor]) -> Trace:
    trace = Trace()
    for name, node in sampler.global_draw(0).nodes.items():
        if name in given:
            trace.add_node(name, **{**node, "value": torch.as_tensor(given[name]).to(node["value"])})
    return trace
