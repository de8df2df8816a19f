"""Modules among the transforms of a distribution, in eval mode while a density is read when its run is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from pyrovae.pairs.nested import nested


@contextmanager
def resting_transforms(fn: Any) -> Iterator[None]:
    """Flows of a distribution in eval mode: a batch normalisation, say, would note what it inverts as if it trained."""
    awake = [part for one in nested(fn) if isinstance(one, nn.Module) for part in one.modules() if part.training]
    for part in awake:
        part.training = False
    try:
        yield
    finally:
        for part in awake:
            part.training = True
