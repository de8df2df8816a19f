"""Which route a batch takes, when it changes, and what a resumed run takes up."""

from __future__ import annotations

import logging

import pytest
import torch
from staged_pairs import QUIET, X, asked_to, branching, pair_of, same, small

import pyrovae as pv
from pyrovae.staged.routes import step_route
from pyrovae.staged.routes.decision import worth_compiling, worth_tracing
from pyrovae.staged.routes.step_route import StepRoute
from pyrovae.staged.routes.step_times import StepTimes


def test_a_smaller_last_batch_does_not_trace_again(monkeypatch):
    captured = []
    original = StepRoute._trace
    monkeypatch.setattr(StepRoute, "_trace", lambda self, batch: captured.append(batch.rows) or original(self, batch))
    losses = {}
    for staged in (False, "traced"):
        run = pv.fit(small(), X, epochs=12, batch_size=16, seed=0, staged=staged, **QUIET)
        losses[staged] = [row.loss for row in run.history]
    assert losses["traced"] == pytest.approx(losses[False], rel=1e-5)
    assert sorted(captured) == [8, 16]


@pytest.mark.parametrize(("first", "second"), [(False, "traced"), ("traced", False), ("traced", "traced")])
@pytest.mark.slow
def test_checkpoints_move_between_routes(first, second, tmp_path):
    straight = small()
    pv.fit(straight, X, epochs=20, batch_size=20, seed=0, staged=False, **QUIET)
    pv.fit(small(), X, epochs=10, batch_size=20, seed=0, staged=first, checkpoint=tmp_path, **QUIET)
    vae = small()
    run = pv.fit(vae, X, epochs=20, batch_size=20, seed=0, staged=second, checkpoint=tmp_path, resume=True, **QUIET)
    assert run.step == 40
    same(straight.state_dict(), vae.state_dict())


@pytest.mark.slow
def test_a_resumed_run_takes_up_its_route(tmp_path, monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    pv.fit(small(), X, epochs=10, batch_size=20, seed=0, checkpoint=tmp_path, **QUIET)
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: pytest.fail("the route is known"))
    run = pv.fit(small(), X, epochs=20, batch_size=20, seed=0, checkpoint=tmp_path, resume=True, **QUIET)
    assert run.route.startswith("traced")


def test_changes_of_route_have_to_repay_themselves():
    assert worth_tracing(plain=2e-3, steps_left=8_000).go
    assert not worth_tracing(plain=2e-3, steps_left=200).go
    assert not worth_tracing(plain=2e-3, steps_left=8_000, known=10.0).go
    assert worth_compiling(staged=1e-3, steps_left=1e6, cost=15.0).go
    few = worth_compiling(staged=1e-3, steps_left=20_000, cost=15.0)
    assert not few.go
    assert "20 s left do not repay 15 s" in few.why


def test_a_short_run_stays_plain_and_says_why(caplog):
    with caplog.at_level(logging.INFO, logger="pyrovae"):
        run = pv.fit(small(), X, epochs=10, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("plain")
    assert "too few to repay tracing" in run.route
    assert not any("traced" in record.message for record in caplog.records)


@pytest.mark.slow
def test_a_long_run_is_traced_and_a_slower_route_left(monkeypatch):
    run = pv.fit(small(), X, steps=3_000, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("traced")
    assert "plain" in run.route
    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    monkeypatch.setattr(StepTimes, "typical", lambda self: next(times))
    times = iter([1.0, 1.0, *[2.0] * 50])
    run = pv.fit(small(), X, steps=60, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("plain")
    assert "traced was no faster" in run.route


def test_code_is_compiled_beside_the_training(monkeypatch):
    class AtOnce:
        def __init__(self, module, examples):
            self.function, self.error = module, None

        def done(self):
            return True

    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    monkeypatch.setattr(step_route, "worth_compiling", asked_to)
    monkeypatch.setattr(step_route, "Compiling", AtOnce)
    monkeypatch.setattr(StepTimes, "typical", lambda self: next(times))
    times = iter([3.0, 2.0, 2.0, 2.0, *[1.0] * 50])
    straight, vae = small(), small()
    pv.fit(straight, X, steps=60, batch_size=20, seed=0, staged=False, **QUIET)
    run = pv.fit(vae, X, steps=60, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("compiled")
    same(straight.state_dict(), vae.state_dict())


@pytest.mark.parametrize("weight", [pv.linear(0, 1, steps=10), pv.cyclic(0, 1, steps=40)])
def test_the_graph_of_most_steps_is_compiled_and_no_other(weight, monkeypatch):
    """A weight of 0 makes a graph of its own, often that of the first step."""
    compiled = []
    monkeypatch.setattr(step_route, "compile_graph", lambda module, _: compiled.append(module) or compiled_by(module))
    run = pv.fit(small(), X, steps=60, batch_size=20, seed=0, staged=True, temper=weight, **QUIET)
    assert run.route.startswith("compiled")
    assert len(compiled) == 1
    with pytest.raises(pv.ArgumentError, match="cannot be staged"):
        pv.fit(pair_of(branching), X, steps=60, batch_size=20, seed=0, staged=True, temper=weight, **QUIET)


def compiled_by(module):
    return lambda *inputs: module(*inputs)


@pytest.mark.slow
def test_nothing_compiles_in_a_thread_while_workers_are_copied(monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    monkeypatch.setattr(step_route, "worth_compiling", asked_to)
    monkeypatch.setattr(step_route, "Compiling", lambda *_: pytest.fail("in a thread"))
    monkeypatch.setattr(step_route, "compile_graph", lambda module, examples: lambda *inputs: module(*inputs))
    monkeypatch.setattr(StepTimes, "typical", lambda self: 1.0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=20, num_workers=1)
    run = pv.fit(small(), loader, epochs=15, seed=0, **QUIET)
    assert run.route.startswith("compiled")


@pytest.mark.parametrize("staged", ["fast", 1, 0, None, "plain"])
def test_other_words_are_refused(staged):
    with pytest.raises(pv.ArgumentError, match="staged="):
        pv.fit(small(), X, steps=1, staged=staged, **QUIET)
