"""What an author weights in his loss, which no figure of the model has."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from pyrovae.errors import PairError
from pyrovae.objectives.figures import author_scale, is_factor, is_part_of_q
from pyrovae.pairs.declared import declared
from pyrovae.pairs.improper import improper_sites
from pyrovae.pairs.pair import owner
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.use import Use

logger = logging.getLogger("pyrovae")

_told: weakref.WeakSet[Any] = weakref.WeakSet()  # the pairs of which it was said


class AuthorWeights(NamedTuple):
    """Sites that the author scales, those of them row by row, factors of the guide, sites whose prior is improper."""

    scaled: list[str]
    by_row: list[str]
    factors: list[str]
    improper: list[str]


def weights_in(run: Traces) -> AuthorWeights:
    """Find them in a run of the pair."""
    scales = {name: author_scale(node) for trace in run for name, node in samples(trace) if not is_factor(node)}
    scaled = {name: torch.as_tensor(scale) for name, scale in scales.items() if not _is_one(scale)}
    factors = [name for name, node in samples(run.guide) if not is_part_of_q(node)]
    by_row = [name for name, scale in scaled.items() if scale.numel() > 1]
    return AuthorWeights([*scaled], by_row, factors, improper_sites(run))


def _is_one(scale: Any) -> bool:
    scale = torch.as_tensor(scale, dtype=torch.float64)
    return scale.numel() == 1 and bool(torch.isclose(scale, torch.ones_like(scale), rtol=1e-6).all())


def tell_of_weights(use: Use, found: AuthorWeights) -> None:
    """Say once for each pair that its author's weights are not in its figures."""
    key = owner(use.pair)
    if any(found) and key not in _told:
        with suppress(TypeError):  # what cannot be remembered is told each time
            _told.add(key)
        for words in _sentences(found):
            logger.warning(words)


def _sentences(found: AuthorWeights) -> Iterator[str]:
    if found.scaled:
        yield (
            f"the pair's author scales {', '.join(map(repr, found.scaled))} (poutine.scale). The loss has these; "
            "ELBO, rate, evidence and importance weights are those of the model without them. A scale that stands for "
            "a subsample is known where it is written as one: pyro.plate(name, size, subsample_size)."
        )
    if found.factors:
        yield (
            f"the guide has a pyro.factor, or observes a site ({', '.join(map(repr, found.factors))}). That is in the "
            "loss, but no part of q: ELBO, rate, evidence and importance weights are without it."
        )
    if found.improper:
        yield (
            f"the prior of {', '.join(map(repr, found.improper))} is improper (ImproperUniform): its density is known "
            "up to a constant, and so are rate and ELBO. Differences between guides of this model stand; a sign, or "
            "another model's figure beside it, says nothing."
        )


def check_sums_over_rows(use: Use, found: AuthorWeights) -> None:
    """Refuse figures of all rows together where each row has a scale of its own, which may be how often it counts."""
    if found.by_row and not declared(use.pair, "weighs_rows"):
        raise PairError(
            f"{found.by_row[0]!r} is scaled row by row. If the scale says how often a row was seen, give the rows as "
            "often, without it: x.repeat_interleave(counts, 0). If it weights the rows in the loss alone, declare that "
            "on the model function: model.weighs_rows = True; figures of all rows are then those of the model without "
            "weights. Figures of each row (log_evidence, elbo) are so in any case."
        )
