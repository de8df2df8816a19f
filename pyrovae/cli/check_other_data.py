"""Whether data that a run has never seen can be what it was trained on: in its units, and of values that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pyrovae.checks.supports import outside_support, validates
from pyrovae.cli.advice import Facts, look, support_of
from pyrovae.cli.model_config import ModelConfig
from pyrovae.data.batch_sources import Batch
from pyrovae.data.origin import Data
from pyrovae.data.placement import placed
from pyrovae.errors import DataError, warn_user
from pyrovae.pairs.lawful_values import given_value
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.trace import run, samples

# Of the highest level of a run's images: a set of images that stays below is dark, or in another unit.
_DARK = 0.25

_TOGETHER = 8_192  # rows that a pair of the user's own is run on at once


def check_units(model_config: ModelConfig, data: Data, words: str) -> None:
    """Refuse data that a run's pair has no density for, or that are levels of another unit than the run's.

    Args:
        model_config: of the pair.
        data: rows as they came.
        words: which data they are.

    Raises:
        DataError: with what the run takes, and what these data are.
    """
    facts = look(data.values, "images" if len(model_config.shape) > 1 else "table")
    takes, fits = _taken(model_config)
    if not fits(facts):
        raise DataError(
            f"{words}: the {model_config.likelihood} of this run takes {takes}, and these data are {facts.words()}. "
            "Give them in the units of the data that it was trained on."
        )
    if _takes_levels(model_config) and model_config.top > 1 and facts.high <= _DARK * model_config.top:
        warn_user(
            f"{words}: the levels of this run go up to {model_config.top:g}, and these up to {facts.high:g}. If they "
            "are not of dark images but in another unit, no figure of them means anything."
        )


def _takes_levels(model_config: ModelConfig) -> bool:
    return model_config.divided or model_config.likelihood == "discretized-logistic"


def _taken(model_config: ModelConfig) -> tuple[str, Callable[[Facts], bool]]:
    """What a pair takes, in words, and whether data are that."""
    if _takes_levels(model_config):
        return f"levels from 0 to {model_config.top:g}", lambda facts: _are_levels(facts, model_config)
    if model_config.likelihood == "bernoulli":
        return "zeros and ones", lambda facts: facts.whole and 0 <= facts.low <= facts.high <= 1
    if model_config.likelihood == "continuous-bernoulli":
        return "numbers from 0 to 1", lambda facts: 0 <= facts.low <= facts.high <= 1
    return support_of(model_config.likelihood)


def _are_levels(facts: Facts, model_config: ModelConfig) -> bool:
    """Whether they are whole up to a level above 1, and parts of 255 up to 1 where each level has a probability."""
    inside = 0 <= facts.low <= facts.high <= model_config.top
    in_parts = facts.whole or facts.top == 1 or model_config.likelihood != "discretized-logistic"
    return inside and (facts.whole if model_config.top > 1 else in_parts)


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
