"""The rate in two parts, against sums over all data and against exact answers."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormalMessenger
from registry import arguments, pairs

import pyrovae as pv
from pyrovae.evaluation import mutual_information
from pyrovae.pairs.trace import run
from pyrovae.sampling.sampler import Sampler


def linear(spread=1.0):
    weight = spread * torch.tensor([[1.0, 0.2], [0.3, -1.0], [0.5, 0.5]])
    return pv.truth.LinearGaussian(weight, torch.zeros(3), 0.6)


def test_the_aggregate_is_the_sum_over_all_rows():
    truth = linear()
    x = truth.sample(300, seed=0)  # two tiles of rows
    sampler = Sampler.of(truth, (x,), {}, seed=0)
    with torch.no_grad():
        asked = list(mutual_information._queries(sampler, ["z"], 20))
        found = mutual_information._aggregate(sampler, ["z"], asked)
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
    if entry.name in (
        "time_steps",
        "observation_mask",
        "ragged_series",
    ):  # some rows lack the later ones, or what was observed
        with pytest.raises(pv.DataError, match=r"a mask hides a part of '(z_1|y_unobserved|z)'"):
            pv.mutual_information(pair, *args, queries=8, **kwargs)
        return
    found = pv.mutual_information(pair, *args, queries=8, **kwargs)
    assert found.rate == pytest.approx(found.mutual_information + found.aggregate_kl, rel=1e-6, abs=1e-6)
    assert found.mutual_information <= math.log(32) + 1e-4
    with torch.no_grad():
        asked = list(mutual_information._queries(sampler, sites, 4))
        batch = sampler.use.first(sampler.tile_rows)
        with sampler.use.quietly(0):
            way = mutual_information._way(sampler, batch, sites, asked)
            one, other = (f(sampler, batch, sites, asked) for f in (way, mutual_information._one_by_one))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_no_query_is_refused():
    truth = linear()
    with pytest.raises(pv.ArgumentError, match="queries=0"):
        pv.mutual_information(truth, truth.sample(5), queries=0)


@pytest.mark.parametrize("queries", [2.5, True, "3", None])
def test_the_number_of_queries_is_whole(queries):
    with pytest.raises(pv.ArgumentError, match="queries="):
        pv.mutual_information(linear(), linear().sample(5), queries=queries)


def two_codes(first: bool):
    """Two latent sites; with `first` the second is drawn around the first entry of the first, whatever that is."""

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 2.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x, 1.0))
            pyro.sample("b", dist.Normal(a[0] if first else x, 1.0))

    return pv.Pair(model, guide)


def test_the_prior_is_that_of_all_sites_and_the_error_that_of_the_mean():
    x = torch.linspace(-2, 2, 9)
    sampler = Sampler.of(two_codes(first=False), (x,), {}, seed=0)
    with torch.no_grad():
        asked = list(mutual_information._queries(sampler, ["a", "b"], 9))
        told = torch.stack([query.own for query in asked]) - mutual_information._aggregate(sampler, ["a", "b"], asked)
    a, b = (torch.cat([query.nodes[site]["value"] for query in asked]) for site in ("a", "b"))
    prior = dist.Normal(0.0, 2.0).log_prob(a) + dist.Normal(a, 1.0).log_prob(b)
    torch.testing.assert_close(torch.stack([query.prior for query in asked]).float(), prior)
    found = pv.mutual_information(two_codes(first=False), x)
    assert found.mutual_information == pytest.approx(float(told.mean()) + math.log(9), abs=1e-5)
    assert found.error == pytest.approx(float(told.std()) / 3, rel=1e-5)


def test_guides_that_broadcast_to_something_else_are_run_one_by_one():
    sampler = Sampler.of(two_codes(first=True), (torch.linspace(-2, 2, 9),), {}, seed=0)
    with torch.no_grad(), sampler.use.quietly(0):
        asked = list(mutual_information._queries(sampler, ["a", "b"], 4))
        assert (
            mutual_information._way(sampler, sampler.use.first(sampler.tile_rows), ["a", "b"], asked)
            is mutual_information._one_by_one
        )


def test_a_guide_that_runs_the_model_is_refused_by_its_name():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.linspace(-1, 1, 5)
    pair = pv.Pair(model, AutoNormalMessenger(model))
    run(pair, (x,), {})
    with pytest.raises(pv.PairError, match="the guide is an AutoNormalMessenger, which runs the model"):
        pv.mutual_information(pair, x)


# --- what linear models read off ------------------------------------------------------------------------


def test_codes_without_dims_of_their_own_can_be_probed():
    x = torch.linspace(-2, 2, 40)
    found = pv.linear_probe(two_codes(first=False), x, labels=(x > 0).long())
    assert found.score > 0.9


@pytest.mark.parametrize("folds", [0, 1, -3, 2.5, True])
def test_folds_are_two_at_least(folds):
    x = torch.linspace(-2, 2, 40)
    with pytest.raises(pv.ArgumentError, match="folds="):
        pv.linear_probe(two_codes(first=False), x, labels=(x > 0).long(), folds=folds)
