"""The distribution over one element behind what was put around it."""

from __future__ import annotations

from typing import Any

_WRAPPERS = ("Independent", "ExpandedDistribution", "MaskedDistribution", "HoledDistribution")


def base_of(fn: Any) -> Any:
    """The distribution over one element behind `.to_event`, `.expand` and `.mask`."""
    while is_wrapper(fn):
        fn = fn.base_dist
    return fn


def is_wrapper(fn: Any) -> bool:
    """Whether a distribution is another one that `.to_event`, `.expand` or `.mask` was called on."""
    return type(fn).__name__ in _WRAPPERS
