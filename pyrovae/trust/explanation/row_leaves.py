"""Data as tensors by place or name, and the one of them whose cells are asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pyrovae.data.rows_of_frames import rows_of_frames
from pyrovae.data.whole_leaves import whole_leaves
from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.pairs.argument_names import argument_words
from pyrovae.pairs.pair import HasPair


def spread(leaves: Mapping[int | str, Tensor]) -> tuple[tuple, dict[str, Tensor]]:
    """The data by position, and those by name."""
    named = {name: leaf for name, leaf in leaves.items() if isinstance(name, str)}
    return tuple(leaf for name, leaf in leaves.items() if name not in named), named


def key_of(leaves: Mapping[int | str, Tensor], cells_of: int | str | None) -> int | str:
    """The argument whose cells are asked about."""
    key = next(iter(leaves)) if cells_of is None else cells_of
    if isinstance(key, bool) or key not in leaves:
        raise ArgumentError(f"{argument('cells_of', cells_of)}; the data are {', '.join(map(repr, leaves))}.")
    if leaves[key].ndim < 2:
        raise DataError(f"the rows of {argument_words(key)} are single numbers, with no cells to tell apart.")
    return key


def reference_rows(pair: HasPair, reference: Any, key: int | str, leaf: Tensor) -> Tensor:
    """Rows of the usual kind, of the same argument; the data themselves where none are given."""
    if reference is None:
        return leaf
    given = reference if isinstance(reference, tuple | dict) else (reference,)
    found = whole_leaves(rows_of_frames(pair, given))
    rows = found.get(key, next(iter(found.values())) if len(found) == 1 else None)
    if rows is None or rows.shape[1:] != leaf.shape[1:]:
        shape = None if rows is None else tuple(rows.shape[1:])
        raise DataError(f"explain: reference has rows of shape {shape}, and the data {tuple(leaf.shape[1:])}.")
    return rows.to(leaf)
