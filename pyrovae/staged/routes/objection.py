"""What speaks against a graph of a pair."""

from __future__ import annotations

from typing import NamedTuple


class Objection(NamedTuple):
    """What a route has to say against being staged; nothing, where both are None."""

    refused: str | None = None  # why the pair cannot be staged
    warning: str | None = None
