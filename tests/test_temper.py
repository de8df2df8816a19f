"""temper around any pair: against losses written by hand."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from batch_gradients import BATCH, ByHand, difference, loss_and_gradients, make, pathwise, same, scaled
from pyro import poutine
from pyro.infer import (
    SVI,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from registry import (
    LATENT,
    REGISTRY,
    arguments,
    pairs,
)
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae.objectives.figures import TEMPERING

# --- temper: losses and gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.3, 4.0, 0.0])
@pytest.mark.parametrize("entry", pathwise)
def test_a_number_weights_every_latent_site(entry, weight):
    pair, batch = make(entry)
    expected = loss_and_gradients(pair, batch, ByHand({}, weight))
    same(loss_and_gradients(pv.temper(pair, weight), batch, Trace_ELBO(max_plate_nesting=2)), expected)


@pytest.mark.parametrize("entry", pairs(having={"global"}, without={"enumerates", "shared_auxiliary"}))
def test_one_site_is_weighted_with_the_auxiliary_sites_behind_it(entry):
    pair, batch = make(entry)
    site = entry.global_sites[0]
    weights = {site: 0.25, f"{site}_unconstrained": 0.25, f"{site}_aux": 0.25}
    expected = loss_and_gradients(pair, batch, ByHand(weights))
    found = loss_and_gradients(pv.temper(pair, {site: 0.25}), batch, Trace_ELBO(max_plate_nesting=2))
    same(found, expected)
    plain = loss_and_gradients(pair, batch, Trace_ELBO(max_plate_nesting=2))
    assert difference(found, plain) > 1e-3


def test_an_auxiliary_site_of_another_name_is_found_by_its_gradient():
    pair, batch = make("auxiliary_by_hand")
    expected = loss_and_gradients(pair, batch, ByHand({"z": 0.3, "u": 0.3}))
    tempered = pv.temper(pair, {"z": 0.3})
    with torch.no_grad():  # where the first call computes no gradients
        Trace_ELBO().loss(tempered.model, tempered.guide, batch)
    same(loss_and_gradients(tempered, batch, Trace_ELBO(max_plate_nesting=1)), expected)


@pytest.mark.parametrize("weight", [{"z": 0.3}, {"z1": 0.2, "z2": 3.0}, {"z2": 0.0}])
def test_weights_by_site(weight):
    pair, batch = make("hierarchical" if "z2" in weight else "local_and_global")
    expected = loss_and_gradients(pair, batch, ByHand(weight))
    same(loss_and_gradients(pv.temper(pair, weight), batch, Trace_ELBO(max_plate_nesting=1)), expected)


@pytest.mark.parametrize("weight", [0.3, 0.0, {"w": 0.5, "z": 2.0}])
def test_closed_kl_is_weighted_on_both_sides(weight):
    pair, batch = make("local_and_global")
    found = loss_and_gradients(pv.temper(pair, weight), batch, TraceMeanField_ELBO(max_plate_nesting=1))

    def by_hand(model, guide, x):
        q = poutine.trace(guide).get_trace(x)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x)
        loss = -scaled(p.nodes["x"])
        for site in "wz":
            kl = kl_divergence(q.nodes[site]["fn"], p.nodes[site]["fn"]).sum() * q.nodes[site]["scale"]
            loss = loss + kl * (weight[site] if isinstance(weight, dict) else weight)
        loss.backward()
        return loss.item()

    hand = type("Hand", (), {"loss_and_grads": staticmethod(by_hand)})
    same(found, loss_and_gradients(pair, batch, hand))


@pytest.mark.parametrize("kind", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_score_function_gradients_are_those_of_the_weighted_loss(kind, weight):
    """Exact gradients by going through all 2^4 values; the mean of many estimates, within their own error."""
    pyro.set_rng_seed(5)
    encoder, decoder = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    prior, x = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([1.0, 0.0, 1.0])
    values = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)

    def model():
        pyro.module("decoder", decoder)
        b = pyro.sample("b", dist.Bernoulli(prior).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=decoder(b)).to_event(1), obs=x)

    def guide():
        pyro.module("encoder", encoder)
        pyro.sample("b", dist.Bernoulli(logits=encoder(x)).to_event(1))

    posterior = dist.Bernoulli(logits=encoder(x)).to_event(1)
    q = posterior.log_prob(values)
    rate = (q.exp() * (q - dist.Bernoulli(prior).to_event(1).log_prob(values))).sum()
    likelihood = dist.Bernoulli(logits=decoder(values)).to_event(1).log_prob(x)
    exact = torch.autograd.grad(weight * rate - (q.exp() * likelihood).sum(), encoder.bias)[0]
    tempered, found = pv.temper(pv.Pair(model, guide), weight), []
    for seed in range(40):
        loss = kind(max_plate_nesting=0, num_particles=50, vectorize_particles=True)
        found += [loss_and_gradients(tempered, (), loss, seed=seed)[1]["encoder$$$bias"]]
    found = torch.stack(found)
    assert ((found.mean(0) - exact).abs() < 4.5 * found.std(0) / 40**0.5 + 1e-6).all()
    assert exact.abs().max() > 0.02


@pytest.mark.parametrize("kind", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO])
def test_zero_drops_a_site_whatever_its_log_probability(kind):
    loc = torch.tensor([0.5, -0.5], requires_grad=True)

    def model(x):
        with pyro.plate("data", 2):
            pyro.sample("z", dist.Uniform(10.0, 11.0, validate_args=False))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 2):
            pyro.sample("z", dist.Normal(pyro.param("loc", loc), 1.0))

    x = torch.tensor([1.0, 2.0])
    expected = -float(dist.Normal(0.0, 1.0).log_prob(x).sum())
    tempered = pv.temper(pv.Pair(model, guide), 0.0)
    recorded = pv.record(tempered)
    value, gradients = loss_and_gradients(recorded, x, kind(max_plate_nesting=1))
    assert value == pytest.approx(expected)
    assert not gradients.get("loc", torch.zeros(())).any()
    assert float(recorded.figures().rate) == float("inf")  # figures are never tempered


@pytest.mark.parametrize("entry", pairs(without={"no_latent"}))
@pytest.mark.parametrize("weight", [1.0, 0.0, 0.3])
def test_figures_are_those_without_temper(entry, weight):
    if entry.enumerated and entry.name != "enumerated_prior":
        pytest.skip("the contraction holds data; see below")
    plate = "data" if "nested" in entry.traits else None
    kind = TraceEnum_ELBO if "enumerates" in entry.traits else Trace_ELBO
    found = []
    for around in (lambda pair: pair, lambda pair: pv.temper(pair, weight)):
        pair, batch = make(entry)
        # A scale further out is not temper's.
        shrunk = pv.Pair(*(poutine.scale(f, scale=0.125) for f in (around(pair).model, around(pair).guide)))
        tempered = around(pair)
        shrunk = pv.Pair(poutine.scale(tempered.model, scale=0.125), poutine.scale(tempered.guide, scale=0.125))
        recorded = pv.record(shrunk, data_plate=plate)
        loss_and_gradients(recorded, batch, kind(max_plate_nesting=2))
        found.append(recorded.figures())
    torch.testing.assert_close(tuple(found[0]), tuple(found[1]), rtol=1e-6, atol=1e-6)


def test_the_masks_of_obs_mask_stay_as_they_are():
    """The model masks what is observed, and both sides what is not."""
    figures = []
    for weight in (1.0, 0.3, 0.0, {"y_unobserved": 0.3}):
        pair, batch = make("observation_mask")
        tempered = pv.temper(pair, weight)
        recorded = pv.record(tempered)
        expected = ByHand(weight) if isinstance(weight, dict) else ByHand({}, weight)
        found = loss_and_gradients(recorded, batch, Trace_ELBO(max_plate_nesting=1))
        same(found, loss_and_gradients(pair, batch, expected))
        figures.append(recorded.figures())
    for other in figures[1:]:
        torch.testing.assert_close(tuple(figures[0]), tuple(other), rtol=1e-6, atol=1e-6)
    same(
        loss_and_gradients(pv.temper(pair, {"z": 0.5}), batch, Trace_ELBO(max_plate_nesting=1)),
        loss_and_gradients(pair, batch, ByHand({"z": 0.5})),
    )


def test_tempering_leaves_the_dictionaries_of_the_author_alone():
    mine = {"a": 1}

    def both(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0), infer=mine)
        return z

    tempered = pv.temper(pv.Pair(both, both), 0.5)
    trace = poutine.trace(tempered.guide).get_trace(torch.zeros(3))
    assert mine == {"a": 1}
    assert trace.nodes["z"]["infer"] == {"a": 1}
    assert trace.nodes["z"][TEMPERING].weight == 0.5


# --- temper: enumeration -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["enumerated_guide", "enumerated_guide_sequential"])
@pytest.mark.parametrize("weights", [{"y": 0.2}, {"z": 0.2}, {"y": 0.0, "z": 3.0}])
def test_guide_side_enumeration_runs_per_site(name, weights):
    pair, x = make(name)
    found = loss_and_gradients(pv.temper(pair, weights), x, TraceEnum_ELBO(max_plate_nesting=1))

    def by_hand(model, guide, x):
        q_y = poutine.trace(guide).get_trace(x).nodes["y"]["fn"]
        pyro.set_rng_seed(11)
        loss = torch.zeros(())
        noise = {}
        for label in reversed(range(3)) if name.endswith("sequential") else range(3):
            y = torch.nn.functional.one_hot(torch.full((len(x),), label), 3).float()
            if not name.endswith("sequential") and not noise:
                noise["all"] = torch.randn(3, len(x), LATENT)
            q_z = poutine.trace(poutine.condition(guide, data={"y": y})).get_trace(x).nodes["z"]["fn"].base_dist
            eps = noise["all"][label] if noise else None
            z = q_z.rsample() if eps is None else q_z.loc + q_z.scale * eps
            p = poutine.trace(poutine.condition(model, data={"y": y, "z": z})).get_trace(x)
            log_q_y = q_y.log_prob(y)
            terms = -p.nodes["x"]["fn"].log_prob(x)
            terms = terms + weights.get("y", 1.0) * (log_q_y - p.nodes["y"]["fn"].log_prob(y))
            terms = terms + weights.get("z", 1.0) * (q_z.log_prob(z).sum(-1) - p.nodes["z"]["fn"].log_prob(z))
            loss = loss + (log_q_y.exp() * terms).sum()
        loss.backward()
        return loss.item()

    if name == "enumerated_guide":
        hand = type("Hand", (), {"loss_and_grads": staticmethod(by_hand)})
        same(found, loss_and_gradients(pair, x, hand))
        return
    # One value a pass: the draws differ from any written here, but not the weighting of each draw.
    plain = pv.record(pair)
    losses = []
    for one in ({}, {"y": 0.0}, {"z": 0.0}):
        tempered = pv.temper(plain, one) if one else plain
        losses.append(loss_and_gradients(tempered, x, TraceEnum_ELBO(max_plate_nesting=1))[0])
    rates = {"y": losses[0] - losses[1], "z": losses[0] - losses[2]}
    expected = losses[0] + sum((weight - 1) * rates[site] for site, weight in weights.items())
    assert found[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.3, 0.0, {"y": 0.3, "z": 0.3}])
def test_what_the_model_sums_out_over_latent_sites_takes_one_weight(weight):
    pair, x = make("enumerated_prior")
    found = loss_and_gradients(pv.temper(pair, weight), x, TraceEnum_ELBO(max_plate_nesting=1))

    def by_hand(model, guide, x):
        q = poutine.trace(guide).get_trace(x).nodes["z"]
        prior = dist.MixtureSameFamily(
            dist.Categorical(pyro.param("weights")), dist.Normal(pyro.param("centres"), 1.0).to_event(1)
        )
        p = poutine.trace(poutine.condition(model, data={"z": q["value"]})).get_trace(x)
        rate = (q["fn"].log_prob(q["value"]) - prior.log_prob(q["value"])).sum()
        one = weight if isinstance(weight, float) else 0.3
        loss = (one * rate if one else 0.0) - p.nodes["x"]["fn"].log_prob(x).sum()
        loss.backward()
        return loss.item()

    same(found, loss_and_gradients(pair, x, type("Hand", (), {"loss_and_grads": staticmethod(by_hand)})))


@pytest.mark.parametrize("name", ["enumerated_likelihood", "enumerated_mixture", "enumerated_mixture_map"])
def test_a_sum_that_holds_data_is_refused(name):
    pair, batch = make(name)
    svi = SVI(*pv_pair(pv.temper(pair, 0.5)), pyro.optim.Adam({}), TraceEnum_ELBO(max_plate_nesting=1))
    with pytest.raises(pv.ArgumentError, match=r"'y', 'x' together, and 'x' is observed"):
        svi.step(batch)
    with pytest.raises(pv.ArgumentError, match="'x' is observed"):
        pv.fit(pair, REGISTRY[name].make()[1], epochs=1, temper=0.5, progress=False)


def pv_pair(pair):
    return pair.model, pair.guide


def test_what_a_sum_that_holds_data_leaves_out_can_be_tempered():
    pair, x = make("enumerated_likelihood")
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    plain, tempered = (loss_and_gradients(one, x, loss)[0] for one in (pair, pv.temper(pair, {"z": 0.5})))
    recorded = pv.record(pair)
    loss_and_gradients(recorded, x, loss)
    assert plain - tempered == pytest.approx(0.5 * float(recorded.figures().rate) * BATCH, rel=1e-5)


@pytest.mark.parametrize("weight", [{"y": 0.5}, {"z": 0.5}, {"y": 0.5, "z": 0.4}])
def test_unequal_weights_within_a_sum_are_refused(weight):
    pair, x = make("enumerated_prior")
    tempered = pv.temper(pair, weight)
    with pytest.raises(pv.ArgumentError, match=r"'y', 'z' together, which takes one weight"):
        TraceEnum_ELBO(max_plate_nesting=1).loss(tempered.model, tempered.guide, x)
    with pytest.raises(pv.ArgumentError, match="one weight"):
        pv.fit(pair, x, epochs=1, temper=weight, progress=False)


# --- temper: refusals, schedules, nesting -----------------------------------------------------------------


def test_a_shared_auxiliary_site_is_refused_by_name():
    pair, batch = make("auto_diagonal_normal")
    tempered = pv.temper(pair, {"weight": 0.5})
    with pytest.raises(pv.ArgumentError, match=r"'_AutoDiagonalNormal_latent' serves weight, bias together"):
        Trace_ELBO().loss(tempered.model, tempered.guide, *batch)
    tempered = pv.temper(pair, {"weight": 0.5})
    with pytest.raises(pv.ArgumentError, match="serves weight, bias"), torch.no_grad():
        Trace_ELBO().loss(tempered.model, tempered.guide, *batch)
    with pytest.raises(pv.ArgumentError, match="serves weight, bias"):
        pv.fit(pair, REGISTRY["auto_diagonal_normal"].make()[1], epochs=1, temper={"bias": 0.5}, progress=False)


def test_an_unknown_site_is_refused_by_name():
    pair, batch = make("plain_functions")
    for name in ("y", "x"):
        tempered = pv.temper(pair, {name: 0.5})
        with pytest.raises(pv.ArgumentError, match=f"names the site '{name}'.*latent sites are z"):
            Trace_ELBO().loss(tempered.model, tempered.guide, batch)
        with pytest.raises(pv.ArgumentError, match=f"names the site '{name}'"):
            pv.fit(pair, batch, epochs=1, temper={name: 0.5}, progress=False)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), {"z": -1.0}, "0.5", pv.linear(1, -1, steps=9)])
def test_what_is_no_weight_is_refused_at_once(weight):
    with pytest.raises(pv.ArgumentError):
        pv.temper(pv.Pair(print, print), weight)


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_a_schedule_that_goes_bad_is_stopped_at_that_step(bad):
    pair, batch = make("plain_functions")
    tempered = pv.temper(pair, lambda step: 1.0 if step < 3 else bad)
    svi = SVI(tempered.model, tempered.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    for tempered.step in range(3):
        svi.step(batch)
    tempered.step = 3
    with pytest.raises(pv.ArgumentError, match="at step 3"):
        svi.step(batch)
    with pytest.raises(pv.ArgumentError, match="at step 3"):
        pv.fit(pair, batch, steps=5, temper=lambda step: 1.0 if step < 3 else bad, progress=False)


def test_the_loop_of_ones_own_follows_the_schedule():
    pair, batch = make("plain_functions")
    weights, losses = [0.0, 0.25, 0.5, 0.75, 1.0, 1.0], []
    annealed = pv.temper(pair, pv.linear(0, 1, steps=4))
    svi = SVI(annealed.model, annealed.guide, pyro.optim.Adam({"lr": 0.0}), Trace_ELBO(max_plate_nesting=1))
    for annealed.step in range(6):
        pyro.set_rng_seed(7)
        losses.append(svi.step(batch))
        assert annealed.weight == weights[annealed.step]
    for weight, loss in zip(weights, losses, strict=True):
        assert loss == pytest.approx(loss_and_gradients(pair, batch, ByHand({}, weight), seed=7)[0], rel=1e-6)


def test_the_first_call_of_a_weight_by_site_costs_no_random_number():
    pair, batch = make("local_and_global")
    values = []
    for one in (pair, pv.temper(pair, {"z": 1.0}), pv.temper(pair, {"z": pv.constant(1.0)})):
        pyro.set_rng_seed(3)
        loss = Trace_ELBO(max_plate_nesting=1, num_particles=2)
        values.append((loss.loss(one.model, one.guide, batch), float(torch.rand(()))))
    assert values[1:] == values[:1] * 2


@pytest.mark.parametrize("name", ["plain_functions", "enumerated_guide", "auto_normal"])
def test_the_first_call_of_a_weight_by_site_within_other_handlers(name):
    entry = REGISTRY[name]
    pair, batch = make(name)
    positional, _ = arguments(batch)
    site = (*entry.latent, *entry.global_sites)[0]
    kind = TraceEnum_ELBO if name == "enumerated_guide" else Trace_ELBO
    loss = kind(max_plate_nesting=1, num_particles=3, vectorize_particles=True)
    first, later = pv.temper(pair, {site: 0.3}), pv.temper(pair, {site: 0.3})
    with poutine.trace(param_only=True), pyro.plate("outer", 1, dim=-5):
        later.guide(*positional)
    values = [loss_and_gradients(one, batch, copy.copy(loss)) for one in (first, later)]
    same(*values, tolerance=0)


def test_a_target_rate_in_a_loop_of_ones_own():
    pair, x = make("built_in")
    target = pv.TargetRate(1.0, gain=0.05)
    steered = pv.record(pv.temper(pair, target))
    svi = SVI(steered.model, steered.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    state = target.initial()
    for _ in range(5):
        svi.step(x)
        rate = float(steered.figures().rate)
        weight, state = target.update(rate, state)
        steered.pair.observe(rate)
        assert steered.pair.weight == weight
    assert steered.pair.states == {None: state}
    other = pv.temper(pair, target)
    other.states = {None: state}
    assert other.weight == steered.pair.weight != 1.0


def test_a_target_rate_of_one_site_among_several_is_refused():
    pair, batch = make("hierarchical")
    with pytest.raises(pv.ArgumentError, match="all 2 latent sites together"):
        pv.fit(pair, batch, epochs=1, temper={"z1": pv.TargetRate(1.0)}, progress=False)
    pair, batch = make("plain_functions")
    run = pv.fit(pair, batch, steps=3, temper={"z": pv.TargetRate(1.0)}, progress=False)
    assert run.history[-1].weight.keys() == {"z"}


def test_tempers_multiply():
    pair, batch = make("hierarchical")
    twice = pv.temper(pv.temper(pair, {"z1": pv.linear(0, 1, steps=10)}), pv.linear(0, 2, steps=10))
    twice.step = 5  # moves both on
    assert twice.weight == {"z1": 0.5}
    found = loss_and_gradients(twice, batch, Trace_ELBO(max_plate_nesting=1))
    same(found, loss_and_gradients(pair, batch, ByHand({"z1": 0.5, "z2": 1.0})))
    assert pv.temper(pv.temper(pair, 0.5), 0.5).weight == 0.25
    for nested in (pv.temper(pv.temper(pair, 0.0), 0.5), pv.temper(pv.temper(pair, 0.5), 0.0)):
        recorded = pv.record(nested)
        found = loss_and_gradients(recorded, batch, Trace_ELBO(max_plate_nesting=1))
        same(found, loss_and_gradients(pair, batch, ByHand({}, 0.0)))
        plain = pv.record(pair)
        loss_and_gradients(plain, batch, Trace_ELBO(max_plate_nesting=1))
        torch.testing.assert_close(recorded.figures().rate, plain.figures().rate, rtol=1e-6, atol=0)


def test_fit_moves_on_the_schedule_of_a_tempered_pair_and_keeps_its_state():
    pair, batch = make("plain_functions")
    rows_of = {}
    for name, (one, weight) in {
        "given to fit": (pair, pv.linear(0, 1, steps=10)),
        "around the pair": (pv.temper(pair, pv.linear(0, 1, steps=10)), 1.0),
        "inside free bits": (pv.free_bits(pv.temper(pair, pv.linear(0, 1, steps=10)), {"z": 0.0}), 1.0),
    }.items():
        start = {n: p.detach().clone() for n, p in pyro.get_param_store().items()}
        rows_of[name] = list(pv.steps(one, batch, steps=5, temper=weight, seed=0, batch_size=4))
        with torch.no_grad():
            for n, value in start.items():
                pyro.get_param_store()[n].unconstrained().copy_(value)
    plain, around, inside = rows_of.values()
    assert [step.weight for step in plain] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [(s.weight, s.loss, s.elbo) for s in around] == [(s.weight, s.loss, s.elbo) for s in plain]
    assert [s.elbo for s in inside] == pytest.approx([s.elbo for s in plain], rel=1e-4)
    steered = pv.temper(pv.temper(pair, pv.TargetRate(0.5)), pv.TargetRate(5.0))
    steered.observe(3.0)
    assert len(steered.states) == 2
    again = pv.temper(pv.temper(pair, pv.TargetRate(0.5)), pv.TargetRate(5.0))
    again.states = dict(steered.states)
    assert again.weight == steered.weight
