"""The support of a distribution, also of one that does not say it."""

from __future__ import annotations

from typing import Any

from torch.distributions import constraints


def known_support(fn: Any) -> Any:
    """The support; where a distribution has none (Pyro's wrapper of flows), all real numbers, as flows have."""
    try:
        return fn.support
    except (NotImplementedError, AttributeError):
        return constraints.independent(constraints.real, len(fn.event_shape))
