"""Which losses `fit` takes, and which combinations it refuses in words."""

from __future__ import annotations

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    JitTrace_ELBO,
    JitTraceMeanField_ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
)
from registry import REGISTRY, ROWS, pairs, real, takes_all_rows
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae.objectives.losses import own_loss

quick = {"steps": 2, "seed": 0, "progress": False, "batch_size": 8}


def fitted(name, **options):
    pair, data = REGISTRY[name].make()
    return pv.fit(pair, data, **{**quick, **options})


# --- what a loss may be -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Trace_ELBO, RenyiELBO, functools.partial(Trace_ELBO, num_particles=2)])
def test_the_users_elbo_stays_as_it_was(kind):
    loss = kind()
    before = dict(vars(loss))
    fitted("plain_functions", loss=loss)
    pyro.clear_param_store()
    fitted("nested_plates", loss=loss, data_plate="data")  # of another depth: it would not fit a second pair
    assert vars(loss) == before
    assert own_loss(loss) is not loss


@pytest.mark.parametrize("loss", [Trace_ELBO, "Trace_ELBO", 3.0, dict])
def test_a_class_or_a_name_is_no_loss(loss):
    with pytest.raises(pv.ArgumentError, match="not its class or name"):
        fitted("plain_functions", loss=loss)


def test_an_elbo_called_on_a_pair_is_no_loss():
    pair, _ = REGISTRY["pyro_modules"].make()
    with pytest.raises(pv.ArgumentError, match="give the ELBO itself"):
        own_loss(Trace_ELBO()(pair.model, pair.guide))


@pytest.mark.parametrize("kind", [JitTrace_ELBO, JitTraceMeanField_ELBO])
def test_compiled_elbos_are_refused(kind):
    with pytest.raises(pv.ArgumentError, match=rf"Use {kind.__name__.removeprefix('Jit')}\."):
        fitted("plain_functions", loss=kind())


def simple(model, guide, x):
    """The loss of Pyro's tutorial on custom objectives."""
    q = poutine.trace(guide).get_trace(x)
    p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x)
    return -(p.log_prob_sum() - q.log_prob_sum())


class Counting:
    """A callable with a memory of its own, which must be the user's own object."""

    def __init__(self):
        self.calls = 0

    def __call__(self, model, guide, x):
        self.calls += 1
        return simple(model, guide, x)


@pytest.mark.parametrize("loss", [simple, lambda *a: simple(*a), Trace_ELBO().differentiable_loss, Counting()])
def test_a_function_of_model_guide_and_data_is_a_loss(loss):
    expected = fitted("built_in", loss=Trace_ELBO(max_plate_nesting=1))
    pyro.clear_param_store()
    found = [fitted("built_in", loss=loss) for _ in range(1)]
    for run in (expected, *found):
        row = run.history[-1]
        assert row.elbo == -(row.rate + row.distortion)
        assert row.loss == pytest.approx(-row.elbo, rel=1e-5)
    if isinstance(loss, Counting):
        assert loss.calls == 3  # two steps, and once before them to see that it runs


def test_a_method_of_an_elbo_does_not_change_that_elbo():
    elbo = Trace_ELBO()
    fitted("nested_plates", loss=elbo.differentiable_loss, data_plate="data")
    assert elbo.max_plate_nesting == float("inf")
    pair, data = REGISTRY["enumerated_mixture"].make()
    with pytest.raises(pv.ArgumentError, match="Trace_ELBO does not sum out"):
        pv.fit(pair, data, loss=elbo.differentiable_loss, **quick)
    run = pv.fit(pair, data, loss=TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss, **quick)
    assert run.history[-1].loss == pytest.approx(-run.history[-1].elbo, rel=1e-5)


def test_fit_starts_from_fresh_gradients():
    """What another loop left behind in `.grad` does not count in the first step."""
    losses = []
    for stale in (False, True):
        pyro.set_rng_seed(0)
        pair, data = REGISTRY["built_in"].make()
        if stale:
            for parameter in pair.parameters():
                parameter.grad = torch.full_like(parameter, 100.0)
        losses.append([step.loss for step in pv.steps(pair, data, **{**quick, "steps": 4})])
    assert losses[0] == losses[1]


# --- enumeration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO, RenyiELBO])
@pytest.mark.parametrize("entry", pairs(having={"enumerates"}))
def test_what_the_model_enumerates_needs_a_loss_that_sums_it_out(entry, kind):
    pair, data = entry.make()
    if entry.enumerated:
        with pytest.raises(pv.ArgumentError, match=r"'y|the plate 'data' multiplies"):
            pv.fit(pair, data, loss=kind(), **quick)
    run = pv.fit(pair, data, **quick) if entry.enumerated else pv.fit(pair, data, loss=entry.loss(), **quick)
    assert run.history[-1].loss == pytest.approx(-run.history[-1].elbo, rel=1e-4)


def test_tensor_monte_carlo_is_taken():
    pair, data = REGISTRY["enumerated_prior"].make()
    run = pv.fit(pair, data, loss=TraceTMC_ELBO(max_plate_nesting=1), **quick)
    assert run.step == 2


# --- losses that exponentiate scaled log-probabilities -----------------------------------------------------


def importance(kind):
    options = {"vectorize_particles": True} if kind is TraceTailAdaptive_ELBO else {}
    return kind(num_particles=3, max_plate_nesting=1, **options)


exponentiating = pytest.mark.parametrize("kind", [RenyiELBO, ReweightedWakeSleep, TraceTailAdaptive_ELBO])


@exponentiating
@pytest.mark.parametrize("weight", [0.5, {"z": 0.5}, pv.linear(0, 1, steps=3), 0.0])
def test_temper_is_refused_where_weights_are_exponentials(kind, weight):
    with pytest.raises(pv.ArgumentError, match=rf"{kind.__name__} exponentiates.*temper weights the KL.*Trace_ELBO"):
        fitted("plain_functions", loss=importance(kind), temper=weight)
    pair, data = REGISTRY["plain_functions"].make()
    with pytest.raises(pv.ArgumentError, match="temper weights the KL"):
        pv.fit(pv.free_bits(pv.temper(pair, weight), {}), data, loss=importance(kind), **quick)


@exponentiating
@pytest.mark.filterwarnings("ignore:.author-scale")
def test_free_bits_and_scales_are_refused_there(kind):
    pair, data = REGISTRY["plain_functions"].make()
    for free in (pv.free_bits(pair, {"z": 1.0}), pv.temper(pv.free_bits(pair, {"z": 1.0}), 1.0)):
        with pytest.raises(pv.ArgumentError, match="free bits change the KL"):
            pv.fit(free, data, loss=importance(kind), **quick)
    for name in ("scaled_by_author", "likelihood_scaled_by_author", "scaled_to_one_datum"):
        with pytest.raises(pv.ArgumentError, match=r"a scale at '\w+' multiplies"):
            fitted(name, loss=importance(kind))
    with pytest.raises(pv.ArgumentError, match="the plate 'data' multiplies"):
        fitted("local_and_global", loss=importance(kind))


def global_only():
    def model(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    def guide(x):
        pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 0.5))

    return pv.Pair(model, guide), real()[:, 0]


def test_a_loss_that_is_none_is_refused_before_the_first_step():
    with pytest.raises(pv.ArgumentError, match="TraceTailAdaptive_ELBO has gradients but no loss"):
        fitted("plain_functions", loss=importance(TraceTailAdaptive_ELBO))


def test_one_weight_for_the_batch_is_refused_for_renyi_alone():
    pair, data = global_only()
    with pytest.raises(pv.ArgumentError, match=r"mean is drawn once for all data.*objectives\.IWAE"):
        pv.fit(pair, data, loss=RenyiELBO(), **{**quick, "batch_size": ROWS})
    run = pv.fit(pair, data, loss=ReweightedWakeSleep(vectorize_particles=False), **{**quick, "batch_size": ROWS})
    assert run.step == 2


@pytest.mark.parametrize("entry", pairs(without={"enumerates", "unvalidated", "loss_state"}))
@pytest.mark.filterwarnings("ignore:.author-scale")
def test_renyi_is_taken_where_the_registry_says_it_is_right(entry):
    pair, data = entry.make()
    options = {**quick, "steps": 1, "data_plate": "data" if "nested" in entry.traits else None}
    options["batch_size"] = ROWS if takes_all_rows(entry) else 8
    loss = RenyiELBO(num_particles=2, max_plate_nesting=2)
    if "renyi_ok" in entry.traits:
        row = pv.fit(pair, data, loss=loss, **options).history[-1]
        assert row.loss < -row.elbo + 1e-4 * abs(row.elbo)  # a tighter bound than the mean of the same draws
    elif not entry.traits & {"score_function", "no_latent"}:
        with pytest.raises(pv.ArgumentError, match="RenyiELBO exponentiates"):
            pv.fit(pair, data, loss=loss, **options)


@pytest.mark.parametrize("vectorised", [True, False])
def test_wake_sleep_trains_with_sensible_figures(vectorised):
    pyro.set_rng_seed(0)
    pair, data = REGISTRY["plain_functions"].make()
    loss = ReweightedWakeSleep(num_particles=8, vectorize_particles=vectorised)
    options = {"epochs": 25, "batch_size": ROWS, "learning_rate": 3e-2, "seed": 0, "progress": False}
    rows_ = pv.fit(pair, data, loss=loss, **options).history
    assert all(row.elbo == -(row.rate + row.distortion) for row in rows_)
    assert rows_[-1].elbo > rows_[0].elbo + 0.2
    assert 0 < rows_[-1].rate < 20


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("enumerated_likelihood", {"temper": 0.5}),
        ("mixture_prior", {"free": {"z": 1.0}}),
        ("plain_functions", {"temper": {"y": 0.5}}),
        ("plain_functions", {"temper": 0.5, "loss": RenyiELBO()}),
    ],
)
def test_what_is_refused_is_refused_before_training_starts(name, options):
    pair, data = REGISTRY[name].make()
    options = dict(options)
    pair = pv.free_bits(pair, options.pop("free", {}))
    before = torch.get_rng_state()
    with pytest.raises(pv.ArgumentError):
        pv.steps(pair, data, **quick, **options)  # not one step is asked for
    assert torch.equal(torch.get_rng_state(), before)
    assert not dict(pyro.get_param_store().items())


# --- truth -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.5, 4.0])
@pytest.mark.slow
def test_fit_minimises_the_hand_written_beta_elbo(weight):
    """Of a linear-Gaussian model: the tempered optimum of a full-normal guide is known in closed form."""
    generator = torch.Generator().manual_seed(1)
    truth = pv.truth.LinearGaussian(torch.randn(4, 2, generator=generator), torch.zeros(4), 0.8)
    x = truth.sample(200, seed=2)
    # argmin_q E_q[-log p(x|z)] + beta KL(q, p): the posterior under a likelihood to the power of 1 / beta.
    best = pv.truth.LinearGaussian(truth.weight, truth.mean, 0.8 * weight**0.5).posterior(x)
    pyro.set_rng_seed(0)
    pair = truth.trainable()
    options = {"batch_size": 200, "seed": 0, "progress": False, "loss": TraceMeanField_ELBO()}
    pv.fit(pair, x, epochs=400, temper=weight, learning_rate=pv.cosine(5e-2, 1e-4, steps=400), **options)
    found = pv.encode(pair, x)["z"]
    torch.testing.assert_close(found.mean, best.mean, rtol=0, atol=0.08)
    torch.testing.assert_close(found.scale, best.variance.sqrt(), rtol=0.06, atol=0.01)


def test_the_weighted_loss_of_a_step_is_the_hand_written_one():
    pair, x = REGISTRY["built_in"].make()
    options = {"learning_rate": 0.0, "temper": 0.3, "loss": TraceMeanField_ELBO(max_plate_nesting=1)}
    step = next(iter(pv.steps(pair, x, **{**quick, **options, "batch_size": ROWS})))
    kl = kl_divergence(pair.posterior(x), pair.prior()).mean().detach()
    assert step.weight == 0.3
    assert step.loss == pytest.approx(float(step.distortion + 0.3 * kl), rel=1e-6)
