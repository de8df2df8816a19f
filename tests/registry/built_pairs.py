"""Pairs of the building arm: richer priors and guides, levels of latents, classes and conditions."""

from __future__ import annotations

import torch

from registry.data import binary, labels, real
from registry.discrete_sites import enumerating
from registry.entries import LATENT, ROWS, WIDTH, entry


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


@entry("broadcasts", "enumerates", "building", latent="y z", enumerated="y", loss=enumerating)
def clusters():
    """A mixture whose component is a site of its own."""
    import pyrovae as pv

    return pv.recipes.mixture_vae(WIDTH, LATENT, components=3, hidden=[16]), binary()


@entry("broadcasts", "enumerates", "building", latent="y_1 y_2", enumerated="y_1 y_2", loss=enumerating)
def categorical_codes():
    """Two codes of classes, all summed out; the guide is empty."""
    import pyrovae as pv

    return pv.recipes.categorical_vae(WIDTH, classes=3, sites=2, hidden=[16]), binary()


@entry("broadcasts", "renyi_ok", "building")
def straight_through():
    """A relaxed code, of which the decoder sees the nearest classes."""
    import pyrovae as pv

    return pv.recipes.categorical_vae(
        WIDTH, classes=3, sites=2, temperature=0.7, straight_through=True, hidden=[16]
    ), binary()


@entry("broadcasts", "enumerates", "covariates", "building", latent="y z", loss=enumerating)
def some_labels():
    """A class for each row, known for some."""
    import pyrovae as pv

    known = torch.where(torch.arange(ROWS) % 4 == 0, -1, labels(3))
    vae = pv.recipes.semi_supervised_vae(WIDTH, LATENT, classes=3, classification=0.0, hidden=[16])  # Pyro counts it
    return vae, (binary(), known)


@entry("broadcasts", "renyi_ok", "covariates", "building")
def under_a_condition():
    """Data under two numbers that go with each row."""
    import pyrovae as pv

    return pv.recipes.conditional_vae(WIDTH, LATENT, condition=2, hidden=[16]), (binary(), real(2))
