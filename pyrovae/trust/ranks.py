"""Where a true value stands among draws, and how far from uniform such ranks may look by chance."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch

from pyrovae.pairs.numbers import check_share
from pyrovae.plots.in_words import in_words

POINTS = 20  # where the shares are compared with the diagonal: as many bins as a histogram would have

_REPEATS = 4_000  # simulated sets of uniform numbers: a level of 95 per cent is right to half a per cent

_BESIDE = 0.75  # of the larger fault: a smaller one goes unnamed, since a shift bends a curve a little, too

_MOST = 100_000  # where many curves share a band, each of them needs a level far out


class Ranks(NamedTuple):
    r"""Ranks of true values among draws, each between 0 and 1; uniform where draws and truth are of one distribution.

    \[ u_n = \frac{\#\{s : x_s < x_n\} + U_n\,(1 + \#\{s : x_s = x_n\})}{S + 1}, \qquad U_n \sim \text{Uniform}(0, 1) \]

    This is exactly uniform for any number S of draws, for discrete values, too. A heap at both ends says that the
    draws are too narrow, one in the middle that they are too wide, one at one end that they are off to a side.

    Attributes:
        values: (rows, *rest); NaN where nothing was observed.
        points: (points,), where the shares are looked at.
        share: of the values up to each point, (points, *rest); (points,) where the rest was pooled; NaN where nothing
            was observed.
        lower: of the band that holds all shares, of all curves together, with probability `level`.
        upper: of that band.
        level: of the band.

    References:
        Säilynoja, Bürkner and Vehtari, "Graphical test for discrete uniformity" (2022).

    Examples:
        >>> import torch
        >>> from pyrovae.trust.ranks import Ranks
        >>> ranks = Ranks.of(torch.rand(500, 2, generator=torch.Generator().manual_seed(0)))
        >>> ranks.share.shape, ranks.outside.tolist()
        (torch.Size([19, 2]), [False, False])
    """

    values: torch.Tensor
    points: torch.Tensor
    share: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    level: float

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @classmethod
    def of(cls, values: torch.Tensor, *, level: float = 0.95, pooled: bool = False) -> Ranks:
        """Compare ranks (rows, *rest) with the uniform distribution.

        Args:
            values: the ranks.
            level: the probability with which uniform ranks stay inside the band at all points.
            pooled: one curve for all elements of a row; they may depend on each other, rows may not. Left out, each
                element has its own, and the band is that of all of them.
        """
        level = check_share("level", level, example="0.95")
        points = torch.arange(1, POINTS, dtype=torch.float64) / POINTS
        if pooled:
            share, count = _pooled(values, points)
        else:
            below = torch.stack([_mean(values <= point, values, 0) for point in points])
            share, count = below, _fewest(values)
        curves = max(1, math.prod(share.shape[1:]))
        band = uniform_band(count, tuple(points.tolist()), 1 - (1 - level) / curves)
        # As exact as the shares: few ranks often lie on the edge, which is inside.
        lower, upper = (torch.tensor(edge, dtype=torch.float64) for edge in band)
        return cls(values, points, share, lower, upper, level)

    @property
    def outside(self) -> torch.Tensor:
        """Whether a curve leaves the band, (*rest)."""
        band = (len(self.points), *[1] * (self.share.ndim - 1))
        return ((self.share < self.lower.reshape(band)) | (self.share > self.upper.reshape(band))).any(0)

    @property
    def spread(self) -> torch.Tensor:
        """12 times the ranks' mean square from the middle, (*rest): above 1 draws are too narrow, below too wide."""
        return 12 * _mean((self.values - 0.5).square(), self.values, 0)

    @property
    def verdict(self) -> str:
        """In words, whether draws are too narrow, too wide or off to one side."""
        if bool(self.values.isnan().all()):
            return "nothing was observed"
        if not bool(self.outside.any()):
            return "uniform within the band"
        off = (self.share - self.points.reshape(-1, *[1] * (self.share.ndim - 1))).abs().amax(0)
        worst = int(off.nan_to_num(nan=0.0).argmax())
        values = self.values if self.share.ndim == 1 else self.values.reshape(len(self.values), -1)[:, worst]
        values = values[~values.isnan()] - 0.5
        middle, spread = float(values.mean()), float(values.square().mean() - 1 / 12)
        # Each in its own standard deviations under uniformity: of u - 1/2 and of its square.
        faults = {"low" if middle > 0 else "high": abs(middle) * math.sqrt(12)}
        faults["narrow" if spread > 0 else "wide"] = abs(spread) * math.sqrt(180)
        # One alone would not describe a curve that shows both.
        named = [word for word, size in faults.items() if size > _BESIDE * max(faults.values())]
        return f"draws are too {' and too '.join(named)}"


def rank(truth: torch.Tensor, below: torch.Tensor, equal: torch.Tensor, draws: int | torch.Tensor) -> torch.Tensor:
    """Randomised ranks from the number of draws below and equal to the truth."""
    uniform = torch.rand(truth.shape, dtype=torch.float64, device=truth.device)
    return (below + uniform * (1 + equal)) / (draws + 1)


def _mean(values: torch.Tensor, among: torch.Tensor, dim: int) -> torch.Tensor:
    known = ~among.isnan()
    return torch.where(known, values.double(), 0.0).sum(dim) / known.sum(dim)


def _fewest(values: torch.Tensor) -> int:
    """Of the elements that are known of any row: one that is known of none has no curve, and says nothing of others."""
    known = (~values.isnan()).sum(0)
    return int(known[known > 0].min()) if bool((known > 0).any()) else 1


def _pooled(values: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Shares over all elements, and of how many independent ranks they have the variance.

    Elements of a row go together: the variance is that between rows, as of a sample of clusters.
    """
    flat = values.reshape(len(values), -1)
    known = ~flat.isnan()
    number = known.sum(1).double()
    inside = torch.stack([((flat <= point) & known).sum(1) for point in points]).double()
    share, total = inside.sum(1) / number.sum(), number.sum().clamp(min=1)
    # Around the points, not the shares: where these stray by chance, the variance around them is too small.
    variance = (inside - points[:, None] * number).square().sum(1) / total.square()
    rows, ideal = max(1, int((number > 0).sum())), points * (1 - points)
    # Less by the estimate's own error, so that chance does not make the band too narrow.
    count = float(ideal.sum() / variance.sum().clamp(min=1e-12)) / (1 + math.sqrt(2 / rows))
    return share, round(min(max(count, rows), max(float(total), 1)))


@functools.lru_cache(maxsize=256)
def uniform_band(count: int, points: tuple[float, ...], level: float) -> tuple[list[float], list[float]]:
    """Between what shares of `count` uniform numbers lie, at all points at once with probability `level`.

    The band holds at each point the same probability; which one, simulation tells.
    """
    from scipy.stats import binom

    places = np.array(points)
    steps = np.diff(np.concatenate([[0.0], places, [1.0]]))
    repeats = min(_MOST, max(_REPEATS, round(20 / (1 - level))))
    counts = np.random.default_rng(0).multinomial(count, steps, size=repeats).cumsum(1)[:, :-1]
    rarest = np.ones(repeats)
    for column, place in zip(counts.T, places, strict=True):
        found, where = np.unique(column, return_inverse=True)  # few: looked up, not computed for each repeat
        # What lies above a point is binomial as well: one function for both tails, so that equals are equal.
        tails = 2 * np.minimum(binom.cdf(found, count, place), binom.cdf(count - found, count, 1 - place))
        rarest = np.minimum(rarest, tails[where])
    # Few counts have few tails, and many sets share the one at the quantile: rounding must not put it outside.
    tail = np.quantile(rarest, 1 - level) * (1 - 1e-9) / 2
    lower, upper = binom.ppf(tail, count, places) / count, (count - binom.ppf(tail, count, 1 - places)) / count
    return lower.tolist(), upper.tolist()
