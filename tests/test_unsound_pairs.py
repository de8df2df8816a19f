"""Questions about pairs that `check_pair` would refuse: nobody has to ask it first to get no wrong number."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

X = torch.tensor([2.5, 0.7, -1.2, 1.6, 0.0, 0.3])
QUESTIONS = {
    "elbo": lambda pair, x: pv.elbo(pair, x, draws=5),
    "rate": lambda pair, x: pv.rate_distortion(pair, x, draws=5),
    "evidence": lambda pair, x: pv.log_evidence(pair, x, draws=5),
    "arviz": lambda pair, x: pv.to_arviz(pair, x, draws=5),
}


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))


def observing(likelihood, cast=lambda x: x):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", likelihood(z), obs=cast(x))

    return pv.Pair(model, guide)


UNSOUND = {
    "column": (lambda: observing(lambda z: dist.Normal(z, 1.0)), X[:, None], "a column stands against a vector"),
    "no to_event": (lambda: observing(lambda z: dist.Normal(z[..., None], 1.0)), X.repeat(6, 1), r"Add \.to_event"),
    "other width": (lambda: observing(lambda z: dist.Normal(z[..., None], 1.0)), X.repeat(2, 1).T, r"Add \.to_event"),
    "booleans": (
        lambda: observing(lambda z: dist.Bernoulli(logits=z), torch.Tensor.bool), X.gt(0), r"x\.float\(\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", UNSOUND)
def test_no_figure_is_made_of_misplaced_dims(name, question):
    pair, x, words = UNSOUND[name]
    with pyro.validation_enabled(False), pytest.raises(pv.PairError, match=words):
        QUESTIONS[question](pair(), x)


def rounds(p, done=0):
    last = pyro.sample(f"b_{done}", dist.Bernoulli(p))
    return done if last.item() or done > 20 else rounds(p, done + 1)


def recursive(x):
    count = rounds(0.5)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(float(count), 1.0), obs=x)


@pytest.mark.slow
def test_sites_that_come_and_go_are_named():
    pair = pv.Pair(recursive, lambda x: rounds(0.4))
    for ask in (pv.elbo, pv.log_evidence, pv.encode):
        with pytest.raises(pv.PairError, match=r"the pair has 'b_[0-9]+' in some runs and not in others"):
            ask(pair, X, draws=40)
    drawn = pv.posterior_predictive(pair, X, draws=2000)["x"].mean()
    assert float(drawn) == pytest.approx(1.5, abs=0.2)  # rounds of which each is the last with probability 0.4
    rate = pv.rate_distortion(pair, X, draws=200).rate * len(X)
    assert rate == pytest.approx(_divergence(), abs=0.1)


def test_a_site_that_is_seldom_there_is_not_left_out():
    def sites(rows):
        with pyro.plate("rows", rows):
            above = pyro.sample("above", dist.Normal(0.0, 1.0))
            if float(above[0]) > 2.0:  # in one draw of forty
                pyro.sample("more", dist.Normal(0.0, 1.0))
            return pyro.sample("z", dist.Normal(above, 1.0))

    def model(x):
        z = sites(len(x))
        with pyro.plate("rows_again", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(pv.PairError, match="the pair has 'more' in some runs and not in others"):
        pv.encode(pv.Pair(model, lambda x: sites(len(x))), X, draws=400, data_plate="rows")


def _divergence():
    """KL of geometric distributions: the mean number of rounds times the KL of one."""
    one = torch.distributions.kl_divergence(dist.Bernoulli(0.4), dist.Bernoulli(0.5))
    return float(one) / 0.4


def test_a_pair_that_seeds_itself_has_no_figures():
    def seeded(x):
        pyro.set_rng_seed(0)
        guide(x)

    pair = pv.Pair(observing(lambda z: dist.Normal(z, 1.0)).model, seeded)
    for ask in (pv.rate_distortion, pv.elbo, pv.log_evidence):
        with pytest.raises(pv.PairError, match="sets the seed of all random numbers at every run"):
            ask(pair, X, draws=5)
