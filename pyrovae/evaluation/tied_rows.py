"""Rows that have no evidence of their own, since an observation belongs to several of them."""

from __future__ import annotations

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import PairError
from pyrovae.sampling.densities import Densities, model_of_run, of_run
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import Scorer


def rows_are_tied(sampler: Sampler) -> bool:
    """Whether another draw for the first row alone moves a density of other rows, or one that all rows share."""
    batch = sampler.use.first(sampler.tile_rows)
    with sampler.use.quietly():
        scorer = Scorer(sampler, batch, range(batch.rows))
        if not scorer.sites:
            return False
        shared = scorer.shared(range(1))
        shared = shared and shared * 2
        drawn = scorer.values(scorer.drawn(2, shared, kind="guide"))
        moved = {site: _with_first_row_of_the_second(scorer, site, value) for site, value in drawn.items()}
    held = {site: value[:1].expand_as(value) for site, value in moved.items()}
    before, after = (_rest(scorer, values, shared) for values in (held, moved))
    return not all(
        torch.allclose(one, two, rtol=1e-4, atol=1e-4, equal_nan=True) for one, two in zip(before, after, strict=True)
    )


def _rest(scorer: Scorer, values: dict[str, torch.Tensor], shared: list[Trace] | None) -> tuple[torch.Tensor, ...]:
    """The densities of all but the first row, and of what rows share, in the second of two draws."""
    with scorer.sampler.use.quietly(1):  # what a pair draws beside its sites is the same each time
        parts = [_scored(run, len(scorer.rows)) for run in scorer.runs(values, shared)]
    found = Densities(*(torch.cat([getattr(part, field) for part in parts]) for field in Densities._fields))
    return found.model[1, 1:], found.guide[1, 1:], found.global_model[1]


def _scored(run: Run, rows: int) -> Densities:
    try:
        return of_run(run, rows)
    except PairError as error:
        if not isinstance(error.__cause__, KeyError):  # how a flow without an inverse says that it drew something else
            raise
        return model_of_run(run, rows)


def _with_first_row_of_the_second(scorer: Scorer, site: str, value: torch.Tensor) -> torch.Tensor:
    axis = scorer.sampler.layout.place(("guide", site)).axis
    if axis is None:
        return value
    mixed = value[0].clone()
    mixed.narrow(axis, 0, 1).copy_(value[1].narrow(axis, 0, 1))
    return torch.stack([value[0], mixed])
