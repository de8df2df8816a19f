"""What the iterations of a loop have in common is done at once, and computes what it did one after the other."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from staged_pairs import both_ways
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.staged import graph_step
from pyrovae.staged.rewriting import graphs
from pyrovae.staged.rewriting import vectorise_loops as shortening

aten = torch.ops.aten

TURNS = 8
WEIGHTS = [torch.randn(4, 4) / 4, torch.randn(3, 4) / 4, torch.randn(6, 4) / 4]
X = torch.randn(5, TURNS, 6)


def chain(weight, emission, entry, x):
    """States of which each takes the last one and noise; what is seen of each; all gradients."""
    with torch.enable_grad():
        weight, emission, entry = (one.detach().requires_grad_() for one in (weight, emission, entry))
        hidden = (x @ entry).tanh()
        z, states = x.new_zeros(len(x), 4), []
        for t in range(TURNS):
            z = torch.tanh(z @ weight + hidden[:, t]) + torch.randn(len(x), 4)
            states.append(z)
        loss = 0.0
        for t, state in enumerate(states):
            seen = nn.functional.linear(state, emission).sigmoid()
            loss = loss + torch.where(x[:, t, :1] > 0, (seen - x[:, t, :3]).square(), 0.0).sum()
        return [loss.detach(), *torch.autograd.grad(loss, (weight, emission, entry))]


def backwards(weight, emission, entry, x):
    """Steps that run against those before them, parts of which are taken twice or not at all."""
    with torch.enable_grad():
        weight = weight.detach().requires_grad_()
        parts = [(x[:, t, :4] @ weight).relu() for t in range(TURNS)]
        late = [parts[t] * parts[TURNS - 1 - t] for t in range(TURNS)]
        kept = [(late[t] + parts[(3 * t) % TURNS]).exp() for t in range(1, TURNS - 1)]
        loss = sum(one.mean() for one in kept) + parts[0].sum()
        return [loss.detach(), *torch.autograd.grad(loss, (weight,))]


def crossing(weight, emission, entry, x):
    """Two kinds of steps, each of which needs the other's of the iteration before."""
    one, other, total = x[:, 0, :4], x[:, 1, :4], 0.0
    for t in range(2, TURNS):
        first, second = (x[:, t, :4] @ weight).relu(), (x[:, t, 2:] @ weight).sigmoid()
        one, other = first * other.mean(), second * one.mean()
        total = total + one.sum() + other.sum()
    return [total, one, other]


def traced(program):
    graph = make_fx(program, tracing_mode="real")(*WEIGHTS, X)
    graphs.simplify(graph)
    graphs.lift_constants(graph, 4)
    return graphs.plain(graph)


@pytest.fixture(autouse=True)
def long(monkeypatch):
    """The few operations of these graphs are many."""
    monkeypatch.setattr(shortening, "_LONG", 1)


def laid_out(weight, emission, entry, x):
    """A gradient by iterations, which would lie in memory otherwise."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = sum((x[:, t] @ entry).exp().mean() for t in range(TURNS))
        return [loss.detach(), *torch.autograd.grad(loss, (x,))]


def running(weight, emission, entry, x):
    """Each step takes that before it, and nothing stands between them."""
    total, kept = x[:, 0, :4] + 2.0, []
    for t in range(TURNS):
        total = total * x[:, t, 2:]
        kept.append((total.exp() @ weight).sigmoid().exp().sin().cos().sigmoid().tanh())
    return [total, torch.stack(kept).sum()]


@pytest.mark.parametrize("program", [chain, backwards, crossing, laid_out, running])
def test_turns_that_are_done_at_once_give_what_they_gave(program):
    graph = traced(program)
    shorter = shortening.vectorise_loops(graph, [*WEIGHTS, X])
    assert shorter is not None
    assert len(shorter.graph.nodes) < len(graph.graph.nodes)
    torch.manual_seed(0)
    expected = graph(*WEIGHTS, X)
    torch.manual_seed(0)
    found = graphs.plain(shorter)(*WEIGHTS, X)
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
        assert one.stride() == other.stride()


def test_gradients_of_a_weight_that_all_turns_share_are_one_product():
    graph = traced(chain)
    shorter = shortening.vectorise_loops(graph, [*WEIGHTS, X])
    assert shorter is not None
    emission = [node for node in shorter.graph.nodes if node.target is aten.mm.default]
    assert [tuple(node.meta["val"].shape) for node in emission].count((3, 4)) == 1
    before = [tuple(node.meta["val"].shape) for node in graph.graph.nodes if node.target is aten.mm.default]
    assert before.count((3, 4)) + before.count((4, 3)) == TURNS


def test_a_graph_that_writes_into_its_inputs_is_left_alone():
    def writes(weight, emission, entry, x):
        for t in range(TURNS):
            weight.add_(x[:4, t, :4])
        return [weight.sum()]

    assert shortening.vectorise_loops(traced(writes), [*WEIGHTS, X]) is None


class Sequences(nn.Module):
    """A chain of states under masks, with its lengths."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.move, self.show, self.read = nn.Linear(2, 4), nn.Linear(2, 3), nn.Linear(5, 4)

    def model(self, x, lengths):
        pyro.module("sequences", self)
        z = x.new_zeros(len(x), 2)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(5)):
                with pyro.poutine.mask(mask=t < lengths):
                    loc, scale = self.move(z).chunk(2, -1)
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, nn.functional.softplus(scale)).to_event(1))
                    pyro.sample(f"x_{t}", dist.Normal(self.show(z), 1.0).to_event(1), obs=x[:, t])

    def guide(self, x, lengths):
        pyro.module("sequences", self)
        z = x.new_zeros(len(x), 2)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(5)):
                with pyro.poutine.mask(mask=t < lengths):
                    loc, scale = self.read(torch.cat([z, x[:, t]], -1)).chunk(2, -1)
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, nn.functional.softplus(scale)).to_event(1))


class Lengths(Sequences):
    """The same, told its lengths by columns of its data."""

    def model(self, x):
        super().model(x[:, :5], x[:, 5, 0])

    def guide(self, x):
        super().guide(x[:, :5], x[:, 5, 0])


ROWS = torch.cat([torch.randn(64, 5, 3), torch.randint(2, 6, (64, 1, 3)).float()], 1)


def faster():
    """A clock by which every second of what is timed takes less."""
    return iter([0.0, 2.0, 2.0, 3.0, 3.0, 5.0, 5.0, 6.0]).__next__


@pytest.fixture
def shorter(monkeypatch):
    """Whether a shorter graph was taken, for each that was made."""
    taken = []
    original = graph_step.GraphStep._is_better

    def noted(self, *args):
        taken.append(original(self, *args))
        return taken[-1]

    monkeypatch.setattr(graph_step.GraphStep, "_is_better", noted)
    return taken


@pytest.mark.slow
def test_a_pair_with_a_loop_trains_as_before(shorter, monkeypatch):
    monkeypatch.setattr(graph_step, "_now", faster())
    run = both_ways(Lengths, data=ROWS)
    assert run.route.startswith("traced")
    assert shorter == [True]


FAULTS = {
    "another number": lambda figures: [figures[0] * 1.01, *figures[1:]],
    "another gradient": lambda figures: [*figures[:2], figures[2] * 1.01, *figures[3:]],
    "other draws": lambda figures: [torch.rand(()) * 0 + figures[0], *figures[1:]],
    "an error": lambda figures: figures[0].reshape(7),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_shorter_graph_that_is_another_one_is_not_taken(fault, shorter, monkeypatch):
    def spoilt(module, examples):
        graph = shortening.vectorise_loops(module, examples)
        assert graph is not None
        monkeypatch.setattr(graphs, "plain", lambda module: module)
        graphs_plain(module)
        graphs_plain(graph)
        graph.forward = lambda *given: FAULTS[fault](graph.__class__.forward(graph, *given))
        return graph

    graphs_plain = graphs.plain
    monkeypatch.setattr("pyrovae.staged.rewriting.rewritten.vectorise_loops", spoilt)
    monkeypatch.setattr(graph_step, "_now", faster())
    run = both_ways(Lengths, data=ROWS)
    assert run.route.startswith("traced")
    assert shorter == [False]
