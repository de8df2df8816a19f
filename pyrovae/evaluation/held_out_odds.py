"""A cross-validated classifier of two kinds of rows: calibrated log odds by models that have not seen the row."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np

from pyrovae.errors import ArgumentError

FOLDS = 5

_SURE = 1e-6  # a probability nearer to 0 or 1 is taken for this one: no finite number of rows shows more

_BINS = 10


class HeldOutOdds(NamedTuple):
    """What a classifier of two kinds is worth on rows that it has not seen.

    Attributes:
        classifier: untrained.
        models: one for each fold, trained on the others.
        slope: of the calibration, log odds = slope * raw + offset.
        offset: of the calibration.
        odds: calibrated log odds of the rows, (rows,), each by the model of its fold.
        loss: mean log loss of these before calibration, in nats.
        error: standard error of that.
        own_loss: the same of the rows that the models were trained on.
        width: how many numbers a row has.
    """

    classifier: Any
    models: list[Any]
    slope: float
    offset: float
    odds: np.ndarray
    loss: float
    error: float
    own_loss: float
    width: int

    @property
    def name(self) -> str:
        """What the classifier is called."""
        return type(getattr(self.classifier, "steps", [[self.classifier]])[-1][-1]).__name__

    @property
    def overfitted(self) -> bool:
        """Whether it is worse than guessing on rows that it has not seen, beyond chance."""
        return self.loss - 2 * self.error > math.log(2)

    def of(self, x: np.ndarray) -> np.ndarray:
        """Calibrated log odds of other rows, by all models together."""
        if x.shape[-1] != self.width:
            raise ArgumentError(
                f"the discriminator has learnt rows of {self.width} numbers, and these have {x.shape[-1]}: it is of "
                "another pair. Train one on this: pv.discriminator(pair, data)."
            )
        return self.slope * np.mean([raw_odds(model, x) for model in self.models], axis=0) + self.offset


def held_out_odds(classifier: Any, real: np.ndarray, drawn: np.ndarray, seed: int) -> HeldOutOdds:
    """Train a classifier once for each fold.

    Args:
        classifier: with `fit` and `decision_function` or `predict_proba`, as in scikit-learn; it is copied.
        real: rows (rows, features) of kind 1.
        drawn: rows of kind 0.
        seed: of the folds.
    """
    from sklearn.model_selection import StratifiedKFold

    x, kind = np.concatenate([real, drawn]), kinds(real, drawn)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32).split(x, kind)
    raw, models, own = np.empty(len(x)), [], []
    for seen, unseen in folds:
        model = copy.deepcopy(classifier).fit(x[seen], kind[seen])
        models.append(model)
        raw[unseen] = raw_odds(model, x[unseen])
        own.append(log_losses(raw_odds(model, x[seen]), kind[seen]).mean())
    slope, offset = _calibration(raw, kind)
    losses, odds = log_losses(raw, kind), slope * raw + offset
    error = float(losses.std(ddof=1) / len(losses) ** 0.5)
    own_loss = float(np.mean(own))
    return HeldOutOdds(classifier, models, slope, offset, odds, float(losses.mean()), error, own_loss, x.shape[-1])


def kinds(real: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """1 for each real row, 0 for each drawn one."""
    return np.repeat([1.0, 0.0], [len(real), len(drawn)])


def raw_odds(model: Any, x: np.ndarray) -> np.ndarray:
    """A classifier's own log odds of kind 1."""
    if hasattr(model, "predict_proba"):
        sure = np.clip(np.asarray(model.predict_proba(x), dtype=np.float64)[:, 1], _SURE, 1 - _SURE)
        return np.log(sure) - np.log1p(-sure)
    return np.asarray(model.decision_function(x), dtype=np.float64)


def log_losses(odds: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """-log of the probability that log odds give each row's kind; guessing costs log 2."""
    return np.logaddexp(0, np.where(kind > 0, -odds, odds))


def area_under_curve(odds: np.ndarray, kind: np.ndarray) -> float:
    """The area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(kind, odds))


def calibration_error(odds: np.ndarray, kind: np.ndarray) -> float:
    """The mean distance between probability and share of kind 1, over bins of as many rows each."""
    order = np.argsort(odds)
    sure = 1 / (1 + np.exp(-odds))
    parts = np.array_split(order, _BINS)
    return float(sum(len(part) * abs(sure[part].mean() - kind[part].mean()) for part in parts) / len(odds))


def _calibration(raw: np.ndarray, kind: np.ndarray) -> tuple[float, float]:
    """Platt's two numbers; odds that point the wrong way say nothing."""
    from sklearn.linear_model import LogisticRegression

    fitted: Any = LogisticRegression(C=1e6).fit(raw[:, None], kind)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (slope, offset) if slope > 0 else (0.0, 0.0)
