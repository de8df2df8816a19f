"""What a linear model can read off the encoding."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import check_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.encode import encode_rows

_FOLDS = 5


class Probe(NamedTuple):
    """A cross-validated score and its standard error over folds; `chance` is that of a guess without looking.

    Examples:
        >>> import pyrovae as pv
        >>> Probe(score=0.9, error=0.01, chance=0.5, kind="accuracy").kind
        'accuracy'
    """

    score: float
    error: float
    chance: float
    kind: str


@in_turn
def linear_probe(
    pair: HasPair, /, *data: Any, labels: Any, folds: int = _FOLDS, seed: int | None = 0, **named: Any
) -> Probe:
    r"""How well a linear model predicts labels from the posterior means of the local latent sites.

    \[ \hat y_n = \arg\max_c\, w_c^\top E_q[z \mid x_n] + b_c \]

    fitted on all folds but one and scored on that one. Whole-number labels are classes, scored by accuracy
    (multinomial regression); others are numbers, scored by R² (ridge regression).

    Args:
        pair: any pair with a local latent site that has a mean.
        *data: the arguments of the guide, N rows.
        labels: N classes or numbers that the pair has not seen.
        folds: of the cross-validation.
        seed: of the folds.
        **named: keyword arguments of the guide.

    Returns:
        A `Probe`.

    References:
        Alain and Bengio, "Understanding intermediate layers using linear classifier probes" (2016).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> x = torch.randn(100, 5)
        >>> pv.linear_probe(vae, x, labels=(x[:, 0] > 0).long()).kind
        'accuracy'
    """
    folds, seed = check_count("folds", folds, least=2), check_seed(seed)
    found = encode_rows(pair, data, named)
    codes = [encoding.mean.reshape(len(encoding.mean), -1).numpy() for encoding in found.values()]
    if not codes:
        raise ArgumentError("the pair has no local latent site with a mean, so there is no encoding to probe.")
    x, y = np.concatenate(codes, axis=1), torch.as_tensor(labels).cpu().numpy().reshape(-1)
    if len(y) != len(x):
        raise DataError(f"there are {len(y)} labels for {len(x)} rows; give one for each.")
    if not np.isfinite(y.astype(float)).all():
        raise DataError("some labels are not finite; leave their rows out.")
    return _score(x, y, folds, seed)


def _score(x: np.ndarray, y: np.ndarray, folds: int, seed: int | None) -> Probe:
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes, counts = np.unique(y, return_counts=True)
    discrete = y.dtype.kind in "iub"
    if discrete and (len(classes) < 2 or counts.min() < folds):
        raise DataError(
            f"the rarest of {len(classes)} classes has {counts.min()} rows: {folds} folds need {folds} of each and two "
            "classes. Choose fewer folds, or leave that class out."
        )
    model: Any = LogisticRegression(max_iter=1_000) if discrete else RidgeCV(np.logspace(-3, 3, 13))
    split = (StratifiedKFold if discrete else KFold)(
        folds, shuffle=True, random_state=None if seed is None else seed % 2**32
    )
    scores = cross_val_score(make_pipeline(StandardScaler(), model), x, y, cv=split)
    error = float(scores.std(ddof=1) / np.sqrt(folds))
    chance = float(counts.max() / counts.sum()) if discrete else 0.0
    return Probe(float(scores.mean()), error, chance, "accuracy" if discrete else "R2")
