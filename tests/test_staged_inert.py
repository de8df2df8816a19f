"""A number that a pair reads of its batch and that reaches nothing needs no graph of its own; one that decides does."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from staged_pairs import both_ways, finished, pair_with, steps_alone
from torch import nn

import pyrovae as pv
from pyrovae.staged.graph_step import GraphStep
from pyrovae.staged.routes import inert_reads
from pyrovae.staged.tracing.capture import capture

COUNTS = torch.poisson(torch.rand(96, 5, generator=torch.Generator().manual_seed(0)) * 12)

pytestmark = pytest.mark.filterwarnings("ignore:.reads-other-rows")


class Reading(nn.Module):
    """An encoder that reads the largest total of its batch."""

    def __init__(self, use):
        super().__init__()
        self.layer, self.use = nn.Linear(5, 4), use

    def forward(self, x):
        return self.layer(x / 10) + self.use(int(x.sum(-1).max()))


def topics():
    """As Pyro's tutorial of ProdLDA writes it."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(5, 4), nn.Linear(2, 5)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Multinomial(int(x.sum(-1).max()), decoder(z).softmax(-1)), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x / 10).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


@pytest.fixture
def traces(monkeypatch):
    """How often a pass is traced."""
    made = []

    def noted(*args, **kwargs):
        made.append(1)
        return capture(*args, **kwargs)

    monkeypatch.setattr("pyrovae.staged.graph_step.capture", noted)
    return made


def totals(steps):
    """A batch a step, whose largest totals are these."""

    class InOrder(torch.utils.data.IterableDataset):
        def __iter__(self):
            for total in steps:
                rows = COUNTS[:16].clone()
                rows[3] = total / 5
                yield from rows

    return InOrder()


def losses_of(make, data, steps, staged):
    pyro.clear_param_store()
    torch.manual_seed(0)
    losses = []
    with steps_alone():
        loader = torch.utils.data.DataLoader(data, batch_size=16)
        running = pv.steps(make(), loader, steps=steps, seed=0, staged=staged)
        return losses, finished(running, lambda step: losses.append(step.loss))


def test_a_number_that_reaches_nothing_needs_one_graph(traces):
    run = both_ways(topics, steps=100, data=COUNTS)
    assert "one graph for all values of int() in " in run.route
    assert len(traces) == 3  # the graph, and two other values


def test_each_further_value_is_first_met_by_pyros_own_pass(monkeypatch):
    compared = []
    original = GraphStep.compare

    def noted(self, function, batch, *rest):
        compared.append(int(batch.args[0].sum(-1).max()))
        return original(self, function, batch, *rest)

    monkeypatch.setattr(GraphStep, "compare", noted)
    order = [100] * 6 + [105, 110] + [115, 120, 125] * 5
    plain, _ = losses_of(lambda: pair_with(Reading(lambda total: 0.0)), totals(order), len(order), False)
    losses, _ = losses_of(lambda: pair_with(Reading(lambda total: 0.0)), totals(order), len(order), "traced")
    assert losses == pytest.approx(plain, rel=1e-5)
    assert {total: compared.count(total) for total in (115, 120, 125)} == {115: 1, 120: 1, 125: 2}  # the 16th step too


USES = {
    "in the graph": lambda total: 1e-6 * total,
    "a tensor in the graph": lambda total: 1e-6 * torch.tensor(float(total)),
    "decides": lambda total: 0.3 if total > 113 else -0.3,
}


@pytest.mark.parametrize("name", USES)
def test_a_number_that_makes_a_difference_gets_graphs_of_its_own(name):
    use = USES[name]
    order = [100] * 6 + [105, 110] + [115, 120, 100, 105] * 8
    plain, _ = losses_of(lambda: pair_with(Reading(use)), totals(order), len(order), False)
    losses, run = losses_of(lambda: pair_with(Reading(use)), totals(order), len(order), "traced")
    assert losses == pytest.approx(plain, rel=1e-5)
    assert "one graph for all" not in run.route


def test_values_between_known_ones_are_taken_as_known_and_those_beyond_are_compared(monkeypatch):
    monkeypatch.setattr(inert_reads, "_KNOWN", 3)
    traced = []
    original = inert_reads.InertReads.confirm

    def noted(self, values):
        traced.append(int(values[0]))
        original(self, values)

    monkeypatch.setattr(inert_reads.InertReads, "confirm", noted)
    order = [100] * 6 + [105, 110] + [150, 160, 120, 125, 155, 130, 500, 505, 125, 500]

    def use(total):
        return 0.3 if total > 400 else -0.3  # which only values beyond the known ones show

    plain, _ = losses_of(lambda: pair_with(Reading(use)), totals(order), len(order), False)
    losses, _ = losses_of(lambda: pair_with(Reading(use)), totals(order), len(order), "traced")
    assert losses == pytest.approx(plain, rel=1e-5)
    assert traced == [150, 160, 120]


def test_a_read_whose_values_never_come_again_is_given_up():
    class Read:
        values, numbers = ("1",), (True,)

    reads = inert_reads.InertReads(Read())  # type: ignore[arg-type]
    for value in range(2, 2 + inert_reads._MOST):
        assert not reads.hold((str(value),))
        assert reads.may_hold((str(value),))
        reads.confirm((str(value),))
    assert not reads.may_hold(("1000",))


def test_truth_values_and_what_cannot_be_read_are_never_tried():
    class Read:
        values, numbers = ("True", "3"), (False, True)

    reads = inert_reads.InertReads(Read())  # type: ignore[arg-type]
    assert reads.may_hold(("True", "4"))
    assert not reads.may_hold(("False", "3"))
    assert not reads.may_hold(None)
    reads.refute()
    assert not reads.may_hold(("True", "4"))
