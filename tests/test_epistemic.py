"""Sources of epistemic uncertainty around any pair, and what was learned as the next prior."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from registry import born, pairs
from torch import nn

import pyrovae as pv
from pyrovae.pairs.looks.state_keeper import eval_mode
from pyrovae.pairs.pair import Pair
from pyrovae.pairs.trace import run
from pyrovae.trust import epistemic
from pyrovae.trust.epistemic.weight_distributions import NormalWeights
from pyrovae.trust.epistemic.weights import Weights


def scores(pair, args, kwargs):
    """Log-probabilities of one run, always on the same draws."""
    torch.manual_seed(1)
    with eval_mode():
        traces = run(pair, args, kwargs)
    return [torch.as_tensor(trace.log_prob_sum(), dtype=torch.double).detach() for trace in traces]


def on_other_weights(pair, weights, vector):
    def inside(program):
        def wrapped(*args, **kwargs):
            with weights.replaced(vector):
                return program(*args, **kwargs)

        return wrapped

    return Pair(inside(pair.model), inside(pair.guide))


def small_vae(dropout: float = 0.0) -> pv.VAE:
    layers = [nn.Linear(1, 12), nn.Tanh(), *([nn.Dropout(dropout)] if dropout else []), nn.Linear(12, 3)]
    return pv.VAE(pv.StandardNormal(1), pv.Normal(nn.Sequential(*layers), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 2)))


def rows_of_three(count: int = 60) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0)) + 2


# --- weights from outside -----------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs())
def test_other_weights_reach_every_part_of_a_pair(entry):
    pair, args, kwargs = born(entry)
    weights = Weights.of(pair, args, kwargs)
    own = weights.vector()
    other = own + 0.01 * torch.randn_like(own)
    before = scores(pair, args, kwargs)
    seen = scores(on_other_weights(pair, weights, other), args, kwargs)
    assert torch.equal(weights.vector(), own)
    assert all(torch.equal(a, b) for a, b in zip(scores(pair, args, kwargs), before, strict=True))
    weights.write(other)
    assert all(torch.equal(a, b) for a, b in zip(scores(pair, args, kwargs), seen, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen, before, strict=True))


@pytest.mark.parametrize("entry", pairs())
def test_gradients_flow_into_weights_from_outside(entry):
    pair, args, kwargs = born(entry)
    weights = Weights.of(pair, args, kwargs)
    vector = weights.vector().requires_grad_()
    torch.manual_seed(1)
    with eval_mode():
        traces = run(on_other_weights(pair, weights, vector), args, kwargs)
    names = {name for trace in traces for name, node in trace.nodes.items() if node["type"] == "param"}
    assert names == set()  # the pair's own weights are hidden: nothing trains them
    total = sum(torch.as_tensor(trace.log_prob_sum()) for trace in traces)
    (found,) = torch.autograd.grad(total, vector)
    torch.manual_seed(1)
    with eval_mode():
        traces = run(pair, args, kwargs)
    total = sum(torch.as_tensor(trace.log_prob_sum()) for trace in traces)
    exact = torch.autograd.grad(total, weights.tensors, allow_unused=True)
    parts = [torch.zeros_like(t) if g is None else g for t, g in zip(weights.tensors, exact, strict=True)]
    assert torch.allclose(found, torch.cat([part.reshape(-1) for part in parts]), rtol=1e-4, atol=1e-5)


def test_parameters_local_to_their_modules():
    pyro.settings.set(module_local_params=True)
    try:
        entry = next(one.values[0] for one in pairs() if one.values[0].name == "pyro_modules")
        test_other_weights_reach_every_part_of_a_pair(entry)
    finally:
        pyro.settings.set(module_local_params=False)


# --- every style of pair ------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs(without={"full_data", "no_plate_size", "local_autoguide"}))
def test_any_pair_becomes_bayesian(entry):
    pair, args, kwargs = born(entry)
    weights = epistemic.bayesian_weights(pair, *args, parameters="*", scale=0.05, **kwargs)
    one, other = scores(weights, args, kwargs), scores(pair, args, kwargs)
    assert not torch.equal(one[0], other[0])
    if "no_moments" in entry.traits:
        with pytest.raises(pv.PairError, match="posterior_predictive shows"):
            pv.uncertainty(weights, *args, draws=(3, 3), **kwargs)
        return
    found = pv.uncertainty(weights, *args, draws=(3, 3), **kwargs)
    assert set(found) == {site.removesuffix("_observed") for site in entry.observed}
    moves = "constant_mean" not in entry.traits
    assert all(u.epistemic.isfinite().all() for u in found.values())
    assert all((u.epistemic + u.moved != 0).any() == moves for u in found.values())


BARE: set[str] = set()  # pairs whose likelihood has nothing to train


@pytest.mark.parametrize("entry", pairs(without={"full_data", "local_autoguide", "global"}))
def test_the_parameters_of_the_likelihood_are_found(entry):
    pair, args, kwargs = born(entry)
    refusal = "no plate" if "no_plate_size" in entry.traits else "no parameters" if entry.name in BARE else None
    if refusal:
        with pytest.raises(pv.PairError, match=refusal):
            epistemic.bayesian_weights(pair, *args, **kwargs)
        return
    source = epistemic.bayesian_weights(pair, *args, **kwargs)
    assert source.weights.names
    assert not any("encoder" in name or "guide" in name for name in source.weights.names)


# --- Bayesian weights ---------------------------------------------------------------------------------


def regression(rows: int):
    """y = c . w + noise: the posterior of w is known."""
    generator = torch.Generator().manual_seed(3)
    c = torch.randn(rows, 2, generator=generator)
    c[:, 1] += 0.8 * c[:, 0]
    y = c @ torch.tensor([0.5, -1.0]) + 0.5 * torch.randn(rows, generator=generator)

    def model(c, y):
        w = pyro.param("w", torch.zeros(2))
        with pyro.plate("data", len(c)):
            pyro.sample("y", dist.Normal(c @ w, 0.5), obs=y)

    return Pair(model, lambda c, y: None), (c, y)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_posterior_of_weights_is_that_of_all_data_from_batches(rank):
    pair, data = regression(96)
    source = epistemic.bayesian_weights(pair, *data, rank=rank, scale=0.05)
    options = {"batch_size": 32, "learning_rate": pv.cosine(0.03, 0.0, steps=800), "progress": False}
    loss = pyro.infer.TraceMeanField_ELBO(num_particles=2)
    pv.fit(source, data, steps=800, loss=loss, seed=0, staged=False, **options)
    c, y = data
    precision = c.T @ c / 0.25 + torch.eye(2)
    mean = torch.linalg.solve(precision, c.T @ y / 0.25)
    posterior = source.distribution.posterior()
    covariance = torch.linalg.inv(precision)
    scale = covariance.diag().sqrt()
    assert ((posterior.mean - mean).abs() < 0.3 * scale).all()
    if rank:
        assert torch.allclose(posterior.covariance_matrix, covariance, rtol=0.3, atol=2e-4)
    else:
        assert torch.allclose(posterior.variance, 1 / precision.diag(), rtol=0.2)  # independent: the narrower one
    found = pv.uncertainty(source, *data, draws=400)["y"]
    exact = ((c @ torch.linalg.cholesky(posterior.covariance_matrix if rank else posterior.variance.diag())) ** 2).sum(
        1
    )
    assert torch.allclose(found.epistemic, exact, rtol=0.4)


@pytest.mark.slow
def test_the_epistemic_part_of_weights_falls_with_the_data():
    parts = {}
    for rows in (16, 64, 256):
        pair, data = regression(rows)
        source = epistemic.bayesian_weights(pv.own_store(pair), *data, scale=0.05)
        options = {"batch_size": rows, "learning_rate": pv.cosine(0.05, 0.0, steps=300), "progress": False}
        loss = pyro.infer.TraceMeanField_ELBO()
        pv.fit(source, data, steps=300, loss=loss, seed=0, staged=False, **options)
        parts[rows] = pv.uncertainty(source, *(leaf[:16] for leaf in data), draws=200)["y"].epistemic.mean()
    assert 2.5 < parts[16] / parts[64] < 6
    assert 2.5 < parts[64] / parts[256] < 6


def test_weights_are_chosen_by_pattern_and_by_module():
    vae, x = small_vae(), rows_of_three()
    by_pattern = epistemic.bayesian_weights(vae, x, parameters="*likelihood*.bias")
    assert by_pattern.weights.names == ["vae.likelihood.network.0.bias", "vae.likelihood.network.2.bias"]
    by_module = epistemic.bayesian_weights(vae, x, parameters=vae.likelihood.network[0])
    assert by_module.weights.names == ["vae.likelihood.network.0.weight", "vae.likelihood.network.0.bias"]
    by_both = epistemic.bayesian_weights(vae, x, parameters=["*posterior*", vae.likelihood])
    assert len(by_both.weights.names) == 6
    assert by_pattern.weights.size == 15


def test_the_pair_itself_is_left_alone_and_the_rest_is_trained_along():
    vae, x = small_vae(), rows_of_three()
    decoder = [p.clone() for p in vae.likelihood.parameters()]
    encoder = [p.clone() for p in vae.posterior.parameters()]
    source = epistemic.bayesian_weights(vae, x)
    pv.fit(source, x, epochs=2, seed=0, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(vae.likelihood.parameters(), decoder, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(vae.posterior.parameters(), encoder, strict=True))
    assert not pv.check_pair(source, x)


def test_a_staged_run_is_the_plain_one():
    found = []
    for staged in (False, "traced"):
        torch.manual_seed(0)
        source = epistemic.bayesian_weights(small_vae(), rows_of_three(), rank=2)
        run_of = pv.fit(source, rows_of_three(), steps=8, seed=0, staged=staged, progress=False)
        found.append([row.loss for row in run_of.history] + [source.distribution.loc.detach().sum()])
    assert torch.allclose(torch.tensor(found[0]), torch.tensor(found[1]), rtol=1e-4)


def test_the_recipe_makes_a_decoder_bayesian():
    torch.manual_seed(0)
    pair = pv.recipes.bayesian_decoder(small_vae(), rows=60, rank=1)
    assert all(".likelihood." in name for name in pair.weights.names)
    assert pv.generate(pair, 4, seed=0)["x"].shape == (4, 3)
    run_of = pv.fit(pair, rows_of_three(), epochs=1, seed=0, progress=False)
    assert math.isfinite(run_of.history[-1].elbo)


# --- dropout ------------------------------------------------------------------------------------------


def test_a_mask_is_the_same_for_all_data_and_another_for_each_draw():
    vae, x = small_vae(dropout=0.5), torch.ones(300, 3)  # more than a tile holds
    vae.eval()
    source = epistemic.dropout(vae, x)
    found = pv.uncertainty(source, x, draws=(20, 200))["x"]
    assert (found.epistemic.std(0) < 0.1 * found.epistemic.mean(0)).all()  # the rows are alike, and so are their parts
    assert (found.epistemic > found.moved).all()
    with pyro.poutine.trace() as seen:
        source.guide(x[:5])
    mask = seen.trace.nodes["dropout_0"]["value"]
    assert mask.shape == (12,)
    z = torch.ones(4, 1)
    with eval_mode(), pyro.poutine.condition(data={"dropout_0": mask, "z": z}):
        model = pyro.poutine.trace(source.model).get_trace(x[:4])
    net = vae.likelihood.network
    assert torch.equal(model.nodes["x"]["fn"].mean, net[3](net[1](net[0](z)) * mask * 2))


def test_in_train_mode_the_modules_drop_by_themselves():
    vae, x = small_vae(dropout=0.5), rows_of_three()
    source = epistemic.dropout(vae, x)
    vae.train()
    losses = []
    for pair in (vae, source):
        torch.manual_seed(0)
        with pyro.poutine.condition(data={"z": torch.zeros(60, 1)}):
            model = pyro.poutine.trace(pair.model).get_trace(x)
        losses.append(model.nodes["x"]["fn"].mean)
    assert (losses[0].std(0) > 0).all()
    assert (losses[1].std(0) > 0).all()
    assert not pv.check_pair(source, x)
    assert math.isfinite(pv.fit(source, x, epochs=1, seed=0, progress=False).history[-1].elbo)


def test_channels_are_dropped_whole():
    net = nn.Sequential(nn.Linear(2, 32), nn.Unflatten(-1, (2, 4, 4)), nn.Dropout2d(0.5), nn.Conv2d(2, 1, 3, padding=1))
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(net), pv.DiagNormal(pv.MLP((1, 4, 4), [], 4)))
    source = epistemic.dropout(vae, torch.zeros(8, 1, 4, 4))
    assert source.masks["dropout_0"].shape == (2, 1, 1)
    assert pv.uncertainty(source, torch.zeros(8, 1, 4, 4), draws=(3, 3))["x"].epistemic.isfinite().all()


def test_modules_of_the_guide_are_dropped_on_demand():
    encoder = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 2))
    vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=1.0), pv.DiagNormal(encoder))
    with pytest.raises(pv.PairError, match="called by the model"):
        epistemic.dropout(vae, rows_of_three())
    source = epistemic.dropout(vae, rows_of_three(), modules=vae.posterior)
    assert [mask.shape for mask in source.masks.values()] == [(8,)]


# --- ensembles ----------------------------------------------------------------------------------------


def named_alike():
    """A pair of plain functions: each has the same names in Pyro's store."""
    encoder, decoder = nn.Linear(3, 2), nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3))

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).split(1, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Pair(model, guide)


@pytest.mark.parametrize("make", [small_vae, named_alike])
def test_members_are_the_pairs_as_trained_one_by_one(make):
    x, options = rows_of_three(), {"epochs": 2, "learning_rate": 0.01, "progress": False}
    source = epistemic.ensemble(make, x, members=3, seed=5, **options)
    assert source.distribution.vectors.shape[0] == 3
    for member in range(3):
        pyro.clear_param_store()
        torch.manual_seed(5 + member)
        alone = make()
        pv.fit(alone, x, seed=5 + member, **options)
        held = {"member": torch.tensor(member), "z": torch.ones(60, 1)}
        with eval_mode(), torch.no_grad(), pyro.poutine.condition(data=held):
            one = pyro.poutine.trace(alone.model).get_trace(x)
            other = pyro.poutine.trace(source.model).get_trace(x)
        assert torch.equal(one.nodes["x"]["fn"].mean, other.nodes["x"]["fn"].mean)


def test_an_ensemble_leaves_the_store_as_one_pair_would():
    x = rows_of_three()
    epistemic.ensemble(named_alike, x, members=3, epochs=1, progress=False)
    assert {name.split("$$$")[0] for name in pyro.get_param_store()} == {"decoder", "encoder"}


def test_members_of_another_architecture():
    sizes = iter([2, 3])
    with pytest.raises(pv.PairError, match="same architecture"):
        epistemic.ensemble(
            lambda: pv.VAE(
                pv.StandardNormal(n := next(sizes)), pv.Poisson(pv.MLP(n, [], 3)), pv.DiagNormal(pv.MLP(3, [], 2 * n))
            ),
            torch.ones(8, 3),
            members=2,
        )


# --- SWAG ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_moments_are_those_of_the_path():
    x, options = rows_of_three(), {"batch_size": 20, "learning_rate": 0.02, "seed": 4}
    pairs_alike = []
    for _ in range(2):
        torch.manual_seed(0)
        pairs_alike.append(small_vae())
    path = [
        Weights.of(pairs_alike[0], (x,), {}).vector().double()
        for step in pv.steps(pairs_alike[0], x, steps=40, staged=False, **options)
        if (step.index + 1) % 4 == 0
    ]
    source = epistemic.swag(pairs_alike[1], x, steps=40, every=4, rank=3, staged=False, **options)
    stacked = torch.stack(path)
    distribution = source.distribution
    assert torch.allclose(distribution.mean.double(), stacked.mean(0), atol=1e-6)
    assert torch.allclose(distribution.variance.double(), stacked.var(0, correction=0), atol=1e-7)
    means = torch.stack([stacked[: i + 1].mean(0) for i in range(10)])
    deviations = (stacked - means)[-3:].T
    assert torch.allclose(distribution.deviations.double(), deviations, atol=1e-6)
    covariance = stacked.var(0, correction=0).diag() / 2 + deviations @ deviations.T / 4
    assert torch.allclose(distribution.posterior().covariance_matrix.double(), covariance, atol=1e-6)
    assert torch.allclose(source.weights.vector(), distribution.mean.detach())  # the pair holds the mean of the path


def test_a_diagonal_path_has_the_whole_variance():
    source = epistemic.swag(small_vae(), rows_of_three(), epochs=4, rank=0, learning_rate=0.02, seed=0)
    distribution = source.distribution
    assert torch.allclose(distribution.posterior().variance, distribution.variance.clamp(min=1e-12))


# --- all of them --------------------------------------------------------------------------------------

X = rows_of_three()
SOURCES = {
    "bayesian": lambda: epistemic.bayesian_weights(small_vae(), X),
    "low rank": lambda: epistemic.bayesian_weights(small_vae(), X, rank=2),
    "dropout": lambda: epistemic.dropout(small_vae(dropout=0.2), X),
    "ensemble": lambda: epistemic.ensemble(small_vae, X, members=3),
    "swag": lambda: epistemic.swag(small_vae(), X),
    "carried over": lambda: epistemic.carry_over(epistemic.bayesian_weights(small_vae(), X), X),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=list(SOURCES))
@pytest.mark.slow
def test_whatever_takes_a_pair_takes_a_source(make, tmp_path):
    source = make()
    assert [finding for finding in pv.check_pair(source, X) if finding.severity == "error"] == []
    run_of = pv.fit(source, X, epochs=2, learning_rate=0.01, seed=0, progress=False)
    assert math.isfinite(run_of.history[-1].elbo)
    found = pv.uncertainty(source, X[:9], draws=(4, 3))["x"]
    assert found.epistemic.isfinite().all()
    assert pv.generate(source, X[:5], seed=0)["x"].shape == (5, 3)
    assert pv.encode(source, X[:5])["z"].mean.shape == (5, 1)
    made = pv.generate_with_uncertainty(source, X[:5], draws=(3, 3), seed=0)
    assert made.uncertainty["x"].epistemic.isfinite().all()
    pv.save(source, tmp_path / "model.safetensors")
    torch.manual_seed(77)
    other = make()
    assert not torch.equal(pv.uncertainty(other, X[:9], draws=(4, 3))["x"].total, found.total)
    pv.load(other, tmp_path / "model.safetensors")
    assert torch.equal(pv.uncertainty(other, X[:9], draws=(4, 3))["x"].total, found.total)


@pytest.mark.parametrize("make", SOURCES.values(), ids=list(SOURCES))
def test_the_callers_store_and_random_state_are_left_alone(make):
    source = make()
    before, store = torch.get_rng_state(), set(pyro.get_param_store())
    pv.uncertainty(source, X[:4], draws=(2, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert set(pyro.get_param_store()) == store


# --- what was learned as the next prior ---------------------------------------------------------------


def annealed(steps: int = 300, particles: int = 1) -> dict:
    loss = pyro.infer.TraceMeanField_ELBO(num_particles=particles)  # exact KLs leave the likelihood's noise alone
    rate = pv.cosine(0.05, 0.0, steps=steps)
    return {"steps": steps, "learning_rate": rate, "loss": loss, "seed": 0, "staged": False, "progress": False}


@pytest.mark.slow
def test_two_updates_are_one_fit_for_counts():
    truth = pv.truth.GammaPoisson(2.0, 1.0)
    x = truth.sample(40)
    pair = truth.trainable()
    first = pv.fit(pair, x[:10], **annealed(400))
    second = pv.update(first.pair, x[10:25], **annealed(400))
    pv.update(second.pair, x[25:], **annealed(400))
    exact, found = truth.posterior(x), pair.guide.posterior()
    assert abs(found.mean - exact.mean) < 0.25 * exact.stddev
    assert abs(found.stddev / exact.stddev - 1) < 0.1
    alone = truth.posterior(x[25:])
    assert abs(found.stddev / alone.stddev - 1) > 0.2  # it has not forgotten


@pytest.mark.slow
def test_updates_with_local_sites_in_batches():
    weight = torch.tensor([[1.0], [0.5]])
    x = pv.truth.ShiftedGaussian(weight, 0.7, 2.0).sample(60)
    pair = pv.truth.ShiftedGaussian(weight, 0.7, 2.0, size=30).trainable()
    first = pv.fit(pair, x[:30], batch_size=10, **annealed(400, particles=4))
    pv.update(first.pair, x[30:], batch_size=10, **annealed(400, particles=4))
    exact = pv.truth.ShiftedGaussian(weight, 0.7, 2.0).posterior(x)
    found = pair.guide.posterior()
    assert ((found.mean - exact.mean).abs() < 0.3 * exact.stddev).all()
    assert torch.allclose(found.covariance_matrix, exact.covariance_matrix, rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("guide", [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal])
def test_updates_of_autoguides(guide):
    def model(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    truth = pv.truth.GammaPoisson(2.0, 1.0)
    x = truth.sample(60)
    pair = Pair(model, guide(model))
    first = pv.fit(pair, x[:30], **annealed())
    second = pv.update(first.pair, x[30:], **annealed())
    assert not pv.check_pair(second.pair, x[30:])
    draws = torch.stack([pyro.poutine.trace(pair.guide).get_trace(x).nodes["rate"]["value"] for _ in range(1000)])
    exact = truth.posterior(x)
    assert abs(draws.mean() - exact.mean) < 0.35 * exact.stddev
    assert abs(draws.std() / exact.stddev - 1) < 0.2


def test_sites_of_the_guide_that_depend_on_each_other():
    def model(x):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Normal(a, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)

    def guide(x):
        b = pyro.sample("b", dist.Normal(pyro.param("loc", torch.tensor(0.3)), 0.5))
        pyro.sample("a", dist.Normal(0.7 * b, 0.2))

    pair, x = Pair(model, guide), torch.ones(8)
    guide(x)
    carried = epistemic.carry_over(pair, x)
    with torch.no_grad():
        pyro.param("loc").fill_(5.0)  # later training of the guide leaves the prior alone
    held = {"a": torch.tensor(0.4), "b": torch.tensor(1.0)}
    with pyro.poutine.condition(data=held):
        trace = pyro.poutine.trace(carried.model).get_trace(x)
    trace.compute_log_prob()
    assert torch.allclose(trace.nodes["b"]["log_prob"], dist.Normal(0.3, 0.5).log_prob(held["b"]))
    assert torch.allclose(trace.nodes["a"]["log_prob"], dist.Normal(0.7, 0.2).log_prob(held["a"]))
    assert torch.allclose(trace.nodes["x"]["log_prob"], dist.Normal(1.4, 1.0).log_prob(x))


def test_a_posterior_that_is_read_off_the_data_cannot_be_carried_over():
    truth = pv.truth.GammaPoisson(2.0, 1.0)
    with pytest.raises(pv.PairError, match="from the rows that it is given"):
        epistemic.carry_over(truth, truth.sample(10))


def test_without_a_global_site_nothing_is_carried_over():
    with pytest.raises(pv.PairError, match="no global latent site"):
        pv.update(small_vae(), X, epochs=1)


# --- what cannot be -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: epistemic.bayesian_weights(small_vae(), X, rank=-1), "rank=-1"),
        (lambda: epistemic.bayesian_weights(small_vae(), X, prior_scale=0.0), "prior_scale=0.0"),
        (lambda: epistemic.bayesian_weights(small_vae(), X, scale=-1.0), "scale=-1.0"),
        (lambda: epistemic.bayesian_weights(small_vae(), X, size=0), "size=0"),
        (lambda: epistemic.bayesian_weights(small_vae(), X, parameters="nothing*"), "nothing"),
        (lambda: epistemic.ensemble(small_vae, X, members=1), "members=1"),
        (lambda: epistemic.swag(small_vae(), X, rank=-2), "rank=-2"),
        (lambda: epistemic.swag(small_vae(), X, every=0), "every=0"),
        (lambda: epistemic.swag(small_vae(), X, epochs=1), "no spread"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(pv.ArgumentError, match=words.replace("*", r"\*")):
        call()


def test_pairs_that_have_nothing_to_be_uncertain_of():
    truth = pv.truth.LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5)
    with pytest.raises(pv.PairError, match="no parameters"):
        epistemic.bayesian_weights(truth, X)
    with pytest.raises(pv.PairError, match="no dropout module"):
        epistemic.dropout(small_vae(), X)
    with pytest.raises(pv.ArgumentError, match="takes inputs"):
        epistemic.bayesian_weights(small_vae(), torch.zeros(4, 9))


def test_vectorised_particles_are_refused_in_words():
    source = epistemic.bayesian_weights(small_vae(), X)
    loss = pyro.infer.Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    with pytest.raises(pv.PairError, match="one draw of their weights at a time"):
        loss.loss(source.model, source.guide, X)


@pytest.mark.parametrize("rank", [1, 16])
def test_columns_of_weights_begin_as_large_together_as_the_diagonal(rank):
    torch.manual_seed(0)
    weights = NormalWeights(torch.zeros(5_000), rank=rank, scale=0.02)
    assert float(weights.factor.detach().square().sum(1).mean()) == pytest.approx(0.02**2, rel=0.1)
