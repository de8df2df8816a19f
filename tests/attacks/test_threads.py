"""Threads take turns: each call gives what it gives alone, and leaves Pyro's state as it was."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from histories import untimed
from pyro.poutine.runtime import _PYRO_STACK
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae.pairs import turns

X = torch.randn(96, 3, generator=torch.Generator().manual_seed(0))
OPTIONS = {"batch_size": 16, "device": "cpu", "progress": False}


def vae(seed):
    torch.manual_seed(seed)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [8], 4)))


def together(*works):
    """Run functions in threads that begin at once; what each returned or raised."""
    barrier, results = threading.Barrier(len(works)), [None] * len(works)

    def run(place, work):
        barrier.wait()
        try:
            results[place] = work()
        except BaseException as error:  # to be seen by the test
            results[place] = error

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for good"
    return results


@pytest.fixture(autouse=True)
def _stack_as_before():
    before = _PYRO_STACK[:]
    yield
    assert before == _PYRO_STACK


@pytest.mark.parametrize("staged", [False, pytest.param("traced", marks=pytest.mark.trial)])
@pytest.mark.slow
def test_fits_in_several_threads_give_what_they_give_alone(staged):
    torch.manual_seed(0)
    made = [pv.own_store(vae(seed)) for seed in range(3)]

    def fit(pair, seed):
        run = pv.fit(pair, X, epochs=2, seed=seed, staged=staged, **OPTIONS)
        return untimed(run.history), [parameter.tolist() for parameter in pair.pair.parameters()]

    results = together(*(lambda pair=pair, seed=seed: fit(pair, seed) for seed, pair in enumerate(made)))
    alone = [fit(pv.own_store(vae(seed)), seed) for seed in range(3)]
    assert results == alone


@pytest.mark.slow
def test_a_question_in_another_thread_leaves_a_fit_alone():
    pair, asked = vae(0), vae(1)
    expected = pv.rate_distortion(asked, X), pv.posterior(asked, X, draws=3, seed=0)["z"]
    answers = []

    def ask():
        while not done.is_set():
            answers.append((pv.rate_distortion(asked, X), pv.posterior(asked, X, draws=3, seed=0)["z"]))

    done = threading.Event()
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    losses = [step.loss for step in pv.steps(pair, X, epochs=4, seed=0, batch_size=16, device="cpu", staged=False)]
    done.set()
    asking.join(60)
    assert len(losses) == 24
    pyro.clear_param_store()
    alone = [step.loss for step in pv.steps(vae(0), X, epochs=4, seed=0, batch_size=16, device="cpu", staged=False)]
    assert losses == alone
    assert answers
    for figures, draws in answers:
        assert figures == expected[0]
        assert torch.equal(draws, expected[1])


def test_a_question_waits_for_a_fit_of_the_same_pair_and_says_so(monkeypatch, caplog):
    """Its answer is that of the trained pair, every row of it."""
    monkeypatch.setattr(turns, "_LONG", 0.05)
    caplog.set_level(logging.WARNING, logger="pyrovae")
    pair, begun = vae(0), threading.Event()

    def slowly(x):
        begun.set()
        time.sleep(0.02)
        return x

    def ask():
        begun.wait()
        return pv.encode(pair, X)

    run, answer = together(lambda: pv.fit(pair, X, epochs=4, seed=0, transform=slowly, staged=False, **OPTIONS), ask)
    assert run.step == 24
    now = pv.encode(pair, X)
    assert torch.equal(answer["z"].mean, now["z"].mean)
    assert "waiting for thread" in caplog.text
    assert "which runs a pair" in caplog.text


def test_random_states_and_gradients_of_a_thread_that_waits_are_its_own():
    def drawing():
        with torch.no_grad():
            pv.prior(vae(5), X, draws=4, seed=1)
            return torch.is_grad_enabled()

    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    made = [vae(seed) for seed in range(2)]
    state = torch.get_rng_state()
    results = together(lambda: pv.prior(made[0], X, draws=4, seed=1), lambda: pv.prior(made[1], X, draws=4, seed=1))
    assert all(isinstance(result, dict) for result in results)
    assert torch.equal(torch.get_rng_state(), state)
    assert drawing() is False
    torch.manual_seed(3)
    assert torch.equal(torch.rand(3), expected)


class Leaving:
    """A pair that enters a handler and never leaves it, or fails inside."""

    def __init__(self, fails):
        self.fails = fails

    def model(self, x):
        pyro.poutine.scale(scale=2.0).__enter__()
        if self.fails:
            raise RuntimeError("mine")
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("ask", [
    lambda pair, x: pv.fit(pair, x, steps=2, seed=0, staged=False, **OPTIONS),
    lambda pair, x: list(pv.steps(pair, x, steps=2, seed=0, staged=False, batch_size=16, device="cpu")),
    lambda pair, x: pv.elbo(pair, x),
    lambda pair, x: pv.check_pair(pair, x),
    lambda pair, x: pv.posterior(pair, x, draws=2),
], ids=["fit", "steps", "elbo", "check_pair", "posterior"])  # fmt: skip
def test_the_stack_is_as_it_was_whatever_a_pair_leaves_on_it(fails, ask):
    with pyro.poutine.block() as outer, warnings.catch_warnings():  # the caller's own handlers stay
        warnings.simplefilter("ignore")
        before = _PYRO_STACK[:]
        with contextlib.suppress(Exception):
            ask(Leaving(fails), X[:, 0])
        assert _PYRO_STACK == before == [outer]


def test_a_fork_of_a_busy_process_is_not_held_up():
    holding, release = threading.Event(), threading.Event()

    def hold():
        with turns.turn():
            holding.set()
            release.wait(60)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    holding.wait()
    child = os.fork()
    if child == 0:
        with turns.turn():
            os._exit(7)
    deadline = time.monotonic() + 20
    status = None
    while status is None and time.monotonic() < deadline:
        number, code = os.waitpid(child, os.WNOHANG)
        status = code if number else None
        time.sleep(0.01)
    release.set()
    thread.join()
    if status is None:
        os.kill(child, 9)
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == 7


@pytest.mark.trial
def test_many_threads_of_every_kind():
    pytest.importorskip("captum")
    made = [pv.own_store(vae(seed)) for seed in range(4)]
    loader = DataLoader(TensorDataset(X), batch_size=32)
    works = [
        lambda: pv.fit(made[0], X, epochs=3, seed=0, **OPTIONS).step,
        lambda: len(list(pv.steps(made[1], X, epochs=3, seed=0, batch_size=16, device="cpu"))),
        *([lambda: pv.psis(made[2], X, draws=50, seed=0).khat.tolist()] * 3),
        *([lambda: pv.uncertainty(made[2], X, draws=8, seed=0)["x"].total.tolist()] * 3),
        *([lambda: pv.prior_predictive(made[3], X[:4], draws=5, seed=0)["x"].tolist()] * 3),
        *([lambda: [finding.clause for finding in pv.check_pair(made[3], X)]] * 2),
        *([lambda: str(pv.explain(made[2], X[:3], of="elbo", reference=X[:9], repeats=2, draws=4, seed=0))] * 2),
        *([lambda: pv.novelty(made[2], X[:9], calibration=X[40:], draws=9, seed=0).combined.p_value.tolist()] * 2),
        *([lambda: pv.elbo(made[3], loader, draws=3, seed=0).value.tolist()] * 2),
    ]
    for _ in range(5):
        results = together(*works)
        assert not any(isinstance(result, BaseException) for result in results), results
        assert results[:2] == [18, 18]
        for first in (2, 5, 8):
            assert results[first] == results[first + 1] == results[first + 2]
        for first in (11, 13, 15, 17):
            assert results[first] == results[first + 1]
