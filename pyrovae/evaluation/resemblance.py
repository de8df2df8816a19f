"""How much generated data resemble real ones: a classifier, a kernel and neighbourhoods say it in different ways."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyrovae.errors import DataError
from pyrovae.evaluation.boosted_trees import boosted_trees
from pyrovae.evaluation.repeated_rows import tell_of_repeats
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed, seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.row_features import Features, observed_of_rows, rows_of
from pyrovae.sampling.sampler import Sampler

_FOLDS = 5

_PERMUTATIONS = 200

_NEIGHBOURS = 5  # as Naeem et al. (2020) recommend

_MOST = 2_000  # rows: neighbourhoods and kernels cost their square


class Classified(NamedTuple):
    """A classifier two-sample test: cross-validated accuracy (chance is 0.5), area under the ROC curve, p-value.

    Examples:
        >>> import pyrovae as pv
        >>> Classified(accuracy=0.5, area=0.5, p_value=1.0).accuracy
        0.5
    """

    accuracy: float
    area: float
    p_value: float


class Discrepancy(NamedTuple):
    """The unbiased squared maximum mean discrepancy under a Gaussian kernel, and its permutation p-value.

    Examples:
        >>> import pyrovae as pv
        >>> Discrepancy(value=0.0, p_value=1.0, bandwidth=1.0).value
        0.0
    """

    value: float
    p_value: float
    bandwidth: float


class Neighbourhoods(NamedTuple):
    """Precision and recall, density and coverage: shares of one set that lie among neighbours of the other.

    Examples:
        >>> import pyrovae as pv
        >>> Neighbourhoods(1.0, 1.0, 1.0, 1.0).coverage
        1.0
    """

    precision: float
    recall: float
    density: float
    coverage: float


class Resemblance(NamedTuple):
    """What `resemblance` found; `rows` of each kind were compared.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.resemblance(vae, torch.randn(64, 5)).rows
        64
    """

    classifier: Classified
    discrepancy: Discrepancy
    neighbourhoods: Neighbourhoods
    rows: int


@in_turn
def resemblance(
    pair: HasPair,
    /,
    *data: Any,
    site: str | None = None,
    features: Features | None = None,
    rows: int = _MOST,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Resemblance:
    r"""Compare data drawn from the model with real ones.

    \[ \text{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2 E\,k(x, y), \qquad x, x' \sim \text{data},\ y, y' \sim p(x) \]

    with a Gaussian kernel whose width is the median distance; a classifier that tells them apart by cross-validation;
    and the shares of each set inside the other's k-nearest-neighbour balls.

    Args:
        pair: any pair; its covariates are those of the data.
        *data: real data that were not trained on, the arguments of the model, N rows.
        site: the observed site to compare; left out, all observed sites that stand in the data plate, side by side.
        features: from a tensor of rows to an array (rows, features), such as the last layer of a classifier of
            yours; left out, the values themselves, each scaled by the real data's spread.
        rows: of each kind at most, chosen at random: the cost grows with their square.
        seed: of the draws.
        data_plate: the plate whose length follows the data, where several do.
        **named: keyword arguments of the model.

    Returns:
        A `Resemblance`. Each p-value is that of "real and generated data have one distribution".

    References:
        Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (2017); Gretton et al., "A kernel two-sample test"
        (2012); Kynkäänniemi et al., "Improved precision and recall metric" (2019); Naeem et al., "Reliable fidelity and
        diversity metrics" (2020).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> 0 <= pv.resemblance(vae, torch.randn(64, 5)).classifier.accuracy <= 1
        True
    """
    rows = check_count("rows", rows)
    seed = chosen_seed(seed)
    real, drawn = _both(Sampler.of(pair, data, named, seed=seed, data_plate=data_plate), site, features)
    kept = np.random.default_rng(seed_for(seed, "rows")).permutation(len(real))[:rows]
    return compare(real[kept], drawn[kept], seed=seed)


def compare(real: Any, drawn: Any, *, seed: int = 0) -> Resemblance:
    """`resemblance` of two arrays (rows, features).

    Args:
        real: an array of real rows.
        drawn: as many generated ones.
        seed: of folds and permutations.

    Examples:
        >>> import numpy as np, pyrovae as pv
        >>> rng = np.random.default_rng(0)
        >>> found = compare(rng.normal(size=(300, 2)), rng.normal(size=(300, 2)))
        >>> found.discrepancy.p_value > 0.01, found.neighbourhoods.coverage > 0.9
        (True, True)
    """
    real, drawn = np.asarray(real, dtype=np.float64), np.asarray(drawn, dtype=np.float64)
    if real.ndim != 2 or drawn.ndim != 2 or real.shape != drawn.shape:
        raise DataError(
            f"two arrays (rows, features) of one shape are compared; these are {real.shape}, {drawn.shape}."
        )
    if len(real) < 2 * _FOLDS:
        raise DataError(f"{len(real)} rows are too few to compare; give {2 * _FOLDS} at least.")
    if not (np.isfinite(real).all() and np.isfinite(drawn).all()):
        raise DataError("real or generated values are not finite; fill holes first, or give features= without them.")
    tell_of_repeats(real, drawn, "resemblance")
    return Resemblance(classified(real, drawn, seed), _discrepancy(real, drawn, seed), _near(real, drawn), len(real))


def _both(sampler: Sampler, site: str | None, features: Features | None) -> tuple[np.ndarray, np.ndarray]:
    """Real and generated rows as arrays of features."""
    sites = observed_of_rows(sampler.structure, site)
    real, drawn = (rows_of(sampler, kind, sites, features) for kind in ("posterior", "generative"))
    if features is None:
        spread = real.std(0)
        return real / np.where(spread > 0, spread, 1), drawn / np.where(spread > 0, spread, 1)
    return real, drawn


# --- three ways to compare ----------------------------------------------------------------------------
def classified(real: np.ndarray, drawn: np.ndarray, seed: int) -> Classified:
    """How well gradient-boosted trees tell two sets of rows apart: they see what moments do not, and take any scale.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> classified(rng.normal(size=(200, 2)), rng.normal(3, 1, size=(200, 2)), 0).area > 0.95
        True
    """
    from scipy.stats import norm
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    x, y = np.concatenate([real, drawn]), np.repeat([0, 1], [len(real), len(drawn)])
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed % 2**32)
    sure: Any = np.asarray(cross_val_predict(boosted_trees(seed), x, y, cv=folds, method="predict_proba"))[:, 1]
    accuracy = float(((sure > 0.5) == y).mean())
    # Under equality the count of hits is nearly normal with mean n / 2 and variance n / 4.
    return Classified(accuracy, float(roc_auc_score(y, sure)), float(norm.sf((accuracy - 0.5) * 2 * np.sqrt(len(y)))))


def _discrepancy(real: np.ndarray, drawn: np.ndarray, seed: int) -> Discrepancy:
    both = np.concatenate([real, drawn])
    squared = _squared_distances(both, both)
    width = float(np.median(squared[np.triu_indices(len(both), 1)])) or 1.0
    kernel = np.exp(-squared / width)
    np.fill_diagonal(kernel, 0.0)
    count, rng = len(real), np.random.default_rng(seed_for(seed, "permutations"))
    signs = np.repeat([1.0, -1.0], count)
    value = _mmd(kernel, signs)
    others = [_mmd(kernel, rng.permutation(signs)) for _ in range(_PERMUTATIONS)]
    p_value = (1 + sum(other >= value for other in others)) / (1 + _PERMUTATIONS)
    return Discrepancy(value, p_value, float(np.sqrt(width / 2)))


def _mmd(kernel: np.ndarray, signs: np.ndarray) -> float:
    """The unbiased estimate for two sets of one size: pairs of a set over n(n - 1), pairs across over n²."""
    count = len(signs) // 2
    product = kernel @ signs
    one = signs > 0
    total = kernel.sum(1)
    within_one, within_other = ((total + sign * product)[signs == sign].sum() / 2 for sign in (1.0, -1.0))
    across = (total - product)[one].sum() / 2
    return float((within_one + within_other) / (count * (count - 1)) - 2 * across / count**2)


def _near(real: np.ndarray, drawn: np.ndarray) -> Neighbourhoods:
    among, across = _squared_distances(real, real), _squared_distances(real, drawn)
    other = _squared_distances(drawn, drawn)
    k: int = min(_NEIGHBOURS, len(real) - 1)
    reach, other_reach = (np.take(np.partition(distances, k, axis=1), k, axis=1) for distances in (among, other))
    inside = across <= reach[:, None]  # generated (columns) inside the balls of real ones (rows)
    back = across <= other_reach[None, :]
    return Neighbourhoods(
        precision=float(inside.any(0).mean()),
        recall=float(back.any(1).mean()),
        density=float(inside.sum() / (k * len(drawn))),
        coverage=float(np.mean(across.min(1) <= reach)),
    )


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T
    return np.maximum(squares, 0.0)
