"""When to leave a prediction to a person: risk against coverage, and a threshold that holds a risk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError, PairError
from pyrovae.evaluation.estimate import Mean
from pyrovae.pairs.numbers import check_share
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.plots.risk_over_coverage import plot_risk_over_coverage
from pyrovae.sampling.sampler import Sampler
from pyrovae.trust.predictions import PredictedRows, check_site, inferred, predicted, source_for


class Handover(NamedTuple):
    """Which predictions to keep so that a risk is held, and what share of all goes to a person.

    Attributes:
        threshold: keep a prediction where its confidence is above this; infinite where none may be kept.
        share: of the data that goes to a person.
        risk: the share of errors among those kept, on these data; NaN where none is kept.
    """

    threshold: float
    share: float
    risk: float

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


class SelectivePrediction(NamedTuple):
    r"""Predictions of a site, how sure each is, how wrong each was, and the risk at every coverage.

    \[ \text{risk}(k) = \frac1k \sum_{n \,\text{among the } k \text{ surest}} \ell_n, \qquad \text{area} = \frac1N
    \sum_{k=1}^N \text{risk}(k) \]

    Attributes:
        prediction: (rows, *event): the most probable class, or the mean.
        confidence: (rows,): the probability of that class, or minus the standard deviation.
        loss: (rows,): 1 for a wrong class, or the squared error; NaN where nothing was observed.
        coverage: shares of the data that are kept, surest first, (known rows,).
        risk: the mean loss of those kept.
        area: under the curve of risk against coverage: the mean risk over all coverages.
        best: the area for the same losses, if confidence had sorted them perfectly.

    Examples:
        >>> import torch
        >>> from pyrovae.trust.selective import SelectivePrediction
        >>> loss = torch.tensor([0.0, 0.0, 1.0, 0.0])
        >>> curve = SelectivePrediction.of(torch.tensor([0.9, 0.8, 0.6, 0.7]), loss)
        >>> curve.risk.tolist(), curve.area == curve.best
        ([0.0, 0.0, 0.0, 0.25], True)
    """

    prediction: torch.Tensor
    confidence: torch.Tensor
    loss: torch.Tensor
    coverage: torch.Tensor
    risk: torch.Tensor
    area: float
    best: float

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @classmethod
    def of(
        cls, confidence: torch.Tensor, loss: torch.Tensor, prediction: torch.Tensor | None = None
    ) -> SelectivePrediction:
        """From any confidence and any loss, (rows,) each; rows whose loss is NaN are left out of the curve."""
        known = ~loss.isnan()
        if confidence.shape != loss.shape or loss.ndim != 1 or not bool(known.any()):
            raise ArgumentError(
                f"confidence has shape {tuple(confidence.shape)} and loss {tuple(loss.shape)}; give one number of each "
                "for every row, and at least one loss that is known."
            )
        sure, wrong = confidence[known].double(), loss[known].double()
        coverage = torch.arange(1, len(wrong) + 1, dtype=torch.float64) / len(wrong)
        risk = _risks(sure, wrong)
        best = float(_risks(-wrong, wrong).mean())
        prediction = torch.full_like(loss, torch.nan) if prediction is None else prediction
        return cls(prediction, confidence, loss, coverage, risk, float(risk.mean()), best)

    def hand_over(self, risk: float, *, certainty: float = 0.95) -> Handover:
        r"""The fewest data that must go to a person so that those kept have a risk below `risk`.

        From the surest on, and once more from the surer half on, more and more predictions are kept, as long as so few
        errors among them would be improbable if their risk were as high as `risk`:

        \[ P\big(\text{Binomial}(k, \text{risk}) \le \text{errors}(k)\big) \le \frac{1 - \text{certainty}}{2} \]

        Tests in an order fixed beforehand, which end at the first that fails, err no more often than a single one: over
        data like these, the risk of those kept is below `risk` with probability `certainty`.

        Args:
            risk: the share of errors that is borne, between 0 and 1.
            certainty: the probability with which it is held.

        Raises:
            ArgumentError: the losses are not zeros and ones.

        References:
            Geifman and El-Yaniv, "Selective classification for deep neural networks" (2017); Angelopoulos et al.,
            "Learn then test" (2021), section 3.2.
        """
        known = ~self.loss.isnan()
        sure, wrong = self.confidence[known].double(), self.loss[known].double()
        if not bool(((wrong == 0) | (wrong == 1)).all()):
            raise ArgumentError(
                "to hold a risk, losses must be 0 or 1; say from which error on a prediction is wrong: tolerance=."
            )
        risk, certainty = check_share("risk", risk, example="0.05"), check_share("certainty", certainty)
        return _kept(sure, wrong, risk, certainty)

    def plot(self) -> Any:
        """Draw risk against coverage, and what perfect confidence and none would give.

        Returns:
            A matplotlib `Figure`.
        """
        known = self.loss[~self.loss.isnan()].double()
        perfect = _risks(-known, known)
        return plot_risk_over_coverage(self.coverage, self.risk, perfect, area=self.area, perfect_area=self.best)


@in_turn
def selective(
    pair: HasPair,
    /,
    *data: Any,
    site: str,
    truth: Any = None,
    tolerance: float | None = None,
    draws: int = 200,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> SelectivePrediction:
    """Predict an observed site from the rest of each datum, and see whether the surest predictions are the best.

    `q(z | rest)`, `p(site | z)`, averaged over draws: the most probable class and its probability, or the mean and
    the standard deviation. The guide must not look at the site: a pair whose guide takes `(x, label)` and uses `x`
    alone is one, and needs no other form for prediction. Use data that were not trained on.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        site: the site to be predicted: observed, of any kind; or, together with `truth`, a latent one such as a class.
        truth: what a latent site should have been, (rows, *event).
        tolerance: for numbers: a prediction that is off by more, in root mean square over its elements, is wrong; the
            loss is then 0 or 1, of which `hand_over` can bound the risk.
        draws: for each datum.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where several could be.
        **named: keyword arguments of model and guide.

    Returns:
        A `SelectivePrediction`.

    Raises:
        PairError: the guide looks at the site.
        ArgumentError: there is no such site.

    Examples:
        >>> import torch, pyro, pyro.distributions as dist, pyrovae as pv
        >>> def model(x, label):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("label", dist.Bernoulli(logits=3 * x), obs=label)
        >>> x = torch.linspace(-1, 1, 100)
        >>> result = pv.selective(pv.Pair(model, lambda x, label: None), x, (x > 0).float(), site="label")
        >>> result.area, result.hand_over(0.05).share
        (0.0, 0.0)
    """
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    with torch.no_grad():
        found = [_judged(rows, tolerance) for rows in _rows(sampler, site, truth, draws)]
    prediction, confidence, loss = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return SelectivePrediction.of(confidence, loss, prediction)


def _rows(sampler: Sampler, site: str, truth: Any, draws: int) -> Iterator[PredictedRows]:
    if truth is None:
        site = check_site(sampler, site)
        if source_for(sampler, site) != "rest":
            raise PairError(
                f"the guide looks at {site!r}, so that a prediction would know the answer. Write a guide that draws "
                "its sites from the other arguments alone, or make the site latent and give its values as truth=."
            )
        return predicted(sampler, site, draws, "rest")
    latent = [*sampler.structure.named("latent", local=True), *sampler.structure.named("enumerated", local=True)]
    if site not in latent:
        raise ArgumentError(
            f"site={site!r} is no latent site of single data; there are {', '.join(map(repr, latent))}."
        )
    truth = torch.as_tensor(truth)
    if truth.ndim == 0 or len(truth) != sampler.rows:
        raise ArgumentError(f"truth has shape {tuple(truth.shape)} for {sampler.rows} rows of data; give one for each.")
    return inferred(sampler, site, draws, truth)


def _judged(rows: PredictedRows, tolerance: float | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, confidence and loss of each row."""
    mean, variance, chances = _averages(rows)
    if rows.form is None:
        off = _over_elements((mean - rows.truth).square(), rows.seen)
        loss = off if tolerance is None else torch.where(off.isnan(), off, (off.sqrt() > tolerance).to(off))
        return mean, -_over_elements(variance, torch.ones_like(rows.seen)).sqrt(), loss
    if tolerance is not None:
        raise ArgumentError(f"tolerance={tolerance!r} is for numbers, and the site holds classes; leave it out.")
    if rows.form == "binary":
        chances, truth, seen = torch.stack([1 - chances, chances], -1), rows.truth.long(), rows.seen
    else:
        truth, seen = rows.truth.argmax(-1), rows.seen[..., 0]
    best, prediction = chances.max(-1)
    sure = _over_elements(best, torch.ones_like(seen))
    return prediction, sure, _over_elements((prediction != truth).to(best), seen)


def _averages(rows: PredictedRows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and variance of the draws, and the probabilities of classes: those of draws, where there are no others."""
    values, chances = Mean(), Mean()
    for part in rows.parts:
        values.add(part.draws.double())
        if part.chances is not None:
            chances.add(part.chances[None], part.weight)
    return values.mean, values.variance(), chances.mean if chances.count else values.mean


def _over_elements(values: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The mean over those elements of a row that were seen, NaN where none was."""
    values, seen = (part.reshape(len(part), -1) for part in (values, seen))
    return torch.where(seen, values, 0.0).sum(1) / seen.sum(1)


def _risks(confidence: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """The mean loss of the k surest, for each k; equal confidences share their losses, in whatever order they stand."""
    order = confidence.argsort(descending=True, stable=True)
    _, groups, sizes = confidence[order].unique_consecutive(return_inverse=True, return_counts=True)
    shared = torch.zeros(len(sizes), dtype=loss.dtype).scatter_add_(0, groups, loss[order]) / sizes
    return shared[groups].cumsum(0) / torch.arange(1, len(loss) + 1)


def _kept(sure: torch.Tensor, wrong: torch.Tensor, risk: float, certainty: float) -> Handover:
    """The longest run of surest predictions that tests from any of the starts reach."""
    from scipy.stats import binom

    order = sure.argsort(descending=True)
    sure, wrong = sure[order], wrong[order].cumsum(0)
    counts = torch.arange(1, len(sure) + 1)
    last = torch.cat([sure[1:] < sure[:-1], torch.tensor([True])])  # of equal confidences: kept or left together
    level = (1 - certainty) / 2
    failed = last & torch.from_numpy(binom.cdf(wrong.numpy(), counts.numpy(), risk) > level)
    # The first sequence starts where one error among the surest does not end it at once; the second is for a risk
    # that the surest do not fall far below either, so that many are needed to see it.
    one, none = (torch.from_numpy(binom.cdf(errors, counts.numpy(), risk) <= level) for errors in (1, 0))
    starts = one, none & (counts >= len(sure) / 2)
    place = max(_last_passed(last & start, failed) for start in starts)
    if place < 0:
        return Handover(math.inf, 1.0, math.nan)
    threshold = float(sure[place + 1]) if place + 1 < len(sure) else -math.inf
    return Handover(threshold, 1 - (place + 1) / len(sure), float(wrong[place]) / (place + 1))


def _last_passed(tested: torch.Tensor, failed: torch.Tensor) -> int:
    """Where the last test before the first that fails stands; -1 where already the first one fails."""
    passed = (tested & ((tested & failed).cumsum(0) == 0)).nonzero()
    return int(passed[-1]) if len(passed) else -1
