"""Ranks and proper scores of observed values among draws that come in parts."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from pyrovae.trust.ranks import rank

_TOGETHER = 2**22  # numbers worked on at once

_LAGS = (
    8  # each draw is compared with so many before it; more would hardly sharpen what the draws themselves leave open
)


class Scores(NamedTuple):
    """Of each row: ranks (rows, *rest), NaN where nothing was observed; CRPS and energy score (rows,)."""

    ranks: torch.Tensor
    crps: torch.Tensor
    energy: torch.Tensor


class Scoring:
    r"""Takes draws part by part and keeps counts and sums alone.

    Both scores are fair, right in the mean for any number S of draws: P holds pairs of different draws.

    \[ \text{CRPS} = \frac1S \sum_s |x_s - x| - \frac{1}{2 |P|} \sum_{(s, t) \in P} |x_s - x_t|, \qquad
    \text{ES} = \frac1S \sum_s \lVert x_s - x \rVert - \frac{1}{2 |P|} \sum_{(s, t) \in P} \lVert x_s - x_t \rVert \]

    Args:
        truth: observed values, (rows, *rest).
        seen: which of them count.
    """

    def __init__(self, truth: torch.Tensor, seen: torch.Tensor):
        self.truth, self.seen, self.draws = truth, seen, 0
        self.below, self.equal = (torch.zeros(truth.shape, device=truth.device) for _ in range(2))
        self.near, self.apart = (torch.zeros(truth.shape, dtype=torch.float64, device=truth.device) for _ in range(2))
        self.near_norm, self.apart_norm = (
            torch.zeros(len(truth), dtype=torch.float64, device=truth.device) for _ in range(2)
        )
        self.pairs = 0
        self._last = truth[None][:0]

    def add(self, draws: torch.Tensor) -> None:
        """Take in draws, (draws, rows, *rest)."""
        for part in draws.split(max(1, _TOGETHER // max(1, draws[0].numel()))):
            self._add(part)

    def _add(self, draws: torch.Tensor) -> None:
        self.draws += len(draws)
        self.below += (draws < self.truth).sum(0)
        self.equal += (draws == self.truth).sum(0)
        error = draws - self.truth
        self.near += error.abs().sum(0)
        self.near_norm += self._norm(error).sum(0)
        before = len(self._last)
        window = torch.cat([self._last.to(error), error])
        for lag in range(1, min(_LAGS, len(window) - 1) + 1):
            start = max(before, lag)
            apart = window[start:] - window[start - lag : len(window) - lag]
            self.apart += apart.abs().sum(0)
            self.apart_norm += self._norm(apart).sum(0)
            self.pairs += len(apart)
        self._last = window[-_LAGS:]

    def _norm(self, difference: torch.Tensor) -> torch.Tensor:
        return (difference * self.seen).reshape(*difference.shape[:2], -1).norm(dim=-1)

    def scores(self) -> Scores:
        """What the draws say so far; its random numbers are those of randomised ranks."""
        ranks = rank(self.truth, self.below, self.equal, self.draws)
        pairs = 2 * self.pairs or math.nan  # a single draw says nothing of how far draws are apart
        crps = self.near / self.draws - self.apart / pairs
        energy = self.near_norm / self.draws - self.apart_norm / pairs
        number = self.seen.reshape(len(self.seen), -1).sum(1)
        crps = torch.where(self.seen, crps, 0.0).reshape(len(crps), -1).sum(1) / number  # NaN where nothing is seen
        ranks = torch.where(self.seen, ranks, torch.nan)
        return Scores(ranks.float().cpu(), crps.cpu(), torch.where(number > 0, energy, torch.nan).cpu())
