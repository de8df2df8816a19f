"""Priors that are no densities, and modules whose weights are drawn."""

from __future__ import annotations

import logging
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.infer.autoguide import AutoNormal, init_to_value
from torch import nn

import pyrovae as pv
from pyrovae.pairs.improper import is_improper

X = torch.linspace(-1, 2, 12)
FLAT = dist.ImproperUniform(constraints.real, (), ())


def flat_level(x):
    level = pyro.sample("level", FLAT)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(level, 1.0), obs=x)


def shared(**options):
    pair = pv.Pair(flat_level, AutoNormal(flat_level, **options))
    if options:
        pair.guide(X)
    return pair


def one_a_row():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", FLAT)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    return pv.Pair(model, guide)


def test_an_improper_prior_has_no_evidence():
    pair = one_a_row()
    for ask in (pv.log_evidence, pv.ais, lambda pair, x: pv.compare({"one": pair, "other": one_a_row()}, x)):
        with pytest.raises(pv.PairError, match=r"'z' is improper .* up to a constant"):
            ask(pair, X)
    assert (pv.psis(pair, X, draws=100).khat == -math.inf).all()  # the guide is the posterior: weights are equal


def test_given_what_all_rows_share_each_has_its_evidence(caplog):
    pair = shared(init_loc_fn=init_to_value(values={"level": torch.tensor(0.5)}), init_scale=1e-3)
    with caplog.at_level(logging.WARNING, logger="pyrovae"):
        found = pv.log_evidence(pair, X, draws=30)
    assert "known up to a constant, and so are rate and ELBO" in caplog.text
    torch.testing.assert_close(found.value.float(), dist.Normal(0.5, 1.0).log_prob(X), atol=5e-3, rtol=0)
    with pytest.raises(pv.PairError, match="'level' is improper"):
        pv.log_evidence(pair, X, joint=True, draws=30)


def test_what_cannot_be_drawn_is_said_with_the_way_on():
    for ask in (pv.check_pair, pv.elbo):
        with pytest.raises(pv.PairError, match="init_loc_fn=init_to_value"):
            ask(shared(), X)
    with pytest.raises(pv.PairError, match=r"to_arviz does without: groups="):
        pv.to_arviz(one_a_row(), X, draws=3)
    assert "posterior" in pv.to_arviz(one_a_row(), X, draws=3, groups=["posterior", "log_likelihood"])


def test_what_is_made_of_a_flat_prior_is_flat_and_what_is_proper_is_not():
    made = dist.TransformedDistribution(FLAT.expand([3]), [dist.transforms.ExpTransform()])
    assert is_improper(made)
    assert is_improper(FLAT.expand([3]).to_event(1))
    assert not is_improper(dist.LogNormal(0.0, 1.0))
    assert not is_improper(dist.Normal(0.0, 1.0).expand([3]).to_event(1))


@pytest.mark.filterwarnings("ignore:.*random_module:FutureWarning")
def test_a_random_module_is_a_pair():
    """`pyro.random_module` puts what it draws in the place of a copy's parameters, which nobody has to train."""
    net, c = nn.Linear(1, 1), torch.tensor([-1.0, 1.0, -1.0, 1.0])
    y = torch.tensor([0.2, 1.1, 0.4, 1.6])

    def lifted(weight, bias, scale):
        priors = {"weight": dist.Normal(weight, scale).expand([1, 1]), "bias": dist.Normal(bias, scale).expand([1])}
        return pyro.random_module("net", net, priors)()

    def model(c, y):
        mean = lifted(0.0, 0.0, 1.0)(c[:, None]).squeeze(-1)
        with pyro.plate("data", len(c)):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    def guide(c, y):  # the posterior: c is centred, and its squares are ones
        starts = {"weight": (c * y).sum() / 5, "bias": y.sum() / 5, "scale": torch.tensor(5**-0.5)}
        lifted(**{name: pyro.param(name, start) for name, start in starts.items()})

    pair = pv.Pair(model, guide)
    assert pv.check_pair(pair, c, y) == ()
    guide(c, y)
    found = pv.log_evidence(pair, c, y, draws=(5, 1), joint=True)
    design = torch.stack([c, torch.ones(4)], -1)
    exact = dist.MultivariateNormal(torch.zeros(4), design @ design.T + torch.eye(4)).log_prob(y)
    assert float(found.value) == pytest.approx(float(exact), abs=1e-4)
