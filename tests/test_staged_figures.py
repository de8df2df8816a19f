"""Numbers that go bad in a staged step, and figures that nobody looks at yet."""

from __future__ import annotations

import itertools
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import pairs
from staged_pairs import BATCH, QUIET, STEPS, X, fitted_plainly, pair_with, same, small
from torch import nn

import pyrovae as pv
from pyrovae.staged.routes.step_route import StepRoute
from pyrovae.training.step_maker import StepMaker


def exploding(staged, **options):
    """A run whose data are harmless but for a value in the 31st batch on which the loss overflows."""
    calls = itertools.count()
    vae = small()

    def transform(x):
        return x + (1e30 if next(calls) >= 31 else 0.0)

    running = pv.steps(vae, X, steps=60, batch_size=20, seed=0, staged=staged, transform=transform, **options)
    while True:
        weights = [p.detach().clone() for p in vae.parameters()]
        try:
            next(running)
        except pv.DivergedError as error:
            caught = error
            break
    assert all(torch.equal(p, before) for p, before in zip(vae.parameters(), weights, strict=True))
    return caught


def test_a_bad_step_is_made_again_by_the_plain_path_which_says_what_is_wrong():
    plain, staged = exploding(False), exploding("traced")
    assert str(staged) == str(plain)
    assert (staged.step, staged.site) == (plain.step, plain.site)
    assert staged.step > 20


def test_figures_that_nobody_looks_at_are_found_bad_in_the_end(monkeypatch):
    plain = exploding(False)
    monkeypatch.setattr(StepRoute, "waits", staticmethod(lambda batch: True))
    staged = exploding_unseen()
    assert staged.step == plain.step
    assert str(staged) == str(plain)


def exploding_unseen():
    calls = itertools.count()
    vae = small()

    def transform(x):
        return x + (1e30 if next(calls) >= 31 else 0.0)

    with pytest.raises(pv.DivergedError) as caught:
        pv.fit(vae, X, steps=60, batch_size=20, seed=0, staged="traced", transform=transform, **QUIET)
    good = small()
    pv.fit(good, X, steps=caught.value.step, batch_size=20, seed=0, staged=False, **QUIET)
    same(good.state_dict(), vae.state_dict())
    return caught.value


@pytest.mark.parametrize(
    "entry", [one for one in pairs() if one.id in ("built_in", "batch_norm_and_dropout", "covariates")]
)
def test_figures_may_wait_on_the_device(entry, monkeypatch):
    losses, _ = fitted_plainly(entry)
    monkeypatch.setattr(StepRoute, "waits", staticmethod(lambda batch: True))
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    pair, data = entry.make()
    steps = list(pv.steps(pair, data, steps=STEPS, batch_size=BATCH, seed=0, device="cpu", staged="traced"))
    assert [step.loss for step in steps] == pytest.approx(losses, rel=1e-5)
    assert [step.elbo for step in steps] == [pytest.approx(-(step.rate + step.distortion)) for step in steps]


def test_data_outside_the_support_are_found_in_a_staged_step():
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
    calls = itertools.count()

    def transform(x):
        return x + (0.5 if next(calls) >= 31 else 0.0)

    with pytest.raises(pv.DataError, match="outside the likelihood's support"):
        pv.fit(vae, (X > 0).float(), steps=60, batch_size=20, seed=0, staged="traced", transform=transform, **QUIET)


@pytest.mark.parametrize("validated", [True, False])
def test_values_that_nobody_validates_are_no_reason_for_a_plain_step(validated, monkeypatch):
    plain = []
    original = StepMaker._plain
    monkeypatch.setattr(StepMaker, "_plain", lambda maker, batch: plain.append(batch) or original(maker, batch))
    torch.manual_seed(0)
    grey = torch.rand(40, 5)

    def model(x):
        decoder = pyro.module("decoder", net)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z), validate_args=False).to_event(1), obs=x)

    net, encoder = nn.Linear(2, 5), nn.Linear(5, 4)
    guide = pair_with(encoder).guide
    with warnings.catch_warnings(), pyro.validation_enabled(validated):
        warnings.simplefilter("ignore", pv.PyrovaeWarning)
        run = pv.fit(
            pv.Pair(model, guide),
            grey,
            steps=30,
            batch_size=20,
            seed=0,
            staged="traced",
            transform=torch.clone,
            **QUIET,
        )
    assert run.route.startswith("traced")
    assert not plain
