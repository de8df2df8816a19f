"""Sites that a guide draws from a density where the model has probabilities, or the other way round."""

from __future__ import annotations

from typing import Any

from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.trace import Traces, samples


def mixed_measures(run: Traces) -> dict[str, str]:
    """What is wrong with each such site, in words: log p - log q of it is no weight, for whatever draws."""
    model = dict(samples(run.model))
    found = {}
    for name, node in samples(run.guide):
        other = model.get(name)
        if other is None or other["is_observed"] or is_delta(node["fn"]) or is_delta(other["fn"]):
            continue
        here, there = (_is_discrete(one["fn"]) for one in (node, other))
        if here != there:
            found[name] = _words(name, node["fn"], other["fn"])
    return found


def _is_discrete(fn: Any) -> bool:
    return bool(getattr(known_support(fn), "is_discrete", False))


def _words(name: str, guide: Any, model: Any) -> str:
    q, p = (type(base_of(fn)).__name__ for fn in (guide, model))
    return (
        f"{name!r} is drawn from {q} by the guide and has {p} in the model: one is a density, the other a probability, "
        "so that log p - log q is no weight, and neither ELBO nor evidence comes of it. Take the same kind on both "
        "sides: a relaxed prior beside a relaxed guide (RelaxedOneHotCategorical), or a guide that draws or sums out "
        "the classes themselves."
    )
