"""Sites that the guide leaves to the model: questions of the posterior say that they do not answer them."""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def model(x, y=None):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), 0.1).expand([len(x), 3]).to_event(1), obs=x)


def of_a_line(x, y=None):
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x.sum(-1), 0.1), obs=y)


QUESTIONS = [pv.posterior, pv.posterior_predictive, pv.uncertainty, pv.encode, pv.reconstruct]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.__name__)
def test_a_forgotten_site_is_said(question):
    with pytest.warns(pv.PyrovaeWarning, match=r"^\[site-missing-in-guide\] 'z' is drawn by the model alone"):
        question(pv.Pair(model, lambda x, y=None: None), X)


@pytest.mark.parametrize("question", [pv.posterior_predictive, pv.generate], ids=lambda one: one.__name__)
def test_what_is_to_be_predicted_is_not(question):
    pair = pv.Pair(of_a_line, lambda x, y=None: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = question(pair, X)["y"]
    assert torch.allclose(found.reshape(-1, 6).mean(0), X.sum(-1), atol=0.5)
