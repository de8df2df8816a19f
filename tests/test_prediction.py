"""Encodings, reconstructions and generated data of any pair; rate and distortion."""

from __future__ import annotations

import random
import types

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Predictive, config_enumerate
from registry import REGISTRY, ROWS, born, pairs
from torch import nn

import pyrovae as pv
from pyrovae.data.batches import as_batches
from pyrovae.errors import ArgumentError, PairError
from pyrovae.evaluation.rate_distortion import measure
from pyrovae.objectives.losses import own_loss
from pyrovae.prediction.drawn import drawn
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import Use

ANY = pairs()


@pytest.mark.parametrize("entry", ANY)
def test_any_pair_encodes_reconstructs_and_generates(entry):
    pair, args, kwargs = born(entry)
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    names = set(pyro.get_param_store().keys())
    encoded = pv.encode(pair, *args, **kwargs)
    rebuilt = pv.reconstruct(pair, *args, **kwargs)
    made = pv.generate(pair, *args, seed=1, **kwargs) if args else pv.generate(pair, None, seed=1, **kwargs)
    for encoding in encoded.values():
        assert encoding.mean.shape == encoding.scale.shape
        assert bool((encoding.scale >= 0).all())
    assert set(rebuilt) == {site.removesuffix("_observed") for site in entry.observed}
    assert set(made) >= set(entry.latent) | set(entry.global_sites)
    assert all(bool(torch.isfinite(value).all()) for value in (*rebuilt.values(), *made.values()))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert random.getstate() == state[2]
    assert set(pyro.get_param_store().keys()) == names


@pytest.mark.parametrize("entry", ANY)
def test_the_same_seed_draws_the_same(entry):
    pair, args, kwargs = born(entry)
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
    pair, args, kwargs = born(entry)
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
    pair, args, kwargs = born(entry)
    latent = [site for site in (*entry.latent, *entry.global_sites) if "unobserved" not in site]
    alone = pv.posterior(pair, *args, draws=5, seed=3, **kwargs)
    # With the observed sites beside them: latent sites alone would be drawn without the model in both.
    sites = [*latent, *SITES["posterior_predictive"](entry)]
    beside = pv.posterior_predictive(pair, *args, draws=5, seed=3, sites=sites, **kwargs)
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
    pair, *_ = born(REGISTRY["covariates"])
    with pytest.raises(PairError, match="Give data of the shape wanted"):
        pv.generate(pair, 10)
    with pytest.raises(ArgumentError, match="1 at least"):
        pv.generate(linear_vae(), 0)


def test_data_of_another_shape_are_an_error_in_words():
    for call in (pv.encode, pv.reconstruct, pv.rate_distortion, pv.active_units):
        with pytest.raises(PairError, match=r"does not run on these data.*\(3, 7\)"):
            call(linear_vae(), torch.zeros(3, 7))


# --- figures ------------------------------------------------------------------------------------------


@pytest.mark.slow
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
@pytest.mark.slow
def test_the_batch_size_does_not_matter(size):
    vae, x = linear_vae(), torch.randn(300, 5)
    with torch.no_grad():
        q = vae.posterior(x).base_dist
        rates = (0.5 * (q.scale**2 + q.loc**2 - 1) - q.scale.log()).sum(-1)
    noise = 10 / np.sqrt(300 * 300)  # a draw of one datum scatters by about 10 nats
    assert pv.rate_distortion(vae, x, draws=300, batch_size=size).rate == pytest.approx(rates.mean(), abs=4 * noise)


@pytest.mark.slow
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
        figures = pv.rate_distortion(pv.Pair(model, guide), x, draws=5 * size, batch_size=size)
        assert figures.rate == pytest.approx(kl / 200, rel=0.1)


def test_draws_are_at_least_one():
    with pytest.raises(ArgumentError, match="draws=0"):
        pv.rate_distortion(linear_vae(), torch.randn(4, 5), draws=0)


def test_rows_may_be_arrays():
    x = np.random.default_rng(0).normal(size=(ROWS, 5))
    assert pv.encode(linear_vae(), x)["z"].mean.dtype == torch.float32


# --- draws against exact answers ----------------------------------------------------------------------


def truth_and_data(rows: int = 300):
    generator = torch.Generator().manual_seed(4)
    truth = pv.truth.LinearGaussian(torch.randn(5, 2, generator=generator), torch.arange(5.0), 0.5)
    return truth, truth.sample(rows, seed=1)


def close(found: torch.Tensor, exact: torch.Tensor, error: torch.Tensor | float, *, widths: float = 5.5) -> bool:
    """Within so many standard errors, everywhere: beyond 5.5 lies one of 26 million."""
    return bool(((found - exact).abs() <= widths * error).all())


def test_the_posterior_is_that_of_the_linear_gaussian():
    truth, x = truth_and_data()
    z, exact = pv.posterior(truth, x, draws=4_000)["z"], truth.posterior(x)
    scale = exact.variance.sqrt()
    assert z.shape == (4_000, 300, 2)
    assert close(z.mean(0), exact.mean, scale / 4_000**0.5)
    assert close(z.var(0), exact.variance, exact.variance * (2 / 4_000) ** 0.5)
    centred = z - exact.mean
    covariance = torch.einsum("drk,drl->rkl", centred, centred) / 4_000
    bound = (exact.variance[:, :, None] * exact.variance[:, None] + exact.covariance_matrix**2).sqrt() / 4_000**0.5
    assert close(covariance, exact.covariance_matrix, bound)


def test_the_predictive_is_that_of_the_linear_gaussian():
    truth, x = truth_and_data()
    mean = truth.posterior(x).mean @ truth.weight.T + truth.mean
    latent = truth.weight @ truth.posterior(x).covariance_matrix[0] @ truth.weight.T
    for taken, variance in ((False, latent.diag() + truth.noise**2), (True, latent.diag())):
        drawn = pv.posterior_predictive(truth, x, draws=4_000, mean=taken)["x"]
        assert close(drawn.mean(0), mean, (variance / 4_000).sqrt())
        assert close(drawn.var(0), variance.expand(300, 5), variance * (2 / 4_000) ** 0.5)
    z = pv.posterior(truth, x, draws=7)["z"]
    exact = z @ truth.weight.T + truth.mean
    assert torch.allclose(pv.posterior_predictive(truth, x, draws=7, mean=True)["x"], exact, atol=1e-5)


def test_the_prior_predictive_is_that_of_the_linear_gaussian():
    truth, x = truth_and_data(50)
    z, drawn = pv.prior(truth, x, draws=2_000)["z"], pv.prior_predictive(truth, x, draws=2_000)["x"]
    covariance = truth.weight @ truth.weight.T + truth.noise**2 * torch.eye(5)
    count = 2_000 * 50
    assert close(z.flatten(0, 1).T.cov(), torch.eye(2), (2 / count) ** 0.5)
    assert close(drawn.flatten(0, 1).mean(0), truth.mean, (covariance.diag() / count).sqrt())
    bound = ((covariance.diag()[:, None] * covariance.diag() + covariance**2) / count).sqrt()
    assert close(drawn.flatten(0, 1).T.cov(), covariance, bound)


def test_the_log_likelihood_is_that_of_the_posteriors_draws():
    truth, x = truth_and_data()
    z, found = pv.posterior(truth, x, draws=20, seed=6)["z"], pv.log_likelihood(truth, x, draws=20, seed=6)
    exact = dist.Normal(z @ truth.weight.T + truth.mean, truth.noise).to_event(1).log_prob(x)
    assert set(found) == {"x"}
    assert torch.allclose(found["x"], exact, atol=1e-4)


@pytest.mark.slow
def test_global_sites_are_those_of_the_gamma_poisson():
    truth = pv.truth.GammaPoisson(2.0, 1.0)
    x = truth.sample(40)
    exact = truth.posterior(x)
    rate = pv.posterior(truth, x, draws=1_000)["rate"]
    drawn = pv.posterior_predictive(truth, x, draws=1_000)["x"]
    assert rate.shape == (1_000,)
    assert drawn.shape == (1_000, 40)
    assert close(rate.mean(), exact.mean, (exact.variance / 1_000).sqrt())
    # All rows of a draw have its rate in common, so that their sum scatters with it.
    total = drawn.sum(1)
    variance = 40 * exact.mean + 40**2 * exact.variance
    assert close(total.mean(), 40 * exact.mean, (variance / 1_000).sqrt())
    assert float(total.var() / variance) == pytest.approx(1, abs=0.25)


def test_classes_that_the_model_enumerates_have_their_posterior():
    truth = pv.truth.DiscreteMixture(torch.tensor([0.3, 0.7]), torch.tensor([[0.9, 0.2, 0.6], [0.4, 0.5, 0.1]]))
    pair = pv.Pair(config_enumerate(truth.model), lambda x: None)
    x = truth.sample(30)
    z, share = pv.posterior(pair, x, draws=3_000)["z"], truth.posterior(x).probs[:, 1]
    assert close(z.double().mean(0), share.double(), (share * (1 - share) / 3_000).sqrt().double())
    drawn = pv.posterior_predictive(pair, x, draws=3_000)["x"]
    exact = truth.posterior(x).probs @ truth.probabilities
    assert close(drawn.mean(0), exact, (exact * (1 - exact) / 3_000).sqrt())


PLAIN = ("plain_functions", "hierarchical", "local_and_global", "auto_diagonal_normal", "autoregressive_flow_guide",
         "student_t", "masked_elements", "score_function")  # fmt: skip


@pytest.mark.parametrize("entry", [one for one in ANY if one.values[0].name in PLAIN])
def test_draws_agree_with_pyros_own_predictive(entry):
    pair, args, kwargs = born(entry)
    draws = 300
    (site,) = entry.observed
    ours = pv.posterior_predictive(pair, *args, draws=draws, **kwargs)[site].double()
    with torch.no_grad(), pyro.poutine.block():
        sampled = Predictive(pyro.poutine.uncondition(pair.model), guide=pair.guide, num_samples=draws)
        theirs = sampled(*args, **kwargs)[site].double()
    assert ours.shape == theirs.shape
    error = ((ours.var(0) + theirs.var(0)) / draws).sqrt()
    assert bool(((ours.mean(0) - theirs.mean(0)).abs() <= 5.5 * error + 1e-6).all())
    assert float((ours.var(0).mean() / theirs.var(0).mean()).log().abs()) < 0.25


# --- which sites, which work --------------------------------------------------------------------------


def with_parts(width: int = 3):
    """A latent site, a deterministic one before and one after what is observed, and a factor."""
    noted = types.ModuleType("noted")  # what else a pair holds is as it was after a question
    noted.calls = 0

    def model(x):
        noted.calls += 1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = pyro.deterministic("loc", z * 2)
            pyro.factor("bonus", -(z**2))
            drawn = pyro.sample("x", dist.Normal(loc[:, None], 1.0).expand([len(x), width]).to_event(1), obs=x)
            pyro.deterministic("total", drawn.sum(-1))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 0.1))

    return pv.Pair(model, guide), torch.randn(20, width), noted


def test_default_sites_are_all_of_their_kind_and_no_factor():
    pair, x, _ = with_parts()
    assert set(pv.posterior(pair, x, draws=2)) == {"z", "loc", "total"}
    assert set(pv.posterior_predictive(pair, x, draws=2)) == {"x", "loc", "total"}
    assert set(pv.prior(pair, x, draws=2)) == {"z", "loc", "total"}
    assert set(pv.prior_predictive(pair, x, draws=2, sites="x")) == {"x"}
    assert set(pv.log_likelihood(pair, x, draws=2)) == {"x"}


def test_what_is_computed_of_observations_is_computed_of_the_drawn_ones():
    pair, x, _ = with_parts()
    drawn = pv.posterior_predictive(pair, x, draws=5)
    assert not torch.equal(drawn["x"][0], x)
    assert torch.allclose(drawn["total"], drawn["x"].sum(-1), atol=1e-5)
    means = pv.posterior_predictive(pair, x, draws=5, mean=True)
    assert torch.allclose(means["x"], means["loc"][..., None].expand(5, 20, 3))
    assert torch.allclose(means["total"], drawn["total"])
    assert torch.allclose(pv.posterior(pair, x, draws=5)["total"], x.sum(-1).expand(5, 20))


def test_latent_sites_of_the_guide_need_no_model():
    pair, x, noted = with_parts()
    sampler = Sampler.of(pair, (x,), {}, seed=0)
    noted.calls = 0
    drawn(sampler, 10, "posterior", ["z"])
    assert not noted.calls
    drawn(sampler, 10, "posterior", ["loc"])
    assert noted.calls


def test_a_site_that_is_observed_in_part_is_drawn_whole():
    (entry,) = [one.values[0] for one in ANY if one.values[0].name == "observation_mask"]
    pair, (x, y, known), _ = born(entry)
    filled = pv.posterior(pair, x, y, known, draws=3)
    assert set(filled) == {"z", "y_unobserved", "y"}
    assert torch.equal(filled["y"][:, known], y[known].expand(3, -1))
    assert torch.equal(filled["y"][:, ~known], filled["y_unobserved"][:, ~known])
    drawn = pv.posterior_predictive(pair, x, y, known, draws=3)
    assert set(drawn) == {"x", "y", "y_unobserved"}
    assert not torch.equal(drawn["y"][0, known], y[known])
    assert torch.equal(drawn["y"][:, ~known], drawn["y_unobserved"][:, ~known])
    assert set(pv.log_likelihood(pair, x, y, known, draws=3)) == {"x", "y"}
    assert bool((pv.log_likelihood(pair, x, y, known, draws=3)["y"][:, ~known] == 0).all())


def test_the_data_plate_may_be_named():
    def model(x):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("others", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    pair, x = pv.Pair(model, guide), torch.randn(6)
    with pytest.raises(ArgumentError, match="data_plate"):
        pv.posterior(pair, x)
    assert pv.posterior(pair, x, draws=4, data_plate="rows")["z"].shape == (4, 6)
    for function in (pv.encode, pv.reconstruct, pv.variations, pv.active_units):
        assert function(pair, x, data_plate="rows")


def test_draws_of_generated_data_come_in_front():
    vae = linear_vae()
    assert pv.generate(vae, 7, draws=3, seed=0)["x"].shape == (3, 7, 5)
    assert pv.reconstruct(vae, torch.randn(4, 5), draws=3)["x"].shape == (3, 4, 5)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "10", None])
@pytest.mark.parametrize("function", ["posterior", "posterior_predictive", "prior", "log_likelihood", "variations"])
def test_draws_that_are_none_are_refused(function, bad):
    with pytest.raises(ArgumentError, match="draws="):
        getattr(pv, function)(linear_vae(), torch.randn(4, 5), draws=bad)


def test_sites_that_are_not_there_are_named():
    pair, x, _ = with_parts()
    with pytest.raises(ArgumentError, match=r"\['y'\].*no such site.*z, loc, x, total"):
        pv.posterior(pair, x, sites=["z", "y"])
    with pytest.raises(ArgumentError, match="no such site"):
        pv.posterior_predictive(pair, x, sites="bonus")
    with pytest.raises(ArgumentError, match=r"not observed.*Observed sites: x"):
        pv.log_likelihood(pair, x, sites="z")


def test_a_pair_that_was_never_run_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.param("unborn", torch.tensor(0.0)), 1.0), obs=x)

    pair, x = pv.Pair(model, lambda x: None), torch.randn(4)
    for function in (pv.posterior, pv.posterior_predictive, pv.log_likelihood, pv.prior, pv.reconstruct, pv.encode):
        with pytest.raises(PairError, match="never run"):
            function(pair, x)


@pytest.mark.parametrize("stray", [{"mena": True}, {"sed": 1}, {"z": torch.zeros(2)}, torch.zeros(2, 5)], ids=str)
@pytest.mark.parametrize("ask", [pv.generate, pv.prior, pv.prior_predictive, pv.generate_with_uncertainty])
def test_what_nobody_takes_beside_a_number_is_refused(ask, stray):
    vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
    with pytest.raises(pv.ArgumentError, match=f"{next(iter(stray))}=" if isinstance(stray, dict) else "1 more"):
        ask(vae, 2, **stray) if isinstance(stray, dict) else ask(vae, 2, stray)


def test_a_number_needs_a_pair_that_knows_its_shapes():
    pair, *_ = with_parts()
    for function in (pv.prior, pv.prior_predictive, pv.generate):
        with pytest.raises(PairError, match="Give data of the shape wanted"):
            function(pair, 10)
        with pytest.raises(ArgumentError, match="1 at least"):
            function(linear_vae(), 0)


def test_devices_that_are_none_are_refused():
    with pytest.raises(ArgumentError, match="not a device"):
        pv.posterior(linear_vae(), torch.randn(4, 5), device="abacus")


def test_results_that_no_memory_holds_are_refused():
    with pytest.raises(ArgumentError, match=r"GiB, more than this machine's memory.*reduce"):
        pv.posterior(linear_vae(), torch.randn(4, 5), draws=10**12)


# --- encodings and neighbours -------------------------------------------------------------------------


def test_an_encoding_of_a_chain_of_sites_holds_the_spread_of_those_above():
    """`z2 | z1 ~ N(z1, 1)` and `z1 ~ N(x, 2)`: together `z2 ~ N(x, sqrt 5)`."""

    def model(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(0.0, 1.0))
            z2 = pyro.sample("z2", dist.Normal(z1, 1.0))
            pyro.sample("x", dist.Normal(z2, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x, 2.0))
            pyro.sample("z2", dist.Normal(z1, 1.0))

    x = torch.linspace(-3, 3, 300)
    found = pv.encode(pv.Pair(model, guide), x, draws=4_000)
    assert close(found["z2"].mean, x, 2 / 4_000**0.5)
    assert torch.allclose(found["z2"].scale, torch.full((300,), 5**0.5), rtol=0.05)
    assert torch.allclose(found["z1"].mean, x)


def test_a_flow_is_encoded_by_the_moments_of_its_draws():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            exp = [dist.transforms.ExpTransform()]
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(x, 0.3), exp))

    x = torch.linspace(-1, 1, 50)
    found, exact = pv.encode(pv.Pair(model, guide), x, draws=5_000)["z"], dist.LogNormal(x, 0.3)
    assert close(found.mean, exact.mean, exact.variance.sqrt() / 5_000**0.5)
    assert torch.allclose(found.scale, exact.variance.sqrt(), rtol=0.12)


def test_neighbours_lie_as_far_off_as_they_are_asked_to():
    truth, x = truth_and_data(40)
    centre = truth.posterior(x).mean @ truth.weight.T + truth.mean
    assert torch.allclose(pv.variations(truth, x, draws=3, scale=0.0)["x"], centre.expand(3, 40, 5), atol=1e-5)
    one, three = (pv.variations(truth, x, draws=50, scale=scale)["x"] - centre for scale in (1.0, 3.0))
    assert torch.allclose(three, 3 * one, atol=1e-4)
    assert torch.allclose(one + centre, pv.posterior_predictive(truth, x, draws=50, mean=True)["x"], atol=1e-5)


def test_neighbours_stay_where_their_distribution_has_its_support():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2.0, 1.0))
            p = pyro.sample("p", dist.Beta(2.0, 2.0))
            k = pyro.sample("k", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Poisson(z * p + k), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(x + 1, 1.0))
            pyro.sample("p", dist.Beta(2.0, 5.0))
            pyro.sample("k", dist.Bernoulli(0.5))

    pair, x = pv.Pair(model, guide), torch.arange(30.0)
    drawn = pv.variations(pair, x, draws=100, scale=4.0, seed=1)["x"]
    assert bool((drawn >= 0).all() & drawn.isfinite().all())


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "1", True])
def test_scales_that_are_none_are_refused(bad):
    with pytest.raises(ArgumentError, match="scale="):
        pv.variations(linear_vae(), torch.randn(3, 5), scale=bad)


# --- encodings of classes -----------------------------------------------------------------------------


def mixture():
    return pv.truth.DiscreteMixture(torch.tensor([0.5, 0.3, 0.2]), torch.rand(3, 4) * 0.8 + 0.1)


def test_a_class_is_encoded_by_the_probabilities_of_the_guide():
    truth = mixture()
    x = truth.sample(300, seed=1)
    found, exact = pv.encode(truth, x)["z"], truth.posterior(x).probs
    assert torch.allclose(found.mean, exact, atol=1e-6)
    assert torch.allclose(found.scale, (exact * (1 - exact)).sqrt(), atol=1e-4)


def test_a_class_that_the_model_enumerates_is_encoded_by_its_posterior():
    truth = mixture()
    x = truth.sample(300, seed=1)
    pair = pv.Pair(config_enumerate(truth.model), lambda x: None)
    found, exact = pv.encode(pair, x, draws=2_000)["z"], truth.posterior(x).probs
    assert found.mean.shape == (300, 3)
    assert torch.allclose(found.mean.sum(-1), torch.ones(300))
    assert close(found.mean, exact, (exact * (1 - exact) / 2_000).sqrt() + 1e-3)
    assert torch.allclose(found.scale, (found.mean * (1 - found.mean) * 2_000 / 1_999).sqrt(), atol=1e-4)


# --- arguments that cannot be, and distributions without a centre ---------------------------------------


@pytest.mark.parametrize("draws", [0, -1, 2.5, True, "5", None])
def test_draws_of_figures_are_whole_numbers(draws):
    for call in (pv.rate_distortion, pv.encode):
        with pytest.raises(ArgumentError, match="draws="):
            call(linear_vae(), torch.randn(4, 5), draws=draws)


@pytest.mark.parametrize("threshold", [np.nan, "a", None, True])
def test_thresholds_are_numbers(threshold):
    with pytest.raises(ArgumentError, match="threshold="):
        pv.active_units(linear_vae(), torch.randn(4, 5), threshold=threshold)


def test_what_is_no_number_of_data_is_not_taken_for_one():
    for call in (pv.generate, pv.prior, pv.prior_predictive):
        with pytest.raises(pv.PyrovaeError):
            call(linear_vae(), True)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"sites": 3}, "no such site"), ({"out": 3}, "out=3; give the name"), ({"memory": 0, "reduce": 0.5}, "memory=0")],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(ArgumentError, match=words):
        pv.posterior(linear_vae(), torch.randn(4, 5), draws=2, **options)


@pytest.mark.parametrize("plate", ["inner", "outer"])
def test_each_part_of_a_code_is_measured_by_its_own_prior(plate):
    """Three parts in a plate of their own, left or right of the rows."""
    rows, parts = (-1, -2) if plate == "outer" else (-2, -1)
    scales = torch.tensor([0.5, 1.0, 2.0])
    shaped = scales[:, None] if plate == "outer" else scales

    def model(x):
        with pyro.plate("data", len(x), dim=rows), pyro.plate("parts", 3, dim=parts):
            z = pyro.sample("z", dist.Normal(0.0, shaped))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T if plate == "outer" else x)

    def guide(x):
        with pyro.plate("data", len(x), dim=rows), pyro.plate("parts", 3, dim=parts):
            pyro.sample("z", dist.Normal(x.T if plate == "outer" else x, 1.0))

    x = torch.randn(50, 3)
    found = pv.active_units(pv.Pair(model, guide), x)["z"]
    torch.testing.assert_close(found.shares, x.var(0) / scales.square())


def test_the_error_of_an_elbo_is_that_of_the_mean_over_batches():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    pair, x = pv.Pair(model, lambda x: None), 3 * torch.randn(10)
    use = Use.of(pair, as_batches(x, batch_size=4))
    loss = own_loss(None, use.structure)
    found = measure(pair, use.batches.in_order(), use.placement, loss, use.structure)
    each = dist.Normal(0.0, 1.0).log_prob(x).double()
    means = torch.stack([part.mean() for part in each.split(4)])  # of 4, 4 and 2 rows
    variance = (torch.tensor([4, 4, 2]) * (means - each.mean()).square()).sum() / 10
    assert found.figures.error == pytest.approx(float((variance / 2).sqrt()), rel=1e-5)


def test_figures_are_given_the_rows_of_their_plate():
    """A parameter for each row, in batches that are shuffled."""
    x = 9 * torch.randn(30)

    def model(x):
        with pyro.plate("data", 30, subsample_size=len(x)):
            loc = pyro.param("loc", lambda: known, event_dim=0)
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    known = x.clone()
    pair = pv.Pair(model, lambda x: None)
    model(x)
    expected = float(dist.Normal(0.0, 1.0).log_prob(torch.zeros(())))
    assert pv.rate_distortion(pair, x, batch_size=7).elbo == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "law",
    [lambda: dist.Cauchy(torch.zeros(3, 2), 1.0).to_event(1), lambda: dist.LKJCholesky(3, torch.ones(3))],
    ids=["mode", "neither"],
)
def test_variations_of_what_has_no_mean(law):
    def program(x, observe=True):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", law())
            if observe:
                pyro.sample("x", dist.Normal(z.reshape(len(z), -1).sum(-1), 1.0), obs=x)

    pair = pv.Pair(program, lambda x: program(x, observe=False))
    wide, none = (pv.variations(pair, torch.zeros(3), draws=4, scale=scale)["x"] for scale in (1.0, 0.0))
    assert bool(wide.isfinite().all())
    assert bool((wide.std(0) > 0).all())
    assert bool((none.std(0) == 0).all()) == (law().event_shape == (2,))  # a matrix is drawn as it is


@pytest.mark.slow
def test_an_argument_that_was_left_at_none_is_predicted():
    def model(x, y=None):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)

    def guide(x, y=None):
        pyro.sample("slope", dist.Normal(2.0, 0.1))

    x = torch.linspace(0.0, 3.0, 5)
    found = pv.posterior_predictive(pv.Pair(model, guide), x, draws=2000)
    assert set(found) == {"y"}
    torch.testing.assert_close(found["y"].mean(0), 2 * x, atol=0.12, rtol=0)
    torch.testing.assert_close(found["y"].std(0), (1 + 0.01 * x**2).sqrt(), atol=0.08, rtol=0)
