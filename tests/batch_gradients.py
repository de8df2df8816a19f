"""Losses of a batch and their gradients, and losses written by hand to compare with."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro import poutine
from registry import (
    REGISTRY,
    arguments,
    pairs,
    rows,
    takes_all_rows,
)

BATCH = 8


def make(name, seed=3):
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    entry = REGISTRY[name] if isinstance(name, str) else name
    pair, data = entry.make()
    batch = data if takes_all_rows(entry) else rows(data, slice(BATCH))
    positional, named = arguments(batch)
    with poutine.trace() as trace:  # autoguides and lazy parameters come into being
        pair.guide(*positional, **named)
    poutine.trace(poutine.replay(pair.model, trace=trace.trace)).get_trace(*positional, **named)
    return pair, batch


def loss_and_gradients(pair, batch, loss, seed=11):
    """A loss and the gradient of every parameter, by name."""
    positional, named = arguments(batch)
    store = pyro.get_param_store()
    for name in store:
        store[name].unconstrained().grad = None
    pyro.set_rng_seed(seed)
    value = loss.loss_and_grads(pair.model, pair.guide, *positional, **named)
    found = {name: store[name].unconstrained().grad for name in store}
    return value, {name: g.clone() for name, g in found.items() if g is not None}


def same(one, other, tolerance=1e-6):
    assert one[0] == pytest.approx(other[0], rel=tolerance, abs=tolerance)
    for name in {*one[1], *other[1]}:
        mine, theirs = (g.get(name, torch.zeros(())) for g in (one[1], other[1]))
        torch.testing.assert_close(*torch.broadcast_tensors(mine, theirs), rtol=1e-4, atol=1e-4)


def difference(one, other):
    return max(float((one[1][name] - other[1][name]).abs().max()) for name in one[1])


class ByHand:
    """`sum_s beta_s * (log q_s - log p_s) - log p(data)` of one draw, and its pathwise gradient."""

    def __init__(self, weights, everywhere=1.0):
        self.weights, self.everywhere = weights, everywhere

    def loss_and_grads(self, model, guide, *args, **kwargs):
        q = poutine.trace(guide).get_trace(*args, **kwargs)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(*args, **kwargs)
        loss = self.total(q, lambda name, node: True) - self.total(p, lambda name, node: not node["is_observed"])
        for node in p.nodes.values():
            if node["type"] == "sample" and node["is_observed"]:
                loss = loss - scaled(node)
        loss.backward()
        return loss.item()

    def total(self, trace, keep):
        total = torch.zeros(())
        for name, node in trace.nodes.items():
            if node["type"] == "sample" and type(node["fn"]).__name__ != "_Subsample" and keep(name, node):
                weight = self.weights.get(name, self.everywhere)
                total = total + (weight * scaled(node) if weight else 0.0)
        return total


def scaled(node):
    value = node["fn"].log_prob(node["value"]) * node["scale"]
    return value.sum() if node["mask"] is None else torch.where(node["mask"], value, 0.0).sum()


pathwise = pairs(without={"enumerates", "score_function", "no_latent"})
