"""The support of a distribution, also of one that does not say it."""

from __future__ import annotations

from typing import Any

from torch.distributions import constraints

from pyrovae.pairs.base_of import base_of

_ANGLES = ("VonMises", "SineBivariateVonMises")


def known_support(fn: Any) -> Any:
    """The support; where a distribution has none (Pyro's wrapper of flows), all real numbers, as flows have."""
    try:
        return fn.support
    except (NotImplementedError, AttributeError):
        return constraints.independent(constraints.real, len(fn.event_shape))


def is_angle(fn: Any) -> bool:
    """Whether a density repeats itself on all real numbers, its support, and integrates to 1 on one round of them."""
    base = base_of(fn)
    component = getattr(base, "component_distribution", None)  # of a mixture
    return is_angle(component) if component is not None else type(base).__name__ in _ANGLES


def is_real(support: Any) -> bool:
    """Whether a support is all real numbers, in whatever wrapping."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support is constraints.real
