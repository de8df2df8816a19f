"""Draws from a sampler, of one kind and of chosen sites."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pyrovae.pairs.blank import blank_data
from pyrovae.pairs.numbers import as_whole
from pyrovae.pairs.pair import HasPair
from pyrovae.prediction.output import IN_MEMORY, Output, collect
from pyrovae.prediction.readings import (
    SiteRequest,
    cheapest_kind,
    checked_sites,
    predicted_sites,
    unobserved_sites,
    values_of,
)
from pyrovae.sampling.programs import Kind
from pyrovae.sampling.sampler import Sampler

Sites = Collection[str] | None


def drawn(
    sampler: Sampler,
    draws: int,
    kind: Kind,
    sites: Sites = None,
    *,
    predicted: bool | None = None,
    mean: bool = False,
    output: Output = IN_MEMORY,
) -> dict[str, Any]:
    """Draws of one kind, of chosen sites.

    Args:
        sampler: what draws.
        draws: how many.
        kind: "posterior", "predictive", "generative" or "prior".
        sites: which; left out, the unobserved ones, or with `predicted` the observed ones.
        predicted: left out, whether `kind` is "predictive".
        mean: the conditional means of observed sites in place of draws.
        output: in what form, and where to.
    """
    structure = sampler.structure
    default = predicted_sites if predicted or (predicted is None and kind == "predictive") else unobserved_sites
    names = checked_sites(structure, sites, default(structure))
    sampler.use.tell_of_other_rows(means=mean)
    readings = values_of(structure, names, mean=mean)
    return collect(sampler, draws, SiteRequest(cheapest_kind(kind, structure, readings), readings), output)


def sampler_for(
    pair: HasPair,
    count_or_data: Any,
    more: tuple,
    named: dict[str, Any],
    *,
    seed: int | None,
    data_plate: str | None = None,
) -> Sampler:
    """A sampler for a number of data, or for data that give shapes and covariates."""
    count = as_whole(count_or_data)
    if count is not None:
        blank = blank_data(pair, count, more, named)
        return Sampler.of(pair, blank, {}, seed=seed, data_plate=data_plate, stand_ins=True)
    data = () if count_or_data is None else (count_or_data, *more)
    return Sampler.of(pair, data, named, seed=seed, data_plate=data_plate, stand_ins=True)
