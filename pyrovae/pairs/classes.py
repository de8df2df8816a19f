"""Discrete sites: the probabilities that a distribution gives to each of its classes."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.errors import DataError
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.known_support import known_support

_LABELS, _ONE_HOT, _BINARY = "labels", "one-hot", "binary"


def class_form(fn: Any) -> str | None:
    """How a site writes classes: as "labels" (whole numbers), "one-hot" vectors, or as "binary" zeros and ones.

    None where its values are no classes but numbers.
    """
    base = base_of(fn)
    name = type(base).__name__
    if "Relaxed" in name:
        return None  # points between classes, whose density is no probability
    if "OneHotCategorical" in name:
        return _ONE_HOT
    if "Categorical" in name and not base.event_shape:  # a bag of words is a vector of counts, whatever its name
        return _LABELS
    return _BINARY if "Bernoulli" in name and known_support(fn).is_discrete else None


def probabilities(fn: Any) -> torch.Tensor:
    """Of each class, (*batch, *event, classes); of a one at binary sites, (*batch, *event)."""
    base, form = base_of(fn), class_form(fn)
    found = base.probs
    if form == _BINARY:
        return found.expand(fn.batch_shape + fn.event_shape)
    shape = fn.batch_shape + (fn.event_shape[:-1] if form == _ONE_HOT else fn.event_shape)
    return found.expand(*shape, found.shape[-1])


def extra_dims(fn: Any) -> int:
    """How many dims `probabilities` has behind those of a value."""
    return 1 if class_form(fn) == _LABELS else 0


def as_indicators(value: torch.Tensor, form: str | None, classes: int) -> torch.Tensor:
    """Labels as zeros and ones, one for each class: an order of classes means nothing. Other values as they are."""
    if form != _LABELS:
        return value
    low, high = value.min().item(), value.max().item()
    if not 0 <= low <= high < classes:
        raise DataError(
            f"the class numbers run from {low:g} to {high:g}, and go from 0 to {classes - 1} here: count them from 0, "
            "or add classes."
        )
    return torch.nn.functional.one_hot(value.long(), classes).to(torch.get_default_dtype())
