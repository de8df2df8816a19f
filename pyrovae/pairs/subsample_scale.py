"""By how much the plates around a site scale it, since they hold a part of what they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def subsample_scale(node: Mapping[str, Any], *, without: str | None = None) -> float:
    """The product of full size over size of all plates but one, multiplied as Pyro does it, from the inside."""
    scale = 1.0
    for frame in reversed(node["cond_indep_stack"]):
        if frame.name != without and frame.size > 0 and frame.full_size:
            scale = scale * float(frame.full_size) / float(frame.size)
    return scale
