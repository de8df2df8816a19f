"""Which latent dimensions the data move."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv


def test_active_units_are_the_dimensions_that_data_move():
    vae = pv.VAE(pv.StandardNormal(3), pv.Normal(pv.MLP(3, [], 5), scale=1.0), pv.DiagNormal(torch.nn.Linear(5, 6)))
    with torch.no_grad():
        vae.posterior.network.weight.zero_()
        vae.posterior.network.weight[1, 0] = 0.5  # the mean of dimension 1
    units = pv.active_units(vae, torch.randn(500, 5))["z"]
    assert units[:2] == (1, 3)
    assert float(units.shares[1]) == pytest.approx(0.25, rel=0.2)
    assert units.shares[[0, 2]].tolist() == [0, 0]


def test_the_priors_variance_is_the_measure():
    def pair(scale):
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, scale))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x, 1.0))

        return pv.Pair(model, guide)

    x = torch.randn(400)
    assert pv.active_units(pair(1.0), x)["z"].count == 1
    assert pv.active_units(pair(100.0), x)["z"].count == 0
