"""Pairs of the building arm: richer priors and guides, and levels of latents."""

from __future__ import annotations

import torch

from registry.data import binary, real
from registry.entries import LATENT, WIDTH, entry


def _normal(inputs, size):
    import pyrovae as pv

    return pv.DiagNormal(pv.MLP(inputs, [16], 2 * size))


@entry("renyi_ok", "broadcasts", "building")
def bent_prior_and_guide():
    """A coupling flow as the prior, an inverse autoregressive flow as the guide."""
    import pyrovae as pv

    likelihood = pv.Bernoulli(pv.MLP(4, [16], WIDTH))
    posterior = pv.IAF(pv.MLP(WIDTH, [16], 2 * 4 + 4), 4, context=4, hidden=[8])
    return pv.VAE(pv.FlowPrior.coupling(4, layers=2, hidden=[8]), likelihood, posterior), binary()


@entry("broadcasts", "renyi_ok", "building", latent="z_1 z_2 z_3")
def ladder():
    """Three levels, and a guide that goes up without noise and down with the model."""
    import pyrovae as pv

    encoders = [pv.MLP(WIDTH, [16], 8), pv.MLP(8, [8], 8), pv.MLP(8, [8], 8)]
    posterior = pv.Ladder(encoders, [_normal(8, size) for size in (4, 3, LATENT)])
    likelihood = pv.Bernoulli(pv.MLP(4, [16], WIDTH))
    return pv.HierarchicalVAE(
        pv.StandardNormal(LATENT), [_normal(3, 4), _normal(LATENT, 3)], likelihood, posterior
    ), binary()


@entry("broadcasts", "renyi_ok", "building", latent="z_1 z_2")
def two_levels_with_pseudo_inputs():
    """Tomczak and Welling's: x depends on both levels, the prior at the top is a mixture of posteriors."""
    import pyrovae as pv

    posterior = pv.TopDown([_normal([WIDTH, LATENT], 4), _normal(WIDTH, LATENT)])
    return pv.HierarchicalVAE(
        pv.VampPrior(binary()[:5], posterior.top),
        [_normal(LATENT, 4)],
        pv.Bernoulli(pv.MLP([4, LATENT], [16], WIDTH)),
        posterior,
        dense=True,
    ), binary()


@entry("broadcasts", "renyi_ok", "covariates", "masked", "building")
def ragged_series():
    """A deep Markov model with one latent site for the whole chain: series of several lengths, with a gap."""
    import pyrovae as pv

    x = real(3, 2)
    x[0, 1] = 7e7  # behind its length
    return pv.recipes.sequence_vae(2, LATENT, 3, hidden=8), (x, torch.arange(len(x)) % 3 + 1)
