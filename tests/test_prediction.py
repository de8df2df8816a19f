"""Encodings, reconstructions and generated data of any pair; rate, distortion and active units."""

from __future__ import annotations

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import ROWS, Entry, arguments, pairs
from torch import nn

import pyrovae as pv
from pyrovae.errors import ArgumentError, PairError
from pyrovae.pairs import run

ANY = pairs()


def use(entry: Entry):
    pyro.set_rng_seed(0)
    pair, data = entry.make()
    args, kwargs = arguments(data)
    run(pair, args, kwargs)  # parameters appear at the first call
    return pair, args, kwargs


@pytest.mark.parametrize("entry", ANY)
def test_any_pair_encodes_reconstructs_and_generates(entry):
    pair, args, kwargs = use(entry)
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    names = set(pyro.get_param_store().keys())
    encoded = pv.encode(pair, *args, **kwargs)
    rebuilt = pv.reconstruct(pair, *args, **kwargs)
    drawn = pv.generate(pair, *args, seed=1, **kwargs) if args else pv.generate(pair, None, seed=1, **kwargs)
    for encoding in encoded.values():
        assert encoding.mean.shape == encoding.scale.shape
        assert bool((encoding.scale >= 0).all())
    assert set(rebuilt) == {site.removesuffix("_observed") for site in entry.observed}
    assert set(drawn) >= set(entry.latent) | set(entry.global_sites)
    assert all(bool(torch.isfinite(value).all()) for value in (*rebuilt.values(), *drawn.values()))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert random.getstate() == state[2]
    assert set(pyro.get_param_store().keys()) == names


@pytest.mark.parametrize("entry", ANY)
def test_the_same_seed_draws_the_same(entry):
    pair, args, kwargs = use(entry)
    call = (lambda seed: pv.generate(pair, *args, seed=seed, **kwargs)) if args else (
        lambda seed: pv.generate(pair, None, seed=seed, **kwargs)
    )  # fmt: skip
    one, two, three = call(1), call(1), call(2)
    assert all(torch.equal(one[site], two[site]) for site in one)
    assert any(not torch.equal(one[site], three[site]) for site in one)


SITES = {
    "posterior": lambda entry: {*entry.latent, *entry.global_sites},
    "posterior_predictive": lambda entry: {site.removesuffix("_observed") for site in entry.observed},
    "prior": lambda entry: {*entry.latent, *entry.global_sites},
    "prior_predictive": lambda entry: {site.removesuffix("_observed") for site in entry.observed},
    "log_likelihood": lambda entry: {site.removesuffix("_observed") for site in entry.observed},
}


@pytest.mark.parametrize("entry", ANY)
def test_every_function_draws_from_any_pair_and_leaves_it_as_it_was(entry):
    pair, args, kwargs = use(entry)
    state, names = torch.get_rng_state(), set(pyro.get_param_store().keys())
    for function, sites in SITES.items():
        drawn = getattr(pv, function)(pair, *args, draws=3, **kwargs)
        assert set(drawn) >= sites(entry), function
        assert all(len(value) == 3 and not value.requires_grad for value in drawn.values()), function
        assert not any(bool(value.isnan().any()) for value in drawn.values()), function
    assert torch.equal(torch.get_rng_state(), state)
    assert set(pyro.get_param_store().keys()) == names


@pytest.mark.parametrize("entry", ANY)
def test_one_seed_gives_one_posterior_to_all_functions(entry):
    pair, args, kwargs = use(entry)
    latent = [site for site in (*entry.latent, *entry.global_sites) if "unobserved" not in site]
    alone = pv.posterior(pair, *args, draws=5, seed=3, **kwargs)
    beside = pv.posterior_predictive(pair, *args, draws=5, seed=3, sites=latent, **kwargs)
    other = pv.posterior(pair, *args, draws=5, seed=4, **kwargs)
    assert all(torch.equal(alone[site], beside[site]) for site in latent)
    drawn = [site for site in latent if not torch.equal(alone[site][0], alone[site][1])]
    assert not any(torch.equal(alone[site], other[site]) for site in drawn)


def linear_vae(latent: int = 2, width: int = 5) -> pv.VAE:
    return pv.VAE(
        pv.StandardNormal(latent),
        pv.Normal(nn.Linear(latent, width), scale=0.1),
        pv.DiagNormal(nn.Linear(width, 2 * latent)),
    )


def test_an_encoding_is_the_guides_mean_and_scale():
    vae, x = linear_vae(), torch.randn(600, 5)
    encoding = pv.encode(vae, x)["z"]
    posterior = vae.posterior(x)
    assert torch.allclose(encoding.mean, posterior.mean, atol=1e-6)
    assert torch.allclose(encoding.scale, posterior.variance.sqrt(), atol=1e-6)


def test_an_autoguide_is_drawn_in_eval_mode_and_modes_are_given_back():
    vae = linear_vae()
    vae.likelihood = pv.Normal(nn.Sequential(nn.Linear(2, 5), nn.Dropout(0.5)), scale=1e-3)
    vae.train()
    one, two = (pv.reconstruct(vae, torch.randn(4, 5) * 0, seed=0)["x"] for _ in range(2))
    assert torch.equal(one, two)
    assert all(part.training for part in vae.modules())


def test_generated_data_have_the_models_moments():
    vae = linear_vae()
    x = pv.generate(vae, 20_000, seed=0)["x"]
    weight, bias = vae.likelihood.network.weight.detach(), vae.likelihood.network.bias.detach()
    covariance = weight @ weight.T + 0.01 * torch.eye(5)
    assert torch.allclose(x.mean(0), bias, atol=0.05)
    assert torch.allclose(x.T.cov(), covariance, atol=0.05)


def test_a_mean_has_no_likelihood_noise():
    vae = linear_vae()
    drawn = pv.generate(vae, 50, seed=0, mean=True)
    assert torch.allclose(drawn["x"], vae.likelihood.network(drawn["z"]), atol=1e-5)


def test_global_sites_are_drawn_once_from_the_guide():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 1_000, subsample_size=len(x)):
            pyro.sample("x", dist.Normal(w, 0.01), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(5.0, 0.001))

    drawn = pv.generate(pv.Pair(model, guide), torch.zeros(1_000), seed=0)
    assert drawn["w"].shape == ()
    assert drawn["x"].shape == (1_000,)
    assert float(drawn["x"].mean()) == pytest.approx(5, abs=0.02)


def test_what_the_model_enumerates_is_drawn_from_its_posterior():
    """Two far clusters: replay alone would draw the cluster from the prior, and be wrong half of the time."""

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2) / 2), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(torch.tensor([-10.0, 10.0])[k], 1.0), obs=x)

    x = torch.tensor([-10.0, 10.0]).repeat(50)
    rebuilt = pv.reconstruct(pv.Pair(model, lambda x: None), x)["x"]
    assert torch.equal(rebuilt, x)


def test_deterministic_sites_and_factors_are_left_alone():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            double = pyro.deterministic("double", 2 * z)
            pyro.factor("bonus", -(z**2))
            pyro.sample("x", dist.Normal(double, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    drawn = pv.generate(pv.Pair(model, guide), torch.zeros(20), seed=0)
    assert set(drawn) == {"z", "double", "x"}
    assert drawn["double"].shape == (20,)
    assert torch.equal(drawn["double"], 2 * drawn["z"])


def test_a_pair_that_does_not_know_its_shapes_says_so():
    pair, *_ = use(pairs(having={"covariates"})[0].values[0])
    with pytest.raises(PairError, match="Give data of the shape wanted"):
        pv.generate(pair, 10)
    with pytest.raises(ArgumentError, match="1 at least"):
        pv.generate(linear_vae(), 0)


def test_data_of_another_shape_are_an_error_in_words():
    for call in (pv.encode, pv.reconstruct, pv.rate_distortion, pv.active_units):
        with pytest.raises(PairError, match=r"does not run on these data.*\(3, 7\)"):
            call(linear_vae(), torch.zeros(3, 7))


# --- figures ------------------------------------------------------------------------------------------


def test_rate_and_distortion_are_those_of_the_linear_gaussian():
    """`rate` and `distortion` in closed form for a linear decoder and a Gaussian guide."""
    torch.manual_seed(1)
    vae, x = linear_vae(), torch.randn(300, 5)
    with torch.no_grad():
        q = vae.posterior(x).base_dist
        rate = (0.5 * (q.scale**2 + q.loc**2 - 1) - q.scale.log()).sum(-1)
        weight, bias = vae.likelihood.network.weight, vae.likelihood.network.bias
        error = (x - q.loc @ weight.T - bias).square().sum(-1) + (q.scale**2 @ weight.square().T).sum(-1)
        distortion = 0.5 * error / 0.01 + 5 * 0.5 * np.log(2 * np.pi * 0.01)
    figures = pv.rate_distortion(vae, x, draws=400)
    assert figures.rate == pytest.approx(float(rate.mean()), rel=0.01)
    assert figures.distortion == pytest.approx(float(distortion.mean()), rel=0.01)
    assert figures.elbo == pytest.approx(-(figures.rate + figures.distortion), rel=1e-6)


@pytest.mark.parametrize("size", [300, 40])
def test_the_batch_size_does_not_matter(size):
    vae, x = linear_vae(), torch.randn(300, 5)
    with torch.no_grad():
        q = vae.posterior(x).base_dist
        rates = (0.5 * (q.scale**2 + q.loc**2 - 1) - q.scale.log()).sum(-1)
    noise = 10 / np.sqrt(300 * 300)  # a draw of one datum scatters by about 10 nats
    assert pv.rate_distortion(vae, x, draws=300, batch_size=size).rate == pytest.approx(rates.mean(), abs=4 * noise)


def test_a_global_site_costs_its_share():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 200, subsample_size=len(x)):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(1.0, 0.5))

    x = torch.randn(200)
    kl = 0.5 * (0.25 + 1 - 1) - np.log(0.5)
    for size in (200, 50):
        figures = pv.rate_distortion(pv.Pair(model, guide), x, draws=1_000 * size // 200, batch_size=size)
        assert figures.rate == pytest.approx(kl / 200, rel=0.1)


def test_draws_are_at_least_one():
    with pytest.raises(ArgumentError, match="draws=0"):
        pv.rate_distortion(linear_vae(), torch.randn(4, 5), draws=0)


def test_active_units_are_the_dimensions_that_data_move():
    vae = linear_vae(latent=3)
    with torch.no_grad():
        vae.posterior.network.weight.zero_()
        vae.posterior.network.weight[1, 0] = 0.5  # the mean of dimension 1
    units = pv.active_units(vae, torch.randn(500, 5))["z"]
    assert (units.count, units.total) == (1, 3)
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


def test_rows_may_be_arrays():
    x = np.random.default_rng(0).normal(size=(ROWS, 5))
    assert pv.encode(linear_vae(), x)["z"].mean.dtype == torch.float32
