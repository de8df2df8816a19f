"""Whether single latent dimensions tell single factors of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.numbers import as_whole, check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import check_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.drawn import drawn as draws_of
from pyrovae.prediction.encode import encodings
from pyrovae.prediction.generate import only
from pyrovae.prediction.output import Output
from pyrovae.sampling.sampler import Sampler

_BINS = 20


class DCI(NamedTuple):
    """Whether a dimension tells one factor, a factor is told by one dimension, and how well all of them tell it.

    Examples:
        >>> DCI(disentanglement=1.0, completeness=1.0, informativeness=0.9).completeness
        1.0
    """

    disentanglement: float
    completeness: float
    informativeness: float


class Disentanglement(NamedTuple):
    """The three scores, 1 at best, and what they are made of, by latent dimension (named in `dims`) and factor.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.disentanglement(vae, torch.randn(99, 5), factors=torch.arange(99) % 3).dims
        ('z[0]', 'z[1]')
    """

    mig: float
    dci: DCI
    sap: float
    information: np.ndarray  # nats
    importance: np.ndarray  # each factor's sum to 1
    separability: np.ndarray
    dims: tuple[str, ...]


@in_turn
def disentanglement(
    pair: HasPair,
    /,
    *data: Any,
    factors: Any,
    classes: Iterable[int] = (),
    bins: int = _BINS,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Disentanglement:
    r"""MIG, DCI and SAP of a pair's continuous latent sites, given the factors of each datum.

    \[ \mathrm{MIG} = \frac1K \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}, \qquad
    \mathrm{SAP} = \frac1K \sum_k \big(S_{(1)k} - S_{(2)k}\big) \]

    of the two dimensions that say most of factor k. I is of one draw of q(z | x) for each datum, in `bins` bins of
    equal widths, so that a dimension of noise says nothing. S and DCI are of the posterior means, of one half of
    the rows, predicted by the other: S is R² of a line, or the accuracy of a logistic regression; DCI weighs
    `1 - entropy` of the importances in a random forest, by dimension (disentanglement, weighted by their sums) and by
    factor (completeness); informativeness is the forest's mean R² or accuracy.

    Args:
        pair: any pair with a continuous latent site of each row.
        *data: the arguments of the guide, N rows.
        factors: (N, K) or (N,), numbers.
        classes: the columns of `factors` whose order means nothing.
        bins: of each dimension, and of factors of more values.
        seed: of the draws, the halves and the forest.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of the guide.

    Returns:
        A `Disentanglement`.

    Raises:
        ArgumentError: no continuous latent site of each row.
        DataError: factors of another number of rows, not finite, or with one value alone; fewer than 20 rows.

    References:
        Chen et al., "Isolating sources of disentanglement in variational autoencoders" (2018).
        Eastwood and Williams, "A framework for the quantitative evaluation of disentangled representations" (2018).
        Kumar et al., "Variational inference of disentangled latent concepts from unlabeled observations" (2018).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> x = torch.randn(200, 5)
        >>> pv.disentanglement(vae, x, factors=x[:, :1] > 0).information.shape
        (2, 1)
    """
    bins, seed = check_count("bins", bins, least=2), check_seed(seed)
    means, draws, dims = _codes(pair, data, named, seed, data_plate)
    known = _factors(factors, len(means))
    kinds = _classes(classes, known.shape[1])
    information, entropies = _information(draws, known, bins)
    order = np.random.default_rng(seed).permutation(len(known))
    means, known = means[order], known[order]
    importance, scores = _forests(means, known, kinds, seed)
    separability = _separability(means, known, kinds)
    mig = float((_gaps(information) / entropies).mean())
    sap = float(_gaps(separability).mean())
    return Disentanglement(mig, _dci(importance, scores), sap, information, importance, separability, dims)


# --- codes and factors ------------------------------------------------------------------------------------
def _codes(pair: HasPair, data: tuple, named: dict, seed: int | None, plate: str | None):
    """Means and one draw of each datum, (rows, dims), and the names of the dims."""
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=plate)
    means = encodings(sampler, classes=False)
    drawn = only(draws_of(sampler, 1, "posterior", list(means), output=Output()), sampler) if means else {}
    columns = {
        site: [value.reshape(len(value), -1).double().numpy() for value in (encoding.mean, drawn[site])]
        for site, encoding in means.items()
    }
    if not columns:
        raise ArgumentError("the pair has no continuous latent site of each row, so that no dimension tells a factor.")
    names = [f"{site}[{place}]" for site, (mean, _) in columns.items() for place in range(mean.shape[1])]
    both = [np.concatenate(parts, 1) for parts in zip(*columns.values(), strict=True)]
    return both[0], both[1], tuple(names)


def _factors(factors: Any, rows: int) -> np.ndarray:
    given = factors.to_numpy() if hasattr(factors, "to_numpy") else torch.as_tensor(factors).cpu().numpy()
    known = given.astype(float)
    known = known.reshape(len(known), -1) if known.ndim else known.reshape(1, 1)
    if len(known) != rows:
        raise DataError(f"there are factors of {len(known):,} rows for {rows:,} rows of data; give those of each.")
    if rows < 20:
        raise DataError(f"{rows} rows are too few to tell factors apart; give 20 at least, better thousands.")
    if not np.isfinite(known).all():
        raise DataError("some factors are not finite; leave their rows out.")
    single = [column for column in range(known.shape[1]) if len(np.unique(known[:, column])) < 2]
    if single or not known.shape[1]:
        raise DataError(
            f"factor {single[0] if single else 0} has one value alone, which nothing can tell; leave it out."
        )
    return known


def _classes(classes: Iterable[int], count: int) -> list[bool]:
    columns = [as_whole(column) for column in classes]
    wrong = [column for column in columns if column is None or not 0 <= column < count]
    if wrong:
        raise ArgumentError(f"classes={list(classes)!r}; give columns of factors by number, 0 to {count - 1}.")
    return [column in columns for column in range(count)]


# --- information ------------------------------------------------------------------------------------------
def _information(codes: np.ndarray, factors: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """I(z_j; v_k), (dims, factors), and H(v_k), from counts."""
    cells = [_binned(code, bins) for code in codes.T]
    known = [_binned(factor, bins) for factor in factors.T]
    entropies = np.array([_entropy(np.bincount(factor)) for factor in known])
    joint = [[_entropy(np.bincount(cell * (factor.max() + 1) + factor)) for factor in known] for cell in cells]
    own = np.array([_entropy(np.bincount(cell)) for cell in cells])
    return np.maximum(own[:, None] + entropies - np.array(joint), 0.0), entropies


def _binned(values: np.ndarray, bins: int) -> np.ndarray:
    """The number of each value, or of its bin of equal width where there are more values than bins."""
    different, places = np.unique(values, return_inverse=True)
    if len(different) <= bins:
        return places.reshape(-1)
    low, high = np.quantile(values, (0.001, 0.999))
    edges = np.linspace(low, high, bins + 1)[1:-1]
    return np.searchsorted(edges, values, side="right")


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _gaps(scores: np.ndarray) -> np.ndarray:
    """For each factor the best dimension's score less the second's, 0 where there is none."""
    ordered = np.sort(np.concatenate([np.zeros((1, scores.shape[1])), scores]), 0)
    return ordered[-1] - ordered[-2]


# --- predictions ------------------------------------------------------------------------------------------
def _forests(codes: np.ndarray, factors: np.ndarray, kinds: list[bool], seed: int | None):
    """The importance of each dimension for each factor, and how well all of them predict it."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    # All dimensions at each split: of some alone, a dimension of noise is split as well.
    options: Any = {"n_estimators": 20, "min_samples_leaf": 5, "max_features": 1.0}
    options["random_state"] = None if seed is None else seed % 2**32
    importance, scores = [], []
    for factor, discrete in zip(factors.T, kinds, strict=True):
        forest: Any = (RandomForestClassifier if discrete else RandomForestRegressor)(**options)
        y = _labels(factor, discrete)
        forest.fit(codes[: len(y) // 2], y[: len(y) // 2])
        importance.append(forest.feature_importances_)
        scores.append(max(float(forest.score(codes[len(y) // 2 :], y[len(y) // 2 :])), 0.0))
    return np.stack(importance, 1), scores


def _separability(codes: np.ndarray, factors: np.ndarray, kinds: list[bool]) -> np.ndarray:
    """How well each dimension alone predicts each factor, by a linear model."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    codes = (codes - codes.mean(0)) / np.where(codes.std(0) > 0, codes.std(0), 1.0)
    found, half = np.zeros((codes.shape[1], factors.shape[1])), len(codes) // 2
    for k, (factor, discrete) in enumerate(zip(factors.T, kinds, strict=True)):
        y = _labels(factor, discrete)
        for j in range(codes.shape[1]):
            model: Any = LogisticRegression() if discrete else LinearRegression()
            model.fit(codes[:half, j : j + 1], y[:half])
            found[j, k] = max(float(model.score(codes[half:, j : j + 1], y[half:])), 0.0)
    return found


def _labels(factor: np.ndarray, discrete: bool) -> np.ndarray:
    return np.unique(factor, return_inverse=True)[1].reshape(-1) if discrete else factor


def _dci(importance: np.ndarray, scores: list[float]) -> DCI:
    dims, factors = importance.shape
    weights = importance.sum(1) / max(importance.sum(), 1e-12)
    by_dim = 1 - np.array([_evenness(row, factors) for row in importance])
    by_factor = 1 - np.array([_evenness(column, dims) for column in importance.T])
    return DCI(float((weights * by_dim).sum()), float(by_factor.mean()), float(np.mean(scores)))


def _evenness(shares: np.ndarray, count: int) -> float:
    """Entropy of some importances to base `count`: 0 where one has all, 1 where all have the same."""
    return _entropy(shares) / np.log(count) if count > 1 and shares.sum() > 0 else 0.0
