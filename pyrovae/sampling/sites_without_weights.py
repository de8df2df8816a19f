"""Sites for which log p - log q of a draw is no importance weight, and makes no ELBO."""

from __future__ import annotations

from collections.abc import Mapping

from pyrovae.objectives.hidden_latents import hidden_latents, may_hide
from pyrovae.pairs.implicit_draws import sites_without_density
from pyrovae.pairs.mixed_measures import mixed_measures
from pyrovae.pairs.surplus_densities import surplus_densities
from pyrovae.sampling.programs import WholePlate, run_once
from pyrovae.sampling.use import Use


def sites_without_weights(use: Use) -> dict[str, str]:
    """Why there is no weight, in words, by the site that it is for; empty where draws have weights."""
    run = use.posterior_run
    return {
        **sites_without_density(run),
        **mixed_measures(run),
        **surplus_densities(run, use.structure),
        **_hidden(use),
    }


def why_no_weights(use: Use) -> str:
    """The first of these words; empty where draws have weights."""
    return next(iter(sites_without_weights(use).values()), "")


def _hidden(use: Use) -> Mapping[str, str]:
    """Latent sites that a mask hides from what counts, in whichever rows: masks often come of the data."""
    if not may_hide(use.posterior_run):
        return {}
    pair = WholePlate(use.pair, use.structure.data_plate, follows=False)
    for batch in map(use.placement.place, use.batches.in_order()):
        with use.quietly():
            pair.turn_to(batch)
            run = run_once(pair, batch, use.structure, "posterior")
            if found := hidden_latents(pair, batch.args, batch.kwargs, run):
                return found
    return {}
