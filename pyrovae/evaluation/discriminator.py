"""A calibrated classifier of real against drawn data: how real each datum looks, and what a drawn one should count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError, DataError
from pyrovae.evaluation.boosted_trees import boosted_trees
from pyrovae.evaluation.held_out_odds import (
    FOLDS,
    HeldOutOdds,
    area_under_curve,
    calibration_error,
    held_out_odds,
    kinds,
)
from pyrovae.evaluation.network_classifier import NetworkClassifier
from pyrovae.evaluation.repeated_rows import tell_of_repeats
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed, seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import of_numbers
from pyrovae.prediction.readings import rows_first
from pyrovae.prediction.rejection import bound_of, kept_shares
from pyrovae.prediction.row_features import Features, features_of, observed_of_rows, rows_of
from pyrovae.sampling.observed_arguments import observed_arguments
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile

_MOST = 2_000  # rows of each kind to train on

_LEAST = 2 * FOLDS

_ROUNDING = 1e-6  # of a loss, in nats


@dataclass(frozen=True, repr=False)
class Discriminator:
    """What `discriminator` found. All scores and figures are of rows that the classifier had not seen.

    Attributes:
        score: log p_real(x) / p_drawn(x) of each datum, (rows,): below 0 it looks drawn.
        draws: `{site: (rows, *event)}`, the drawn data that it learnt from.
        draw_score: the same ratio of each of them.
        weights: what each of them counts, p_real / p_drawn with mean 1: a mean over the draws with these weights is one
            over real data.
        ess: how many draws without weights these are worth.
        area: under the ROC curve, real against drawn; 0.5: they cannot be told apart.
        area_after: the same after rejection, by a classifier that is trained anew; NaN where too few are left.
        acceptance: the share of draws that rejection keeps.
        loss: mean log loss in nats before calibration, held out; guessing costs log 2 = 0.693.
        own_loss: the same on the rows that it was trained on: far below `loss` where it has learnt them by heart.
        calibration_error: the mean distance between its probabilities and the shares of real rows.
        classifier: which one: by held-out loss the better of "NetworkClassifier" and "HistGradientBoostingClassifier",
            or the caller's.
        verdict: in words, whether it is to be believed.
        bound: the log ratio from which on rejection keeps every draw.
    """

    score: torch.Tensor
    draws: Mapping[str, torch.Tensor]
    draw_score: torch.Tensor
    area: float
    area_after: float
    acceptance: float
    loss: float
    own_loss: float
    calibration_error: float
    verdict: str
    bound: float
    _odds: HeldOutOdds = field(compare=False)
    _reading: _RowReading = field(compare=False)

    @property
    def classifier(self) -> str:  # noqa: D102 - described above
        return self._odds.name

    @property
    def overfitted(self) -> bool:
        """Whether it is worse than guessing on rows that it has not seen."""
        return self._odds.overfitted

    @property
    def weights(self) -> torch.Tensor:  # noqa: D102 - described above
        return torch.softmax(self.draw_score, 0) * len(self.draw_score)

    @property
    def ess(self) -> float:  # noqa: D102 - described above
        return float(self.weights.sum().square() / self.weights.square().sum())

    def log_ratio(self, *data: Any, **named: Any) -> torch.Tensor:
        """log p_real(x) / p_drawn(x) of other data, arguments of the pair, (rows,)."""
        sampler = Sampler.of(self._reading.pair, data, named, seed=0, data_plate=self._reading.data_plate)
        return torch.from_numpy(self._odds.of(self._reading.rows(sampler)))

    def of_tile(self, sampler: Sampler, tile: Tile) -> torch.Tensor:
        """The same of a tile of draws, (draws, rows)."""
        found = self._reading.tile(sampler, tile)
        return torch.from_numpy(self._odds.of(found.reshape(-1, found.shape[-1])).reshape(found.shape[:2]))

    def __repr__(self) -> str:
        """Figures in words."""
        figures = {
            "score": of_numbers(self.score),
            "weights": f"{of_numbers(self.weights)}, worth {self.ess:,.0f} draws",
            "area": f"{self.area:.3f}; after rejection, which keeps {self.acceptance:.1%}: {self.area_after:.3f}",
            "calibration": f"{self.calibration_error:.3f} off",
            "classifier": self.classifier,
        }
        lines = [f"  {name:<11}  {words}" for name, words in figures.items()]
        return "\n".join([f"Discriminator: {self.verdict}", *lines])


@dataclass(frozen=True)
class _RowReading:
    """How rows are read: of which pair, which sites and covariates, by which features."""

    pair: HasPair
    data_plate: str | None
    sites: Sequence[str]
    covariates: Sequence[int | str]
    features: Features | None

    def rows(self, sampler: Sampler) -> np.ndarray:
        return _finite(rows_of(sampler, "posterior", self.sites, self.features, self.covariates))

    def tile(self, sampler: Sampler, tile: Tile) -> np.ndarray:
        return _finite(features_of(sampler, tile, self.sites, self.features, self.covariates))


@in_turn
def discriminator(
    pair: HasPair,
    /,
    *data: Any,
    site: str | None = None,
    features: Features | None = None,
    classifier: Any = None,
    rows: int = _MOST,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Discriminator:
    r"""Train a classifier that tells real data from drawn ones, and calibrate it: an estimate of their density ratio.

    \[ \log r(x) = \log \frac{p_{\text{real}}(x)}{p_{\text{drawn}}(x)} = a \cdot \operatorname{logit} D(x) + b \]

    D is trained on as many real as drawn rows, in five folds; a and b make the odds of held-out rows right (Platt).
    Where the pair has covariates, they stand beside the values in both kinds, so that r(x | c) is meant.

    Args:
        pair: any pair; a flat table, images, several sites.
        *data: real data, the arguments of the model, N rows. Rows that the pair was trained on look more real to it.
        site: the observed site to look at; left out, all of those that stand in the data plate, side by side.
        features: from a tensor of rows to an array (rows, features), for images the last layer of a network of yours;
            left out, the values themselves.
        classifier: any of scikit-learn's, or an object with `fit` and `predict_proba` or `decision_function`; left out,
            of a small network and boosted trees the one with the lower held-out loss.
        rows: of each kind at most to train on, chosen at random. Every datum is scored.
        seed: of draws, folds and classifiers.
        data_plate: the plate whose length follows the data, where several do.
        **named: keyword arguments of the model.

    Returns:
        A `Discriminator`, which `generate(..., discriminator=)` takes. It is no density: no evidence follows from it.

    References:
        Sugiyama et al., "Density ratio estimation in machine learning" (2012); Azadi et al., "Discriminator rejection
        sampling" (2019); Grover et al., "Bias correction of learned generative models" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> from sklearn.linear_model import LogisticRegression
        >>> truth = pv.truth.LinearGaussian(torch.eye(2, 1), torch.zeros(2), 0.5)
        >>> found = pv.discriminator(truth, truth.sample(200) + 3.0, classifier=LogisticRegression())
        >>> found.area > 0.9, bool(found.log_ratio(torch.full((1, 2), 5.0)) > 0)
        (True, True)
    """
    rows = check_count("rows", rows)
    seed = chosen_seed(seed)
    _candidates(classifier, seed)  # which refuses what is none
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    sites = observed_of_rows(sampler.structure, site)
    held = observed_arguments(sampler)
    covariates = [key for key in next(sampler.row_tiles())[0].leaves if key not in held]
    reading = _RowReading(pair, data_plate, sites, covariates, features)
    return _of_rows(sampler, reading, classifier, rows, seed)


def _of_rows(sampler: Sampler, reading: _RowReading, classifier: Any, rows: int, seed: int) -> Discriminator:
    real, (drawn, draws) = reading.rows(sampler), _drawn(sampler, reading)
    chosen = np.random.default_rng(seed_for(seed, "rows")).permutation(len(real))[:rows]
    if len(chosen) < _LEAST:
        raise DataError(f"{len(chosen)} rows are too few to train a classifier on; give {_LEAST} at least.")
    both = real[chosen], drawn[chosen]
    tell_of_repeats(*both, "discriminator")
    odds = _best(_candidates(classifier, seed), *both, seed)
    score = odds.of(real)
    score[chosen] = odds.odds[: len(chosen)]
    return _found(odds, score, {name: value[chosen] for name, value in draws.items()}, both, seed, reading)


def _drawn(sampler: Sampler, reading: _RowReading) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """As many drawn rows as there are real ones, and their values."""
    rows, values = [], {name: [] for name in reading.sites}
    for tile in sampler.tiles(1, "generative"):
        rows.append(reading.tile(sampler, tile)[0])
        for name, parts in values.items():
            parts.append(rows_first(tile.value(name)[0], sampler.layout.place(("model", name)).axis).cpu())
    return np.concatenate(rows), {name: torch.cat(parts) for name, parts in values.items()}


def _found(
    odds: HeldOutOdds, score: np.ndarray, draws: dict[str, torch.Tensor], both: tuple, seed: int, reading: _RowReading
) -> Discriminator:
    kind, half = kinds(*both), len(both[0])
    drawn = torch.from_numpy(odds.odds[half:])
    bound = bound_of(drawn)
    shares = kept_shares(drawn, bound)
    kept = np.random.default_rng(seed_for(seed, "kept")).random(half) < shares.numpy()
    return Discriminator(
        score=torch.from_numpy(score),
        draws=draws,
        draw_score=drawn,
        area=area_under_curve(odds.odds, kind),
        area_after=_area_after(odds, both[0], both[1][kept], seed),
        acceptance=float(shares.mean()),
        loss=odds.loss,
        own_loss=odds.own_loss,
        calibration_error=calibration_error(odds.odds, kind),
        verdict=_verdict(odds, area_under_curve(odds.odds, kind)),
        bound=bound,
        _odds=odds,
        _reading=reading,
    )


def _area_after(odds: HeldOutOdds, real: np.ndarray, kept: np.ndarray, seed: int) -> float:
    """The area for draws that were kept, by the same kind of classifier on as many real rows."""
    if len(kept) < _LEAST:
        return math.nan
    real = real[np.random.default_rng(seed_for(seed, "after")).permutation(len(real))[: len(kept)]]
    again = held_out_odds(odds.classifier, real, kept, seed_for(seed, "after"))
    return area_under_curve(again.odds, kinds(real, kept))


def _verdict(odds: HeldOutOdds, area: float) -> str:
    """In words, whether it is to be believed."""
    held = f"log loss {odds.loss:.3f} on rows that it has not seen, {odds.own_loss:.3f} on its own"
    if odds.overfitted:
        return (
            f"overfitted: {held}, where guessing costs 0.693. It has learnt its own rows by heart; calibrated, its "
            "scores say little. Give more rows, features=, or a simpler classifier."
        )
    if odds.loss + 2 * odds.error > math.log(2) - _ROUNDING:  # all scores alike have no error
        return f"real and drawn are not told apart: {held}, where guessing costs 0.693."
    return f"told apart with an area of {area:.3f}: {held}, where guessing costs 0.693."


# --- classifiers --------------------------------------------------------------------------------------
def _candidates(classifier: Any, seed: int) -> list[Any]:
    if classifier is None:
        return [NetworkClassifier(seed_for(seed, "network")), boosted_trees(seed)]
    scores = any(hasattr(classifier, name) for name in ("predict_proba", "decision_function"))
    if isinstance(classifier, type) or not (hasattr(classifier, "fit") and scores):
        raise ArgumentError(
            f"classifier={classifier!r}; give an object with fit and with predict_proba or decision_function, such as "
            "sklearn.linear_model.LogisticRegression()."
        )
    return [classifier]


def _best(candidates: Sequence[Any], real: np.ndarray, drawn: np.ndarray, seed: int) -> HeldOutOdds:
    found = [held_out_odds(classifier, real, drawn, seed_for(seed, "folds")) for classifier in candidates]
    return min(found, key=lambda odds: odds.loss)


def _finite(rows: np.ndarray) -> np.ndarray:
    if not np.isfinite(rows).all():
        raise DataError("real or drawn values are not finite; fill holes first, or give features= without them.")
    return rows
