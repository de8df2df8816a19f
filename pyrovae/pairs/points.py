"""Delta distributions: sites of a guide that stand at a point, or are made from other sites of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Delta

from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.masks import is_masked_out


def is_delta(fn: Any) -> bool:
    """Whether a distribution stands at one point, whatever was put around it."""
    return isinstance(base_of(fn), Delta)


def is_deterministic(node: Mapping[str, Any]) -> bool:
    """Whether a site is computed of others: `pyro.deterministic`, or what `poutine.reparam` puts in a site's place."""
    if node["infer"].get("_deterministic"):
        return True
    return bool(node["is_observed"]) and is_masked_out(node["fn"]) and is_delta(node["fn"])


def own_log_prob(fn: Any, value: torch.Tensor) -> torch.Tensor:
    """The log-probability of a value that a guide's distribution drew, in this run or, computed again, in another.

    A Delta's is the density that its author gave it. The value is not held against it: in an outer plate, or beside
    other rows, the same sum may differ in its last bit, and that would be -inf.
    """
    return fn.log_prob(fn.sample() if is_delta(fn) else value)
