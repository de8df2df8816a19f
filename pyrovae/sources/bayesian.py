"""Bayesian weights around any pair, found on a few rows of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentError, PairError
from ..isolation import isolated
from ..pairs import HasPair, find_data_plate, inspect, plates, run
from .choosing import Chosen, those_named, those_of_the_likelihood
from .laws import Gaussian
from .uncertain import Uncertain, free_name
from .weights import Weights


def bayesian(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    *,
    size: int,
    parameters: Chosen | None = None,
    rank: int = 0,
    prior_scale: float = 1.0,
    scale: float = 0.01,
    data_plate: str | None = None,
) -> Uncertain:
    """See `pyrovae.epistemic.bayesian_weights`; this takes a few rows, of a pair whose parameters exist."""
    for name, number, least in (("size", size, 1), ("rank", rank, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ArgumentError(f"{name}={number!r}; give a whole number of {least} or more.")
    for name, number in (("prior_scale", prior_scale), ("scale", scale)):
        if not number > 0:
            raise ArgumentError(f"{name}={number!r}; give a positive number.")
    plate = data_plate or found_plate(pair, args, kwargs)
    weights = Weights.of(pair, args, kwargs, those_of_the_likelihood if parameters is None else those_named(parameters))
    law = Gaussian(weights.vector(), rank=rank, prior_scale=prior_scale, scale=scale)
    site = free_name("weights", inspect(pair, args, kwargs, data_plate=plate).sites)
    return Uncertain(pair, weights, law, site=site, data_plate=plate, size=size)


def found_plate(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> str | None:
    """The data plate, which needs a size here: a global site is weighed against all data."""
    with isolated(0):
        traces = run(pair, args, kwargs)
        plate = find_data_plate(pair, args, kwargs, traces)
    if plate is None or plates(traces)[plate][0] == -1:
        raise PairError(
            "the pair has no plate that holds the rows of its data by their number, so a batch cannot be told from the "
            'whole data, against which a global site is weighed. Write pyro.plate("data", len(x)) around its local '
            "sites."
        )
    return plate
