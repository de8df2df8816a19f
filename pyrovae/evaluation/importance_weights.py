"""Importance weights of single data and of a whole set, and the evidence that they estimate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.evaluation.estimate import Estimate, LogMean
from pyrovae.evaluation.tied_rows import rows_are_tied
from pyrovae.evaluation.unreliable_weights import tell_of_unreliable_evidence
from pyrovae.evaluation.weight_tails import WeightTails
from pyrovae.pairs.check_room import check_room
from pyrovae.sampling.densities import densities_of, scored, scored_grid
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.unseen_rows import unseen_rows

_LOCAL_DRAWS = 16  # for each global draw; the error of a log-mean falls off fast at first

_FEWER = "Ask for fewer draws."

_LOCAL = ("latent", "auxiliary", "unguided")


def each_datum(sampler: Sampler, draws: int) -> Estimate:
    """The evidence of each datum; where the guide's draws stand badly for the posterior, that is told."""
    parts = list(_by_rows(sampler, draws))
    tell_of_unreliable_evidence(torch.cat([part.khat for part in parts]))
    return joined([part.evidence for part in parts])


class _OfRows(NamedTuple):
    """The evidence of each datum of a tile of rows, the tails of its weights, and log p(w) / q(w) of the first draw."""

    evidence: Estimate
    khat: torch.Tensor
    common: float


def _by_rows(sampler: Sampler, draws: int) -> Iterator[_OfRows]:
    for tiles in sampler.tiles_by_rows(draws, "scored"):
        mean, tails, common = LogMean(), WeightTails(draws), 0.0
        unseen: torch.Tensor | None = None
        for tile in tiles():
            densities = densities_of(tile)
            weights = densities.log_weights.cpu()
            mean.add(weights)
            tails.add(weights)
            common, rows = float((densities.global_model - densities.global_guide)[0]), tile.rows
            unseen = unseen_rows(sampler, tile, unseen)
        assert unseen is not None  # there is a draw
        found = checked(mean.estimate(), rows)
        # Of nothing the probability is 1, whatever the weights of a guide that is far from the prior say.
        yield _OfRows(
            Estimate(found.value.masked_fill(unseen, 0.0), found.error.masked_fill(unseen, 0.0)),
            tails.khat().masked_fill(unseen, -math.inf),
            common,
        )


def row_weights(sampler: Sampler, draws: int) -> Iterator[tuple[range, torch.Tensor]]:
    """All log weights of each datum, (draws, rows), tile by tile of rows."""
    for rows, parts in groupby(scored(sampler, draws), key=attrgetter("rows")):
        check_room(8 * draws * len(rows), f"all weights of {len(rows):,} rows", _FEWER)
        yield rows, torch.cat([part.densities.log_weights.cpu() for part in parts])


def of_the_set(sampler: Sampler, draws: int | tuple[int, int]) -> Estimate:
    r"""The evidence of all data together.

    Given w the data are independent, and each has an unbiased estimate of its own:

    \[ p(x) = \mathbb E_{q(w)}\Big[\frac{p(w)}{q(w)} \prod_n p(x_n \mid w)\Big], \qquad
    p(x_n \mid w) \approx \frac1L \sum_l \frac{p(x_n, z_{nl} \mid w)}{q(z_{nl} \mid x_n, w)} \]
    """
    shared, inner = global_and_local(draws)
    tied = bool(sampler.found.shared_last) or rows_are_tied(sampler)
    if not sampler.global_sites and not tied:
        return _independent(sampler, shared)
    local = any(site.local and site.role in _LOCAL for site in sampler.structure.sites.values())
    # What is observed, or summed out, for all rows together ties them, and leaves no datum an evidence of its own.
    if tied or not local or sampler.structure.named("enumerated", local=False):
        terms = joint_weights(sampler, shared)
    else:
        terms = _on_a_grid(sampler, shared, inner)
    mean, tails = LogMean(), WeightTails(shared)
    mean.add(terms)
    tails.add(terms[:, None])
    found = checked(mean.estimate(), None)
    tell_of_unreliable_evidence(tails.khat()[0])
    return found


def global_and_local(draws: Any) -> tuple[int, int]:
    """How many global draws, and how many local ones for each: two numbers, or the first alone."""
    if not isinstance(draws, tuple | list):
        return draws, _LOCAL_DRAWS
    if len(draws) != 2:
        raise ArgumentError(
            f"{argument('draws', draws)}; give one whole number, or two: of global draws, and of local ones."
        )
    return draws[0], draws[1]


def _independent(sampler: Sampler, draws: int) -> Estimate:
    """Without sites that data share, evidences add up, and so do their variances."""
    parts = list(_by_rows(sampler, draws))
    tell_of_unreliable_evidence(torch.cat([part.khat for part in parts]))
    whole = joined([part.evidence for part in parts])
    return Estimate(whole.value.sum() + parts[0].common, whole.error.square().sum().sqrt())


def joint_weights(sampler: Sampler, draws: int) -> torch.Tensor:
    """log p(x, z, w) - log q(z, w | x) of all data together, (draws,)."""
    check_room(16 * draws, "the weights of the whole set", _FEWER)
    totals, common = torch.zeros(draws, dtype=torch.float64), torch.zeros(draws, dtype=torch.float64)
    for part in scored(sampler, draws):
        here, densities = slice(part.draws.start, part.draws.stop), part.densities
        totals[here] += densities.log_weights.cpu().sum(1)
        common[here] = (densities.global_model - densities.global_guide).cpu()
    return totals + common


def _on_a_grid(sampler: Sampler, shared: int, local: int) -> torch.Tensor:
    """log p(w) / q(w) and the estimates of the data's evidence given w, one sum for each w."""
    check_room(16 * shared, "the weights of the whole set", _FEWER)
    totals, common = torch.zeros(shared, dtype=torch.float64), torch.zeros(shared, dtype=torch.float64)
    for (_, place), pieces in groupby(scored_grid(sampler, shared, local), key=attrgetter("rows", "part")):
        mean = LogMean()
        for piece in pieces:
            mean.add(piece.densities.log_weights.cpu())
            common[place] = (piece.densities.global_model - piece.densities.global_guide)[0].cpu()
        totals[place] += mean.estimate().value.sum()
    return totals + common


# --- weights that say nothing -------------------------------------------------------------------------
def checked(estimate: Estimate, rows: range | None) -> Estimate:
    """The estimate, if its weights were numbers and not all 0; `rows` are None for a whole set."""
    check(estimate.value, rows)
    return estimate


def check(log_means: torch.Tensor, rows: range | None) -> None:
    """Raise where the mean of the weights is 0 or no number, naming the data."""
    for bad, what in ((log_means.isnan() | (log_means == math.inf), "not a number"), (log_means == -math.inf, "0")):
        if bool(bad.any()):
            raise DataError(
                f"importance weights are all {what} {_where(bad, rows)}: the model gives every draw of the guide a "
                f"probability of {what}. Look there for values outside the likelihood's support or for a scale that "
                "went to 0, or leave those rows out."
            )


def _where(bad: torch.Tensor, rows: range | None) -> str:
    if rows is None:
        return "for the whole set"
    places = [rows.start + place for place in bad.nonzero().flatten().tolist()]
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return f"at row {', '.join(map(str, places[:3]))}{more}"


def joined(parts: Sequence[Estimate]) -> Estimate:
    """Estimates of the tiles as one."""
    return Estimate(*map(torch.cat, zip(*parts, strict=True)))
