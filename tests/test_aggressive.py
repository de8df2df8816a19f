"""The guide goes ahead of the model while its codes say more of the data; which parameters are whose is found out."""

from __future__ import annotations

import logging
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from staged_pairs import steps_alone
from torch import nn

import pyrovae as pv

TRUTH = pv.truth.LinearGaussian(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, -1.0]]), torch.zeros(4), 0.5)
X = TRUTH.sample(200, seed=0)
OPTIONS = {"batch_size": 25, "seed": 0, "staged": False}  # 8 steps an epoch
ROUNDS = 3


@pytest.fixture(autouse=True)
def _same_numbers():
    pyro.clear_param_store()
    torch.manual_seed(0)


def vae():
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 4), scale=0.5), pv.DiagNormal(pv.MLP(4, [], 4)))


class Own(nn.Module):
    """A pair of two modules and two parameters of Pyro's store, of which the model has one of each."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 2), nn.Linear(2, 4)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        scale = pyro.param("noise", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), scale).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        width = pyro.param("width", torch.ones(2), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), width).to_event(1))


def moved(pair, parts, **options):
    """For each step whether the parts of the model and those of the guide moved."""
    found, before = [], None
    for step in pv.steps(pair, X, **{**OPTIONS, **options}):
        now = [torch.cat([one.detach().flatten().clone() for one in part()]) for part in parts]
        if before is not None:
            found.append((step.index, *(not torch.equal(a, b) for a, b in zip(now, before, strict=True))))
        before = now
    return found


@pytest.mark.parametrize("staged", [False, pytest.param("traced", marks=pytest.mark.slow)])
def test_the_model_moves_at_one_step_of_several(staged):
    pair = vae()
    parts = (lambda: pair.likelihood.parameters(), lambda: pair.posterior.parameters())
    rate = pv.Aggressive(1e-2, rounds=ROUNDS)
    with steps_alone():
        found = moved(pair, parts, steps=24, learning_rate=rate, staged=staged)
    assert len(found) == 23
    for index, model, guide in found:
        assert guide
        assert model == (index % (ROUNDS + 1) == ROUNDS)


def test_of_any_pair_the_parameters_are_told_apart():
    pair = Own()
    store = pyro.get_param_store()

    def model():
        return [*pair.decoder.parameters(), *([store["noise"]] if "noise" in store else [])]

    def guide():
        return [*pair.encoder.parameters(), *([store["width"]] if "width" in store else [])]

    for index, of_model, of_guide in moved(pair, (model, guide), steps=12, learning_rate=pv.Aggressive(1e-2, ROUNDS)):
        assert of_guide
        assert of_model == (index % (ROUNDS + 1) == ROUNDS)


def test_rates_by_name_and_schedules_are_kept():
    pair = vae()
    rate = pv.Aggressive({"*likelihood*": pv.linear(0.1, 0.0, steps=1_000), "*": 0.0}, rounds=1)
    found = moved(pair, (pair.likelihood.parameters, pair.posterior.parameters), steps=6, learning_rate=rate)
    assert [model for _, model, _ in found] == [True, False, True, False, True]
    assert not any(guide for _, _, guide in found)  # frozen, as its rate says


@pytest.mark.slow
def test_it_ends_when_codes_say_no_more(caplog):
    pair, model = vae(), []
    with caplog.at_level(logging.INFO, "pyrovae"):
        found = moved(pair, (pair.likelihood.parameters, pair.posterior.parameters), epochs=40,
                      learning_rate=pv.Aggressive(3e-2, rounds=ROUNDS))  # fmt: skip
    model = [index for index, one, _ in found if one]
    said = [record for record in caplog.records if "guide and model move together" in record.message]
    assert len(said) == 1
    end = int(said[0].args[2])
    assert end % 8 == 0
    assert 8 < end < 320
    assert [index for index in model if index < end] == [n for n in range(1, end) if n % (ROUNDS + 1) == ROUNDS]
    assert [index for index in model if index >= end] == list(range(end, 320))
    now, before = float(said[0].args[0]), float(said[0].args[1])
    assert now <= before
    # What was compared is the mutual information: of the rows themselves here, log N at most.
    assert 0 < before < math.log(200)


def ended(records) -> int:
    """After how many epochs of 8 steps the guide ceased to go ahead."""
    return int(next(record for record in records if "move together" in record.message).args[2]) // 8


@pytest.mark.slow
@pytest.mark.parametrize("later", [-1, 0, 2])
def test_a_run_goes_on_exactly(tmp_path, caplog, later):
    options = {"batch_size": 25, "learning_rate": pv.Aggressive(3e-2, rounds=ROUNDS), "staged": False, "seed": 0,
               "progress": False}  # fmt: skip
    whole, half, again = vae(), vae(), vae()
    start = {name: one.clone() for name, one in whole.state_dict().items()}
    half.load_state_dict(start)
    again.load_state_dict(start)
    with caplog.at_level(logging.INFO, "pyrovae"):
        pv.fit(whole, X, epochs=40, **options)
    cut = ended(caplog.records) + later  # before, at and after the end of the guide's own steps
    pv.fit(half, X, epochs=cut, checkpoint=tmp_path / "run", **options)
    pv.fit(again, X, epochs=40, checkpoint=tmp_path / "run", resume=True, **options)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(pv.ArgumentError, match="learning_rate"):
        pv.fit(vae(), X, epochs=41, checkpoint=tmp_path / "run", resume=True,
               **{**options, "learning_rate": pv.Aggressive(3e-2, rounds=2)})  # fmt: skip


class Fixed(nn.Module):
    """A side without parameters."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ torch.ones(2, 4), 1.0).to_event(1), obs=x)

    def guide(self, x):
        width = pyro.param("width", torch.ones(2), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), width).to_event(1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pv.Aggressive(rounds=0), "rounds=0"),
        (lambda: pv.fit(Fixed(), X, epochs=1, learning_rate=pv.Aggressive()), "the model has no parameters of its own"),
        (lambda: pv.fit(vae(), X, epochs=1, learning_rate=pv.Aggressive(), optim=pyro.optim.Adam({"lr": 0.1})),
         "holds its own rates"),
        (lambda: pv.fit(vae(), X, epochs=1, learning_rate=pv.Aggressive(), optim=groups_of_its_own),
         "optim makes groups of its own"),
        (lambda: pv.fit(pv.adversarial(vae(), pv.MLP([2, 4], [8], 1)), X, epochs=1, learning_rate=pv.Aggressive()),
         "take turns already"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(call, words):
    with pytest.raises(pv.ArgumentError, match=words):
        call()


def groups_of_its_own(parameters):
    return torch.optim.SGD([{"params": [one]} for one in parameters], lr=0.1)


def test_other_optimisers_rest_as_well():
    pair = vae()
    found = moved(pair, (pair.likelihood.parameters, pair.posterior.parameters), steps=8,
                  optim=torch.optim.SGD, learning_rate=pv.Aggressive(1e-5, rounds=1))  # fmt: skip
    assert [model for _, model, _ in found] == [True, False] * 3 + [True]
