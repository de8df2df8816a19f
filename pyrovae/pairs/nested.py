"""What a distribution is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

_WITHIN = ("base_dist", "base_transform", "_inv", "parts", "transforms")  # a flow is inverted, composed, independent


def nested(fn: Any) -> Iterator[Any]:
    """A distribution, those it is made of and their transforms, each once; modules are not looked into."""
    waiting, seen = [fn], set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, list | tuple):
            waiting += one
            continue
        yield one
        if not isinstance(one, nn.Module):
            waiting += [getattr(one, name, None) for name in _WITHIN]
