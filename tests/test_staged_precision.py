"""Networks in half precision, on the plain path and in a graph."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from staged_pairs import QUIET, X, small
from torch import nn

import pyrovae as pv
from pyrovae.staged.routes.step_route import StepRoute


@pytest.mark.parametrize("staged", [False, "traced"])
def test_bfloat16_is_for_products_alone(staged):
    kinds: dict[str, set] = {"product": set(), "density": set()}

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 2) * 0.3)

        def forward(self, z):
            result = nn.functional.linear(z, self.weight)
            kinds["product"].add(result.dtype)
            return result

    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(Watching(), scale=1.0), pv.DiagNormal(pv.MLP(5, [8], 4)))
    losses = {}
    for precision in (None, "bfloat16"):
        torch.manual_seed(0)
        vae.load_state_dict(small_start(vae))
        run = pv.fit(vae, X, steps=30, batch_size=20, seed=0, staged=staged, precision=precision, **QUIET)
        losses[precision] = run.history[-1].loss
    assert kinds["product"] == {torch.float32}
    assert {p.dtype for p in vae.parameters()} == {torch.float32}
    assert losses["bfloat16"] == pytest.approx(losses[None], rel=2e-2)
    assert losses["bfloat16"] != losses[None]


_START: dict[int, dict] = {}


def small_start(vae):
    return _START.setdefault(id(vae), {name: value.clone() for name, value in vae.state_dict().items()})


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_the_graph_is_in_the_precision_that_was_asked_for(precision, monkeypatch):
    made, original = [], StepRoute._trace
    monkeypatch.setattr(StepRoute, "_trace", lambda self, batch: made.append(self) or original(self, batch))
    pv.fit(small(), X, steps=6, batch_size=20, seed=0, staged="traced", precision=precision, **QUIET)
    nodes = made[0].graph.module.graph.nodes
    kinds = [node.meta["val"].dtype for node in nodes if hasattr(node.meta.get("val"), "dtype")]
    assert (torch.bfloat16 in kinds) == (precision is not None)


def test_log_probabilities_keep_their_precision():
    from pyrovae.staged.precision import computing_in

    x, weight = torch.randn(64, 64), torch.randn(64, 64)
    correlated = dist.LowRankMultivariateNormal(torch.zeros(64), torch.randn(64, 3), torch.ones(64))
    exact = correlated.log_prob(x)
    with computing_in("bfloat16"):
        low = nn.functional.linear(x, weight)
        assert torch.equal(correlated.log_prob(x), exact)
    assert low.dtype == torch.float32
    assert not torch.equal(low, nn.functional.linear(x, weight))
    assert torch.allclose(low, nn.functional.linear(x, weight), rtol=0.05, atol=0.2)


@pytest.mark.parametrize("precision", ["float16", "bf16", 16])
def test_other_precisions_are_refused(precision):
    with pytest.raises(pv.ArgumentError, match="precision="):
        pv.fit(small(), X, steps=1, precision=precision, **QUIET)
