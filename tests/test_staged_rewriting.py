"""What graphs are rewritten to computes what they computed before."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from staged_pairs import both_ways
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.staged.compiler import compile_graph
from pyrovae.staged.rewriting import gamma_functions, gathers

aten = torch.ops.aten

X = torch.randn(96, 5, generator=torch.Generator().manual_seed(3))


def gammas(x):
    return [torch.lgamma(x), torch.digamma(x), torch.lgamma(x + 1)]


@pytest.mark.parametrize(
    "x",
    [
        torch.logspace(-20, 20, 5_000),
        torch.linspace(0.001, 20, 5_000),
        torch.arange(1, 5_001).float(),
        torch.linspace(7, 9, 5_000),
    ],
    ids=["all sizes", "small", "counts", "where the series begins"],
)
def test_log_gamma_and_its_derivative_are_exact_to_single_precision(x):
    graph = make_fx(gammas)(x)
    assert gamma_functions.vectorise_gamma_functions(graph) == 3
    graph.recompile()
    for value, exact in zip(graph(x), gammas(x.double()), strict=True):
        assert float(((value - exact).abs() / (1 + exact.abs())).max()) < 3e-6


def test_where_the_series_does_not_hold_there_is_no_number():
    x = torch.cat([torch.linspace(-50.5, -2.1, 5_000), torch.tensor([torch.nan])])
    graph = make_fx(gammas)(x)
    gamma_functions.vectorise_gamma_functions(graph)
    graph.recompile()
    assert all(bool(value.isnan().all()) for value in graph(x)[:2])


@pytest.mark.parametrize("x", [torch.rand(5_000).double(), torch.rand(100)], ids=["double", "few"])
def test_other_gamma_functions_are_left_alone(x):
    assert gamma_functions.vectorise_gamma_functions(make_fx(gammas)(x)) == 0


@pytest.mark.slow
def test_compiled_code_takes_the_series():
    x = 0.1 + 20 * torch.rand(5_000)
    compiled = compile_graph(make_fx(gammas)(x), [x])(x)
    assert not any(torch.equal(value, exact) for value, exact in zip(compiled, gammas(x), strict=True))
    for value, exact in zip(compiled, gammas(x.double()), strict=True):
        assert float(((value - exact).abs() / (1 + exact.abs())).max()) < 3e-6


class Hidden(nn.Module):
    """Half of the columns given the others, chosen by a mask as Pyro's conditional VAE does it."""

    def __init__(self, of_rows):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder, self.of_rows = nn.Linear(5, 4), nn.Linear(2, 5), of_rows

    def model(self, x):
        pyro.module("hidden", self)
        mask = x[:, 0] < x[:, 0].median() if self.of_rows else (x < 9) & (torch.arange(5) > 1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.factor("x", -0.5 * (self.decoder(z)[mask] - x[mask]).square().sum())

    def guide(self, x):
        pyro.module("hidden", self)
        with pyro.plate("data", len(x)):
            loc, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


@pytest.fixture
def rewritten(monkeypatch):
    """How many selections were rewritten in each graph."""
    counts = []

    def noted(module):
        counts.append(gathers_before(module))
        return counts[-1]

    gathers_before = gathers.gather_selections
    monkeypatch.setattr("pyrovae.staged.rewriting.rewritten.gather_selections", noted)
    return counts


@pytest.mark.parametrize("of_rows", [False, True])
@pytest.mark.filterwarnings("ignore::pyrovae.errors.PyrovaeWarning")
def test_a_selection_by_the_batch_is_a_gather(of_rows, rewritten):
    run = both_ways(lambda: Hidden(of_rows), data=X)
    assert run.route.startswith("traced")
    assert rewritten
    assert rewritten[0] >= 2  # the selection and its derivative


def test_what_is_not_put_among_zeros_is_left_alone():
    def program(x, mask):
        base = torch.ones_like(x)
        return [aten.index_put.default(base, [mask], x[mask] * 2, True)]

    x = torch.randn(6, 3)
    mask = x > 0
    graph = make_fx(program)(x, mask)
    for node in graph.graph.nodes:
        if node.target is aten.index.Tensor:
            node.meta["counted"] = True
    assert gathers.gather_selections(graph) == 1
    graph.recompile()
    assert torch.equal(graph(x, mask)[0], program(x, mask)[0])
