"""Rows with holes, for a pair that may not take them: the pair that does, and the means of what is there."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.data.batches import as_batches
from pyrovae.pairs.masked import masked, takes_holes
from pyrovae.pairs.pair import HasPair


def split(given: Any) -> tuple[tuple, dict[str, Any]]:
    """The data by position, and those by name."""
    if isinstance(given, dict):
        return (), given
    return (given if isinstance(given, tuple) else (given,)), {}


def taking_holes(pair: HasPair, given: Any) -> HasPair:
    """The pair, or one around it that takes holes, whose guide is given the means of the columns in their place."""
    return pair if takes_holes(pair) else masked(pair, fill=column_means(given))


def column_means(given: Any) -> dict[int | str, torch.Tensor]:
    """Of each column the mean of what is there: the least strange to a guide that was trained on full rows."""
    found: dict[int | str, torch.Tensor] = {}
    for key, leaf in as_batches(given).leaves().items():
        value = torch.as_tensor(leaf)
        if value.is_floating_point() and value.ndim:
            found[key] = value.nanmean(0).nan_to_num(0.0)
    return found
