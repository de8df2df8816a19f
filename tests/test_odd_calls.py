"""Calls that are none: each is refused in words, and not by an error of another library."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

import pyrovae as pv
from pyrovae.pairs.pair import Wrapped

X = torch.randn(6, generator=torch.Generator().manual_seed(0))


def model(x, flag=None, labels=None):
    with pyro.plate("data", len(x)):
        code = pyro.sample("z", dist.Normal(0.0, 1.5))
        pyro.sample("x", dist.Normal(code, 0.5), obs=x)


def guide(x, flag=None, labels=None):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 1.0))


PAIR = pv.Pair(model, guide)


@pytest.mark.parametrize("rest", [(None,), (True,), (3, ["a", "b"])], ids=["none", "switch", "labels"])
def test_describe_takes_what_a_call_takes(rest):
    assert [site.name for site in pv.describe(PAIR, X, *rest).sites] == ["z", "x"]


def test_describe_says_what_check_pair_says():
    with pytest.raises(pv.PairError, match="view_as_real"):
        pv.describe(PAIR, X.to(torch.complex64))


def test_a_lazy_layer_is_to_be_called_before():
    layer = nn.LazyLinear(2)

    def lazy(x):
        pyro.module("layer", layer)
        guide(layer(x[:, None])[:, 0])

    for ask in (pv.describe, pv.check_pair, lambda pair, x: pv.fit(pair, x, steps=1)):
        with pytest.raises(pv.PairError, match="no weights before its first call"):
            ask(pv.Pair(model, lazy), X)


@pytest.mark.parametrize("ask", [lambda pair: pv.novelty(pair, calibration=()), pv.explain])
def test_what_is_of_rows_is_not_asked_of_a_pair_without_arguments(ask):
    pytest.importorskip("captum")
    alone = pv.Pair(lambda: model(X), lambda: guide(X))
    with pytest.raises(pv.DataError, match="its data are in it"):
        ask(alone)


@pytest.mark.parametrize("question", [pv.elbo, pv.log_evidence, pv.log_likelihood, pv.to_arviz])
def test_a_plate_more_in_the_guide_is_named(question):
    def more(x):
        with pyro.plate("chains", 1, dim=-2):
            guide(x)

    if question is pv.log_likelihood:  # which reads the observed site alone
        assert question(pv.Pair(model, more), X, draws=2)["x"].shape[-1] == len(X)
        return
    with pytest.raises(pv.PairError, match="the other side draws it in a plate more"):
        question(pv.Pair(model, more), X, draws=2)


def test_few_draws_do_not_call_a_guide_wrong():
    """A khat needs a tail to be fitted to; that there is none says nothing of the guide."""
    few = pv.compare({"a": PAIR, "b": PAIR}, X, draws=10)
    assert bool(few.unreliable.isnan().all())
    assert "so few draws do not tell" in few.verdict
    assert "misses" not in few.verdict


def test_what_is_summed_out_for_all_rows_is_said_in_words(caplog):
    def shared(x):
        kind = pyro.sample("kind", dist.Categorical(torch.ones(2)), infer={"enumerate": "parallel"})
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + kind, 1.0), obs=x)

    def loc(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())) * x, 1.0))

    pyro.clear_param_store()
    pv.fit(pv.Pair(shared, loc), X, steps=1, loss=pyro.infer.TraceEnum_ELBO(max_plate_nesting=1), progress=False)
    assert "UncutError" not in caplog.text


def test_a_latent_that_the_guide_computes_is_to_be_a_point():
    def computed(x):
        with pyro.plate("data", len(x)):
            pyro.deterministic("z", x / 2)

    with pytest.raises(pv.PairError, match=r"pyro\.sample\(name, dist\.Delta"):
        pv.check_pair(pv.Pair(model, computed), X)


def test_a_tuple_of_arrays_is_told_apart_from_what_is_none():
    for ask in (pv.elbo, pv.log_evidence):
        with pytest.raises(pv.DataError, match=r"give its arrays one after another, as in elbo\(pair, x, y\)"):
            ask(PAIR, (X, X))


def test_holes_are_said_to_be_holes():
    x = X.clone()
    x[2] = torch.nan
    with pytest.raises(pv.PyrovaeError, match=r"NaN.*pv.masked\(pair\)"):
        pv.elbo(PAIR, x)


def test_a_product_that_takes_no_draws_of_what_rows_share_has_evidence():
    rows = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))

    def joint_evidence(product):
        def regression(x, y):
            w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            with pyro.plate("data", len(x)):
                error = pyro.sample("error", dist.Normal(0.0, 1.0))
                pyro.sample("y", dist.Normal(product(x, w) + error, 0.5), obs=y)

        pyro.clear_param_store()
        pair = pv.Pair(regression, AutoNormal(regression))
        pv.fit(pair, (rows, rows[:, 0]), steps=3, seed=0, progress=False)
        return pv.log_evidence(pair, rows, rows[:, 0], draws=20, seed=0, joint=True).value

    by_elements = joint_evidence(lambda x, w: (x * w).sum(-1))
    assert torch.allclose(joint_evidence(lambda x, w: x @ w), by_elements, atol=1e-4)


ROWS = torch.randn(16, 3, generator=torch.Generator().manual_seed(2))
TWICE = {
    "free_bits": (lambda pair: pv.free_bits(pair, {"z": 0.5}), "free_bits names 'z', and the pair has free bits there"),
    "adversarial": (lambda pair: pv.adversarial(pair, pv.MLP([2, 3], [], 1)), "has a discriminator in place of its KL"),
    "dropout": (lambda pair: pv.epistemic.dropout(pair, ROWS), "has masks for these modules already, at 'dropout_0'"),
    "bayesian_weights": (lambda pair: pv.epistemic.bayesian_weights(pair, ROWS), "are uncertain already, by a post"),
    "bayesian_weights of all": (
        lambda pair: pv.epistemic.bayesian_weights(pair, ROWS, parameters="*"),
        r"'weights.loc' is of the posterior of weights that are uncertain already, at the site 'weights'",
    ),
    "bayesian_decoder": (lambda pair: pv.recipes.bayesian_decoder(pair, 16), "takes a VAE, got UncertainWeights"),
    "bayesian_mixture": (lambda pair: pv.recipes.bayesian_mixture(pair, 16), "with pv.StickBreakingMixture"),
    "mmd": (lambda pair: pv.mmd(pair, 1.0), None),
    "total_correlation": (lambda pair: pv.total_correlation(pair, 1.0, rows=16), None),
    "temper": (lambda pair: pv.temper(pair, 0.5), None),
    "masked": (pv.masked, None),
    "corrupted": (lambda pair: pv.corrupted(pair, gaussian=0.1), None),
    "own_store": (pv.own_store, None),
    "carry_over": (
        lambda pair: pv.epistemic.carry_over(
            pair if isinstance(pair, Wrapped) else pv.epistemic.bayesian_weights(pair, ROWS), ROWS
        ),
        None,
    ),
    "swag": (lambda pair: pv.epistemic.swag(pair, ROWS, rank=1), None),
    "ensemble": (lambda pair: pv.epistemic.ensemble(lambda: pair, ROWS, members=2), None),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_wrapper_around_itself_means_what_it_says_or_is_refused_at_once(name):
    wrap, words = TWICE[name]
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2), nn.Linear(4, 3))
    prior = pv.StickBreakingMixture(3, 2) if name == "bayesian_mixture" else pv.StandardNormal(2)
    once = wrap(pv.VAE(prior, pv.Normal(decoder, scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4))))
    if words is not None:
        with pytest.raises(pv.PyrovaeError, match=words):
            wrap(once)
        return
    twice = wrap(once)
    assert pv.check_pair(twice, ROWS) == ()
    assert torch.isfinite(pv.elbo(twice, ROWS, draws=2).value).all()
