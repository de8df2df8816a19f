"""What has a density and what has none: figures of guides at points, of bounded sites, of weighted programs."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import autoguide
from pyro.infer.autoguide import init_to_value

import pyrovae as pv

# --- global sites of bounded support --------------------------------------------------------------------------


def coins(x):
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(p), obs=x)


def classes(x):
    p = pyro.sample("p", dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0])))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(p), obs=x)


def spread(x):
    s = pyro.sample("s", dist.Uniform(0.5, 4.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, s), obs=x)


def of_coins(x):
    heads, n = float(x.sum()), len(x)
    log_beta = [math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b) for a, b in ((2 + heads, 3 + n - heads), (2, 3))]
    return log_beta[0] - log_beta[1]


def of_classes(x):
    prior = torch.tensor([2.0, 3.0, 4.0])
    after = prior + torch.bincount(x, minlength=3)
    return float((after.lgamma().sum() - after.sum().lgamma()) - (prior.lgamma().sum() - prior.sum().lgamma()))


def of_spread(x):
    grid = torch.linspace(0.5, 4.0, 4001, dtype=torch.float64)
    joint = dist.Normal(0.0, grid).log_prob(x[:, None].double()).sum(0)
    return float((joint.logsumexp(0) - math.log(len(grid))))


BOUNDED = {
    "beta": (coins, of_coins, (torch.arange(12) % 3 > 0).float(), {"p": torch.tensor(0.6)}),
    "dirichlet": (classes, of_classes, torch.arange(12) % 5 % 3, {"p": torch.tensor([0.35, 0.35, 0.3])}),
    "uniform": (spread, of_spread, torch.linspace(-2.0, 2.0, 12), {"s": torch.tensor(1.4)}),
}
CASES = [("beta", kind) for kind in ("AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoStructured")]
CASES += [("dirichlet", "AutoMultivariateNormal"), ("uniform", "AutoNormal")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_global_sites_of_bounded_support_keep_their_density(name, kind):
    model, exact, x, start = BOUNDED[name]
    pyro.set_rng_seed(0)
    wide = {} if kind == "AutoStructured" else {"init_scale": 0.5}
    guide = getattr(autoguide, kind)(model, init_loc_fn=init_to_value(values=start), **wide)
    guide(x)
    for scale in guide.scales.parameters() if kind == "AutoStructured" else ():
        scale.data.fill_(0.0)  # softplus(0) = 0.7
    pair, truth = pv.Pair(model, guide), exact(x)
    whole = pv.log_evidence(pair, x, joint=True, draws=400)
    assert abs(float(whole.value) - truth) < 4 * float(whole.error)
    assert float(whole.error) < 0.1
    bound = pv.elbo(pair, x, draws=40)
    assert truth - 2 < float(bound.value.sum()) < truth + 4 * float(bound.error.sum())
    assert float(pv.psis(pair, x, joint=True, draws=40).ess) > 5
    weights = pv.to_arviz(pair, x, draws=40, groups=["sample_stats"])["sample_stats"]["log_weight"].values
    assert float(torch.as_tensor(weights).double().logsumexp(-1)) - math.log(40) == pytest.approx(truth, abs=0.6)
