"""Modules among the transforms of a distribution, in eval mode while a density is read when its run is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_WITHIN = ("base_dist", "base_transform", "_inv", "parts", "transforms")  # a flow is inverted, composed, independent


@contextmanager
def resting_transforms(fn: Any) -> Iterator[None]:
    """Flows of a distribution in eval mode: a batch normalisation, say, would note what it inverts as if it trained."""
    awake = [part for module in _modules(fn) for part in module.modules() if part.training]
    for part in awake:
        part.training = False
    try:
        yield
    finally:
        for part in awake:
            part.training = True


def _modules(fn: Any) -> Iterator[nn.Module]:
    waiting, seen = [fn], set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, nn.Module):
            yield one
        elif isinstance(one, list | tuple):
            waiting += one
        else:
            waiting += [held for name in _WITHIN if (held := getattr(one, "__dict__", {}).get(name)) is not None]
