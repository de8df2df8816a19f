"""The built-in pair: an ordinary Pyro pair, whose parameters are its own whatever else lives in the process."""

from __future__ import annotations

import copy
import gc
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

import pyrovae as pv


def make(event=5, latent=2):
    return pv.VAE(
        prior=pv.StandardNormal(latent),
        likelihood=pv.Bernoulli(pv.MLP(latent, [8], event)),
        posterior=pv.DiagNormal(pv.MLP(event, [8], 2 * latent)),
    )


def train(vae, x=None, steps=3):
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    x = torch.ones(4, 5) if x is None else x
    return [svi.step(x) for _ in range(steps)]


def weights(vae):
    return {name: p.detach().clone() for name, p in vae.named_parameters()}


def moved(before, vae):
    return {name for name, p in vae.named_parameters() if not torch.equal(before[name], p)}


def test_sites_and_shapes():
    vae, x = make(), torch.ones(4, 5)
    guide = poutine.trace(vae.guide).get_trace(x)
    model = poutine.trace(poutine.replay(vae.model, guide)).get_trace(x)
    assert [name for name in model.stochastic_nodes if name != "data"] == ["z"]
    assert model.observation_nodes == ["x"]
    assert model.nodes["z"]["fn"].batch_shape == (4,)
    assert model.nodes["z"]["value"] is guide.nodes["z"]["value"]
    assert model.nodes["x"]["fn"].event_shape == (5,)
    assert [frame.name for frame in model.nodes["x"]["cond_indep_stack"]] == ["data"]


def test_loss_is_the_hand_written_elbo():
    vae, x = make(), torch.ones(4, 5)
    torch.manual_seed(3)
    loss = Trace_ELBO().differentiable_loss(vae.model, vae.guide, x)
    torch.manual_seed(3)
    q = vae.posterior(x)
    z = q.rsample()
    expected = vae.likelihood(z).log_prob(x) + vae.prior().log_prob(z) - q.log_prob(z)
    assert loss.item() == pytest.approx(-expected.sum().item(), rel=1e-6)


@pytest.mark.parametrize("loss", [Trace_ELBO(num_particles=3, vectorize_particles=True), TraceMeanField_ELBO()])
def test_other_losses(loss):
    vae = make()
    before = weights(vae)
    SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.05}), loss).step(torch.ones(4, 5))
    assert moved(before, vae) == set(before)


def test_two_of_a_kind_train_apart():
    one, two = make(), make()
    first, second = weights(one), weights(two)
    train(one)
    assert moved(first, one) == set(first)
    assert moved(second, two) == set()
    first = weights(one)
    train(two)
    assert moved(second, two) == set(second)
    assert moved(first, one) == set()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda vae: pickle.loads(pickle.dumps(vae))], ids=["copy", "pickle"])
def test_a_copy_goes_on_alone(clone):
    vae = make()
    train(vae)
    trained = weights(vae)
    other = clone(vae)
    assert moved(trained, other) == set()
    train(other)
    assert moved(trained, other) == set(trained)
    assert moved(trained, vae) == set()
    assert len(pyro.get_param_store()) == 2 * len(trained)
    # ... and the same steps from the same weights and noise lead to the same place.
    third, fourth = clone(vae), clone(vae)
    for one in (third, fourth):
        pyro.set_rng_seed(5)
        train(one)
    assert moved(weights(third), fourth) == set()


def test_a_shallow_copy_is_the_same_parameters():
    vae = make()
    other = copy.copy(vae)
    before = weights(vae)
    train(other)
    assert moved(before, vae) == set(before)
    del other
    gc.collect()
    train(vae)
    assert len(pyro.get_param_store()) == len(before)


def test_a_network_put_in_later_trains():
    vae = make()
    train(vae)
    vae.likelihood = pv.Bernoulli(pv.MLP(2, [8], 5))
    before = weights(vae)
    train(vae)
    assert moved(before, vae) == set(before)


def test_a_store_that_was_cleared_takes_nothing_away():
    vae = make()
    train(vae)
    before = weights(vae)
    pyro.clear_param_store()
    vae.guide(torch.ones(4, 5))
    assert moved(before, vae) == set()
    train(vae)
    assert moved(before, vae) == set(before)


def test_frozen_parameters_stay_and_nothing_warns():
    vae = make()
    for p in vae.likelihood.parameters():
        p.requires_grad_(False)
    before = weights(vae)
    train(vae)
    assert moved(before, vae) == {name for name in before if name.startswith("posterior")}


def test_entries_leave_the_store_with_their_vae():
    pyro.param("mine", torch.ones(2))
    keeper, goner = make(), make()
    train(keeper)
    kept = set(pyro.get_param_store().keys())
    train(goner)
    assert len(pyro.get_param_store()) == 2 * len(kept) - 1
    del goner
    gc.collect()
    assert set(pyro.get_param_store().keys()) == kept


def test_one_that_goes_while_another_runs_leaves_nothing_in_its_file(tmp_path):
    """Garbage may be collected at any moment, in the midst of the run that shows what a file is to hold, too."""
    kept, gone, calls = make(), make(), []
    train(gone)
    gone.itself = [gone]  # which nothing but the collector frees
    gc.disable()
    del gone

    def guide(x):
        calls.append(None)
        if len(calls) == 2:  # the run that is looked at
            gc.collect()
        kept.guide(x)

    try:
        pv.save(pv.Pair(kept.model, guide), tmp_path / "kept.safetensors", torch.ones(4, 5))
    finally:
        gc.enable()
    read, expected = weights(pv.load(make(), tmp_path / "kept.safetensors")), weights(kept)
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_two_that_share_a_posterior():
    """Where one of them goes, the other still trains, its entries whole."""
    posterior = pv.DiagNormal(pv.MLP(5, [8], 2 * 2))
    one = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [8], 5)), posterior)
    two = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 5)), posterior)
    train(one)
    train(two)
    del two
    gc.collect()
    store, before = pyro.get_param_store(), weights(one)
    assert all(store.param_name(p) is not None for p in one.parameters())
    train(one)
    assert moved(before, one) == set(before)
    del one
    gc.collect()
    assert (len(store), store._constraints, store._param_to_name) == (0, {}, {})


def test_names_in_the_store_are_the_modules_own():
    vae = make()
    train(vae, steps=1)
    names = {key.split("$$$")[1] for key in pyro.get_param_store().keys()}  # noqa: SIM118
    assert names == {name for name, _ in vae.named_parameters()}
    assert len({key.split("$$$")[0] for key in pyro.get_param_store().keys()}) == 1  # noqa: SIM118


@pytest.mark.parametrize("event", [5, (2, 3)], ids=str)
def test_blank(event):
    vae = make(event)
    vae.likelihood.network.layers.append(nn.BatchNorm1d(5 if event == 5 else 6))
    vae.double().train()
    buffers, state = {k: v.clone() for k, v in vae.named_buffers()}, torch.get_rng_state()
    (x,) = vae.blank(7)
    assert x.shape == (7, *((5,) if event == 5 else event))
    assert (x.dtype, x.any().item(), vae.training) == (torch.float64, False, True)
    assert all(torch.equal(v, buffers[k]) for k, v in vae.named_buffers())
    assert torch.equal(state, torch.get_rng_state())
    assert len(pyro.get_param_store()) == 0


def test_discrete_latent():
    """Positions are not classes: any conditional can stand in any of them."""

    class Uniform(pv.Conditional):
        def forward(self):
            return dist.Categorical(logits=torch.zeros(3))

    vae = pv.VAE(Uniform(), pv.Bernoulli(nn.Embedding(3, 5)), pv.Categorical(pv.MLP(5, [], 3)))
    vae.likelihood.network.input_dims = 0
    guide = pyro.infer.config_enumerate(vae.guide)
    loss = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    x = torch.ones(4, 5)
    expected = loss.loss(vae.model, guide, x)
    q, p = vae.posterior(x), vae.likelihood(torch.arange(3))
    joint = p.log_prob(x.unsqueeze(1)) - torch.log(torch.tensor(3.0))
    assert expected == pytest.approx(-(q.probs * (joint - q.logits)).sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prior": pv.StandardNormal(3)}, r"latents of event shape \(2,\), but the prior has event shape \(3,\)"),
        ({"posterior": pv.DiagNormal(pv.MLP(5, [], 6))}, r"latents of event shape \(3,\)"),
        ({"likelihood": pv.MLP(2, [], 5)}, r"the likelihood gave Tensor.*pv.Bernoulli\(network\)"),
        ({"posterior": pv.MLP(5, [], 4)}, r"the posterior gave Tensor.*pv.DiagNormal\(network\)"),
        ({"prior": torch.zeros(2)}, "prior= takes a conditional.*got Tensor"),
        ({"prior": pv.StandardNormal}, "prior= takes a conditional"),
        ({"prior": dist.Normal(0.0, 1.0)}, "a distribution is what a conditional returns"),
        (
            {"likelihood": pv.Bernoulli(pv.MLP(2, [], 6))},
            r"data of event shape \(5,\).*likelihood has event shape \(6,\)",
        ),
        ({"likelihood": pv.Bernoulli(pv.MLP(2, [], (5, 1)))}, r"event shape \(5, 1\)"),
    ],
    ids=str,
)
def test_errors_in_words(change, words):
    parts = {
        "prior": pv.StandardNormal(2),
        "likelihood": pv.Bernoulli(pv.MLP(2, [], 5)),
        "posterior": pv.DiagNormal(pv.MLP(5, [], 4)),
    }
    with pytest.raises((pv.ArgumentError, pv.DataError), match=words):
        train(pv.VAE(**(parts | change)))
