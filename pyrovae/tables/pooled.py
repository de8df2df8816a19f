"""Rubin's rules: what a user's estimator says over several imputations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.numbers import check_share
from pyrovae.tables.imputed import Imputed


class Pooled(NamedTuple):
    """An estimate over several imputations, all () or (estimates,), in double precision.

    Attributes:
        estimate: the mean over the imputations.
        error: its standard error, from within and between the imputations.
        degrees: degrees of freedom of its t distribution.
        low: the lower end of the interval.
        high: the upper end.
        missing_information: the fraction of the information that is missing, with the `degrees` of small samples.
        names: of the estimates, where the function named them.

    Examples:
        >>> import torch, pyrovae as pv
        >>> found = pv.tables.pooled([1.0, 2.0, 3.0], lambda value: (value, 1.0))
        >>> [round(float(figure), 2) for figure in (found.estimate, found.error, found.degrees)]
        [2.0, 1.53, 6.12]
    """

    estimate: torch.Tensor
    error: torch.Tensor
    degrees: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    missing_information: torch.Tensor
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        figures = torch.stack([part.reshape(-1) for part in self[:6]], 1)
        names = self.names or [str(number) for number in range(len(figures))]
        wide = max(map(len, names))
        head = ("estimate", "error", "degrees", "low", "high", "missing")
        lines = [" " * wide + "".join(f"{word:>11}" for word in head)]
        lines += [
            f"{name:<{wide}}" + "".join(f"{one:>11.4g}" for one in row)
            for name, row in zip(names, figures.tolist(), strict=True)
        ]
        return "\n".join(lines)


def pooled(
    imputations: Iterable[Any],
    function: Callable[[Any], Any],
    *,
    complete_degrees: float | None = None,
    level: float = 0.95,
) -> Pooled:
    r"""Estimate on each imputation and put the estimates together by Rubin's rules.

    With estimates \(\hat Q_m\) and their variances \(U_m\) from M imputations,

    \[ \bar Q = \frac1M \sum_m \hat Q_m, \quad T = \bar U + \Big(1 + \frac1M\Big) B, \quad
    B = \frac1{M-1} \sum_m (\hat Q_m - \bar Q)^2, \quad \lambda = \frac{(1 + 1/M) B}{T} \]

    \[ \frac1\nu = \frac{\lambda^2}{M - 1} + \frac{\nu_c + 3}{(\nu_c + 1)\, \nu_c\, (1 - \lambda)}, \qquad
    \gamma = \frac{r + 2 / (\nu + 3)}{r + 1}, \quad r = \frac{\lambda}{1 - \lambda} \]

    and the interval is that of a t distribution with ν degrees of freedom around \(\bar Q\), of scale \(\sqrt T\). The
    fraction of missing information is γ, with these degrees of freedom, as the R package mice reports it; it counts
    what few degrees of freedom cost, too: with B next to 0 it is 2 / (ν + 3). Where no imputation differs it is 0.

    The rules are right where imputations vary by all that is not known, what the model's weights are included: a pair
    with weights as a site that all rows share draws them anew for each imputation. Imputations of a pair whose weights
    are fixed vary by less, the more so the more is missing and the fewer rows there are.

    Args:
        imputations: an `Imputed`, frames where it is of one, or complete data sets of any kind, 2 at least.
        function: complete data -> an estimate and its variance (squared standard error): two numbers, two arrays, an
            array and a covariance matrix; or an object with `params` and `bse`, such as a fit of statsmodels.
        complete_degrees: the degrees of freedom ν_c that the estimate would have if nothing were missing, rows less
            parameters of a regression. Left out, those that the object's `df_resid` says, else infinitely many.
        level: of the interval.

    Returns:
        A `Pooled`.

    References:
        Rubin, Multiple imputation for nonresponse in surveys (1987); Barnard and Rubin, "Small-sample degrees of
        freedom with multiple imputation" (1999).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> x = truth.sample(200, seed=0)
        >>> x[::3, 1] = float("nan")
        >>> drawn = pv.impute(pv.masked(truth, fill=0.0), x, draws=20, candidates=2000)
        >>> found = pv.tables.pooled(drawn, lambda full: (full[:, 1].mean(), full[:, 1].var() / 200))
        >>> bool(found.low < 0 < found.high), 0 < float(found.missing_information) < 1 / 3
        (True, True)
    """
    level = check_share("level", level)
    if complete_degrees is not None and not complete_degrees > 0:
        raise ArgumentError(
            f"complete_degrees={complete_degrees!r}; give the degrees of freedom of complete data, above 0."
        )
    found = [_Estimated.of(function(one)) for one in _sets(imputations)]
    if len(found) < 2:
        raise ArgumentError(
            f"there is {len(found)} imputation; Rubin's rules compare 2 at least: impute(..., draws=20)."
        )
    _check_alike(found)
    estimates, variances = (
        np.stack(part) for part in zip(*((one.estimate, one.variance) for one in found), strict=True)
    )
    known = [one.degrees for one in found if one.degrees is not None]
    complete = complete_degrees if complete_degrees is not None else min(known, default=math.inf)
    return _by_rubin(estimates, variances, float(complete), level)._replace(names=found[0].names)


def _sets(imputations: Any) -> Iterator[Any]:
    """Complete data, one set after the other."""
    if hasattr(imputations, "columns"):  # whose names would be taken for data sets
        raise ArgumentError(
            "there is one completed frame; Rubin's rules compare several: pooled(impute(pair, frame, draws=20), ...)."
        )
    if not isinstance(imputations, Imputed) or imputations.table is not None:
        yield from imputations.frames() if isinstance(imputations, Imputed) else imputations
        return
    sites = imputations.values
    for number in range(len(next(iter(sites.values())))):
        drawn = {site: value[number] for site, value in sites.items()}
        yield drawn if len(drawn) > 1 else next(iter(drawn.values()))


def _by_rubin(estimates: np.ndarray, variances: np.ndarray, complete: float, level: float) -> Pooled:
    from scipy.stats import t

    count = len(estimates)
    within, between = variances.mean(0), (1 + 1 / count) * estimates.var(0, ddof=1)
    if ((within == 0) & (between > 0)).any():
        raise DataError(
            "the function returned a variance of 0 for estimates that differ: give squared standard errors."
        )
    whole = within + between
    share = np.divide(between, whole, out=np.zeros_like(whole), where=whole > 0)
    # That of complete data; without end where they have infinitely many degrees.
    most = complete if complete == math.inf else complete * _information(complete) * (1 - share)
    with np.errstate(divide="ignore"):
        degrees = 1 / (share**2 / (count - 1) + 1 / np.asarray(most))
    lost = np.where(between > 0, 1 - (1 - share) * _information(degrees), 0.0)
    mean, error = estimates.mean(0), np.sqrt(whole)
    reach = error * t.ppf((1 + level) / 2, degrees)
    figures = (mean, error, degrees, mean - reach, mean + reach, lost)
    return Pooled._make((*map(torch.as_tensor, map(np.asarray, figures)), ()))


def _information(degrees: Any) -> Any:
    """Of a t distribution about where it lies, in that of a normal one."""
    return 1 - 2 / (degrees + 3)


class _Estimated(NamedTuple):
    """What a user's function says of one imputation."""

    estimate: np.ndarray
    variance: np.ndarray
    degrees: float | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Any) -> _Estimated:
        """An estimate and its variance, or a fitted object's `params` and `bse`."""
        if hasattr(given, "params") and hasattr(given, "bse"):
            degrees = getattr(given, "df_resid", None)
            estimate, variance = given.params, np.square(np.asarray(given.bse, dtype=float))
        elif isinstance(given, tuple | list) and len(given) == 2:
            (estimate, variance), degrees = given, None
        else:
            raise ArgumentError(
                f"the function returned {type(given).__name__}; it has to return an estimate and its variance, or an "
                "object with params and bse, such as a fit of statsmodels."
            )
        index = getattr(estimate, "index", ())  # of a Series; a list has a method of that name
        names = () if callable(index) else tuple(map(str, index))
        estimate, variance = np.asarray(estimate, dtype=float), np.asarray(variance, dtype=float)
        if estimate.ndim == 1 and variance.shape == (len(estimate),) * 2:
            variance = variance.diagonal()
        return cls(*_checked(estimate, variance), degrees, names)


def _checked(estimate: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if estimate.ndim > 1 or estimate.shape != variance.shape:
        raise ArgumentError(
            f"the function returned an estimate of shape {estimate.shape} and a variance of shape {variance.shape}; "
            "give two numbers, two arrays of one length, or an array and its covariance matrix."
        )
    if not np.isfinite(estimate).all() or not np.isfinite(variance).all() or (variance < 0).any():
        raise DataError(
            f"the function returned {estimate.tolist()} with the variance {variance.tolist()}: no finite numbers, or a "
            "variance below 0."
        )
    return estimate, variance


def _check_alike(found: list[_Estimated]) -> None:
    """That all imputations are about the same estimates."""
    first = found[0]
    for number, one in enumerate(found):
        if one.estimate.shape != first.estimate.shape or one.names != first.names:
            said = [answer.names or answer.estimate.shape for answer in (first, one)]
            raise DataError(
                f"imputation {number} has the estimates {said[1]}, and imputation 0 {said[0]}: rows, levels or columns "
                "that only some imputations have change what is estimated; let the function use the same for all."
            )
