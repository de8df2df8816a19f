"""Rows that belong to a pair: it holds something for each of them, so that no others may stand in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous

from pyrovae.errors import PairError
from pyrovae.pairs.by_row import ByRow, as_before, going_astray, moved_rows, rolled
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.looks.state_keeper import kept
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import HasPair, bound_modules, guide_function, unwrapped
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import batch_rows, plate_sizes, run, unconstrained, with_rows

_ROLLS = (1, 2)


class OwnRows(NamedTuple):
    """How many rows belong to a pair, and what it holds for them, in words."""

    count: int
    words: str
    subsampled: bool = False  # whether the pair's own plate says which of them a batch holds
    remembered: bool = False  # whether their number was fixed by an earlier call

    def refusal(self, rows: int | None) -> str:
        """Why other rows than these are none for the pair."""
        given = "these have no number of rows" if rows is None else f"these have {rows:,}"
        return (
            f"the pair has {self.words}, so that it holds for its own {self.count:,} rows only, and {given}. Give all "
            "rows that it was made for, in their order, as arrays, and choose from the answer"
        )


def remembered_rows(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], structure: Structure | None = None
) -> OwnRows | None:
    """The rows of a guide that was set up on others: its plate keeps their number whatever it is given.

    An autoguide with local sites is one.

    Args:
        pair: the pair.
        args: a batch, where the pair takes it.
        kwargs: its named part.
        structure: what the pair showed on the batch, where it was looked at: plates of its size need no other look.

    Returns:
        None as well where the pair does not run on these rows, which a look at it says in words.
    """
    if structure is not None and not structure.guide_sizes - {batch_rows(args, kwargs)}:
        return None
    try:
        with isolated():
            return _remembered(pair, args, kwargs)
    except Exception:  # whatever the author's code raises on rows that it does not take
        return None


def _remembered(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> OwnRows | None:
    rows = batch_rows(args, kwargs)
    with kept(unwrapped(pair).guide):
        guide = plate_sizes(poutine.trace(guide_function(pair)).get_trace(*args, **kwargs))
    if rows is None or all(size == rows for size in guide.values()):
        return None
    alone = plate_sizes(poutine.trace(pair.model).get_trace(*args, **kwargs))
    for name, size in guide.items():
        if size != rows and alone.get(name) == rows and _follows(pair, args, kwargs, name, rows):
            return OwnRows(size, f"a guide that was set up with {size:,} rows in the plate {name!r}", remembered=True)
    return None


def _follows(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], name: str, rows: int) -> bool:
    other = with_rows(args, kwargs, rows + 1)
    return plate_sizes(poutine.trace(pair.model).get_trace(*other[0], **other[1])).get(name) == rows + 1


def own_rows(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], data_plate: str | None, *, data: bool = True
) -> OwnRows | None:
    """What a pair holds for single rows of a batch: parameters, or data of its own.

    A parameter is a row's where it moves what is local to this row and nothing of the next one, whichever data stand
    in the rows: rolled through the batch, data take along what a network makes of them, but not such a parameter. Data
    in a closure, or of `pyro.condition`, show in densities that do not move along with the rows.

    Args:
        pair: the pair.
        args: a batch, where the pair takes it.
        kwargs: its named part.
        data_plate: the plate that holds its rows.
        data: whether to look for data, too.

    Raises:
        PairError: it observes data of its own, which are of another number of rows.
    """
    try:
        return _own(pair, args, kwargs, data_plate, data=data)
    except PairError:
        raise
    except Exception:
        return None  # nothing can be said: its subsample is another one each time, say


def _own(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], data_plate: str | None, *, data: bool
) -> OwnRows | None:
    rows = batch_rows(args, kwargs)
    if rows is None or rows < 2 or data_plate is None:
        return None
    with isolated(0), torch.inference_mode(False), torch.enable_grad():
        # Copies: a pair may change its data in place.
        before = ByRow(run(pair, *moved_rows(args, kwargs, as_before)), data_plate)
        before.check_shapes()
        if before.size is None or before.size[0] != rows:
            return None
        lengths = _parameters_by_row(pair, args, kwargs, before)
        if lengths:
            words = f"parameters of single rows ({', '.join(map(repr, [*lengths][:3]))})"
            joint = any(
                isinstance(part, AutoContinuous) for part in bound_modules(pair)
            )  # of all latents in one vector
            count = before.size[1] if joint else max(before.size[1], *lengths.values())
            return OwnRows(count, words, before.size[1] > rows)
        found = going_astray(pair, args, kwargs, before, rolled(1)) if data and before.size[1] == rows else []
        if sites := dict.fromkeys(name for _, name in found):
            return OwnRows(rows, f"data, or an order, of its own (at {', '.join(map(repr, [*sites][:3]))})")
    return None


# --- parameters -----------------------------------------------------------------------------------------
def _parameters_by_row(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], before: ByRow) -> dict[str, int]:
    """The parameters that hold something for single rows, and for how many."""
    raw = {
        name: unconstrained(node["value"])
        for trace in before.traces
        for name, node in trace.nodes.items()
        if node["type"] == "param"
    }
    named = dict(zip(canonical(raw), raw.values(), strict=True))
    rows = before.size[0] if before.size else 0
    candidates = {name: one for name, one in named.items() if one.requires_grad and max(one.shape, default=0) >= rows}
    own = _reach_one_row(before, candidates)
    for rolls in _ROLLS:
        if not any(bool(mask.any()) for mask in own.values()):
            return {}
        move = rolled(rolls)
        other = before.again(pair, args, kwargs, before.local_draws(move), move)
        there = _reach_one_row(other, candidates)
        own = {name: mask & there.get(name, torch.zeros_like(mask)) for name, mask in own.items()}
    second = _reach_one_row(before, candidates, rows=(1, 0))
    return {name: _length(mask, second[name]) for name, mask in own.items() if bool(mask.any())}


def _length(first: torch.Tensor, second: torch.Tensor) -> int:
    """Of the dimension in which the elements of two rows lie apart."""
    one, other = (set(map(tuple, mask.nonzero().tolist())) for mask in (first, second))
    for axis, length in enumerate(first.shape):
        if not {place[axis] for place in one} & {place[axis] for place in other}:
            return length
    return 0


def _reach_one_row(
    found: ByRow, parameters: Mapping[str, torch.Tensor], rows: tuple[int, int] = (0, 1)
) -> dict[str, torch.Tensor]:
    """Of each parameter the elements that what is local to the first row depends on, and to the second does not."""
    first, second = (_gradients(found, parameters, row) for row in rows)
    return {name: (first[name] != 0) & (second[name] == 0) for name in parameters}


def _gradients(found: ByRow, parameters: Mapping[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    total = sum((one[row] for _, one in found.by_row() if one.requires_grad), start=torch.zeros(()))
    if not parameters or not isinstance(total, torch.Tensor) or not total.requires_grad:
        return {name: torch.zeros_like(one) for name, one in parameters.items()}
    found_ones = torch.autograd.grad(total, list(parameters.values()), retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(one) if gradient is None else gradient.nan_to_num(1.0)
        for (name, one), gradient in zip(parameters.items(), found_ones, strict=True)
    }
