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
    return float(joint.logsumexp(0) - math.log(len(grid)))


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


# --- guides that are no densities -----------------------------------------------------------------------------


def located(x):
    w = pyro.sample("w", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(w, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def exact_codes(x, w):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((w + 4 * x) / 5, 5**-0.5))


def global_point(x):
    w = pyro.sample("w", dist.Delta(pyro.param("w_hat", torch.tensor(0.3))))
    exact_codes(x, w)


def local_point(x):
    w = pyro.sample("w", dist.Normal(pyro.param("w_loc", torch.tensor(0.3)), 0.1))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Delta((w + 4 * x) / 5))


def noisy_point(x):
    """A value that moves at random, and no site that has the density of its moves."""
    w = pyro.sample("w", dist.Delta(pyro.param("w_hat", torch.tensor(0.3)) + 0.1 * torch.randn(())))
    exact_codes(x, w)


X = torch.linspace(-1.0, 2.0, 9)
OF_THE_WHOLE = {
    "joint": lambda pair, x: pv.log_evidence(pair, x, joint=True),
    "joint psis": lambda pair, x: pv.psis(pair, x, joint=True),
    "elbo": lambda pair, x: pv.elbo(pair, x),
    "rate": lambda pair, x: pv.rate_distortion(pair, x),
}
OF_EACH = {
    "evidence": lambda pair, x: pv.log_evidence(pair, x),
    "psis": lambda pair, x: pv.psis(pair, x),
    "annealed": lambda pair, x: pv.ais(pair, x, chains=2, steps=3),
    "gap": lambda pair, x: pv.inference_gap(pair, x, steps=2, draws=4),
    "novelty": lambda pair, x: pv.novelty(pair, x, calibration=x),
    "information": lambda pair, x: pv.mutual_information(pair, x),
}


def trained(guide, model=located, x=X):
    guide(x)  # what it has for parameters
    return pv.Pair(model, guide)


def test_a_global_point_has_the_evidence_of_each_datum_there():
    pair = trained(global_point)
    exact = dist.Normal(0.3, 1.25**0.5).log_prob(X).double()
    torch.testing.assert_close(pv.log_evidence(pair, X, draws=3).value, exact, rtol=0, atol=1e-5)
    annealed = pv.ais(pair, X, chains=4, steps=3).lower
    torch.testing.assert_close(annealed.value, exact, rtol=0, atol=1e-4)
    gap = pv.inference_gap(pair, X, steps=2, draws=400)
    assert float(((gap.evidence.value - exact) / gap.evidence.error).abs().max()) < 4.5
    assert pv.novelty(pair, X, calibration=X).disagreement is None


@pytest.mark.parametrize("name", OF_THE_WHOLE)
@pytest.mark.parametrize("guide", [global_point, noisy_point])
def test_what_needs_a_density_of_a_global_point_is_refused(name, guide):
    with pytest.raises(pv.PairError, match="'w', which all data share, at one point"):
        OF_THE_WHOLE[name](trained(guide), X)


@pytest.mark.parametrize("name", [*OF_THE_WHOLE, *OF_EACH])
def test_what_needs_a_density_of_local_points_is_refused(name):
    with pytest.raises(pv.PairError, match="'z' at one point for each datum"):
        {**OF_THE_WHOLE, **OF_EACH}[name](trained(local_point), X)


@pytest.mark.parametrize(("guide", "there"), [(global_point, {"log_p", "local_log_weight"}), (local_point, {"log_p"})])
def test_arviz_holds_what_has_a_density(guide, there):
    found = pv.to_arviz(trained(guide), X, draws=3, groups=["sample_stats"])["sample_stats"]
    assert set(found.data_vars) == there


def test_codes_at_points_are_annealed_from_the_prior():
    def only_codes(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(pyro.param("scale", torch.tensor(0.8)) * x))

    found = pv.ais(trained(guide, only_codes), X, start="prior", chains=64, steps=40).lower
    exact = dist.Normal(0.0, 1.25**0.5).log_prob(X).double()
    assert float(((found.value - exact) / found.error).abs().max()) < 4.5
    assert float(found.error.max()) < 0.2


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", ["AutoNormal", "AutoDiagonalNormal", "AutoLaplaceApproximation"])
def test_what_stands_behind_a_random_auxiliary_site_is_no_point(kind, frozen):
    model, _, x, _ = BOUNDED["uniform"]
    guide = getattr(autoguide, kind)(model)
    guide(x)
    for parameter in guide.parameters():
        parameter.requires_grad_(not frozen)
    pair = pv.Pair(model, guide)
    if kind == "AutoLaplaceApproximation":  # until its curvature is taken, it stands at its mode
        with pytest.raises(pv.PairError, match="at one point"):
            pv.log_evidence(pair, x, joint=True)
    else:
        assert math.isfinite(float(pv.log_evidence(pair, x, joint=True, draws=20).value))


def test_a_discrete_point_has_the_mass_one():
    def mixed(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * k, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Delta((x > 1).float()))

    k = (X > 1).float()
    expected = dist.Bernoulli(0.3).log_prob(k) + dist.Normal(2 * k, 0.5).log_prob(X)
    for found in (pv.log_evidence(pv.Pair(mixed, guide), X, draws=2), pv.elbo(pv.Pair(mixed, guide), X, draws=2)):
        torch.testing.assert_close(found.value, expected.double(), rtol=0, atol=1e-5)
    rate = pv.rate_distortion(pv.Pair(mixed, guide), X).rate
    assert rate == pytest.approx(-float(dist.Bernoulli(0.3).log_prob(k).mean()), rel=1e-5)
