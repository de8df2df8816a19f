"""How heavy the tails of importance weights are, from the largest of them alone: no weight but these is kept."""

from __future__ import annotations

import math

import torch

_FEWEST = 25  # draws whose tail, the largest fifth, has the five weights that a fit needs at least

_TOGETHER = 1_000  # rows fitted at once: some 20 kB each

_ALIKE = 1e-3  # of log weights: what differs by less may be rounding

_PRIOR = 10.0  # weights that the guess of a half counts for, so that a short tail says little


class WeightTails:
    r"""Shapes k of the tails of importance weights, in one pass over draws.

    A generalised Pareto distribution is fitted to the \(M = \lceil \min(K/5,\, 3\sqrt K) \rceil\) largest of K weights
    by the profile estimate of Zhang and Stephens, with k pulled to a half as by ten weights more. ArviZ's own,
    which `psis` asks and a test holds this one against (that of 0.x; 1.x fits otherwise), takes all weights of a row,
    one row at a time, and seconds to import: too much for what every `log_evidence` asks beside its figure.

    Args:
        draws: K, how many there will be.

    References:
        Zhang and Stephens, "A new and efficient estimation method for the generalized Pareto distribution" (2009).
        Vehtari et al., "Pareto smoothed importance sampling" (2024).
    """

    def __init__(self, draws: int):
        self.draws, self.size = draws, math.ceil(min(draws / 5, 3 * draws**0.5))
        self.largest: torch.Tensor | None = None  # log weights, and one more that is the end of the tail
        self.least: torch.Tensor | None = None

    def add(self, terms: torch.Tensor) -> None:
        """Take in log weights, (draws, rows)."""
        known = terms if self.largest is None or self.least is None else torch.cat([self.largest, terms])
        least = terms.amin(0) if self.least is None else torch.minimum(self.least, terms.amin(0))
        self.largest, self.least = known.topk(min(self.size + 1, len(known)), 0).values, least

    def khat(self) -> torch.Tensor:
        """Of each row; NaN where there is none to be fitted: of few draws, or where weights of the tail are equal.

        -inf where all weights are the same to a thousandth; inf where the largest alone counts.
        """
        assert self.largest is not None
        assert self.least is not None
        if self.draws < _FEWEST:
            return torch.full_like(self.least, math.nan)
        parts = [_shapes(part.T.double().flip(1)) for part in self.largest.split(_TOGETHER, 1)]
        alike = self.largest[0] - self.least < _ALIKE
        return torch.where(alike, -math.inf, torch.cat(parts))


def _shapes(logs: torch.Tensor) -> torch.Tensor:
    """Of rows of log weights, (rows, tail + 1), the smallest first."""
    weights = (logs - logs[:, -1:]).exp()
    tail = weights[:, 1:] - weights[:, :1]
    tied = (logs.diff(dim=1) == 0).any(1) | logs[:, 0].isneginf()
    fitted = _pareto_shape(tail)
    return torch.where(tied, math.nan, torch.where((tail > 0).all(1), fitted, math.inf))


def _pareto_shape(tail: torch.Tensor) -> torch.Tensor:
    """Posterior mean of k over a grid of scales, by their profile likelihood; (rows, tail), ascending."""
    count = tail.shape[1]
    grid = 30 + int(count**0.5)
    steps = 1 - (grid / (torch.arange(1, grid + 1, dtype=tail.dtype) - 0.5)).sqrt()
    quarter = tail[:, int(count / 4 + 0.5) - 1]
    scales = 1 / tail[:, -1:] + steps / (3 * quarter[:, None])  # (rows, grid)
    shapes = torch.log1p(-scales[..., None] * tail[:, None]).mean(-1)
    likelihood = count * ((-scales / shapes).log() - shapes - 1)
    scale = (likelihood.softmax(1) * scales).sum(1, keepdim=True)
    shape = torch.log1p(-scale * tail).mean(1)
    return (count * shape + _PRIOR / 2) / (count + _PRIOR)
