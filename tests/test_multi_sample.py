"""Bounds of several draws for each datum: values, gradients, and what must not change them."""

from __future__ import annotations

import math
from contextlib import contextmanager

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, RenyiELBO, Trace_ELBO
from pyro.optim import Adam
from registry import REGISTRY, ROWS, arguments, pairs
from torch import nn

import pyrovae as pv
from pyrovae.objectives.multi_sample import IWAE, DReG, Particles
from pyrovae.objectives.particles import Common, Terms
from pyrovae.pairs.trace import run, unconstrained


def born(entry):
    """A pair whose parameters exist, its arguments, and its parameters by name."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    pair, data = entry.make()
    args, kwargs = arguments(data)
    traces = run(pair, args, kwargs)
    names = {
        name: unconstrained(node["value"])
        for trace in traces
        for name, node in trace.nodes.items()
        if node["type"] == "param"
    }
    return pair, args, kwargs, names


def gradients(loss, pair, args, kwargs, parameters, seed=0):
    """The loss and its gradients on the draws of a seed."""
    for parameter in parameters.values():
        parameter.grad = None
    pyro.set_rng_seed(seed)
    value = loss.loss_and_grads(pair.model, pair.guide, *args, **kwargs)
    return value, {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}


def close(one, other, tolerance=1e-5):
    assert set(one) >= set(other)
    for name, value in one.items():
        there = other.get(name, torch.zeros_like(value))
        assert (value - there).norm() <= tolerance * (value.norm() + 1e-2), name


# --- one draw ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs(without={"enumerates"}))
def test_one_draw_is_the_elbo_in_value_and_gradient(entry):
    pair, args, kwargs, parameters = born(entry)
    plate = "data" if "nested" in entry.traits else None
    value, found = gradients(IWAE(1, data_plate=plate), pair, args, kwargs, parameters)
    expected, there = gradients(Trace_ELBO(), pair, args, kwargs, parameters)
    # Pyro adds up the same terms in another order.
    assert value == pytest.approx(expected, rel=1e-5)
    close(found, there, 1e-4)
    pyro.set_rng_seed(0)
    assert IWAE(1, data_plate=plate).loss(pair.model, pair.guide, *args, **kwargs) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("entry", pairs(having={"renyi_ok"}))
def test_where_renyi_is_right_the_bound_is_the_same(entry):
    pair, args, kwargs, parameters = born(entry)
    plate = "data" if "nested" in entry.traits else None
    value, found = gradients(IWAE(3, data_plate=plate), pair, args, kwargs, parameters)
    renyi = RenyiELBO(alpha=0, num_particles=3, max_plate_nesting=2)
    expected, there = gradients(renyi, pair, args, kwargs, parameters)
    assert value == pytest.approx(expected, rel=1e-5)
    close(found, there, 1e-3)


@pytest.mark.parametrize("kind", [IWAE, DReG])
@pytest.mark.parametrize("entry", pairs(having={"renyi_ok", "broadcasts"}, without={"masked"}))
def test_draws_in_a_plate_are_draws_in_a_loop(entry, kind):
    """In expectation; on one draw of each, by giving both the same."""
    pair, args, kwargs, parameters = born(entry)
    plate = "data" if "nested" in entry.traits else None
    losses = [kind(4, vectorize_particles=v, data_plate=plate) for v in (False, True)]
    values = torch.tensor([[loss.loss(pair.model, pair.guide, *args, **kwargs) for _ in range(25)] for loss in losses])
    error = float((values.var(1).sum() / 25).sqrt())
    assert abs(float(values.mean(1).diff())) < 4.5 * error
    _, found = gradients(losses[1], pair, args, kwargs, parameters)
    _, there = gradients(losses[0], pair, args, kwargs, parameters)
    assert set(found) == set(there)


# --- truth and invariances --------------------------------------------------------------------------------


def gaussian():
    weight = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    return pv.truth.LinearGaussian(weight, torch.zeros(4), 0.6)


@pytest.mark.parametrize("kind", [IWAE, DReG])
@pytest.mark.parametrize("k", [1, 4])
def test_under_the_exact_posterior_the_bound_is_the_evidence(kind, k):
    truth = gaussian()
    x = truth.sample(8)
    evidence = float(truth.log_evidence(x).sum())
    assert kind(k).loss(truth.model, truth.guide, x) == pytest.approx(-evidence, rel=1e-5)
    doubled = kind(k).loss(truth.model, truth.guide, torch.cat([x, x]))
    assert doubled == pytest.approx(-2 * evidence, rel=1e-5)


def test_a_global_site_is_drawn_once_for_all_draws_of_the_data():
    for truth in (pv.truth.BetaBernoulli(2.0, 1.0), pv.truth.GammaPoisson(2.0, 1.0)):
        x = truth.sample(12)
        for k in (1, 5):
            loss = IWAE(k).loss(truth.model, truth.guide, x)
            assert loss == pytest.approx(-float(truth.log_evidence(x)), rel=1e-5)


class Weighed:
    """One latent, its guide wrong, a global site beside it; draws are kept, so that bounds can be made by hand."""

    def __init__(self, size=None, scale=1.0, mask=True):
        self.size, self.scale, self.mask = size, scale, mask
        self.loc = nn.Parameter(torch.tensor(0.3))
        self.drawn = []

    def model(self, x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with self.around(x):
            z = pyro.sample("z", dist.Normal(w, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(self, x):
        w = pyro.sample("w", dist.Normal(pyro.param("w_loc", self.loc), 0.5))
        with self.around(x):
            z = pyro.sample("z", dist.Normal(0.4 * (w + x), 0.7))
        self.drawn.append((w.detach(), z.detach()))

    @contextmanager
    def around(self, x):
        plate = pyro.plate("data", self.size or len(x), subsample_size=len(x))
        with poutine.scale(scale=self.scale), plate, poutine.mask(mask=self.mask):
            yield

    def weights(self, x):
        """log p(x | z), log p(z) - log q(z), (draws, rows), and log p(w) - log q(w)."""
        w, z = self.drawn[0][0], torch.stack([z for _, z in self.drawn])
        assert all(torch.equal(w, other) for other, _ in self.drawn)
        rate = dist.Normal(w, 1.0).log_prob(z) - dist.Normal(0.4 * (w + x), 0.7).log_prob(z)
        common = dist.Normal(0.0, 1.0).log_prob(w) - dist.Normal(self.loc, 0.5).log_prob(w)
        return dist.Normal(z, 0.5).log_prob(x), rate, common


X = torch.randn(6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [IWAE, DReG])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(
    ("options", "weight", "factor"),
    [
        ({}, 1.0, 1.0),
        ({"size": 60}, 1.0, 10.0),  # outside the log, where RenyiELBO has it inside
        ({"scale": 0.1}, 1.0, 0.1),
        ({"size": 60, "scale": 0.1}, 0.3, 1.0),
        ({}, 0.3, 1.0),
        ({}, 0.0, 1.0),
        ({"mask": torch.tensor([True, False] * 3)}, 0.3, 1.0),
    ],
)
def test_scales_stand_outside_and_weights_inside_the_mean(kind, k, options, weight, factor):
    pair = Weighed(**options)
    tempered = pv.temper(pair, weight)
    found = kind(k, data_plate="data").differentiable_loss(tempered.model, tempered.guide, X)
    likelihood, rate, common = pair.weights(X)
    bounds = (likelihood + weight * rate).logsumexp(0) - math.log(k)
    mask = options.get("mask", torch.ones(6))
    # What the author scales the data by does not scale the global site, which stands outside.
    assert float(found.detach()) == pytest.approx(
        -float(factor * (bounds * mask).sum() + weight * common.detach()), rel=1e-5
    )


def test_a_scale_of_one_side_alone_is_part_of_the_weight():
    entry = REGISTRY["scaled_by_author"]
    pair, (x,), _, _ = born(entry)
    plain, (y,), _, _ = born(REGISTRY["plain_functions"])
    pyro.set_rng_seed(1)
    found = IWAE(4).loss(pair.model, pair.guide, x)
    pyro.set_rng_seed(1)
    tempered = pv.temper(plain, 0.5)
    assert found == pytest.approx(IWAE(4).loss(tempered.model, tempered.guide, y), rel=1e-5)


def test_a_pair_without_a_data_plate_is_one_datum():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(w, 1.0).expand([len(x)]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(x.sum() / (len(x) + 1), (1 / (len(x) + 1)) ** 0.5))

    exact = dist.MultivariateNormal(torch.zeros(6), torch.eye(6) + 1).log_prob(X)
    assert IWAE(3).loss(model, guide, X) == pytest.approx(-float(exact), rel=1e-5)


# --- gradients in expectation -----------------------------------------------------------------------------


def moments(loss, pair, args, kwargs, parameters, repeats):
    """Mean and variance of the gradient, by parameter."""
    drawn = [gradients(loss, pair, args, kwargs, parameters, seed)[1] for seed in range(repeats)]
    stacked = {name: torch.stack([one[name] for one in drawn]).double() for name in drawn[0]}
    return {name: (value.mean(0), value.var(0) / repeats) for name, value in stacked.items()}


# One level; two; a site behind an auxiliary one; a global site upstream of the data; a flow.
LEVELS = ("plain_functions", "hierarchical", "auxiliary_by_hand", "local_and_global", "autoregressive_flow_guide")


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.slow
def test_doubly_reparameterised_gradients_have_the_expectation_of_the_bounds_own(name):
    pair, args, kwargs, parameters = born(REGISTRY[name])
    args = tuple(arg[:4] for arg in args)
    plain = moments(IWAE(3), pair, args, kwargs, parameters, 80)
    found = moments(DReG(3), pair, args, kwargs, parameters, 80)
    assert set(plain) == set(found)
    for parameter, (mean, variance) in plain.items():
        other, spread = found[parameter]
        ratio = float((mean - other).square().sum() / (variance + spread).sum())
        assert ratio < 4, parameter  # 1 in expectation; the elements are correlated


class Near:
    """A guide whose slope is 1/2 in the posterior."""

    def __init__(self, slope):
        self.slope = nn.Parameter(torch.tensor(slope))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("slope", self.slope) * x, 0.5**0.5))


def test_doubly_reparameterised_gradients_vary_less():
    pair = Near(0.4)
    run(pair, (X,), {})
    options = {"pair": pair, "args": (X,), "kwargs": {}, "parameters": {"slope": pair.slope}, "repeats": 60}
    plain, found = (
        moments(kind(20, vectorize_particles=True, max_plate_nesting=1), **options)["slope"] for kind in (IWAE, DReG)
    )
    assert float((plain[0] - found[0]) / (plain[1] + found[1]).sqrt()) < 4
    assert float(found[1] / plain[1]) < 0.2


def test_under_the_exact_posterior_the_guides_gradient_has_no_noise():
    pair = Near(0.5)
    run(pair, (X,), {})
    noise = {kind: gradients(kind(5), pair, (X,), {}, {"slope": pair.slope})[1]["slope"] for kind in (IWAE, DReG)}
    assert float(noise[DReG].abs()) < 1e-5 < 1e-2 < float(noise[IWAE].abs())


class Discrete:
    """A Bernoulli latent whose bound of k draws can be summed over all that may be drawn."""

    def __init__(self):
        self.logit = nn.Parameter(torch.tensor([0.4, -0.3]))

    def model(self, x):
        with pyro.plate("data", 2):
            b = pyro.sample("b", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(2 * b, 1.0), obs=x)

    def guide(self, x):
        logit = pyro.param("logit", self.logit)
        with pyro.plate("data", 2):
            pyro.sample("b", dist.Bernoulli(logits=logit))

    def bound(self, x, k):
        """The expected bound, in closed form."""
        values = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * k).reshape(-1, k, 1)
        guide = dist.Bernoulli(logits=self.logit).log_prob(values)
        weights = dist.Bernoulli(0.5).log_prob(values) + dist.Normal(2 * values, 1.0).log_prob(x) - guide
        return (guide.sum(1).exp() * (weights.logsumexp(1) - math.log(k))).sum()


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.slow
def test_discrete_sites_have_the_gradient_of_the_expected_bound(k):
    pair, x = Discrete(), torch.tensor([0.5, 1.8])
    (exact,) = torch.autograd.grad(pair.bound(x, k), pair.logit)
    run(pair, (x,), {})
    loss = IWAE(k, vectorize_particles=True, max_plate_nesting=1)
    mean, variance = moments(loss, pair, (x,), {}, {"logit": pair.logit}, 400)["logit"]
    assert float(((-mean - exact) / variance.sqrt()).abs().max()) < 4
    assert float(variance.sqrt().max()) < 0.06


# --- in use -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [IWAE, DReG])
@pytest.mark.slow
def test_plain_svi_reaches_the_posterior(kind):
    truth = gaussian()
    pair, x = truth.trainable(), truth.sample(100)
    loss = kind(4, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(pair.model, pair.guide, Adam({"lr": 3e-2}), loss)
    before = svi.evaluate_loss(x)
    for _ in range(250):
        svi.step(x)
    best = -float(truth.log_evidence(x).sum())
    after = torch.tensor([svi.evaluate_loss(x) for _ in range(20)])
    assert best - float(after.std()) < float(after.mean()) < best + 0.02 * (before - best)


@pytest.mark.parametrize("kind", [IWAE, DReG])
@pytest.mark.parametrize("entry", pairs(without={"enumerates"}))
@pytest.mark.filterwarnings("ignore:.author-scale")
def test_fit_takes_it_with_every_style(entry, kind):
    pyro.clear_param_store()
    pair, data = entry.make()
    options = {"steps": 2, "seed": 0, "progress": False, "batch_size": 8, "staged": False}
    options["batch_size"] = ROWS if entry.traits & {"full_data", "local_autoguide"} else 8
    options["data_plate"] = "data" if "nested" in entry.traits else None
    if "unvalidated" in entry.traits:
        pytest.skip("warns of grey pixels, as with any loss")
    if kind is DReG and "score_function" in entry.traits:
        with pytest.raises(pv.ArgumentError, match=r"DReG needs local sites with pathwise.*IWAE"):
            pv.fit(pair, data, loss=kind(3), **options)
        return
    row = pv.fit(pair, data, loss=kind(3), **options).history[-1]
    assert row.elbo == -(row.rate + row.distortion)
    if not entry.traits & {"scaled", "score_function"}:
        assert row.loss <= -row.elbo + 1e-4 * abs(row.elbo)  # tighter than the ELBO of the same draws


def test_temper_and_global_sites_are_taken_where_renyi_is_not():
    pair, data = REGISTRY["local_and_global"].make()
    options = {"steps": 2, "seed": 0, "progress": False, "batch_size": 8}
    with pytest.raises(pv.ArgumentError, match=r"objectives\.IWAE\(k\)"):
        pv.fit(pair, data, loss=RenyiELBO(), **options)
    pv.fit(pair, data, loss=IWAE(3), temper=pv.linear(0, 1, steps=2), **options)


# --- what cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, -1, 2.0, True, "many"])
def test_the_number_of_draws_is_whole(k):
    with pytest.raises(pv.ArgumentError, match=r"IWAE: k=.*1 at least"):
        IWAE(k)


@pytest.mark.filterwarnings("ignore:Found vars in model but not guide")
def test_enumerated_sites_and_free_bits_are_refused_in_words():
    for entry in ("enumerated_mixture", "enumerated_guide"):
        pair, args, kwargs, _ = born(REGISTRY[entry])
        with pytest.raises(pv.ArgumentError, match=r"does not sum out 'y'.*TraceEnum_ELBO"):
            IWAE(2).loss(pair.model, pair.guide, *args, **kwargs)
    pair, args, kwargs, _ = born(REGISTRY["plain_functions"])
    free = pv.free_bits(pair, {"z": 1.0})
    for loss in (IWAE(2), DReG(2)):
        with pytest.raises(pv.ArgumentError, match="free bits and penalties around"):
            loss.loss(free.model, free.guide, *args, **kwargs)


def test_shared_sites_are_not_drawn_in_a_plate_of_particles():
    pair = Weighed()
    with pytest.raises(pv.ArgumentError, match="would draw 'w', which all data share"):
        IWAE(3, vectorize_particles=True).loss(pair.model, pair.guide, X)


def test_a_plate_that_is_not_there_is_an_error():
    pair = Weighed()
    with pytest.raises(pv.ArgumentError, match=r"stand in data.*'rows'.*Name the plate"):
        IWAE(3, data_plate="rows").loss(pair.model, pair.guide, X)


# --- scores of sites without pathwise gradients ---------------------------------------------------------


def coins(size):
    """A coin for each datum, and one for all, both drawn by the guide; `size` rows in the whole data."""

    def model(x):
        w = pyro.sample("w", dist.Bernoulli(0.3))
        with pyro.plate("data", size, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z + w, 1.0), obs=x)

    def guide(x):
        logit = pyro.param("logit", torch.tensor([0.2, -0.4]))
        pyro.sample("w", dist.Bernoulli(logits=logit[0]))
        with pyro.plate("data", size, subsample=torch.arange(len(x))):
            pyro.sample("z", dist.Bernoulli(logits=logit[1]))

    return pv.Pair(model, guide)


def gradients_of_coins(loss, size, x):
    """The loss and the gradients of the common and the local logit."""
    pyro.clear_param_store()
    pair = coins(size)
    run(pair, (x,), {})
    value, found = gradients(loss, pair, (x,), {}, {"logit": pyro.get_param_store()._params["logit"]})
    return value, found["logit"]


@pytest.mark.parametrize("size", [4, 40])
def test_the_score_of_what_all_share_sees_the_bound_of_all_data(size):
    x = torch.tensor([0.3, 1.0, -0.5, 2.0])
    (value, found), (exact, expected) = (gradients_of_coins(loss, size, x) for loss in (IWAE(1), Trace_ELBO()))
    assert value == pytest.approx(exact, rel=1e-5)
    torch.testing.assert_close(found[0], expected[0])  # Pyro's local scores see the common terms, too: mere noise


def test_the_scale_of_a_subsample_is_in_the_scores_of_single_data():
    x = torch.tensor([0.3, 1.0, -0.5, 2.0])
    (_, one), (_, ten) = (gradients_of_coins(IWAE(3), size, x) for size in (4, 40))
    torch.testing.assert_close(ten[1], 10 * one[1])


def test_draws_without_weight_add_nothing():
    impossible = torch.tensor([[-1.0], [-math.inf]])
    particles = Particles([Terms(impossible, torch.zeros(2, 1), 0.0, 1.0)], Common(0.0, 0.0))
    assert float(particles.weighted(impossible, particles.weights())) == -1


def test_vectorised_draws_say_nothing_of_plates(caplog, linear):
    with caplog.at_level("INFO", logger="pyro.infer.elbo"):
        IWAE(3, vectorize_particles=True).loss(linear.model, linear.guide, linear.sample(8, seed=0))
        assert caplog.text == ""
        Trace_ELBO(3, vectorize_particles=True).loss(linear.model, linear.guide, linear.sample(8, seed=0))
    assert "Guessed" in caplog.text  # Pyro's own says it as before
