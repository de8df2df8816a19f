"""Numbers that a pair writes in place, and generators of its own, are after any look as they were before."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

import pyrovae as pv
from pyrovae.pairs.looks import isolation
from pyrovae.pairs.trace import run
from pyrovae.sampling.sampler import Sampler

X = torch.linspace(-1, 1, 20)
GLOBAL = torch.zeros(())


def pair_of(count):
    """A pair whose model asks for a number at each run, which moves its prior."""

    def model(x):
        shift = pyro.param("shift", torch.zeros(()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(shift + 0.01 * count(), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc * x, 1.0))

    return pv.Pair(model, guide)


def closure():
    held = torch.zeros(())
    return (lambda: held.add_(1)), lambda: float(held)


def default():
    held = torch.zeros(3)

    def count(kept=held):
        kept[0] += 1
        return kept[0]

    return count, lambda: float(held[0])


def attribute():
    one = SimpleNamespace(held=[{"count": torch.zeros(2)}])

    def count():
        one.held[0]["count"] += 1
        return one.held[0]["count"][1]

    return count, lambda: float(one.held[0]["count"][0])


def module_global():
    GLOBAL.zero_()
    return (lambda: GLOBAL.add_(1)), lambda: float(GLOBAL)


def by_data():
    held = torch.full((2,), torch.nan)
    held[0] = 0.0

    def count():
        held.data[0] += 1
        return held[0].clone()

    return count, lambda: float(held[0])


def frozen():
    held = nn.Parameter(torch.zeros(()), requires_grad=False)
    return (lambda: held.add_(1)), lambda: float(held)


class Counting(nn.Module):
    """Counts in a buffer, and in a tensor that is none, in ways that no version tells of."""

    def __init__(self):
        super().__init__()
        self.register_buffer("buffer", torch.zeros(()))
        self.plain = torch.zeros(())

    def forward(self):
        self.buffer.data += 1
        self.plain.data += 1
        return self.buffer + self.plain


def buffer():
    held = Counting()
    return held, lambda: float(held.buffer + held.plain) / 2


def array():
    held = np.zeros(2)

    def count():
        held[1] += 1
        return float(held[1])

    return count, lambda: float(held[1])


def numpy_generator():
    held = np.random.default_rng(0)
    return (lambda: held.normal()), lambda: held.bit_generator.state["state"]["state"]


def old_numpy_generator():
    held = np.random.RandomState(0)
    return (lambda: float(held.normal())), lambda: str(held.get_state())


def python_generator():
    held = random.Random(0)
    return (lambda: held.gauss(0, 1)), lambda: str(held.getstate())


def torch_generator():
    held = torch.Generator().manual_seed(0)
    return (lambda: torch.randn((), generator=held)), lambda: held.get_state().tolist()


NUMBERS_HELD = [closure, default, attribute, module_global, by_data, frozen, buffer, array]
GENERATORS_HELD = [numpy_generator, old_numpy_generator, python_generator, torch_generator]
IN_TORCH = [closure, attribute, frozen, buffer]


def plain(make, steps):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    count, state = make()
    pair = pair_of(count)
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(steps):
        svi.step(X)
    return state(), weights()


def fitted(make, steps, staged=False):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    count, state = make()
    pair = pair_of(count)
    optim = pyro.optim.Adam({"lr": 0.01})
    made = pv.fit(pair, X, steps=steps, batch_size=20, optim=optim, seed=0, staged=staged, device="cpu", progress=False)
    return pair, state, made


def weights():
    return {name: float(value.detach()) for name, value in pyro.get_param_store().items()}


@pytest.mark.parametrize("make", [*NUMBERS_HELD, *GENERATORS_HELD])
def test_a_training_leaves_what_a_plain_loop_leaves_and_questions_leave_that(make):
    expected = plain(make, 6)
    pair, state, _ = fitted(make, 6)
    assert state() == expected[0]
    assert weights() == pytest.approx(expected[1], abs=1e-6)
    ask = (pv.check_pair, pv.elbo, pv.log_evidence, pv.encode, pv.posterior_predictive)
    answers = [[question(pair, X) if question is pv.check_pair else question(pair, X, seed=1)] for question in ask]
    assert state() == expected[0]
    assert answers[0] == [()]
    again = pv.elbo(pair, X, seed=1)
    assert torch.equal(torch.as_tensor(answers[1][0].value), torch.as_tensor(again.value))


@pytest.mark.parametrize("make", IN_TORCH)
@pytest.mark.parametrize("staged", ["traced", pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_graph_carries_what_a_pair_counts_in_tensors(make, staged):
    expected = plain(make, 12)
    _, state, made = fitted(make, 12, staged)
    assert made.route.startswith(staged)
    assert state() == expected[0]
    assert weights() == pytest.approx(expected[1], abs=1e-5)


@pytest.mark.parametrize("make", [array, numpy_generator, torch_generator])
def test_what_no_graph_can_carry_is_refused_in_words(make):
    with pytest.raises(pv.errors.ArgumentError, match=r"counts its passes, or keeps something .* another one after"):
        fitted(make, 12, "traced")


def test_runs_that_are_compared_begin_with_the_same_count():
    """Else a count would pass for rows that move with others, for data of the pair's own, or for rows that are tied."""
    pair, state, _ = fitted(closure, 1)
    rows = X.repeat(15)
    assert pv.encode(pair, rows, seed=0)["z"].mean.shape == (300,)
    assert Sampler.of(pair, (rows,), {}, seed=0).route == "rows"  # draws are made together
    assert state() == 1


def noisy(generator):
    """Observed values are drawn around noise of a generator's own, in the order of the rows."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            noise = torch.as_tensor(generator.normal(size=len(x)), dtype=x.dtype)
            pyro.sample("x", dist.Normal(z * 0 + noise, 1e-6), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    return pv.Pair(model, guide)


def test_generators_of_a_pair_draw_by_the_seed_of_a_question_and_other_numbers_in_each_tile():
    x = torch.zeros(600)
    drawn = [
        pv.posterior_predictive(noisy(np.random.default_rng(begun)), x, draws=2, seed=seed)["x"]
        for begun, seed in ((0, 5), (1, 5), (0, 6))
    ]
    assert torch.allclose(drawn[0], drawn[1], atol=1e-4)
    assert not torch.allclose(drawn[0], drawn[2], atol=0.1)
    rows = drawn[0][0].round(decimals=3)
    assert len(rows.unique()) > 500
    assert abs(float(drawn[0].std()) - 1) < 0.1


def test_an_own_generator_does_not_draw_what_the_global_one_draws():
    held = torch.Generator()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.deterministic("noise", torch.randn(len(x), generator=held))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    pair = pv.Pair(model, noisy(None).guide)
    drawn = pv.posterior_predictive(pair, torch.zeros(200), draws=5, seed=0)
    for name in ("x", "noise"):
        assert drawn[name].shape == (5, 200)
    z = pv.posterior(pair, torch.zeros(200), draws=5, seed=0, sites=["z", "noise"])
    assert abs(float(torch.corrcoef(torch.stack([z["z"].flatten(), z["noise"].flatten()]))[0, 1])) < 0.2


def test_a_large_tensor_that_is_written_is_left_alone_and_told_of_once():
    held = torch.zeros(200_000)
    small = torch.zeros(99_999)

    def count():
        small.add_(1)
        return held.add_(1)[0] * 0

    pair = pair_of(count)
    with pytest.warns(pv.errors.PyrovaeWarning, match=r"shape \(200000,\), at each run.*put back .*up to 100,000"):
        pv.check_pair(pair, X)
    assert float(small[0]) == 0
    assert float(held[0]) > 0
    pv.check_pair(pair, X)  # no second warning


def test_what_the_first_run_sets_up_in_place_and_notes_elsewhere_stays_together():
    held, filled = torch.zeros(()), []

    def count():
        if not filled:
            filled.append(True)
            held.fill_(100.0)
        return held

    pair, means = pair_of(count), []
    with isolation.isolated(0):
        for _ in range(3):
            means.append(run(pair, (X,), {}).model.nodes["z"]["fn"].mean[0].item())
            isolation.restart(1)
    assert means == [1.0, 1.0, 1.0]  # a hundredth of 100
    assert float(held) == 0
    assert filled == []


def test_data_that_a_pair_holds_and_only_reads_are_not_written():
    """They may stand in memory that cannot be: of a file, of another process, under a graph of the caller's."""
    held, weight = torch.ones(3), torch.ones(3, requires_grad=True)
    total = (held * weight).sum()
    shared = torch.ones(1).expand(5)
    locked = np.ones(3)
    locked.flags.writeable = False
    version = held._version
    pv.check_pair(pair_of(lambda: float(locked[0]) + shared[0] + held[0]), X)
    assert held._version == version
    total.backward()
