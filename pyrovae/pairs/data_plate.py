"""The plate that holds the rows of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyrovae.errors import ArgumentError
from pyrovae.pairs.argument_names import argument_words
from pyrovae.pairs.by_row import ByRow
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.trace import Traces, batch_rows, plates, run, samples, tensors_of, with_rows


def find_data_plate(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], traces: Traces) -> str | None:
    """The one plate whose length follows the batch, found by a second run with another number of rows.

    A trace by shape alone cannot tell 8 rows from 8 columns. None where no plate follows; an error where
    several do.
    """
    rows = batch_rows(args, kwargs)
    if rows is None:
        return None
    before = plates(traces)
    # Fewer rows make an index beyond them an error, which tells; on a device it would end all work there.
    fewer = rows > 1 and all(leaf.device.type == "cpu" for leaf in tensors_of(args, kwargs))
    other = with_rows(args, kwargs, rows - 1 if fewer else rows + 1)
    try:
        again = run(pair, *other)
        after = plates(again)
        following = [name for name, frame in before.items() if name in after and after[name] != frame]
        # A plate whose size is written into it does not follow, but rows observed in it do.
        following = following or [name for name in before if any(ByRow(again, name).other_lengths())]
        if not following and rows > 1 and not fewer:
            following = [name for name, sizes in before.items() if rows in sizes]
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


def check_rows_first(args: tuple, kwargs: Mapping[str, Any], traces: Traces, data_plate: str) -> None:
    """Refuse a plate of the data that stands along another dimension of them than the first."""
    rows, (length, size) = batch_rows(args, kwargs), plates(traces).get(data_plate, (-1, -1))
    if rows is None or length < 0 or rows in (length, size):
        return
    axes = [
        (words, leaf.shape.index(one))
        for words, leaf in (*enumerate(args), *kwargs.items())
        for one in (length, size)
        if isinstance(leaf, torch.Tensor) and one in leaf.shape
    ]
    where = f" It stands along dimension {axes[0][1]} of {argument_words(axes[0][0])}." if axes else ""
    raise ArgumentError(
        f"the plate {data_plate!r} holds {length:,} rows, and the first dimension of the data {rows:,}.{where} Rows "
        "come first: give the data transposed (x.transpose(0, 1)), and turn them back inside model and guide, or name "
        "the plate of the first dimension."
    )
