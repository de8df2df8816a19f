"""Figures of each row that can be explained, as functions of what runs the pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, argument
from pyrovae.evaluation.per_datum import check_common_densities, check_each_datum, check_local_densities, check_proper
from pyrovae.pairs.numbers import as_whole
from pyrovae.prediction.encode import encodings
from pyrovae.sampling.densities import of_run
from pyrovae.sampling.plate_size import plate_size
from pyrovae.sampling.sampler import Sampler
from pyrovae.trust.uncertainty import observed
from pyrovae.trust.uncertainty_grid import grid_size, grid_spread

_PARTS = ("total", "aleatoric", "latent", "epistemic", "nats", "information")


class ExplainedFigure(NamedTuple):
    """A figure of each row.

    Attributes:
        words: what it is called.
        values: from a sampler to (rows,), the same random numbers each time.
        has_gradient: whether it follows its data smoothly, so that gradients of it can be had.
        any_rows: whether it may be asked of other rows, or of more; a user's function may know those that were given.
    """

    words: str
    values: Callable[[Sampler], Tensor]
    has_gradient: bool = True
    any_rows: bool = True


def figure_of(of: Any, sampler: Sampler, draws: int) -> ExplainedFigure:
    """The figure that `of` names.

    Args:
        of: "elbo", "evidence", "novelty", (site, dimension), ("uncertainty", part), or a function of encodings.
        sampler: of the pair whose figure it is.
        draws: of the guide for each value.
    """
    if isinstance(of, str) and of in ("elbo", "evidence", "novelty"):
        return _of_densities(of, sampler, draws)
    if callable(of):
        return ExplainedFigure(getattr(of, "__name__", "function"), partial(_of_encodings, of, draws), any_rows=False)
    if isinstance(of, tuple | list) and len(of) == 2:
        return _of_part(of[0], of[1], sampler, draws)
    raise ArgumentError(
        f"explain: {argument('of', of)}; give 'elbo', 'evidence', 'novelty', a site and a dimension (('z', 0)), "
        "('uncertainty', part), or a function of what pv.encode returns."
    )


# --- densities ------------------------------------------------------------------------------------------
def _of_densities(of: str, sampler: Sampler, draws: int) -> ExplainedFigure:
    check_local_densities(sampler.use)
    check_each_datum(sampler)
    if of == "elbo":
        check_common_densities(sampler.use, sums=False)
        return ExplainedFigure(of, lambda here: _log_weights(here, draws, shared=True).mean(0))
    check_proper(sampler)
    sign = -1 if of == "novelty" else 1
    return ExplainedFigure(
        of, lambda here: sign * (_log_weights(here, draws, shared=False).logsumexp(0) - math.log(draws))
    )


def _log_weights(sampler: Sampler, draws: int, *, shared: bool) -> Tensor:
    """log p - log q of each draw and row, (draws, rows); with the rows' parts of what they share, or without."""
    with torch.set_grad_enabled(sampler.use.gradients):
        by_rows = groupby(sampler.tiles(draws, "scored"), key=attrgetter("rows"))
        return torch.cat([torch.cat([_of_tile(sampler, tile, shared) for tile in tiles]) for _, tiles in by_rows], 1)


def _of_tile(sampler: Sampler, tile: Any, shared: bool) -> Tensor:
    size = plate_size(tile, sampler)
    found = [of_run(run, len(tile.rows)) for run in tile.runs]
    common = [(one.global_model - one.global_guide)[:, None] / size if shared else 0.0 for one in found]
    return torch.cat([one.log_weights + rest for one, rest in zip(found, common, strict=True)]).cpu()


# --- encodings and uncertainty --------------------------------------------------------------------------
def _of_encodings(function: Any, draws: int, sampler: Sampler) -> Tensor:
    with torch.set_grad_enabled(sampler.use.gradients):
        value = function(encodings(sampler, draws))
    rows = sampler.rows
    if not isinstance(value, Tensor) or value.shape != (rows,):
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ArgumentError(
            f"explain: the function {argument('of')} gave {found}; it is given what pv.encode returns and has to give "
            f"one number for each row, a tensor of shape ({rows},)."
        )
    return value.double()


def _of_part(name: Any, part: Any, sampler: Sampler, draws: int) -> ExplainedFigure:
    if name == "uncertainty" and isinstance(part, str):
        return _of_uncertainty(part, sampler, draws)
    known, place = encodings(sampler, draws), as_whole(part)
    width = known[name].mean[0].numel() if name in known else 0
    if place is None or not 0 <= place < width:
        listed = ", ".join(f"{site!r} (0 to {one.mean[0].numel() - 1})" for site, one in known.items()) or "none"
        raise ArgumentError(
            f"explain: {argument('of', (name, part))}; latent sites of each row and their dimensions are {listed}."
        )

    def mean(found: Any) -> Tensor:
        return found[name].mean.reshape(len(found[name].mean), -1)[:, place]

    return ExplainedFigure(f"{name}[{place}]", partial(_of_encodings, mean, draws))


def _of_uncertainty(part: str, sampler: Sampler, draws: int) -> ExplainedFigure:
    if part not in _PARTS:
        listed = ", ".join(map(repr, _PARTS))
        raise ArgumentError(f"explain: {argument('of', ('uncertainty', part))}; the parts are {listed}.")
    if part == "epistemic" and not sampler.global_sites:
        raise ArgumentError(
            "explain: the pair has no site that all rows share, so that there is no epistemic uncertainty to explain. "
            "pyrovae.epistemic makes a pair with such a site out of this one."
        )
    sites, size = observed(sampler, None), grid_size(sampler, draws)

    def values(here: Sampler) -> Tensor:
        found = [one.summary() for one in grid_spread(here, sites, *size).values()]
        return sum((_by_row(getattr(one, part), here.rows) for one in found), torch.zeros(()))

    return ExplainedFigure(f"{part} uncertainty", values, has_gradient=False)


def _by_row(part: Tensor, rows: int | None) -> Tensor:
    if part.ndim == 0 or len(part) != rows:
        raise ArgumentError(
            "explain: an observed site does not have its rows in front, so that no row has an uncertainty of its own."
        )
    return part.double().flatten(1).sum(1) if part.ndim > 1 else part.double()
