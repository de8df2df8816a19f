"""Into what pieces an array on disk is divided."""

from __future__ import annotations

from collections.abc import Sequence

_CHUNK = 2**20  # numbers in a piece that is read or written at once: 4 MiB in single precision


def chunk_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The whole of the last axes, as far as they fit, and a part of the one before."""
    chunks, room = [], _CHUNK
    for length in reversed(shape):
        chunks.append(max(1, min(length or 256, room)))
        room = max(1, room // chunks[-1])
    return tuple(reversed(chunks))
