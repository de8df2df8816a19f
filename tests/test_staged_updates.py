"""Schedules, clipping and any optimiser are part of a staged step."""

from __future__ import annotations

import copy

import pyro
import pytest
import torch
from staged_pairs import OPTIMISERS, QUIET, X, same, small

import pyrovae as pv
from pyrovae.staged.graph_step import GraphStep
from pyrovae.staged.routes.step_route import StepRoute
from pyrovae.staged.weight_update import make_update
from pyrovae.training.optimisers import make_optimiser


def test_a_schedule_is_an_input_of_the_graph():
    losses = {}
    for staged in (False, "traced"):
        run = pv.steps(small(), X, steps=30, batch_size=20, seed=0, temper=pv.linear(0, 1, steps=20), staged=staged)
        losses[staged] = [step.loss for step in run]
    assert losses["traced"] == pytest.approx(losses[False], rel=1e-5)


@pytest.mark.parametrize("waiting", [False, True])
def test_a_target_rate_hears_every_rate(waiting, monkeypatch):
    monkeypatch.setattr(StepRoute, "waits", staticmethod(lambda batch: waiting))
    ends = {}
    for staged in (False, "traced"):
        target = pv.TargetRate(1.0, gain=0.05)
        run = pv.fit(small(), X, steps=40, batch_size=20, seed=0, temper=target, staged=staged, **QUIET)
        ends[staged] = run.history[-1].weight
    assert ends["traced"] == pytest.approx(ends[False], rel=1e-4)
    assert ends["traced"] != 1.0


def test_clipping_averaging_schedules_and_frozen_parameters_are_part_of_the_step():
    options = {
        "clip_norm": 0.5,
        "average": 0.9,
        "learning_rate": {"*.layers.0.*": 0.0, "*": pv.linear(0.01, 0.001, steps=20)},
    }
    weights = {}
    for staged in (False, "traced"):
        vae = small()
        pv.fit(vae, X, steps=40, batch_size=20, seed=0, staged=staged, **options, **QUIET)
        weights[staged] = {name: p.detach().clone() for name, p in vae.named_parameters()}
    same(weights[False], weights["traced"])
    start = dict(small().named_parameters())
    assert torch.equal(
        weights["traced"]["likelihood.network.layers.0.weight"], start["likelihood.network.layers.0.weight"]
    )
    assert not torch.equal(
        weights["traced"]["likelihood.network.layers.2.weight"], start["likelihood.network.layers.2.weight"]
    )


@pytest.mark.parametrize("name", OPTIMISERS)
def test_any_optimiser_follows_a_staged_pass(name):
    weights = {}
    for staged in (False, "traced"):
        vae = small()
        pv.fit(vae, X, steps=30, batch_size=20, seed=0, staged=staged, **OPTIMISERS[name](), **QUIET)
        weights[staged] = vae.state_dict()
    same(weights[False], weights["traced"])


@pytest.mark.parametrize("name", ["adamw", "pyro", "pyro_schedule", "sgd", "pyro_clipped"])
def test_adam_of_any_make_is_one_kernel(name, monkeypatch):
    made = []
    original = GraphStep._updating
    monkeypatch.setattr(GraphStep, "_updating", lambda graph: made.append(original(graph)) or made[-1])
    pv.fit(small(), X, steps=8, batch_size=20, seed=0, staged="traced", **OPTIMISERS[name](), **QUIET)
    assert (type(made[0]).__name__ == "Fused") == (name in ("adamw", "pyro", "pyro_schedule"))


def test_groups_that_start_alike_keep_their_own_schedules():
    rates = {"vae.likelihood.*": pv.linear(0.01, 0.0, steps=10), "*": pv.linear(0.01, 0.1, steps=10)}
    weights = {}
    for staged in (False, "traced"):
        vae = small()
        pv.fit(vae, X, steps=30, batch_size=20, seed=0, staged=staged, learning_rate=rates, **QUIET)
        weights[staged] = vae.state_dict()
    same(weights[False], weights["traced"])


def cleared(held, before):
    for adam in held():
        adam.state.clear()


def loaded(held, before):
    for adam, state in zip(held(), before, strict=True):
        adam.load_state_dict(state)


def taken_out(held, before):
    held()[0].param_groups[0]["params"].pop()


def slowed(held, before):
    held()[0].param_groups[0]["lr"] = 1e-6


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("torch", cleared),
        ("torch", loaded),
        ("torch", taken_out),
        ("pyro", cleared),
        ("pyro", loaded),
        ("pyro", slowed),
    ],
)
def test_an_optimiser_changed_in_the_users_loop_is_followed(kind, change):
    ends = {}
    for staged in (False, "traced"):
        pyro.clear_param_store()
        made = []

        def torchs(parameters, made=made):
            made.append(torch.optim.Adam(parameters, lr=1e-2))
            return made[0]

        optim = torchs if kind == "torch" else pyro.optim.Adam({"lr": 1e-2})
        vae = small()
        names = {id(parameter): name for name, parameter in vae.named_parameters()}

        def held(made=made, optim=optim, names=names):
            if made:
                return made
            return [optim.optim_objs[p] for p in sorted(optim.optim_objs, key=lambda p: names[id(p)])]

        for step in pv.steps(vae, X, steps=30, batch_size=20, seed=0, staged=staged, optim=optim, device="cpu"):
            if step.index == 4:
                before = [copy.deepcopy(adam.state_dict()) for adam in held()]
            if step.index == 15:
                change(held, before)
        ends[staged] = vae.state_dict()
    same(ends[False], ends["traced"])


def test_a_tensor_in_the_place_of_another_one_begins_without_its_moments():
    optimiser = make_optimiser(lambda held: torch.optim.Adam(held), 0.1)
    for step, gradient in enumerate([100.0, 1.0]):
        weight = torch.zeros((), requires_grad=True)
        weight.grad = torch.tensor(gradient)
        optimiser.update({"weight": weight}, step)
    (adam,) = optimiser.optimizers()
    assert [*adam.state] == [weight]
    assert float(weight.detach()) == pytest.approx(-0.1)  # the first step of Adam, whatever the gradient
    assert len(adam.state_dict()["state"]) == 1


@pytest.mark.parametrize("eps", [1e-8, 0.0])
def test_moments_of_dead_weights_never_become_subnormal(eps):
    def make():
        parameters = {"dead": torch.ones(20, requires_grad=True), "live": torch.ones(20, requires_grad=True)}
        for parameter in parameters.values():
            parameter.grad = torch.full((20,), 1e-3)
        optimiser = make_optimiser(lambda held: torch.optim.Adam(held, eps=eps, betas=(0.9, 0.9)), 1e-3)
        optimiser.update(parameters, 0)
        return parameters, optimiser

    (plain, adam), (staged, optimiser) = make(), make()
    update = make_update(optimiser, staged)
    plain["dead"].grad = torch.zeros(20)
    for step in range(1, 1_300):  # 0.9 ** 820 is the last normal number
        adam.update(plain, step)
        update([torch.zeros(20), plain["live"].grad], step, None)
    one, other = adam.optimizers()[0].state, optimiser.optimizers()[0].state
    assert 0 < float(one[plain["dead"]]["exp_avg"].max()) < torch.finfo(torch.float32).tiny
    assert not other[staged["dead"]]["exp_avg"].any()
    assert bool(other[staged["dead"]]["exp_avg_sq"].any()) == (eps == 0)  # which must not be divided by 0
    assert torch.equal(staged["live"], plain["live"])
    assert torch.allclose(staged["dead"], plain["dead"], rtol=1e-6, atol=0)
