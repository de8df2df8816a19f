"""The one seam between this package and ArviZ's two generations: 0.x (`InferenceData`) and 1.x (`DataTree`).

Both take the same xarray data sets; what differs is the object that holds them and where the functions live.
ArviZ is imported when something is asked of it, since that takes seconds.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np


def generation() -> int:
    """0 or 1: the first number of the installed ArviZ's version."""
    return int(importlib.metadata.version("arviz").partition(".")[0])


@cache
def arviz() -> ModuleType:
    """ArviZ itself, without the greeting that 0.x warns of once a day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("arviz")


_ALIKE = 1e-3  # of log weights: in single precision terms of a thousand nats are rounded to a tenth of it


def psislw(log_weights: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed importance weights, by ArviZ.

    Args:
        log_weights: (..., draws), an array or a tensor; they need not be normalised.

    Returns:
        The smoothed log weights (..., draws), whose exponentials add up to 1 over the draws, and the shapes k (...) of
        the Pareto distributions of their tails. Where the weights are the same to a thousandth there is no tail (what
        differs may be rounding, of which a fit finds any shape), and k is -inf;
        where a tail cannot be fitted (too few draws, or ties), the weights stay as they are and k is inf.

    References:
        Vehtari et al., "Pareto smoothed importance sampling" (2024).

    Examples:
        >>> import numpy as np
        >>> weights, khat = psislw(np.random.default_rng(0).normal(size=(3, 1000)))
        >>> weights.shape, khat.shape, bool(np.allclose(np.exp(weights).sum(-1), 1))
        ((3, 1000), (3,), True)
    """
    given = np.array(log_weights, dtype=np.float64)
    rows = given.reshape(-1, given.shape[-1])
    smooth = _smoothing()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tails too short for a fit
        results = [_smoothed(row, smooth) for row in rows]
    smoothed = np.array([weights for weights, _ in results]).reshape(given.shape)
    return smoothed, np.array([shape for _, shape in results]).reshape(given.shape[:-1])


def _smoothed(row: np.ndarray, smooth: Any) -> tuple[np.ndarray, float]:
    if bool(np.ptp(row) < _ALIKE):
        return row - np.logaddexp.reduce(row), -np.inf
    weights, shape = row, np.nan
    with suppress(ValueError, IndexError):  # how 1.x says that there is no tail to fit; 0.x gives an infinite shape
        weights, shape = smooth(row)
    if np.isnan(shape):  # how 1.x says it of 25 or 26 draws
        return row - np.logaddexp.reduce(row), np.inf
    return np.asarray(weights), float(shape)


def _smoothing() -> Any:
    if generation() == 0:
        return arviz().psislw
    negated = importlib.import_module("arviz_stats.base").array_stats.psislw
    return lambda log_weights: negated(-log_weights)  # 1.x takes log-likelihoods, whose inverses are the weights


def from_groups(groups: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    """An `InferenceData` (ArviZ 0.x) or an `xarray.DataTree` (1.x).

    Args:
        groups: xarray data sets by the name of their group.
        attributes: of the whole.
    """
    if generation() == 0:
        return arviz().InferenceData(attrs=dict(attributes), **groups)
    import xarray

    root = xarray.Dataset(attrs=dict(attributes))
    return xarray.DataTree.from_dict({"/": root, **{f"/{name}": group for name, group in groups.items()}})
