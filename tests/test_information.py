"""The rate in two parts, against sums over all data and against exact answers."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from registry import arguments, pairs

import pyrovae as pv
from pyrovae.evaluation import information
from pyrovae.pairs import run
from pyrovae.traces import Sampler


def linear(spread=1.0):
    weight = spread * torch.tensor([[1.0, 0.2], [0.3, -1.0], [0.5, 0.5]])
    return pv.truth.LinearGaussian(weight, torch.zeros(3), 0.6)


def test_the_aggregate_is_the_sum_over_all_rows():
    truth = linear()
    x = truth.sample(300, seed=0)  # two tiles of rows
    sampler = Sampler.of(truth, (x,), {}, seed=0)
    with torch.no_grad():
        asked = list(information._queries(sampler, ["z"], 20))
        found = information._aggregate(sampler, ["z"], asked)
        z = torch.cat([query.nodes["z"]["value"] for query in asked])
        posterior = truth.posterior(x)
        direct = torch.stack([posterior.log_prob(one.expand(300, 2)).double().logsumexp(0) for one in z])
        prior = dist.Normal(torch.zeros(2), 1.0).to_event(1).log_prob(z)
    torch.testing.assert_close(found, direct, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.stack([query.prior for query in asked]).float(), prior)


def test_the_parts_of_the_true_model():
    """Under the true model all codes together are the prior, and the information is in closed form."""
    truth = linear()
    found = pv.mutual_information(truth, truth.sample(3_000, seed=1), queries=1_000)
    gram = torch.eye(3) + truth.weight @ truth.weight.T / truth.noise**2
    exact = 0.5 * float(torch.logdet(gram))
    assert found.mutual_information == pytest.approx(exact, abs=4 * found.error)
    assert found.aggregate_kl == pytest.approx(0.0, abs=4 * found.error)
    assert found.rate == pytest.approx(found.mutual_information + found.aggregate_kl, abs=1e-9)


def test_codes_far_apart_say_which_datum_it_is():
    truth = linear(spread=1_000.0)
    found = pv.mutual_information(truth, truth.sample(16, seed=0))
    assert found.mutual_information == pytest.approx(math.log(16), abs=1e-3)


@pytest.mark.parametrize("entry", pairs(without={"no_latent"}))
def test_both_ways_agree_for_any_pair(entry):
    torch.manual_seed(0)
    pair, data = entry.make()
    args, kwargs = arguments(data)
    run(pair, args, kwargs)
    sampler = Sampler.of(pair, args, kwargs, seed=0)
    sites = [s.name for s in sampler.structure.sites.values() if s.local and s.role in ("latent", "auxiliary")]
    if not sites:
        with pytest.raises(pv.ArgumentError, match="no local latent"):
            pv.mutual_information(pair, *args, **kwargs)
        return
    found = pv.mutual_information(pair, *args, queries=8, **kwargs)
    assert found.rate == pytest.approx(found.mutual_information + found.aggregate_kl, rel=1e-6, abs=1e-6)
    assert found.mutual_information <= math.log(32) + 1e-4
    with torch.no_grad():
        asked = list(information._queries(sampler, sites, 4))
        batch = sampler._first()
        with sampler.use.quietly(0):
            way = information._way(sampler, batch, sites, asked)
            one, other = (f(sampler, batch, sites, asked) for f in (way, information._one_by_one))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_no_query_is_refused():
    truth = linear()
    with pytest.raises(pv.ArgumentError, match="queries=0"):
        pv.mutual_information(truth, truth.sample(5), queries=0)
