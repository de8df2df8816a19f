"""Rows that a table's density finds improbable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import OutlierMixin

from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.numbers import as_number
from pyrovae.tables.estimators.table_estimator import TableEstimator

_COMPLETIONS = 10  # of a row with holes: its score is off by a third of what one completion is off by


class VAEOutlierDetector(OutlierMixin, TableEstimator):
    r"""Rows of small evidence are outliers: \( \log p(x) < \text{offset} \).

    The offset is the quantile of the training rows' scores at `contamination`. The score of a row with holes is the
    evidence of the row completed, averaged over its imputations, \( \mathbb E_{p(x_h \mid x_o)} \log p(x_o, x_h) \):
    the evidence of what is there alone is larger the less is there.

    Args:
        pair: a function of the schema that returns a pair of its rows; left out, `recipes.table_vae`.
        latent: dims of z, where `pair` is left out.
        kinds: of columns by name (of an array by number), or one for all; left out, guessed: see `tables.schema`.
        epochs: passes over the rows; left out, 100, within 300 to 3,000 steps.
        batch_size: rows in a batch.
        learning_rate: of Adam.
        draws: of the latents for each row.
        contamination: the share of training rows that are called outliers, above 0 and up to 0.5.
        random_state: a seed, a `RandomState`, or None for numpy's global generator, as everywhere in scikit-learn.

    Attributes:
        offset_: the score below which a row is an outlier.

    Examples:
        >>> import pyrovae as pv
        >>> from sklearn.datasets import load_iris
        >>> model = pv.estimators.VAEOutlierDetector(latent=2, epochs=5, contamination=0.1, random_state=0)
        >>> int((model.fit_predict(load_iris().data) == -1).sum())
        15
    """

    def __init__(
        self,
        *,
        pair: Any = None,
        latent: int = 8,
        kinds: Any = None,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        draws: int = 100,
        contamination: float = 0.1,
        random_state: Any = None,
    ):
        super().__init__(
            pair=pair, latent=latent, kinds=kinds, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
            draws=draws, random_state=random_state,
        )  # fmt: skip
        self.contamination = contamination

    def score_samples(self, X: Any) -> np.ndarray:
        """The score of each row, in nats; the smaller, the stranger."""
        return self._scores(self._rows(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """The score less the offset: negative for outliers."""
        scores = self.score_samples(X)
        return np.subtract(scores, self.offset_, out=scores, where=np.isfinite(scores))

    def predict(self, X: Any) -> np.ndarray:
        """1 for inliers, -1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _fitted(self, X: Any, sample_weight: Any) -> tuple[torch.Tensor, np.ndarray]:
        share = as_number(self.contamination)
        if share is None or not 0 < share <= 0.5:
            raise ArgumentError(f"contamination={self.contamination!r}; give a share above 0 and up to 0.5.")
        x, weights = super()._fitted(X, sample_weight)
        scores = self._scores(x)
        if np.isneginf(scores).all():
            raise DataError("the pair gives no row of the table a probability above 0, so that none is more usual.")
        order = scores.argsort()
        shares = weights[order].cumsum() / weights.sum()
        # The first row that is none of the share; sums of weights are off by their last bits.
        place = np.searchsorted(shares, share * (1 + 1e-9), side="right")
        self.offset_ = float(scores[order[min(place, len(order) - 1)]])
        return x, weights

    def _scores(self, x: torch.Tensor) -> np.ndarray:
        holed, scores = x.isnan().any(1), np.empty(len(x))
        for here, score in ((~holed, self._evidence), (holed, self._completed_evidence)):
            if here.any():
                scores[here] = _score_or_least(score, x[here])
        return scores

    def _completed_evidence(self, x: torch.Tensor) -> np.ndarray:
        full = self._completed(x, _COMPLETIONS, self._seed)
        return self._evidence(full.flatten(0, 1)).reshape(len(full), -1).mean(0)


def _score_or_least(score: Callable[[torch.Tensor], np.ndarray], x: torch.Tensor) -> np.ndarray:
    """The scores of rows; -inf of those to which the pair gives no probability, as to 1e200 beside ones."""
    try:
        return score(x)
    except DataError:
        if len(x) == 1:
            return np.full(1, -np.inf)
        return np.concatenate([_score_or_least(score, part) for part in x.tensor_split(2)])
