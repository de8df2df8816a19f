"""Distributions that cannot be drawn from: priors known up to a constant alone, chains without a length."""

from __future__ import annotations

import traceback
from typing import Any

import torch
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


def is_of_any_length(fn: Any) -> bool:
    """Whether a chain of equal steps (an HMM) takes series of any length, which its event says by a length of 1."""
    return type(base_of(fn)).__name__.endswith("HMM") and tuple(fn.event_shape)[:1] == (1,)


def improper_sites(run: Traces) -> list[str]:
    """The sites of a model that have such a prior.

    Parts of a `SplitReparam` are none: the whole is scored beside them.
    """
    names = [name for name, node in samples(run.model) if not node["is_observed"] and is_improper(node["fn"])]
    return [name for name in names if name.rpartition("_split_")[0] not in run.model]


def no_draws_words(error: Exception) -> str:
    """In words, what to do where a distribution cannot be drawn from; nothing where the error is another one."""
    met = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    if any(is_of_any_length(one) for one in met if isinstance(one, torch.distributions.Distribution)):
        return (
            "A chain of equal steps takes series of any length, and has none of its own to be drawn in: say it, "
            "dist.GaussianHMM(..., duration=x.shape[-2])."
        )
    if not any(isinstance(one, ImproperUniform) for one in met):
        return ""
    return (
        "Nothing can be drawn from an improper prior. An autoguide takes its first values from you, "
        "init_loc_fn=init_to_value(values={...}); figures that draw from the prior there are none, and to_arviz does "
        "without: groups=['posterior', 'log_likelihood', 'observed_data']."
    )
