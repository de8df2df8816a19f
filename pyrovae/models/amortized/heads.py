"""Small networks that give a site's distribution from the numbers of its row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions.transforms import ConditionalAffineAutoregressive
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions import biject_to
from torch.distributions.transforms import ReshapeTransform

from pyrovae.models.conditionals.conditional import bounded
from pyrovae.models.conditionals.normals import FullNormal
from pyrovae.pairs.known_support import is_real

_CONTEXT = 16  # numbers that a flow is told of its row


class Family(NamedTuple):
    """A family of distributions over a vector of any real numbers.

    Attributes:
        words: when to take it.
        outputs: how many numbers of a network it takes for a size.
        make: from a head, these numbers (…, outputs) and an event shape, a distribution of that shape.
    """

    words: str
    outputs: Callable[[int], int]
    make: Callable[[Any, Tensor, tuple[int, ...]], Any]


def _normal(head: Any, raw: Tensor, event: tuple[int, ...]) -> Any:
    loc, scale = (part.reshape(part.shape[:-1] + event) for part in raw.chunk(2, -1))
    return dist.Normal(loc, bounded(scale).exp()).to_event(len(event))


def _full(head: Any, raw: Tensor, event: tuple[int, ...]) -> Any:
    return _normal(head, raw, event) if head.size == 1 else _reshaped(FullNormal(nn.Identity())(raw), event)


def _iaf(head: Any, raw: Tensor, event: tuple[int, ...]) -> Any:
    base = _normal(head, raw[..., : 2 * head.size], (head.size,))
    flows = [flow.condition(raw[..., 2 * head.size :]) for flow in head.flows]
    return _reshaped(dist.TransformedDistribution(base, flows), event)


def _reshaped(fn: Any, event: tuple[int, ...]) -> Any:
    if fn.event_shape == event:
        return fn
    return dist.TransformedDistribution(fn, [ReshapeTransform(fn.event_shape, torch.Size(event))])


FAMILIES = {
    "normal": Family("one normal for each number, given the sites before; quick", lambda size: 2 * size, _normal),
    "full": Family("a normal with correlations inside a site", lambda size: size * (size + 3) // 2, _full),
    "iaf": Family(
        "a normal bent by inverse autoregressive flows, for posteriors that are not normal",
        lambda size: 2 * size + _CONTEXT,
        _iaf,
    ),
}


class Head(nn.Module):
    """From rows of numbers to a distribution; an affine part, and a bent one that is 0 at the start.

    Args:
        inputs: numbers of a row.
        cells: values of the site that a row has.
        size: real numbers behind one value.
        family: one of `FAMILIES`.
        hidden: width of the bent part.
    """

    def __init__(self, inputs: int, cells: int, size: int, family: str, hidden: int):
        super().__init__()
        self.inputs, self.size, self.family = inputs, size, family
        outputs = cells * FAMILIES[family].outputs(size)
        self.straight, self.bent = nn.Linear(inputs, outputs), nn.Linear(hidden, outputs)
        self.hidden = nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU())
        for layer, gain in ((self.straight, 0.1), (self.bent, 0.0)):
            nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
            nn.init.zeros_(layer.bias)
        self.flows = nn.ModuleList(_flows(size, hidden) if family == "iaf" else [])

    def forward(self, rows: Tensor) -> Tensor:
        """(…, rows, inputs) as (…, rows, cells * numbers)."""
        return self.straight(rows) + self.bent(self.hidden(rows))

    def distribution(self, raw: Tensor, support: Any, event_shape: tuple[int, ...]) -> Any:
        """From (…, numbers) a distribution over a support."""
        plain = FAMILIES[self.family].make(self, raw, real_shape(support, raw.shape[:-1], event_shape))
        return plain if is_real(support) else dist.TransformedDistribution(plain, [biject_to(support)])


def _flows(size: int, hidden: int) -> list[ConditionalAffineAutoregressive]:
    # What is last in one is first in the other.
    orders: list[Any] = [torch.arange(size), torch.arange(size).flip(0)]
    nets = [ConditionalAutoRegressiveNN(size, _CONTEXT, [max(hidden, size)], permutation=order) for order in orders]
    return [ConditionalAffineAutoregressive(net) for net in nets]


def real_shape(support: Any, batch_shape: tuple[int, ...], event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the real numbers behind one value of a support, whose bounds may differ from row to row."""
    return tuple(biject_to(support).inverse_shape(torch.Size((*batch_shape, *event_shape)))[len(batch_shape) :])
