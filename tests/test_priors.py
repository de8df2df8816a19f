"""Every prior through the same contract, then what is particular to each."""

from __future__ import annotations

import copy

import numpy as np
import pyro
import pytest
import torch
from components import PRIORS, components
from torch import nn

import pyrovae as pv
from pyrovae.checks.testing import check_conditional
from pyrovae.models.conditionals.conditional import bounded
from pyrovae.models.nets import event_shape
from pyrovae.models.priors.normal_mixture import mixture_of


@components(PRIORS)
def test_contract(entry):
    prior = entry.make()
    check_conditional(prior)
    assert (prior().batch_shape, prior().event_shape) == ((), entry.event)


@components(PRIORS)
def test_in_a_vae(entry):
    size = event_shape(entry.event, "event")
    likelihood = pv.Normal(pv.MLP(size, [], 7), scale=1.0)
    prior = entry.make()
    posterior = getattr(prior, "posterior", None) or pv.DiagNormal(pv.MLP(7, [], (2 * size[0], *size[1:])))
    vae = pv.VAE(prior, likelihood, posterior)
    x = torch.rand(5, 2, 4) if entry.id == "VampPrior-count" else torch.rand(5, 7)
    if entry.id == "VampPrior-count":
        vae.likelihood = pv.Normal(pv.MLP(size, [], (2, 4)), scale=1.0)
    before = {name: p.detach().clone() for name, p in prior.named_parameters()}
    pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.1}), pyro.infer.Trace_ELBO()).step(x)
    for name, p in prior.named_parameters():
        assert not torch.equal(before[name], p), f"{name} did not move"


def test_standard_normal_is_one():
    z = torch.randn(3, 8)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    assert torch.equal(pv.StandardNormal(8)().log_prob(z), expected)
    assert torch.equal(pv.LearnedNormal(8)().log_prob(z), expected)
    assert pv.StandardNormal(8).double()().sample().dtype == torch.float64
    assert list(pv.StandardNormal(8).state_dict()) == []


def test_mixture_is_the_sum_of_its_components():
    prior, z = pv.Mixture(3, 2), torch.randn(5, 2)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        prior.log_scale.fill_(0.5)
    scale = bounded(torch.tensor(0.5)).exp()
    parts = torch.distributions.Normal(prior.loc, scale).log_prob(z.unsqueeze(1)).sum(-1)
    expected = (parts + prior.logits.log_softmax(0)).logsumexp(-1)
    assert torch.allclose(prior().log_prob(z), expected, atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e-4])
@pytest.mark.parametrize("event", [(3,), (2, 3)])
def test_mixtures_have_torchs_density_and_gradients(event, spread):
    """Narrow components far from 0 as well, where squares of 1e9 cancel; in plates, and of draws in front."""
    torch.manual_seed(0)
    loc, scale = 3 * torch.randn(4, *event), spread * torch.rand(4, *event) + spread
    logits = torch.randn(4)
    rows = (loc[torch.randint(4, (6, 5))] + scale[0] * torch.randn(6, 5, *event)).double()
    found = []
    for kind in (mixture_of, pyro.distributions.MixtureSameFamily):
        leaves = [one.double().requires_grad_() for one in (logits, loc, scale)]
        parts = pyro.distributions.Normal(*leaves[1:]).to_event(len(event))
        mixture = kind(pyro.distributions.Categorical(logits=leaves[0]), parts)
        single = mixture.log_prob(rows.float() if kind is mixture_of else rows.float().double())
        assert single.dtype == (torch.float32 if kind is mixture_of else torch.float64)
        wide = mixture.expand([6, 5])
        assert (wide.batch_shape, wide.sample().shape) == ((6, 5), rows.shape)
        z = rows.clone().requires_grad_()
        total = wide.log_prob(z)
        total.sum().backward()
        assert wide.log_prob(rows[0, 0]).shape == (6, 5)
        found.append([single.detach().double(), total.detach(), z.grad, *(one.grad for one in leaves)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-7 * float(other.abs().max()))


def test_what_is_no_normal_stays_torchs():
    parts = pyro.distributions.Laplace(torch.zeros(2, 3), 1.0).to_event(1)
    assert (
        type(mixture_of(pyro.distributions.Categorical(torch.ones(2)), parts)) is pyro.distributions.MixtureSameFamily
    )


def test_mixture_components_differ():
    assert pv.Mixture(3, 2).loc.unique(dim=0).shape[0] == 3


def test_vamp_prior_is_the_mean_of_posteriors():
    posterior, inputs, z = pv.DiagNormal(pv.MLP(5, [4], 2 * 2)), torch.rand(6, 5), torch.randn(3, 2)
    prior = pv.VampPrior(inputs, posterior)
    expected = posterior(inputs).log_prob(z.unsqueeze(1)).exp().mean(-1).log()
    assert torch.allclose(prior().log_prob(z), expected, atol=1e-5)
    assert prior.pseudo_inputs.data_ptr() != inputs.data_ptr()


def test_vamp_prior_shares_its_posterior():
    """Counted once, named after the posterior, still shared in a copy."""
    posterior = pv.DiagNormal(pv.MLP(5, [], 2 * 2))
    vae = pv.VAE(pv.VampPrior(np.zeros((3, 5), dtype=np.float32), posterior), pv.Bernoulli(pv.MLP(2, [], 5)), posterior)
    names = [name for name, _ in vae.named_parameters()]
    assert sorted(names) == [
        "likelihood.network.layers.0.bias",
        "likelihood.network.layers.0.weight",
        "posterior.network.layers.0.bias",
        "posterior.network.layers.0.weight",
        "prior.pseudo_inputs",
    ]
    other = copy.deepcopy(vae)
    assert other.prior.posterior is other.posterior
    assert other.posterior is not vae.posterior


def test_vamp_prior_activation():
    prior = pv.VampPrior(torch.full((2, 5), 9.0), pv.DiagNormal(pv.MLP(5, [], 2)), activation=nn.Hardtanh(0, 1))
    same = pv.VampPrior(torch.ones(2, 5), prior.posterior)
    assert torch.equal(prior().log_prob(torch.zeros(1)), same().log_prob(torch.zeros(1)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.StandardNormal(0), "shape=0"),
        (lambda: pv.StandardNormal(torch.zeros(3)), "no event shape"),
        (lambda: pv.Mixture(0, 3), "components=0"),
        (lambda: pv.VampPrior(5, pv.DiagNormal(pv.MLP(5, [], 2))), "needs shape="),
        (lambda: pv.VampPrior(pv.DiagNormal(pv.MLP(5, [], 2)), torch.zeros(3, 5)), "the order is"),
        (lambda: pv.VampPrior(0, pv.DiagNormal(pv.MLP(5, [], 2)), shape=5), "pseudo_inputs=0"),
        (lambda: pv.VampPrior(torch.zeros(5), pv.DiagNormal(pv.MLP(5, [], 2)))(), r"\(K, \*event of x\)"),
    ],
)
def test_errors_in_words(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make()
