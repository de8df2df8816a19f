"""Whether predictions are as uncertain as they say: `calibration` of any pair, site by site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError, PairError, warn_user
from pyrovae.pairs.numbers import check_count, check_share
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.calibration_curves import draw_coverage, draw_ranks, draw_reliability
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.computed_sites import computed_of_latents, computed_words
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import whole_of
from pyrovae.trust.predictions import SOURCES, PredictedPart, PredictedRows, Source, predicted, source_for
from pyrovae.trust.proper_scores import Scores, Scoring
from pyrovae.trust.ranks import Ranks
from pyrovae.trust.reliability import Reliability, ReliabilityTally


class Calibration(NamedTuple):
    """How well the predictions of an observed site are calibrated.

    Attributes:
        source: what the site was predicted from: "rest" (of the datum, by the guide), "model" (covariates and global
            sites alone) or "residual" (its own z).
        levels: of central intervals, (levels,).
        coverage: the share of observed elements inside the interval of each level.
        error: the standard error of each share; elements of a row count as one cluster.
        pit: the probability integral transform of every element as `Ranks`, randomised, all elements pooled.
        crps: the continuous ranked probability score of each row, averaged over its elements, (rows,).
        energy: the energy score of each row as a whole, (rows,).
        reliability: of the probabilities of classes; None where the site holds numbers.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> x = truth.sample(400, seed=0)
        >>> result = pv.calibration(truth, x, draws=50, levels=(0.5, 0.9))["x"]
        >>> bool(((result.coverage - result.levels).abs() < 3 * result.error).all())
        True
    """

    source: str
    levels: torch.Tensor
    coverage: torch.Tensor
    error: torch.Tensor
    pit: Ranks
    crps: torch.Tensor
    energy: torch.Tensor
    reliability: Reliability | None

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @property
    def verdict(self) -> str:
        """In words, whether predictions are too narrow, too wide or off to one side."""
        return self.pit.verdict

    def plot(self) -> Any:
        """Draw coverage against level, the PIT's distance from uniform with its band, and reliability.

        Returns:
            A matplotlib `Figure`.
        """
        figure, axes = blank_figure(2 if self.reliability is None else 3)
        draw_coverage(axes[0], self.levels, self.coverage, self.error)
        draw_ranks(axes[1], self.pit.points, self.pit.share, self.pit.lower, self.pit.upper)
        axes[1].set(title="PIT less uniform", xlabel="PIT value")
        if self.reliability is not None:
            found = self.reliability
            known = found.count > 0
            title = f"reliability, ECE {found.expected_error:.3f} ({found.by_chance:.3f} by chance)"
            draw_reliability(axes[2], found.said[known], found.found[known], found.error[known], title=title)
        return figure


@in_turn
def calibration(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = 500,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    source: Source | None = None,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, Calibration]:
    r"""Compare what a pair predicts with what was observed: coverage, PIT, CRPS, energy score, reliability.

    An interval of level c covers an element where its randomised rank u among the draws lies within c / 2 of the
    middle; over data from the model that happens with probability c exactly, for discrete sites, too.

    \[ \text{coverage}(c) = \frac1N \sum_n \mathbf 1\big[\, |u_n - \tfrac12| \le \tfrac c2 \,\big] \]

    A prediction must not know the answer. Where the guide does not look at a site, the site is predicted by the guide
    from the rest of the datum; else from the model, as a new datum: `z ~ p(z)`, `x ~ p(x | z)`, global sites from the
    guide in both cases. Use data that were not trained on.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: for each row.
        levels: of the intervals, between 0 and 1.
        source: left out, as said above for each site. "rest" and "model" are the two; "residual" compares x with noise
            around its own z, `z ~ q(z | x)`, `x' ~ p(x | z)`: uniform if likelihood and guide fit together.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where several could be.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: Calibration}`. Masked elements count nowhere; labels of classes are compared as indicators.

    References:
        Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation" (2007); Czado et al.,
        "Predictive model assessment for count data" (2009).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> pv.calibration(truth, truth.sample(400, seed=0), draws=50)["x"].verdict
        'uniform within the band'
    """
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    return calibrations(sampler, draws, levels, source)


@torch.no_grad()
def calibrations(
    sampler: Sampler, draws: int, levels: Sequence[float], source: Source | None
) -> dict[str, Calibration]:
    """The same for a sampler."""
    draws = check_count("draws", draws)
    levels = [check_share("levels", level) for level in _as_list(levels)]
    if not levels:
        raise ArgumentError(f"levels={levels!r}; give numbers between 0 and 1, such as (0.5, 0.9).")
    if source is not None and source not in SOURCES:
        raise ArgumentError(f"source={source!r}; give one of {', '.join(map(repr, SOURCES))}, or leave it out.")
    return {
        whole_of(sampler.structure, site): _of_site(sampler, site, draws, levels, source or source_for(sampler, site))
        for site in _of_data(sampler)
    }


def _of_data(sampler: Sampler) -> list[str]:
    """Observed sites that hold data; what is computed of latents is in its own intervals always."""
    sites, computed = sampler.structure.named("observed"), computed_of_latents(sampler)
    if computed and len(computed) == len(sites):
        raise PairError(
            f"what the pair observes at {', '.join(map(repr, computed))} is computed of latents (a residual, say), "
            "so that there are no data to be calibrated against. Observe the data themselves: obs=x."
        )
    if computed:
        warn_user(computed_words(computed, "the calibration"))
    return [site for site in sites if site not in computed]


def _as_list(levels: Any) -> list[Any]:
    """One level, several, or a tensor of them."""
    levels = levels.tolist() if hasattr(levels, "tolist") else levels
    return list(levels) if isinstance(levels, Iterable) else [levels]


def _of_site(sampler: Sampler, site: str, draws: int, levels: Sequence[float], source: Source) -> Calibration:
    found: list[Scores] = []
    tally, form = ReliabilityTally(), None
    for number, rows in enumerate(predicted(sampler, site, draws, source)):
        scoring, form = Scoring(rows.truth, rows.seen), rows.form
        chances = _averaged(_scored(scoring, rows))
        with sampler.use.quietly(seed_for(sampler.seed, "ranks", site, number)):
            found.append(scoring.scores())
        if chances is not None:
            tally.add(*_said(chances, rows))
    ranks, crps, energy = (torch.cat(parts) for parts in zip(*found, strict=True))
    wanted = torch.tensor(levels, dtype=torch.float64)
    coverage, error = covered(ranks, wanted)
    reliability = tally.reliability() if form is not None else None
    return Calibration(source, wanted, coverage, error, Ranks.of(ranks, pooled=True), crps, energy, reliability)


def _scored(scoring: Scoring, rows: PredictedRows) -> Iterator[PredictedPart]:
    for part in rows.parts:
        scoring.add(part.draws)
        yield part


def _averaged(parts: Iterator[PredictedPart]) -> torch.Tensor | None:
    total, weight = None, 0
    for part in parts:
        if part.chances is not None:
            total = part.chances * part.weight + (0 if total is None else total)
            weight += part.weight
    return None if total is None else total / weight


def _said(chances: torch.Tensor, rows: PredictedRows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probability, whether it happened, and whether that is known: of a one, or of the most probable class."""
    if rows.form == "binary":
        return chances, rows.truth, rows.seen
    best, place = chances.max(-1)
    return best, rows.truth.gather(-1, place.unsqueeze(-1)).squeeze(-1), rows.seen[..., 0]


def covered(ranks: torch.Tensor, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The share of ranks within each central interval, and its standard error between rows.

    One more row of nominal variance keeps the error from being 0 where all are inside. Of no rank both are NaN.
    """
    flat = ranks.reshape(len(ranks), -1).double()
    known = ~flat.isnan()
    number = known.sum(1)
    total = number.sum()
    inside = torch.stack([(((flat - 0.5).abs() <= level / 2) & known).sum(1) for level in levels]).double()
    share = inside.sum(1) / total
    rows = (number > 0).sum().clamp(min=1)
    variance = (inside - share[:, None] * number).square().sum(1)
    variance += levels * (1 - levels) * (total / rows).square()
    return share, variance.sqrt() / total
