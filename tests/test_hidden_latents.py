"""A latent that a mask hides on both sides while what it feeds counts has no figures; hidden together it has them."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate

import pyrovae as pv
from pyrovae.checks.check_pair import findings

X = torch.randn(600, generator=torch.Generator().manual_seed(0))
SHOWN = torch.ones(600).bool()


def behind_a_mask(*, together=False, shift=0.0):
    """z ~ N(0, 1), x ~ N(z, 1); the mask hides rows of z, and with `together` those of x, too."""

    def model(x, seen):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=seen):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=seen | (not together)):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, seen):
        with pyro.plate("data", len(x)), poutine.mask(mask=seen):
            pyro.sample("z", dist.Normal(x / 2 + shift, 0.5**0.5))

    return pv.Pair(model, guide)


QUESTIONS = {
    "elbo": pv.elbo,
    "log_evidence": pv.log_evidence,
    "joint": lambda pair, *data: pv.log_evidence(pair, *data, joint=True),
    "psis": pv.psis,
    "ais": lambda pair, *data: pv.ais(pair, *data, start="prior", chains=2, steps=2),
    "rate_distortion": pv.rate_distortion,
    "novelty": lambda pair, *data: pv.novelty(pair, *data, calibration=data),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_figures_are_refused_where_what_a_hidden_latent_feeds_counts(name):
    seen = torch.arange(600) != 3
    with pytest.raises(pv.PairError, match=r"hides values of 'z' on which 'x' depends.*Take the mask off 'z'"):
        QUESTIONS[name](behind_a_mask(), X, seen)


@pytest.mark.parametrize("ask", [pv.elbo, pv.rate_distortion], ids=["elbo", "rate_distortion"])
def test_a_mask_that_comes_of_the_data_may_hide_in_any_row(ask):
    seen = torch.arange(600) != 599  # in the last of three batches
    with pytest.raises(pv.PairError, match="a mask hides values of 'z'"):
        ask(behind_a_mask(), X, seen)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_what_is_hidden_together_is_not_there_and_an_open_mask_is_none(shift):
    pair, seen = behind_a_mask(together=True, shift=shift), torch.arange(600) % 3 != 0
    exact = torch.where(seen, dist.Normal(0.0, 2**0.5).log_prob(X), 0.0)
    found = pv.log_evidence(pair, X, seen, draws=2_000)
    assert bool(((found.value - exact).abs() < 5 * found.error + 1e-6).all())
    assert not findings(pair, (X, seen), {})
    open_ = pv.log_evidence(behind_a_mask(shift=shift), X, SHOWN, draws=2_000)
    assert bool(((open_.value - dist.Normal(0.0, 2**0.5).log_prob(X)).abs() < 5 * open_.error + 1e-6).all())


def test_files_have_no_weights_and_a_training_says_that_it_has_no_elbo():
    pair, seen = behind_a_mask(), torch.zeros(600).bool()
    stats = pv.to_arviz(pair, X, seen, draws=2, groups=["sample_stats"])["sample_stats"]
    assert not {"log_weight", "elbo", "local_log_weight"} & set(stats)
    found = [(one.clause, one.severity) for one in findings(pair, (X, seen), {}) if one.where == "z"]
    assert found == [("hidden-latent", "warning")]


def chain(*, together):
    """Three steps, the last of which is hidden; what follows a hidden step is hidden, too, where `together`."""

    def there(t):
        return poutine.mask(mask=torch.tensor(t < 2))

    def model(x):
        with pyro.plate("data", len(x)):
            z = torch.zeros(len(x))
            for t in range(3):
                with there(t):
                    z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))
                with there(t if together else 0):
                    pyro.sample(f"x_{t}", dist.Normal(z, 1.0), obs=x[:, t])

    def guide(x):
        with pyro.plate("data", len(x)):
            for t in range(3):
                with there(t):
                    pyro.sample(f"z_{t}", dist.Normal(x[:, t] / 2, 0.8))

    return pv.Pair(model, guide)


def test_steps_beyond_the_end_of_a_sequence_are_not_there():
    x = X[:30].reshape(10, 3)
    z = torch.tensor([[1.0, 1.0], [1.0, 2.0]]) + torch.eye(2)  # covariance of the two steps that are there
    exact = dist.MultivariateNormal(torch.zeros(2), z).log_prob(x[:, :2])
    found = pv.log_evidence(chain(together=True), x, draws=20_000)
    assert bool(((found.value - exact).abs() < 5 * found.error).all())
    with pytest.raises(pv.PairError, match="hides values of 'z_2' on which 'x_2' depends"):
        pv.log_evidence(chain(together=False), x, draws=2)


def enumerated(*, hidden):
    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=torch.tensor(not hidden)):
                k = pyro.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(k, 1.0), obs=x)

    return pv.Pair(config_enumerate(model), lambda x: None)


def test_a_class_that_is_summed_out_behind_a_mask_is_found_as_well():
    assert bool(pv.log_evidence(enumerated(hidden=False), X, draws=2).value.isfinite().all())
    with pytest.raises(pv.PairError, match="a mask hides values of 'k' on which 'x' depends"):
        pv.log_evidence(enumerated(hidden=True), X, draws=2)


HISTORIES = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
SURVIVES, SEEN = 0.7, 0.6


def captures(*, feeds_hidden):
    """Animals alive from their first capture on, by masks; with `feeds_hidden` as Pyro's example has it."""

    def model(history):
        with pyro.plate("animals", len(history)):
            alive, seen = torch.ones(len(history)), torch.zeros(len(history)).bool()
            for t in range(3):
                with poutine.mask(mask=seen):
                    z = pyro.sample(f"z_{t}", dist.Bernoulli(SURVIVES * alive), infer={"enumerate": "parallel"})
                    pyro.sample(f"y_{t}", dist.Bernoulli(SEEN * z), obs=history[:, t])
                alive = z if feeds_hidden else torch.where(seen, z, 1.0)
                seen = seen | history[:, t].bool()

    return pv.Pair(model, lambda history: None)


def test_capture_and_recapture_by_masks_has_its_likelihood_or_none():
    gone = 1 - SURVIVES
    once_more_unseen = gone + SURVIVES * (1 - SEEN)
    exact = torch.tensor(
        [
            gone + SURVIVES * (1 - SEEN) * once_more_unseen,
            SURVIVES * SEEN * once_more_unseen,
            once_more_unseen,
            SURVIVES * (1 - SEEN) * SURVIVES * SEEN,
        ]
    ).log()
    found = pv.log_evidence(captures(feeds_hidden=False), HISTORIES, draws=2)
    assert torch.allclose(found.value.float(), exact, atol=1e-5)
    with pytest.raises(pv.PairError, match="a mask hides values of 'z_0' on which 'z_1' depends"):
        pv.log_evidence(captures(feeds_hidden=True), HISTORIES, draws=2)
