"""Imputers side by side. Each takes a table of numbers and of classes (whole numbers from 0) and gives draws.

`impute(x, classes, draws, seed)`: x (rows, columns) with NaN for holes, `classes` how many classes a column has (0 for
numbers); the answer is (draws, rows, columns), one draw where an imputer knows only one answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next line possible
from sklearn.impute import IterativeImputer, KNNImputer

Imputer = Callable[[np.ndarray, list[int], int, int], np.ndarray]


def means(x: np.ndarray, classes: list[int], draws: int, seed: int) -> np.ndarray:
    """The column's mean, or its most frequent class."""
    filled = x.copy()
    for column, count in enumerate(classes):
        seen = x[~np.isnan(x[:, column]), column]
        put = np.bincount(seen.astype(int)).argmax() if count else seen.mean()
        filled[np.isnan(x[:, column]), column] = put
    return filled[None]


def neighbours(x: np.ndarray, classes: list[int], draws: int, seed: int) -> np.ndarray:
    """scikit-learn's KNNImputer, of ten neighbours, over standardised numbers and one-hot classes."""
    wide = _Wide(x, classes)
    return wide.back(KNNImputer(n_neighbors=10).fit_transform(wide.values))[None]


def ridge(x: np.ndarray, classes: list[int], draws: int, seed: int) -> np.ndarray:
    """scikit-learn's IterativeImputer as it is, drawn from its posterior."""
    wide = _Wide(x, classes)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten rounds are its default, converged or not
        for draw in range(min(draws, 5)):
            imputer = IterativeImputer(sample_posterior=True, random_state=seed + draw)
            found.append(wide.back(imputer.fit_transform(wide.values)))
    return np.stack(found)


def ridge_mean(x: np.ndarray, classes: list[int], draws: int, seed: int) -> np.ndarray:
    """The same without draws."""
    wide = _Wide(x, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wide.back(IterativeImputer(random_state=seed).fit_transform(wide.values))[None]


def forests(x: np.ndarray, classes: list[int], draws: int, seed: int) -> np.ndarray:
    """Chained forests after missForest: five rounds of a forest for each column, of its trees' leaves one a draw."""
    filled, holes = means(x, classes, 1, seed)[0], np.isnan(x)
    options = {"n_estimators": 50, "random_state": seed, "n_jobs": 1, "min_samples_leaf": 3}
    order = [column for column in holes.sum(0).argsort() if holes[:, column].any()]
    whole = np.repeat(filled[None], draws, 0)
    for last in (*[False] * 4, True):
        for column in order:
            here = holes[:, column]
            others = np.delete(_one_hot(filled, classes, column), [], 1)
            maker = RandomForestClassifier if classes[column] else RandomForestRegressor
            forest = maker(**options).fit(others[~here], x[~here, column])
            filled[here, column] = forest.predict(others[here])
            if last:
                whole[:, here, column] = _of_trees(forest, others[here], draws, seed)
    return np.concatenate([filled[None], whole])  # the forest's own answer first, then draws


def _of_trees(forest: object, rows: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """What single trees say: a spread, though none of the noise within a leaf."""
    chosen = np.random.default_rng(seed).integers(len(forest.estimators_), size=draws)
    said = np.stack([forest.estimators_[one].predict(rows) for one in chosen])
    return forest.classes_[said.astype(int)] if hasattr(forest, "classes_") else said


def _one_hot(x: np.ndarray, classes: list[int], without: int) -> np.ndarray:
    parts = [
        np.eye(count)[x[:, column].astype(int)] if count > 2 else x[:, [column]]
        for column, count in enumerate(classes)
        if column != without
    ]
    return np.concatenate(parts, 1)


# --- factor analysis ------------------------------------------------------------------------------------
def factors(x: np.ndarray, classes: list[int], draws: int, seed: int) -> np.ndarray:
    """EM factor analysis: x = W z + mean + noise, exact given what is there; as many factors as hidden cells choose."""
    wide = _Wide(x, classes)
    values, noise = wide.values, np.random.default_rng(seed)
    test = (noise.random(values.shape) < 0.1) & ~np.isnan(values)
    held = np.where(test, np.nan, values)
    sizes = [size for size in (1, 2, 4, 8, 16) if size < values.shape[1]]
    errors = []
    for size in sizes:
        fitted = _em(held, size, noise)
        errors.append(np.square(_conditional(held, *fitted)[0] - values)[test].mean())
    fitted = _em(values, sizes[int(np.argmin(errors))], noise)
    mean, draw = _conditional(values, *fitted, noise=noise, draws=draws)
    return np.stack([wide.back(one) for one in (mean, *draw)])


def _em(x: np.ndarray, size: int, noise: np.random.Generator, rounds: int = 60) -> tuple:
    seen = ~np.isnan(x)
    zero = np.where(seen, x, 0.0)
    columns = x.shape[1]
    weight, mean, variance = noise.normal(0, 0.3, (columns, size)), np.nanmean(x, 0), np.nanvar(x, 0) + 1e-3
    for _ in range(rounds):
        z, covariance = _factors_of(zero, seen, weight, mean, variance)
        one = np.concatenate([z, np.ones((len(x), 1))], 1)
        second = one[:, :, None] * one[:, None, :]
        second[:, :size, :size] += covariance
        left = np.einsum("nd,nij->dij", seen, second) + 1e-6 * np.eye(size + 1)
        right = np.einsum("nd,ni->di", np.where(seen, zero, 0.0), one)
        solved = np.linalg.solve(left, right[..., None])[..., 0]
        weight, mean = solved[:, :size], solved[:, size]
        fit = np.einsum("di,nij,dj->nd", solved, second, solved)
        residual = np.where(seen, zero**2 - 2 * zero * (one @ solved.T) + fit, 0.0)
        variance = np.maximum(residual.sum(0) / np.maximum(seen.sum(0), 1), 1e-4)
    return weight, mean, variance


def _factors_of(zero, seen, weight, mean, variance) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances of z given what is seen."""
    scaled = np.where(seen, 1 / variance, 0.0)
    precision = np.eye(weight.shape[1]) + np.einsum("nd,di,dj->nij", scaled, weight, weight)
    covariance = np.linalg.inv(precision)
    off = np.einsum("nd,di->ni", scaled * (zero - mean), weight)
    return np.einsum("nij,nj->ni", covariance, off), covariance


def _conditional(x, weight, mean, variance, noise=None, draws=0) -> tuple[np.ndarray, list[np.ndarray]]:
    """The holes' means given what is there, and draws."""
    seen = ~np.isnan(x)
    z, covariance = _factors_of(np.where(seen, x, 0.0), seen, weight, mean, variance)
    found = []
    for _ in range(draws):
        drawn = z + np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), noise.normal(size=z.shape))
        found.append(np.where(seen, x, drawn @ weight.T + mean + noise.normal(size=x.shape) * np.sqrt(variance)))
    return np.where(seen, x, z @ weight.T + mean), found


class _Wide:
    """Numbers standardised and classes one-hot, and the way back."""

    def __init__(self, x: np.ndarray, classes: list[int]):
        self.classes, self.center, self.spread = classes, np.nanmean(x, 0), np.nanstd(x, 0) + 1e-12
        parts = []
        for column, count in enumerate(classes):
            if count:
                hot = (x[:, [column]] == np.arange(count)).astype(float)
                parts.append(np.where(np.isnan(x[:, [column]]), np.nan, hot))
            else:
                parts.append((x[:, [column]] - self.center[column]) / self.spread[column])
        self.values = np.concatenate(parts, 1)
        self.seen = x

    def back(self, wide: np.ndarray) -> np.ndarray:
        """Columns again; of classes the largest."""
        found, start = [], 0
        for column, count in enumerate(self.classes):
            part = wide[:, start : start + max(count, 1)]
            found.append(part.argmax(1) if count else part[:, 0] * self.spread[column] + self.center[column])
            start += max(count, 1)
        return np.where(np.isnan(self.seen), np.stack(found, 1), self.seen)


IMPUTERS: dict[str, Imputer] = {
    "means": means,
    "10 neighbours": neighbours,
    "ridge, chained": ridge_mean,
    "ridge, chained, draws": ridge,
    "forests, chained": forests,
    "factor analysis": factors,
}
