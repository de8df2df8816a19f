"""Whether data are of the kind that a pair was trained on: `novelty`, by several scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import torch

from pyrovae.data.rows_of_frames import rows_of_frames
from pyrovae.data.whole_leaves import whole_leaves
from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.evaluation.per_datum import check_each_datum, check_local_densities
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.in_words import in_words
from pyrovae.plots.score_histograms import draw_score_histograms
from pyrovae.sampling.densities import scored, scored_grid
from pyrovae.sampling.point_sites import point_sites
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import arguments
from pyrovae.trust.complexity import complexities, scales
from pyrovae.trust.conformal import NoveltyScore, with_p_values
from pyrovae.trust.regret import regrets

# Which end of a score is strange: the large one, or both.
SIDES = {"evidence": 1, "typicality": 2, "complexity": 1, "regret": 1, "disagreement": 1}


class Novelty(NamedTuple):
    """Scores of novelty, each as a `NoveltyScore` with its p-value; None where one was not asked for.

    Attributes:
        combined: the smallest of the other p-values, calibrated as a score of its own.
        evidence: -log p(x).
        typicality: how far log p(x) lies from its median, to either side.
        complexity: -log p(x) less the compressed size of x, in nats.
        regret: what the ELBO gains by a posterior refined for x alone.
        disagreement: the standard deviation of log p(x | w) over draws of the global sites.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> result = pv.novelty(truth, torch.full((2, 3), 9.0), calibration=truth.sample(99, seed=0))
        >>> result.flagged(alpha=0.05), result.evidence.p_value
        (tensor([True, True]), tensor([0.0100, 0.0100], dtype=torch.float64))
    """

    combined: NoveltyScore
    evidence: NoveltyScore | None = None
    typicality: NoveltyScore | None = None
    complexity: NoveltyScore | None = None
    regret: NoveltyScore | None = None
    disagreement: NoveltyScore | None = None

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    def flagged(self, alpha: float = 0.05, *, by: str = "combined") -> torch.Tensor:
        """Which data are novel, (rows,), so that of usual ones a share of `alpha` at most is flagged.

        Args:
            alpha: the rate of false alarms.
            by: the score.
        """
        one = self.by(by)
        if not isinstance(alpha, int | float) or not 1 <= alpha * (len(one.usual) + 1) < len(one.usual) + 1:
            raise ArgumentError(
                f"alpha={alpha!r} with {len(one.usual)} calibration data; give a number below 1, and for one so small "
                "1 / alpha calibration data or more."
            )
        return one.p_value <= alpha

    def by(self, score: str) -> NoveltyScore:
        """One of the scores by its name."""
        found = getattr(self, score, None) if score in self._fields else None
        if found is None:
            known = [name for name in self._fields if getattr(self, name) is not None]
            raise ArgumentError(f"there is no score {score!r} here; there are {', '.join(map(repr, known))}.")
        return found

    def plot(self) -> Any:
        """Draw each score's histogram, of the data and of the calibration data.

        Returns:
            A matplotlib `Figure`.
        """
        shown = [name for name in self._fields if getattr(self, name) is not None and name != "combined"]
        figure, axes = blank_figure(len(shown))
        for axis, name in zip(axes, shown, strict=True):
            surprise = self.by(name)
            draw_score_histograms(axis, surprise.usual, surprise.score, title=name)
        return figure


@in_turn
def novelty(
    pair: HasPair,
    /,
    *data: Any,
    calibration: Any,
    scores: Sequence[str] | None = None,
    draws: int = 50,
    shared_draws: int = 20,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Novelty:
    r"""Score how new data are to a pair, against held-out data of the usual kind.

    Evidence alone takes simple images for usual ones; the other scores look at that from other sides. Each comes with
    a conformal p-value, right for any score and any pair as long as calibration data and usual new data are drawn
    alike: flagging where p ≤ α raises false alarms at the rate α, averaged over calibration sets.

    \[ \text{evidence} = -\log \hat p(x), \quad \text{typicality} = |\log \hat p(x) - \text{median}| \]

    \[ \text{complexity} = -\log \hat p(x) - L(x), \quad
    \text{disagreement} = \operatorname{sd}_{q(w)} \log \hat p(x \mid w) \]

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows, to be judged.
        calibration: data of the usual kind that were not trained on: as for `fit`, a tensor, a tuple or a dict.
        scores: of "evidence", "typicality", "complexity", "regret" and "disagreement"; left out, all that the pair
            has but the regret, which costs some hundred times what the others cost.
        draws: of local sites for each datum (and each global draw).
        shared_draws: of the global sites, where there are any.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where several could be.
        **named: keyword arguments of model and guide.

    Returns:
        A `Novelty`.

    Raises:
        DataError: data and calibration data have other shapes or names.
        PairError: disagreement is asked for, and the pair has no global site.
        ArgumentError: regret is asked for, and the guide's local sites are discrete, or there are none.

    References:
        Nalisnick et al., "Detecting out-of-distribution inputs to deep generative models using typicality" (2019);
        Serrà et al., "Input complexity and out-of-distribution detection with likelihood-based generative models"
        (2020); Xiao et al., "Likelihood regret" (2020); Daxberger and Hernández-Lobato, "Bayesian variational
        autoencoders for unsupervised out-of-distribution detection" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> result = pv.novelty(truth, truth.sample(400, seed=1), calibration=truth.sample(400, seed=2))
        >>> 0.02 < float(result.flagged(alpha=0.05).double().mean()) < 0.08
        True
    """
    new, usual = whole_leaves(arguments(pair, data, named)), whole_leaves(rows_of_frames(pair, _as_data(calibration)))
    rows = _rows(usual)
    # All in one pass: both then meet the same draws of the global sites, as exchangeable data must.
    both = _joined(usual, new)
    sampler = Sampler.of(pair, *both, seed=seed, data_plate=data_plate)
    wanted = _wanted(sampler, scores)
    if "disagreement" in wanted and shared_draws == 1:
        raise ArgumentError("shared_draws=1: disagreement is that of two draws of the global sites at least.")
    values = _scores(sampler, wanted, *check_counts(draws=draws, shared_draws=shared_draws))
    found = with_p_values(
        {name: value[rows:] for name, value in values.items()},
        {name: value[:rows] for name, value in values.items()},
        SIDES,
    )
    return Novelty(**found)


def _wanted(sampler: Sampler, scores: Sequence[str] | None) -> list[str]:
    check_local_densities(sampler.use)
    check_each_datum(sampler)
    if not sampler.structure.named("observed"):
        raise PairError("the pair has no observed site, so that no data could be new to it.")
    # What the model alone draws outside the data plate is another one for every draw of the local sites.
    held = [name for name in sampler.global_sites if sampler.structure.sites[name].role in ("latent", "auxiliary")]
    if held:  # a point does not disagree with itself
        points = point_sites(sampler.use, sampler.use.posterior_run).common
        held = [name for name in held if name not in points]
    if scores is None:
        return [name for name in SIDES if name != "regret" and (name != "disagreement" or held)]
    scores = [scores] if isinstance(scores, str) else list(scores)
    unknown = [name for name in scores if name not in SIDES]
    if unknown or not scores:
        raise ArgumentError(f"scores={scores!r}; give some of {', '.join(map(repr, SIDES))}.")
    if "disagreement" in scores and not held:
        raise PairError(
            "disagreement is that of several draws of the global sites, and the pair has none that moves. Give it a "
            "source of epistemic uncertainty, weights with a posterior say, or leave this score out."
        )
    return [name for name in SIDES if name in scores]


@torch.no_grad()
def _scores(sampler: Sampler, wanted: list[str], draws: int, shared_draws: int) -> dict[str, torch.Tensor]:
    evidence, disagreement = _evidence(sampler, draws, shared_draws)
    made: Mapping[str, Callable[[], torch.Tensor]] = {
        "evidence": lambda: -evidence,
        "typicality": lambda: -evidence,
        "complexity": lambda: -evidence - _complexity(sampler),
        "regret": lambda: regrets(sampler),
        "disagreement": lambda: disagreement,
    }
    # What has no probability, or not even that, is as strange as can be.
    return {name: made[name]().nan_to_num(nan=torch.inf, posinf=torch.inf) for name in wanted}


def _evidence(sampler: Sampler, draws: int, shared_draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(x) of each datum, averaged over global draws, and the spread of log p(x | w) over them."""
    grid = bool(sampler.global_sites)
    if grid and not sampler.structure.named("latent", local=True):
        draws = 1  # nothing to draw for single data
    source = scored_grid(sampler, shared_draws, draws) if grid else scored(sampler, draws)
    found = []
    for _, parts in groupby(source, key=attrgetter("rows")):
        given = [
            torch.cat([piece.densities.log_weights for piece in pieces]).logsumexp(0)
            for _, pieces in groupby(parts, key=attrgetter("part"))
        ]
        found.append(torch.stack(given).cpu() - torch.tensor(float(draws)).log())
    given = torch.cat(found, 1)
    evidence = given.logsumexp(0) - torch.tensor(float(len(given))).log()
    return evidence, given.std(0) if len(given) > 1 else torch.full_like(evidence, torch.nan)


def _complexity(sampler: Sampler) -> torch.Tensor:
    levels = scales(sampler)
    parts = [complexities(sampler, tile.runs[0], levels) for tile in sampler.tiles(1)]
    return torch.cat(parts)


# --- two sets of data as one ----------------------------------------------------------------------------
def _as_data(calibration: Any) -> Any:
    return calibration if isinstance(calibration, tuple | dict) else (calibration,)


def _rows(leaves: dict[int | str, torch.Tensor]) -> int:
    return len(next(iter(leaves.values())))


def _joined(
    usual: dict[int | str, torch.Tensor], new: dict[int | str, torch.Tensor]
) -> tuple[tuple, dict[str, torch.Tensor]]:
    shapes = [{name: tuple(leaf.shape[1:]) for name, leaf in leaves.items()} for leaves in (usual, new)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"calibration data have rows of shape {shapes[0]}, the data rows of {shapes[1]} (by position or name); "
            "give both in the same form."
        )
    both = {name: torch.cat([usual[name], new[name].to(usual[name].dtype)]) for name in usual}
    args = tuple(leaf for name, leaf in both.items() if not isinstance(name, str))
    return args, {name: leaf for name, leaf in both.items() if isinstance(name, str)}
