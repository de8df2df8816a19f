"""Data outside the support of the distribution that observes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.distributions import constraints

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.data.inspection import as_tensor
from pyrovae.data.placement import Placement
from pyrovae.errors import DataError, argument, warn_user
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.lawful_values import elements_inside, given_value
from pyrovae.pairs.masked import takes_holes
from pyrovae.pairs.masks import mask_around, mask_of
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.part_observed import where_missing
from pyrovae.pairs.trace import Traces, samples

_CHUNK = 8_192  # rows looked at together


def family_of(fn: Any) -> str:
    """The name under which users know a distribution."""
    name = type(base_of(fn)).__name__
    return name.removesuffix("ByLogits").removesuffix("Levels").removeprefix("Open")


def validates(fn: Any) -> bool:
    """Whether a distribution, or one inside it, checks its values."""
    while True:
        if getattr(fn, "_validate_args", False):
            return True
        if not hasattr(fn, "base_dist"):
            return False
        fn = fn.base_dist


def outside_support(name: str, fn: Any, value: torch.Tensor, mask: Any = None, *, start: int = 0) -> str | None:
    """In words, which observed values are outside the support of `fn`; None where all are inside.

    Args:
        name: the site.
        fn: its distribution.
        value: what it observes.
        mask: what `poutine.mask` hides of it.
        start: which row of the data is the first one here.
    """
    outside = elements_outside(fn, value, mask)
    if outside is None or not bool(outside.any()):
        return None
    rows = outside.reshape((*outside.shape[: outside.ndim - len(fn.event_shape)], -1)).any(-1)
    return outside_words(name, fn, value.expand(outside.shape), outside, rows=rows, start=start)


def elements_outside(fn: Any, value: torch.Tensor, mask: Any = None) -> torch.Tensor | None:
    """Which elements of a value count and are outside the support; None where that cannot be told."""
    try:
        inside = elements_inside(fn, value)
    except (NotImplementedError, AttributeError, RuntimeError, ValueError):
        return None
    seen = mask_around(fn, mask, value)
    return ~inside if seen is None else ~inside & seen


def outside_words(
    name: str, fn: Any, value: torch.Tensor, outside: torch.Tensor, *, rows: torch.Tensor, start: int = 0
) -> str:
    """In words, which of observed values are outside the support.

    Args:
        name: the site.
        fn: its distribution.
        value: what it observes, rows first.
        outside: which elements are outside, of the same shape; one at least.
        rows: which rows hold one.
        start: which row of the data is the first one here.
    """
    index = tuple(outside.nonzero()[0].tolist())
    of_all = f"{rows.numel()} rows" + (f" from row {start} on" if start else "")
    place = _place((index[0] + start, *index[1:]) if index else index)
    return (
        f"{_outside(name, fn)}: {int(rows.sum())} of {of_all}, the first {place} with the value "
        f"{value[index].item():g}. {_mend(fn, value, value[index].item())}"
    )


def not_finite(name: str, fn: Any, value: torch.Tensor, mask: Any = None, *, start: int = 0) -> str | None:
    """In words, which lawful values have no finite log-probability, such as the ends of an interval under Beta.

    None where draws of `fn` itself have none either: then its parameters are at fault, not the values.
    """
    base = base_of(fn)
    try:
        with torch.no_grad():
            own, score = base.log_prob(base.sample()), base.log_prob(value)
    except Exception:
        return None  # a flow without an inverse: nothing can be said of single elements
    bad = ~torch.isfinite(score)
    seen = mask_around(fn, mask, value)
    if seen is not None:
        bad = bad & (seen.flatten(-base.event_dim).any(-1) if base.event_dim else seen)  # no mask parts such an event
    if not bool(bad.any()) or not bool(torch.isfinite(own).all()):
        return None
    first = tuple(bad.nonzero()[0].tolist())
    first += (0,) * (value.ndim - len(first))  # an event that is one element, such as a vector of counts
    place = _place((first[0] + start, *first[1:]) if first else first)
    shown = value.expand(torch.broadcast_shapes(value.shape, bad.shape))[first].item()
    rows = int(bad.reshape(len(bad), -1).any(1).sum()) if bad.ndim else 1
    family = type(base).__name__
    return (
        f"the observed values of {name!r} have no finite log-probability under {family}: {rows} of "
        f"{len(bad) if bad.ndim else 1} rows, the first {place} with the value {shown:g}. {_mend(fn, value, shown)}"
    )


def _place(index: tuple[int, ...]) -> str:
    row, *rest = index or (0,)
    return f"in row {row}" + (f", column {rest[0] if len(rest) == 1 else rest}," if rest else "")


def _outside(name: str, fn: Any) -> str:
    return f"the observed values of {name!r} are outside the support of {family_of(fn)}"


def _mend(fn: Any, value: torch.Tensor, first: float) -> str:
    """What to do about the first value outside; others may be holes, which are not at fault where it is a number."""
    if not math.isfinite(first):
        return (
            "NaN and infinity have no density: let what is missing count nowhere (pv.masked(pair)), or drop these rows."
        )
    numbers = value[torch.isfinite(value) & ((value == first) | ~where_missing(value))]
    low, high = numbers.min().item(), numbers.max().item()
    family = family_of(fn)
    if family.startswith("Bernoulli") and low >= 0 and high <= 1:
        return (
            "Grey values have no density under Bernoulli: binarise them afresh "
            f"({argument('transform', text='torch.bernoulli')}), or use ContinuousBernoulli."
        )
    if ("Bernoulli" in family or family == "Beta") and low >= 0 and 1 < high <= 255:
        # Bytes go up to 255 though these may not; other whole greys, up to 16 say, are taken at their word.
        top = 255 if high > 100 else high
        return (
            f"Divide by {top:g} first, then binarise ({argument('transform', text='torch.bernoulli')}) or use "
            "ContinuousBernoulli (0 to 1)."
        )
    run = f"The values run from {low:g} to {high:g}: "
    if family == "Categorical":
        return f"{run}class numbers go from 0 to {fn.param_shape[-1] - 1} here; count them from 0, or add classes."
    if _is_inside(fn, low) and _is_inside(fn, high) and not fn.support.is_discrete:
        clamp = "x.clamp(1e-4, 1 - 1e-4)" if hasattr(base_of(fn).support, "upper_bound") else "x.clamp(min=1e-4)"
        return f"{run}move them off the ends of the support, {clamp} say, or use another likelihood."
    if fn.support.is_discrete and "Bernoulli" not in family:
        return f"{run}it wants whole numbers (integers) from 0 up; round them, or choose a continuous likelihood."
    return f"{run}rescale them, mask them, or choose a likelihood with that support."


def _is_inside(fn: Any, number: float) -> bool:
    try:
        support = base_of(fn).support
        return support.event_dim == 0 and bool(support.check(torch.tensor(number)).all())
    except (NotImplementedError, AttributeError, RuntimeError, ValueError):
        return False


# --- all rows, before training ------------------------------------------------------------------------
def check_supports(pair: HasPair, batches: Batches, batch: Batch, traces: Traces, placement: Placement) -> None:
    """Look through arrays for values outside the support of the site that observes them.

    Holes of a pair that takes them are none, though a first batch without any shows no mask.

    Only where the support does not depend on parameters; the rest is checked batch by batch by the site itself, if it
    validates its values. One that does not may be meant to take them, so that it is told of them.
    """
    if batches.transform is not None or not batches.leaves():
        return
    holed = takes_holes(pair)
    for key, leaf in batch.leaves.items():
        for name, node in samples(traces.model):
            if node["is_observed"] and given_value(node) is leaf and mask_of(node) is None:
                found = _outside_in(name, node["fn"], batches.leaves()[key], key, placement, holed=holed)
                if found and validates(node["fn"]):
                    raise DataError(found.words)
                if found and found.first >= batch.rows:  # those of the first batch were told of with the pair
                    warn_user(f"{found.words} Nothing stops there, since validation is off.")


class _Outside(NamedTuple):
    first: int  # row
    words: str


def _outside_in(
    name: str, fn: Any, array: Any, key: int | str, placement: Placement, *, holed: bool
) -> _Outside | None:
    support = _constant_support(fn)
    if support is None or support is constraints.real:
        return None
    ends = _ends_without_density(base_of(fn), support)
    count, at, message = 0, 0, ""
    for start, rows in _chunks(array):
        placed = placement.leaf(key, rows)
        outside = ~support.check(placed)
        for end in ends:
            outside |= placed == end
        if holed:
            outside &= ~where_missing(placed)
        if bool(outside.any()):
            count += int(outside.reshape(len(rows), -1).any(1).sum())
            first = outside.nonzero()[0].tolist()
            if not message:
                at = start + first[0]
                value = placed[tuple(first)].item()
                message = f"{_place((at, *first[1:]))} with the value {value:g}. {_mend(fn, placed, value)}"
    return _Outside(at, f"{_outside(name, fn)}: {count} of {len(array)} rows, the first {message}") if message else None


def _ends_without_density(base: Any, support: Any) -> list[float]:
    """The ends of a closed interval at which the density is 0 or infinite, such as those of Beta."""
    if support.is_discrete:
        return []
    bounds = [getattr(support, name, None) for name in ("lower_bound", "upper_bound")]
    ends = [float(bound) for bound in bounds if bound is not None and bool(support.check(torch.as_tensor(bound)))]
    with torch.no_grad():
        return [end for end in ends if not bool(torch.isfinite(base.log_prob(base.sample() * 0 + end)).all())]


def _constant_support(fn: Any) -> Any:
    """A support of single elements that no parameter moves, or None."""
    base = base_of(fn)
    declared = getattr(type(base), "support", None)
    support = base.support if getattr(base, "has_fixed_support", False) else declared
    fixed = isinstance(support, constraints.Constraint) and not constraints.is_dependent(support)
    return support if fixed and getattr(support, "event_dim", None) == 0 else None


def _chunks(array: Any) -> Iterator[tuple[int, torch.Tensor]]:
    for start in range(0, len(array), _CHUNK):
        yield start, as_tensor(array[start : start + _CHUNK])
