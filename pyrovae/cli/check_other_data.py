"""Whether data that a run has never seen can be what it was trained on: in its units, and of values that it takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from pyrovae.checks.supports import outside_support, validates
from pyrovae.cli.advice import Facts, look, support_of
from pyrovae.cli.blueprint import Blueprint
from pyrovae.data.batch_sources import Batch
from pyrovae.data.origin import Data
from pyrovae.data.placement import placed
from pyrovae.errors import DataError, PyrovaeWarning
from pyrovae.pairs.isolation import isolated
from pyrovae.pairs.lawful_values import given_value
from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.trace import run, samples

# Of the highest level of a run's images: a set of images that stays below is dark, or in another unit.
_DARK = 0.25

_TOGETHER = 8_192  # rows that a pair of the user's own is run on at once


def check_units(blueprint: Blueprint, data: Data, words: str) -> None:
    """Refuse data that a run's pair has no density for, or that are levels of another unit than the run's.

    Args:
        blueprint: of the pair.
        data: rows as they came.
        words: which data they are.

    Raises:
        DataError: with what the run takes, and what these data are.
    """
    facts = look(data.values, "images" if len(blueprint.shape) > 1 else "table")
    takes, fits = _taken(blueprint)
    if not fits(facts):
        raise DataError(
            f"{words}: the {blueprint.likelihood} of this run takes {takes}, and these data are {facts.words()}. Give "
            "them in the units of the data that it was trained on."
        )
    if _takes_levels(blueprint) and blueprint.top > 1 and facts.high <= _DARK * blueprint.top:
        warnings.warn(
            f"{words}: the levels of this run go up to {blueprint.top:g}, and these up to {facts.high:g}. If they are "
            "not of dark images but in another unit, no figure of them means anything.",
            PyrovaeWarning,
            stacklevel=2,
        )


def _takes_levels(blueprint: Blueprint) -> bool:
    return blueprint.divided or blueprint.likelihood == "discretized-logistic"


def _taken(blueprint: Blueprint) -> tuple[str, Callable[[Facts], bool]]:
    """What a pair takes, in words, and whether data are that."""
    if _takes_levels(blueprint):
        return f"levels from 0 to {blueprint.top:g}", lambda facts: _are_levels(facts, blueprint)
    if blueprint.likelihood == "bernoulli":
        return "zeros and ones", lambda facts: facts.whole and 0 <= facts.low <= facts.high <= 1
    if blueprint.likelihood == "continuous-bernoulli":
        return "numbers from 0 to 1", lambda facts: 0 <= facts.low <= facts.high <= 1
    return support_of(blueprint.likelihood)


def _are_levels(facts: Facts, blueprint: Blueprint) -> bool:
    """Whether they are whole up to a level above 1, and parts of 255 up to 1 where each level has a probability."""
    inside = 0 <= facts.low <= facts.high <= blueprint.top
    in_parts = facts.whole or facts.top == 1 or blueprint.likelihood != "discretized-logistic"
    return inside and (facts.whole if blueprint.top > 1 else in_parts)


def check_own_pair(pair: Any, rows: torch.Tensor) -> None:
    """The same for a pair of the user's own, as far as a support says it.

    Raises:
        DataError: values outside of it; with row and column.
    """
    for start in range(0, len(rows), _TOGETHER):
        batch = Batch((rows[start : start + _TOGETHER],), {})
        placed_batch = placed(pair, batch).place(batch)
        with isolated(0), torch.no_grad():
            traces = run(pair, placed_batch.args, placed_batch.kwargs)
        for name, node in samples(traces.model):
            if node["is_observed"] and validates(node["fn"]):
                found = outside_support(name, node["fn"], given_value(node), mask_of(node))
                if found:
                    raise DataError(
                        f"{found} (Rows are counted from {f'row {start:,}' if start else '0, without names'}.)"
                    )
