"""Values that a distribution has a density for, in the place of those that a mask hides and that have none.

Under a mask Pyro multiplies a log-probability by 0 after it was computed: a NaN there, or a -1 under Poisson, stops the
run where values are checked, and makes every gradient NaN where they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch.distributions import biject_to, constraints

from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.masks import mask_around
from pyrovae.pairs.points import is_deterministic

_GIVEN = "_pyrovae_given"  # where a message says what was observed before


def given_value(node: Mapping[str, Any]) -> torch.Tensor:
    """What a site was given, whatever stands in for what a mask hides of it."""
    return node.get(_GIVEN, node["value"])


class Fill(Messenger):
    """Around a model: what masks hide of its observed values may be anything, NaN included.

    Only what has no density gives way, so that lawful values stay as they are, bit for bit.
    """

    def _pyro_sample(self, msg) -> None:
        fill_hidden(msg)


def filled(model: Callable[..., Any]) -> Callable[..., Any]:
    """A model in which masks may hide anything."""
    return Fill()(model)


def fill_hidden(msg: Any) -> None:
    """Put lawful values where a mask hides what a site observes; nothing here depends on values, as graphs need it."""
    fn, value = msg["fn"], msg["value"]
    if not msg["is_observed"] or not isinstance(value, torch.Tensor) or not value.numel():
        return
    if type(fn).__name__ == "Unit" or is_deterministic(msg):
        return
    if _GIVEN in msg and msg["mask"] is None:
        return  # nothing but what is missing is hidden
    seen = mask_around(fn, msg["mask"], value)
    if seen is None:
        return
    try:
        filler = lawful_value(fn, value)
        sound = _in_shape(_has_density(fn, value, filler), value.shape)
    except (NotImplementedError, AttributeError, RuntimeError, ValueError):
        return  # a support that nothing is known of, or a shape that does not fit
    if filler.shape == value.shape:
        sound = sound | value.isnan() if _GIVEN in msg and value.is_floating_point() else sound
        msg["value"] = torch.where(_in_shape(~seen, value.shape) & ~sound, filler, value)
        msg[_GIVEN] = value


def keep_missing(msg: Any) -> None:
    """Leave what is missing as it is: the site's distribution fills it itself, and a model that reads it shall know."""
    msg[_GIVEN] = msg["value"]


def _in_shape(holds: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Of elements that are observed several times those for which it holds each time."""
    while holds.ndim > len(shape):
        holds = holds.all(0)
    for dim in range(-holds.ndim, 0):
        holds = holds.all(dim, keepdim=True) if shape[dim] == 1 else holds
    return holds


@torch.no_grad()
def _has_density(fn: Any, value: torch.Tensor, filler: torch.Tensor) -> torch.Tensor:
    sound = elements_inside(fn, value)
    if not value.is_floating_point():
        return sound
    sound = sound & torch.isfinite(value)
    base = base_of(fn)
    if base.support.is_discrete or element_support(fn) is constraints.real:
        return sound
    # The ends of a closed interval may have none, such as those of Beta.
    score = base.log_prob(torch.where(sound, value, filler))
    return sound & torch.isfinite(score.reshape((*score.shape, *[1] * len(base.event_shape))))


def element_support(fn: Any) -> Any:
    """The support of single elements, or of events that cannot be parted, such as points of a simplex."""
    support = fn.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def elements_inside(fn: Any, value: torch.Tensor) -> torch.Tensor:
    """Which elements of a value are in the support; of an event that cannot be parted all or none."""
    inside = element_support(fn).check(value)
    missing = value.ndim - inside.ndim
    return inside.reshape((*inside.shape, *[1] * missing)).expand(value.shape) if missing > 0 else inside


@torch.no_grad()
def lawful_value(fn: Any, value: torch.Tensor) -> torch.Tensor:
    """A value of the same shape in the middle of the support."""
    if (own := getattr(base_of(fn), "lawful", None)) is not None:
        return own(value)
    support = element_support(fn)
    if not support.is_discrete:
        transform: Any = biject_to(support)
        zeros = torch.zeros(transform.inverse_shape(value.shape), dtype=_floating(value), device=value.device)
        return transform(zeros).to(value.dtype)
    if type(support).__name__ == "_OneHot":
        return torch.nn.functional.one_hot(torch.zeros_like(value[..., 0], dtype=torch.long), value.shape[-1]).to(value)
    return torch.zeros_like(value) + torch.as_tensor(getattr(support, "lower_bound", 0)).to(value)


def _floating(value: torch.Tensor) -> torch.dtype:
    return value.dtype if value.is_floating_point() else torch.get_default_dtype()
