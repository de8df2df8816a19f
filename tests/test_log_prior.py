"""The log density of latent sites, which ArviZ's sensitivity to priors needs."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal

import pyrovae as pv


def test_log_prior_and_log_likelihood_add_up_to_the_joint_density():
    """Of a site that all data share, of one for each group of them, and of one for each datum."""

    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
        with pyro.plate("kinds", 2):
            kind = pyro.sample("kind", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0).expand([len(x), 2]).to_event(1))
            pyro.sample("x", dist.Normal(z, kind).to_event(1), obs=x)

    pair, x = pv.Pair(model, AutoNormal(model)), torch.randn(7, 2)
    pair.guide(x)
    found = pv.to_arviz(pair, x, draws=6)
    one = {site: found["log_prior"][site] for site in ("loc", "kind", "z")}
    assert [one[site].dims[2:] for site in one] == [(), ("kinds",), ("data",)]
    drawn = {site: torch.as_tensor(found["posterior"][site].values[0]) for site in one}
    expected = dist.Normal(drawn["loc"][:, None, None], 1.0).log_prob(drawn["z"]).sum(-1)
    np.testing.assert_allclose(one["z"].values[0], expected, rtol=1e-5)
    np.testing.assert_allclose(one["kind"].values[0], dist.Gamma(2.0, 1.0).log_prob(drawn["kind"]), rtol=1e-5)
    both = [*one.values(), found["log_likelihood"]["x"]]
    total = sum(part.values.reshape(6, -1).sum(1) for part in both)
    np.testing.assert_allclose(total, found["sample_stats"]["log_p"].values[0], rtol=1e-5)
