"""An array on disk before anything is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyrovae.prediction.chunk_shape import chunk_shape


class NewArray(NamedTuple):
    """What a store makes room for; an axis of length 0 grows with what is written, which comes in parts of `chunks`."""

    group: str
    name: str
    shape: Sequence[int]
    dtype: Any
    dims: Sequence[str]
    attributes: Mapping[str, Any]
    chunks: Sequence[int] | None = None

    def pieces(self) -> tuple[int, ...]:
        """Into what it is divided."""
        return tuple(self.chunks or chunk_shape(self.shape))
