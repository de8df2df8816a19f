"""In what unit a pair's data came: values of another one are no outliers but a mistake, and figures of them wrong."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.data.batches import Batches
from pyrovae.data.inspection import Leaf, as_tensor
from pyrovae.pairs.argument_names import argument_words
from pyrovae.pairs.pair import HasPair, owner

_APART = 4.0  # times as far out as anything before: pixels of 0 to 1 beside those of 0 to 16, or to 255

_FEWEST = 16  # numbers: a cell or two may be a mistake of their own

_FEW = 2**17  # numbers that tell what is usual

_TOGETHER = 2**24  # numbers looked at at once


class Units(NamedTuple):
    """The largest size of an argument's values, and the median size of those that are not 0: 0 where they are few."""

    largest: float
    usual: float


# Of the data that each pair was last trained on, or that its weights were.
_trained: weakref.WeakKeyDictionary[Any, dict[str, Units]] = weakref.WeakKeyDictionary()


def units_of(leaves: Mapping[int | str, Leaf]) -> dict[str, Units]:
    """The unit of each argument; nothing of one without a finite number other than 0.

    Examples:
        >>> units_of({0: torch.tensor([[0.0, 3.0], [-5.0, torch.nan]]).repeat(1, 8)})
        {'0': Units(largest=5.0, usual=3.0)}
    """
    found = {str(name): Units(_largest(leaf), _usual(leaf)) for name, leaf in leaves.items() if math.prod(leaf.shape)}
    return {name: one for name, one in found.items() if one.largest > 0}


def trained_units(batches: Batches) -> dict[str, Units]:
    """The units that a pair sees in training: of all rows, where they are arrays and nothing changes them."""
    whole = batches.leaves() if batches.random_access and batches.transform is None else {}
    return units_of(whole or batches.first().leaves)


def keep_units(pair: HasPair, units: Mapping[str, Units]) -> None:
    """Note in what units a pair's data come."""
    with contextlib.suppress(TypeError):  # what cannot be referred to weakly
        _trained[owner(pair)] = dict(units)


def kept_units(pair: HasPair) -> dict[str, Units]:
    """In what units a pair's data came; nothing of one that was never trained."""
    try:
        return _trained.get(owner(pair), {})
    except TypeError:
        return {}


def units_document(pair: HasPair) -> dict[str, dict[str, float]]:
    """The same, as a file holds them."""
    return {name: one._asdict() for name, one in kept_units(pair).items()}


def in_other_units(pair: HasPair, batches: Batches) -> str | None:
    """What there is to say of data that most likely stand in another unit than those that a pair was trained on."""
    kept = kept_units(pair)
    leaves = (batches.leaves() or batches.first().leaves) if kept else {}
    for name, leaf in leaves.items():
        before = kept.get(str(name))
        usual = _usual(leaf) if before is not None else 0.0
        if before is None or not usual:
            continue
        if usual > _APART * before.largest:
            return _words(name, "far larger", before, Units(_largest(leaf), usual))
        if before.usual > _APART * usual and before.usual > _APART * (largest := _largest(leaf)):
            return _words(name, "far smaller", before, Units(largest, usual))
    return None


def _words(name: int | str, how: str, before: Units, now: Units) -> str:
    return (
        f"[other-unit] the values of {argument_words(name)} are {how} than those that the pair was trained on: mostly "
        f"around {now.usual:.3g} and at most {now.largest:.3g}, where these were around {before.usual:.3g} and at most "
        f"{before.largest:.3g}. Figures of data in another unit cannot be compared: bring them into the unit of the "
        "training data."
    )


def _largest(leaf: Leaf) -> float:
    rows = max(1, _TOGETHER // _cells(leaf))
    parts = (leaf[start : start + rows] for start in range(0, len(leaf), rows))
    return max((_largest_of(as_tensor(part).detach()) for part in parts), default=0.0)


def _largest_of(part: torch.Tensor) -> float:
    part = part if part.is_floating_point() else part.double()  # torch orders no unsigned ones of two bytes or more
    ends = [abs(float(part.max())), abs(float(part.min()))] if part.numel() and part.dtype != torch.bool else [1.0]
    if all(map(math.isfinite, ends)):
        return max(ends)
    finite = part[part.isfinite()]
    return _largest_of(finite) if finite.numel() else 0.0


def _usual(leaf: Leaf) -> float:
    if not math.prod(leaf.shape):
        return 0.0  # a forecast without covariates has some of no width
    rows = leaf if leaf.shape[0] * _cells(leaf) <= _FEW else leaf[:: max(1, leaf.shape[0] * _cells(leaf) // _FEW)]
    apart = torch.unique(as_tensor(rows).detach().double(), dim=0)  # one row again and again is no more than that row
    sizes = apart.flatten().abs()
    sizes = sizes[sizes.isfinite() & (sizes > 0)]
    return float(sizes.median()) if len(sizes) >= _FEWEST else 0.0


def _cells(leaf: Leaf) -> int:
    return max(1, math.prod(leaf.shape[1:]))
