"""A graph that holds for values of the batch is used for no other; of too many values the plain path takes care."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from staged_pairs import QUIET, asked_to, both_ways, finished, pair_with, steps_alone
from torch import nn

import pyrovae as pv
from pyrovae.staged.graph_step import GraphStep
from pyrovae.staged.routes import step_route, value_routes
from pyrovae.staged.settings import Settings
from pyrovae.training import step_maker

X = torch.randn(96, 5, generator=torch.Generator().manual_seed(3))


def weighed(x):
    return pyro.param("own", torch.ones(4)) * x[:, :4]


class Reading(nn.Module):
    """An encoder that reads something of its batch, and does something else for each value."""

    def __init__(self, read):
        super().__init__()
        self.layer, self.read = nn.Linear(5, 4), read

    def forward(self, x):
        return self.layer(x) + self.read(x)


def reading(read):
    return lambda: pair_with(Reading(read))


def several(x):
    """What it reads next depends on what it has read."""
    if x.mean() > 0:
        return 0.1 * int((x[:, 0] > 1.5).sum())
    return -0.1 if (x[:, 1] > 1.5).any() else 0.0


def large(x):
    return (x[:, 0] > 1.5).sum()


READS = {
    "bool": lambda x: 0.3 if x.mean() > 0 else -0.3,
    "item": lambda x: 0.3 if (x > 2.5).any().item() else -0.3,
    "int": lambda x: 0.1 * int(large(x)),
    "float": lambda x: 0.1 * float(large(x)),
    "tolist": lambda x: 0.1 * large(x)[None].tolist()[0],
    "numpy": lambda x: 0.1 * float(large(x).numpy()),
    "index": lambda x: 0.1 * len(x[: large(x)]),
    "range": lambda x: sum(0.1 for _ in range(large(x))),
    "arange": lambda x: 0.1 * torch.arange(large(x)).sum(),
    "full": lambda x: torch.full((4,), large(x)) * 0.1,
    "equal": lambda x: 0.1 if torch.equal(large(x), torch.tensor(1)) else -0.1,
    "several": several,
    "selection": lambda x: 0.1 * x[:, 1][x[:, 0] > 1.5].detach().sum().clamp(-1, 1) * torch.zeros(()),
    "nonzero": lambda x: 0.1 * len((x[:, 0] > 1.5).nonzero()),
}


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are made, in order."""
    made = []
    original = GraphStep.__init__

    def noted(self, *args, **kwargs):
        original(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(GraphStep, "__init__", noted)
    return made


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
@pytest.mark.parametrize("name", READS)
@pytest.mark.slow
def test_another_value_gets_its_own_graph(name, graphs):
    run = both_ways(reading(READS[name]), steps=80, data=X)
    assert run.route.startswith("traced")
    assert len(graphs) >= 2
    assert "test_staged_values.py, line " in run.route
    assert f"{len(graphs)} graphs by the value of" in run.route


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
def test_a_graph_runs_on_batches_of_its_own_value_only(graphs, monkeypatch):
    ran = []
    original = GraphStep.run

    def noted(self, function, batch):
        ran.append(bool(batch.args[0].mean() > 0) is (self.reads.values == ("True",)))
        return original(self, function, batch)

    monkeypatch.setattr(GraphStep, "run", noted)
    both_ways(reading(READS["bool"]), steps=60, data=X)
    assert len(graphs) == 2
    assert len(ran) > 40
    assert all(ran)


def test_the_graph_least_recently_used_goes_and_in_the_end_no_more_are_made(graphs, monkeypatch):
    monkeypatch.setattr(value_routes, "GRAPHS", 2)
    monkeypatch.setattr(value_routes, "_DROPPED", 2)
    monkeypatch.setattr(step_route.StepRoute, "_wants_tracing", lambda route, outlook: route.count >= 1)
    held = []
    original = value_routes.ValueRoutes.decided

    def noted(self, *args):
        original(self, *args)
        held.append(sum(hasattr(route, "graph") for route in self))

    monkeypatch.setattr(value_routes.ValueRoutes, "decided", noted)
    data = torch.arange(96.0).div(16, rounding_mode="floor")[:, None].expand(96, 5) / 10  # a value for each batch

    def number(x):
        return 0.1 * int(10 * x[0, 0] + 0.5)

    class InOrder(torch.utils.data.IterableDataset):
        def __iter__(self):
            for start in (0, 16, 32, 48, 0, 16, 32, 48, 64, 80):
                yield from [*data[start : start + 16]] * 8

    ends = []
    for staged in (False, "traced"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        losses = []
        with steps_alone():
            loader = torch.utils.data.DataLoader(InOrder(), batch_size=16)
            running = pv.steps(pair_with(Reading(number)), loader, steps=80, seed=0, staged=staged)
            ends.append((losses, finished(running, lambda step: losses.append(step.loss))))  # noqa: B023
    (plain, _), (losses, run) = ends
    assert losses == pytest.approx(plain, rel=1e-5, abs=1e-5)
    assert max(held) == 2
    assert len(graphs) == 4  # two are kept, two were thrown away
    assert "more values than 2 graphs can hold for" in run.route or run.route.startswith("traced")


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
def test_a_value_that_never_comes_again_keeps_the_plain_path(graphs, monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    with steps_alone():
        run = pv.fit(reading(lambda x: x.mean().item())(), X, steps=120, batch_size=16, seed=0, **QUIET)
    assert run.route.startswith("plain: a value that the pair reads of its batch (.item() in ")
    assert "is another one in most batches; read less of it" in run.route
    assert len(graphs) == 1


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
def test_where_a_graph_was_asked_for_that_is_an_error():
    with steps_alone(), pytest.raises(pv.ArgumentError, match=r"cannot be staged.*another one in most batches"):
        pv.fit(reading(lambda x: x.mean().item())(), X, steps=400, batch_size=16, seed=0, staged="traced", **QUIET)


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
@pytest.mark.parametrize(
    "read",
    [
        lambda x: 0.1 if x.mean() + torch.randn(()) > 0 else 0.0,
        lambda x: 0.1 if (x[:, 0] > 1.5).float().add_(torch.rand(16)).sum() > 9 else 0.0,
        lambda x: weighed(x) if weighed(x).sum() > 0 else 0.0,
        lambda x: 0.1 if torch.nn.functional.dropout(x, 0.5).sum() > 0 else 0.0,
    ],
    ids=["noise", "in place", "parameter", "dropout"],
)
def test_what_is_not_of_the_batch_alone_is_no_value_to_hold_for(read):
    with pytest.raises(pv.ArgumentError, match=r"parameters or random draws decide \(bool\(\) in .*values.py, line"):
        pv.fit(reading(read)(), X, steps=20, batch_size=16, seed=0, staged="traced", **QUIET)


def test_what_torch_reads_only_to_check_it_is_not_read():
    def one_hot(x):
        drawn = torch.distributions.Categorical(logits=x).sample()
        return 0.1 * torch.nn.functional.one_hot(drawn, 5)[:, :4]

    run = both_ways(reading(one_hot), steps=20, data=X)
    assert run.route.startswith("traced")
    assert "value of" not in run.route


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
def test_processes_hold_for_no_value(monkeypatch):
    monkeypatch.setattr(step_maker, "Settings", lambda **given: Settings(**{**given, "shared": True}))
    with pytest.raises(pv.ArgumentError, match="of which each process has another part"):
        pv.fit(reading(READS["bool"])(), X, steps=20, batch_size=16, seed=0, staged="traced", **QUIET)


class Buffered(nn.Module):
    scale: torch.Tensor

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x):
        return self.layer(x) * (1.0 if (self.scale > 0).all() else 0.1) * self.scale[0].item()


def test_a_buffer_that_no_step_changes_may_be_read_and_a_change_of_it_counts():
    encoder = {}

    def make():
        encoder["now"] = Buffered()
        return pair_with(encoder["now"])

    def between(pair, step):
        if step.index == 30:
            encoder["now"].scale.mul_(-0.5)

    run = both_ways(make, between, steps=60, data=X)
    assert run.route.startswith("traced")


class ChangedBefore(Buffered):
    def forward(self, x):
        self.scale.mul_(1.01)
        return super().forward(x)


class ChangedAfter(Buffered):
    def forward(self, x):
        found = super().forward(x)
        self.scale.mul_(1.01)
        return found


@pytest.mark.parametrize("kind", [ChangedBefore, ChangedAfter])
def test_a_buffer_that_steps_change_may_not(kind):
    words = {
        ChangedBefore: r"parameters or random draws decide \(bool",
        ChangedAfter: r"reads the value of a tensor that it also changes \(.*values.py, line",
    }
    with pytest.raises(pv.ArgumentError, match=words[kind]):
        pv.fit(pair_with(kind()), X, steps=20, batch_size=16, seed=0, staged="traced", **QUIET)


# --- sequences ----------------------------------------------------------------------------------------
ROWS, TIMES, WIDTH = 64, 6, 3
SEQUENCES = torch.randn(ROWS, TIMES, WIDTH, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.randint(2, TIMES + 1, (ROWS,), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.where(torch.arange(ROWS) % 8 == 0, LENGTHS, LENGTHS.clamp(max=4))


class Markov(nn.Module):
    """A deep Markov model: sequences of any length, a loop up to the longest of a batch."""

    def __init__(self, *, packs: bool):
        super().__init__()
        self.packs = packs
        self.transition, self.emission = nn.Linear(2, 4), nn.Linear(2, WIDTH)
        self.rnn, self.combine = nn.GRU(WIDTH, 5, batch_first=True), nn.Linear(7, 4)

    def model(self, x, lengths):
        pyro.module("markov", self)
        z = torch.zeros(len(x), 2)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(lengths.max())):
                with pyro.poutine.mask(mask=t < lengths):
                    loc, scale = self.transition(z).chunk(2, -1)
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, scale.exp()).to_event(1))
                    pyro.sample(f"x_{t}", dist.Normal(self.emission(z), 1.0).to_event(1), obs=x[:, t])

    def guide(self, x, lengths):
        pyro.module("markov", self)
        hidden, z = self.hidden(x, lengths), torch.zeros(len(x), 2)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(lengths.max())):
                with pyro.poutine.mask(mask=t < lengths):
                    loc, scale = self.combine(torch.cat([z, hidden[:, t]], -1)).chunk(2, -1)
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, scale.exp()).to_event(1))

    def hidden(self, x, lengths):
        if not self.packs:
            return self.rnn(x.flip(1))[0].flip(1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class Sequential(nn.Module):
    """A sequential plate over times."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, WIDTH), nn.Linear(TIMES * WIDTH, 4)

    def model(self, x):
        pyro.module("sequential", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            for t in pyro.plate("times", TIMES):
                pyro.sample(f"x_{t}", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x[:, t])

    def guide(self, x):
        pyro.module("sequential", self)
        loc, scale = self.encoder(x.flatten(1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


class Table(nn.Module):
    """A table with holes: filled by torch.where, observed under a mask, looked at as a whole before."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, 5), nn.Linear(10, 4)

    def model(self, x, seen):
        pyro.module("table", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            likelihood = dist.Normal(self.decoder(z), 1.0)
            if not seen.all():
                likelihood = likelihood.mask(seen)
            pyro.sample("x", likelihood.to_event(1), obs=torch.where(seen, x, 0.0))

    def guide(self, x, seen):
        pyro.module("table", self)
        loc, scale = self.encoder(torch.cat([torch.where(seen, x, 0.0), seen.float()], -1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


@config_enumerate
def hidden_markov(x, lengths):
    """HMM 1 of Pyro's example: lengths are read, states are summed out."""
    start = pyro.param("start", torch.eye(3) + 0.5, constraint=dist.constraints.simplex)
    shown = pyro.param("shown", torch.rand(3, WIDTH), constraint=dist.constraints.unit_interval)
    assert lengths.max() <= TIMES
    with pyro.plate("data", len(x), dim=-2):
        state = 0
        for t in pyro.markov(range(lengths.max())):
            with pyro.poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                state = pyro.sample(f"s_{t}", dist.Categorical(start[state]))
                with pyro.plate(f"tones_{t}", WIDTH, dim=-1):
                    pyro.sample(f"x_{t}", dist.Bernoulli(shown[state.squeeze(-1)]), obs=(x[:, t] > 0).float())


STYLES = {
    "ragged": (lambda: Markov(packs=False), (SEQUENCES, LENGTHS), None),
    "packed": (lambda: Markov(packs=True), (SEQUENCES, torch.full((ROWS,), 4)), None),
    "sequential plate": (Sequential, (SEQUENCES,), None),
    "table": (Table, (SEQUENCES[:, :5, 0], SEQUENCES[:, :5, 1] > -2.0), None),
    "hmm": (
        lambda: pv.Pair(hidden_markov, lambda x, lengths: None),
        (SEQUENCES, LENGTHS),
        TraceEnum_ELBO(max_plate_nesting=2),
    ),
}


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.slow
def test_styles_that_read_their_batch_are_staged(name):
    make, data, loss = STYLES[name]
    ends = []
    for staged in (False, "traced"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        losses = []
        with steps_alone():
            running = pv.steps(make(), data, steps=24, batch_size=16, seed=0, staged=staged, loss=loss)
            ends.append((losses, finished(running, lambda step: losses.append(step.loss))))  # noqa: B023
    (plain, _), (losses, run) = ends
    assert losses == pytest.approx(plain, rel=1e-4, abs=1e-5)
    assert run.route.startswith("traced")


@pytest.mark.slow
def test_lengths_of_packed_sequences_decide_about_a_graph(graphs):
    """What torch reads inside of recurrent networks is read of the lengths, though nobody sees it."""
    lengths = torch.tensor([4, 3, 4, 2]).repeat_interleave(4).repeat(4)  # of two batches, the longest alike

    class InOrder(torch.utils.data.IterableDataset):
        def __iter__(self):
            for _ in range(20):
                for first in (0, 8):
                    yield from ((SEQUENCES[row], lengths[row]) for row in range(first, first + 8))

    ends = []
    for staged in (False, "traced"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        losses = []
        with steps_alone():
            loader = torch.utils.data.DataLoader(InOrder(), batch_size=8)
            running = pv.steps(Markov(packs=True), loader, steps=30, seed=0, staged=staged)
            ends.append((losses, finished(running, lambda step: losses.append(step.loss))))  # noqa: B023
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-4, abs=1e-5)
    assert len(graphs) == 2
