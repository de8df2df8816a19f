"""Pairs compared by the evidence of the same rows: against exact evidences, and never sure where chance decides."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro.distributions import LogNormal, Normal
from pyro.infer.autoguide import AutoNormal

import pyrovae as pv

WEIGHT = torch.tensor([[1.0, 0.2], [0.3, -1.0], [0.5, 0.5], [-0.7, 0.1]])


def truth(noise: float) -> pv.truth.LinearGaussian:
    return pv.truth.LinearGaussian(WEIGHT, torch.zeros(4), noise)


def test_differences_and_their_errors_are_those_of_the_exact_evidences():
    pairs = {str(noise): truth(noise) for noise in (1.2, 0.6, 0.9)}
    x = truth(0.6).sample(300, seed=0)
    found = pv.compare(pairs, x, draws=25)
    assert found.names == ("0.6", "0.9", "1.2")
    exact = torch.stack([pairs[name].log_evidence(x) for name in found.names]).double()
    torch.testing.assert_close(found.evidence, exact.mean(1), rtol=0, atol=1e-4)
    gaps = exact[0] - exact
    torch.testing.assert_close(found.behind, gaps.mean(1), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.behind_error, gaps.std(1) / 300**0.5, rtol=0, atol=1e-4)
    assert found.unreliable.tolist() == [0, 0, 0]
    assert found.verdict.startswith("'0.6' is ahead: ")
    assert str(found).splitlines()[1].startswith("0.6 ")
    assert len(found.plot().axes) == 1


@pytest.mark.slow
def test_what_chance_decides_is_said_to_be_undecided():
    ahead = 0
    for seed in range(20):
        x = truth(0.6).sample(50, seed=seed)  # drawn from neither: both miss by as much, one way and the other
        found = pv.compare({"a": truth(0.55), "b": truth(0.655)}, x, draws=25)
        ahead += "is ahead" in found.verdict
    assert ahead <= 4
    x = truth(0.6).sample(50, seed=0)
    same = pv.compare({"a": truth(0.6), "b": truth(0.6)}, x, draws=25)
    assert "cannot tell which of 'a', 'b' is best" in same.verdict


def test_a_guide_that_misses_the_posterior_is_said():
    exact = truth(0.6)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", Normal(torch.full((len(x), 2), 2.0), 0.2).to_event(1))

    found = pv.compare({"right": exact, "blind": pv.Pair(exact.model, guide)}, exact.sample(60, seed=0), draws=100)
    assert found.unreliable[found.names.index("blind")] > 0.5
    assert "The evidence of 'blind' may be too low" in found.verdict


@pytest.mark.slow
def test_pairs_that_do_not_compare_are_refused_in_words():
    x = truth(0.6).sample(30, seed=0)
    for one in ({"a": truth(0.6)}, [truth(0.6), truth(0.5)]):
        with pytest.raises(pv.ArgumentError, match="takes two pairs or more with their names"):
            pv.compare(one, x)  # pyright: ignore[reportArgumentType]
    with pytest.raises(pv.DataError, match="give more rows"):
        pv.compare({"a": truth(0.6), "b": truth(0.5)}, x[:1])

    def model(x):
        level = pyro.sample("level", Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", Normal(level.expand(len(x), 4), 1.0).to_event(1), obs=x)

    first, second = pv.Pair(model, AutoNormal(model)), pv.Pair(model, AutoNormal(model))
    pv.fit(first, x, steps=2, progress=False)
    with pytest.raises(pv.PairError, match="own_store"):
        pv.fit(second, x, steps=2, progress=False)
    second = pv.own_store(second)
    pv.fit(second, x, steps=2, progress=False)
    assert pv.compare({"first": first, "second": second}, x).rows.shape == (2, 30)


def logarithmic(likelihood, cast):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", Normal(0.0, 1.0))
            pyro.sample("x", likelihood(z, 0.5), obs=cast(x))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", Normal(0.8 * x.log(), 0.2**0.5))

    return pv.Pair(model, guide)


def test_other_units_do_not_compare():
    """The evidences of a model of log x and of the same one of x lie apart by the logarithms."""
    x = torch.randn(20, generator=torch.Generator().manual_seed(0)).exp()
    logs, values = logarithmic(Normal, torch.log), logarithmic(LogNormal, torch.clone)
    gaps = pv.log_evidence(logs, x, draws=2).value - pv.log_evidence(values, x, draws=2).value
    torch.testing.assert_close(gaps.float(), x.log(), atol=1e-4, rtol=0)
    with pytest.raises(pv.PairError, match="'x' of 'values' holds other numbers than 'x' of 'logs'"):
        pv.compare({"logs": logs, "values": values}, x, draws=25)
    same = logarithmic(LogNormal, lambda x: x * (1 + 1e-7))
    assert pv.compare({"values": values, "same": same}, x, draws=25).rows.shape == (2, 20)
