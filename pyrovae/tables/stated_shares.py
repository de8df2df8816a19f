"""How often each class occurs, as the file of a schema says, whatever order was made of its levels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_ROUNDED = 1e-3  # by which shares that somebody has written miss 1


def stated_shares(entries: Mapping[str, Any], name: str, levels: Sequence[Any]) -> tuple[Any, ...]:
    """The shares in the order of the levels; they were measured in that of `measured_levels`.

    Raises:
        ValueError: other levels were measured, or those of intervals have another order than these.
    """
    shares, measured = tuple(entries.get("shares", ())), entries.get("measured_levels", list(levels))
    if not isinstance(measured, list):
        raise ValueError(f"column {name!r}: measured_levels is the list of levels to which the shares belong")
    now, before = (
        [(type(level).__name__, level) for level in known] for known in (levels, measured)
    )  # True is no 1 here
    if now == before:
        return shares
    if sorted(now) != sorted(before):
        other = next(level for kind, level in now + before if ((kind, level) in now) != ((kind, level) in before))
        raise ValueError(
            f"column {name!r}: the levels are others than those that were measured ({other!r} is in one list alone), "
            "so that nobody knows their shares. Only their order may be changed; rename classes in the table, and "
            "make the schema anew: pv.tables.schema(frame)"
        )
    if entries.get("ends"):
        raise ValueError(f"column {name!r}: intervals have the order of their numbers; leave levels as they were")
    if len(shares) != len(before):
        return shares  # which is refused
    return tuple(shares[before.index(level)] for level in now)


def check_shares(name: str, shares: Sequence[Any]) -> None:
    """Refuse what no frequencies can be.

    Raises:
        ValueError: they are no numbers above 0, or do not sum to 1.
    """
    if any(isinstance(one, bool) or not isinstance(one, int | float) or not 0 < one < math.inf for one in shares):
        raise ValueError(f"column {name!r}: shares are finite numbers above 0")
    if shares and abs(sum(shares) - 1) > _ROUNDED:
        raise ValueError(
            f"column {name!r}: the shares sum to {sum(shares):.4g}; those of all levels are 1 together. To have them "
            "measured anew make the schema of the table again: pv.tables.schema(frame)"
        )
