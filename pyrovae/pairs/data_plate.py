"""The plate that holds the rows of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrovae.errors import ArgumentError
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.trace import Traces, batch_rows, plates, run, samples, with_rows


def find_data_plate(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], traces: Traces) -> str | None:
    """The one plate whose length follows the batch, found by a second run with another number of rows.

    A trace by shape alone cannot tell 8 rows from 8 columns. None where no plate follows; an error where
    several do.
    """
    rows = batch_rows(args, kwargs)
    if rows is None:
        return None
    before = plates(traces)
    other = with_rows(args, kwargs, rows - 1 if rows > 1 else rows + 1)
    try:
        after = plates(run(pair, *other))
        following = [name for name, frame in before.items() if name in after and after[name] != frame]
    except Exception:
        # The pair has its number of rows written into it: then the plate of that size is meant.
        following = [name for name, sizes in before.items() if rows in sizes]
    if not following:
        # `pyro.plate("data")` says no size; the batch decides.
        following = [name for name, (length, _) in before.items() if length == -1]
    if len(following) > 1:
        holding = {f.name for _, node in samples(traces.model) if node["is_observed"] for f in node["cond_indep_stack"]}
        likely = next((name for name in following if name in holding), following[0])
        raise ArgumentError(
            f"several plates follow the length of the batch: {', '.join(sorted(following))}. "
            "If they hold the same rows, give them one name, in model and guide. "
            f"Otherwise say which one holds the data: data_plate={likely!r}, for example."
        )
    return following[0] if following else None
