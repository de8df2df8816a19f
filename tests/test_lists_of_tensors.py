"""A list of tensors without a dimension, one for each datum: the coin of Pyro's first tutorial."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch.distributions import constraints

import pyrovae as pv

FLIPS = [torch.tensor(1.0)] * 6 + [torch.tensor(0.0)] * 4
QUIET = {"progress": False, "seed": 0}


def model(flips):
    fairness = pyro.sample("fairness", dist.Beta(10.0, 10.0))
    for i in range(len(flips)):
        pyro.sample(f"flip_{i}", dist.Bernoulli(fairness), obs=flips[i])


def guide(flips):
    heads, tails = (
        pyro.param(name, torch.tensor(15.0), constraint=constraints.positive) for name in ("heads", "tails")
    )
    pyro.sample("fairness", dist.Beta(heads, tails))


def test_it_is_trained_as_plain_svi_does():
    losses = [step.loss * 10 for step in pv.steps(pv.Pair(model, guide), FLIPS, steps=5, learning_rate=0.01, seed=0)]
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    assert losses == pytest.approx([svi.step(FLIPS) for _ in range(5)], rel=1e-5)


def test_figures_are_those_of_the_closed_form_however_it_is_given():
    pair = pv.Pair(model, guide)
    pv.fit(pair, FLIPS, steps=2, **QUIET)
    found, *others = (
        pv.log_evidence(pair, *given, **named, joint=True, draws=200, seed=0)
        for given, named in (((FLIPS,), {}), ((), {"flips": FLIPS}), ((torch.stack(FLIPS),), {}))
    )
    beta = [math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b) for a, b in ((16, 14), (10, 10))]
    assert float(found.value) == pytest.approx(beta[0] - beta[1], abs=5 * float(found.error))
    assert others == [found, found]


def test_a_list_of_anything_else_is_none():
    for odd in ([torch.tensor(1.0), 2.0], [torch.tensor(1.0), torch.ones(2)], (torch.tensor(1.0),)):
        with pytest.raises(pv.DataError):
            pv.fit(pv.Pair(model, guide), odd, steps=1, **QUIET)
