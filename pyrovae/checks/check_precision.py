"""Numbers in double precision of which the pair's own type keeps too little."""

from __future__ import annotations

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.placement import Placement
from pyrovae.errors import DataError
from pyrovae.pairs.argument_names import argument_words

# The share of a column's standard deviation that rounding may take.
_LOST = 0.05

_SHOWN = 5


def check_precision(first: Batch, placement: Placement) -> None:
    """Refuse columns that differ by little at a high level, as times do, where casting takes the difference away.

    Args:
        first: the first batch, as it was given.
        placement: how the pair takes it.

    Raises:
        DataError: the pair would see steps, or a constant.
    """
    for name, leaf in first.leaves.items():
        if leaf.dtype == torch.float64 and placement.dtype != torch.float64 and not placement.keep_double:
            words = _lost(leaf, placement.dtype)
            if words:
                raise DataError(
                    f"{argument_words(name)}: {words}. Subtract what the numbers have in common, or give the pair "
                    "double precision: module.double(), and doubles in pyro.param."
                )


def _lost(leaf: torch.Tensor, dtype: torch.dtype) -> str | None:
    given = leaf.reshape(len(leaf), -1)
    moved, kept = given - given[:1], given.to(dtype).double()
    spread, level = moved.std(0, correction=0), given.abs().amax(0)
    varies = spread > 4 * torch.finfo(torch.float64).eps * level
    columns = (varies & ((kept - given).abs().amax(0) > _LOST * spread)).nonzero().flatten().tolist()
    if not columns:
        return None
    first = columns[0]
    shown = ", ".join(map(str, columns[:_SHOWN])) + (", ..." if len(columns) > _SHOWN else "")
    return (
        f"numbers in column {shown} differ by about {spread[first]:g} at a level of {level[first]:g}, where the pair's "
        f"type, {str(dtype).removeprefix('torch.')}, goes in steps of {level[first] * torch.finfo(dtype).eps:.2g}"
    )
