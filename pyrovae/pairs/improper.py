"""Priors of which there is a density up to a constant alone."""

from __future__ import annotations

import traceback
from typing import Any

from pyro.distributions import ImproperUniform

from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.trace import Traces, samples


def is_improper(fn: Any) -> bool:
    """Whether a distribution is flat without end, or made of one that is."""
    while not isinstance(fn, ImproperUniform):
        inner = getattr(base_of(fn), "base_dist", None)  # behind transforms
        if inner is None:
            return isinstance(base_of(fn), ImproperUniform)
        fn = inner
    return True


def improper_sites(run: Traces) -> list[str]:
    """The sites of a model that have such a prior.

    Parts of a `SplitReparam` are none: the whole is scored beside them.
    """
    names = [name for name, node in samples(run.model) if not node["is_observed"] and is_improper(node["fn"])]
    return [name for name in names if name.rpartition("_split_")[0] not in run.model]


def no_draws_words(error: Exception) -> str:
    """In words, what to do where a prior cannot be drawn from; nothing where the error is another one."""
    frames = traceback.walk_tb(error.__traceback__)
    if not any(isinstance(frame.f_locals.get("self"), ImproperUniform) for frame, _ in frames):
        return ""
    return (
        "Nothing can be drawn from an improper prior. An autoguide takes its first values from you, "
        "init_loc_fn=init_to_value(values={...}); figures that draw from the prior there are none, and to_arviz does "
        "without: groups=['posterior', 'log_likelihood', 'observed_data']."
    )
