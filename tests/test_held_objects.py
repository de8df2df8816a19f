"""After any question every object is as it was: what a guide sets up at its first call belongs to training."""

from __future__ import annotations

import copy
import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.easyguide import EasyGuide
from pyro.infer import SVI, Trace_ELBO
from torch import nn

import pyrovae as pv

X = torch.linspace(-1, 1, 20)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def drawn(loc):
    shift = pyro.param("shift", torch.zeros(()))
    with pyro.plate("data", len(loc)):
        pyro.sample("z", dist.Normal(loc + shift, 1.0))


class Attribute:
    """An object of the author's own."""

    loc: torch.Tensor | None = None

    def guide(self, x):
        if self.loc is None:
            self.loc = torch.zeros(len(x))
        drawn(self.loc)


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.loc: nn.Parameter | None = None
        self.noted: dict[str, int] = {}

    def forward(self, x):
        if self.loc is None:
            self.loc = nn.Parameter(torch.zeros(len(x)))
        self.noted["rows"] = len(x)
        pyro.module("guide", self)
        drawn(self.loc)

    def method(self, x):
        """Its forward is not called, nor its hooks."""
        self.forward(x)


def dictionary():
    known = {}

    def guide(x):
        drawn(known.setdefault("loc", torch.zeros(len(x))))

    return guide


def variable():
    size = None

    def guide(x):
        nonlocal size
        size = len(x) if size is None else size
        drawn(torch.zeros(size))

    return guide


def of_the_function():
    def guide(x):
        guide.__dict__.setdefault("loc", torch.zeros(len(x)))
        drawn(guide.__dict__["loc"])

    return guide


class Grouped(EasyGuide):
    def guide(self, x):
        group = self.group(match="z")
        loc = pyro.param("loc", lambda: torch.zeros(len(x)))
        with self.plate("data", len(x)):
            group.sample("group", dist.Normal(loc.unsqueeze(-1), 1.0).to_event(1))


guides = pytest.mark.parametrize(
    "make",
    [lambda: Attribute().guide, Module, lambda: Module().method, dictionary, variable, of_the_function],
    ids=["attribute", "module", "method", "dictionary", "variable", "function"],
)


def trained(pair, x):
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    return [svi.step(x) for _ in range(3)]


@guides
def test_a_loop_after_a_look_is_the_loop_alone(make):
    expected = trained(pv.Pair(model, make()), X)
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    pair = pv.Pair(model, make())
    pv.check_pair(pair, X[:8])
    assert trained(pair, X) == expected


def test_a_group_of_an_easy_guide():
    guide = Grouped(model)
    before = copy.copy(vars(guide))
    pv.check_pair(pv.Pair(model, guide), X[:8])
    assert vars(guide) == before
    assert (guide.frames, guide.groups, guide.plates) == ({}, {}, {})
    trained(pv.Pair(model, guide), X)
    known = {name: dict(getattr(guide, name)) for name in ("frames", "groups", "plates")}
    pv.posterior(pv.Pair(model, guide), X, draws=3)
    assert {name: getattr(guide, name) for name in known} == known


def test_a_run_that_fails_half_way_leaves_no_plate_to_the_next():
    """A guide's plates are cleared at the end of its run; here one row less fails within."""
    guide = Grouped(model)
    pair = pv.Pair(model, guide)
    trained(pair, X)
    assert pv.check_pair(pair, X) == ()
    assert guide.plates == {}
    assert pv.posterior(pair, X, draws=2)["z"].shape == (2, 20)
    assert guide.plates == {}


@guides
def test_a_guide_that_is_not_set_up_is_first_given_the_whole_first_batch(make):
    """Its parameters exist, of a guide that is gone; tiles and tries of a few rows do not decide its size."""
    x = torch.linspace(-1, 1, 300)
    trained(pv.Pair(model, make()), x)
    if "guide$$$loc" in pyro.get_param_store():
        return  # a module's own parameters go with it
    pair = pv.Pair(model, make())
    assert pv.posterior(pair, x[:40], draws=3, sites=["z"])["z"].shape == (3, 40)


def test_lists_sets_and_counts():
    calls, names, counts = [], set(), {"n": 0}

    def guide(x):
        calls.append(len(x))
        names.add(len(x))
        counts["n"] += 1
        drawn(torch.zeros(len(x)))

    pair = pv.Pair(model, guide)
    trained(pair, X)
    before = list(calls), set(names), dict(counts)
    pv.elbo(pair, X)
    assert (calls, names, counts) == before


@pytest.mark.slow
def test_a_site_for_each_datum():
    """The numbers are those of the conjugate model: Beta(8, 4) after 6 ones and 2 zeros."""
    coins = torch.tensor([1.0, 1, 1, 0, 1, 0, 1, 1])

    def tossed(x):
        fairness = pyro.sample("fairness", dist.Beta(2.0, 2.0))
        for number in range(len(x)):
            pyro.sample(f"toss_{number}", dist.Bernoulli(fairness), obs=x[number])

    def posterior(x):
        alpha = pyro.param("alpha", torch.tensor(8.0))
        pyro.sample("fairness", dist.Beta(alpha, 4.0))

    pair = pv.Pair(tossed, posterior)
    trained_once = pv.fit(pair, coins, steps=1, learning_rate=1e-6, progress=False)
    assert trained_once.step == 1
    evidence = pv.log_evidence(pair, coins, joint=True, seed=0)
    assert abs(evidence.value + 5.3936) < 1e-3
    names = {f"toss_{number}" for number in range(8)}
    assert pv.posterior_predictive(pair, coins, draws=2000)["toss_7"].mean() == pytest.approx(8 / 12, abs=0.03)
    assert set(pv.uncertainty(pair, coins, draws=10)) == names == set(pv.log_likelihood(pair, coins, draws=2))


class Counting(nn.Module):
    """Counts its calls, in place and anew."""

    def __init__(self, replaced: bool):
        super().__init__()
        self.linear, self.replaced = nn.Linear(4, 4), replaced
        self.register_buffer("calls", torch.tensor(0.0))

    def forward(self, x):
        if self.replaced:
            self.calls = self.calls + 1
        else:
            self.calls += 1
        return self.linear(x)


@pytest.mark.parametrize("replaced", [False, True])
def test_saving_and_loading_call_no_module_for_good(tmp_path, replaced):
    network = Counting(replaced)
    pair = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 4), scale=1.0), pv.DiagNormal(network))
    pv.fit(pair, torch.zeros(8, 4), steps=3, batch_size=8, staged=False, progress=False)
    calls = float(network.calls)
    pv.save(pair, tmp_path / "a.safetensors")
    assert float(network.calls) == calls
    network.calls = torch.tensor(-1.0)
    pv.load(pair, tmp_path / "a.safetensors")
    assert float(network.calls) == calls


@functools.cache
def modes() -> set[tuple[bool, bool]]:
    """Behind a cache: what objects, classes and modules hold is put back."""
    return set()


class Normalised:
    """A guide whose flow notes averages in train mode, a model that reads its module's mode; neither is called."""

    def __init__(self):
        pyro.clear_param_store()
        torch.manual_seed(0)
        self.net = nn.Module()
        self.net.shift = nn.Parameter(torch.zeros(1))
        self.flow = pyro.distributions.transforms.batchnorm(1)

    def model(self, x):
        pyro.module("net", self.net)
        modes().add((self.net.training, self.flow.training))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
            noise = 0.9 if self.net.training else 1.0
            pyro.sample("x", dist.Normal(z[:, 0] + self.net.shift, noise), obs=x)

    def guide(self, x):
        pyro.module("flow", self.flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(x[:, None] / 2, 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [self.flow]))


QUESTIONS = {
    "elbo": lambda pair: pv.elbo(pair, X, draws=3).value,
    "rate_distortion": lambda pair: torch.tensor(pv.rate_distortion(pair, X).elbo),
    "posterior": lambda pair: pv.posterior(pair, X, draws=3)["z"],
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_modules_that_are_used_and_not_called_are_in_eval_mode(ask):
    pair = Normalised()
    modes().clear()
    pv.fit(pair, X, steps=2, batch_size=10, seed=0, device="cpu", staged=False, progress=False)
    assert (True, True) in modes()  # in training
    modes().clear()
    before = pair.flow.moving_mean.clone()
    pair.net.train(), pair.flow.train()
    awake = ask(pair)
    assert modes() == {(False, False)}
    assert torch.equal(pair.flow.moving_mean, before)
    assert pair.net.training
    assert pair.flow.training
    pair.net.eval(), pair.flow.eval()
    assert torch.equal(ask(pair), awake)


def test_a_flow_that_notes_averages_is_trained_and_resumed_as_without_checkpoints(tmp_path):
    def run(steps, folder=None, **more):
        pair = Normalised()
        options = {"batch_size": 10, "seed": 0, "device": "cpu", "staged": False, "progress": False, **more}
        ended = pv.fit(pair, X, steps=steps, checkpoint=folder, **options)
        return pair.flow.moving_mean, pair.net.shift, [row.elbo for row in ended.history]

    whole = run(4)
    run(3, tmp_path)
    resumed = run(4, tmp_path, resume=True)
    assert torch.equal(whole[0], resumed[0])
    assert torch.equal(whole[1], resumed[1])
    assert whole[2] == resumed[2]
