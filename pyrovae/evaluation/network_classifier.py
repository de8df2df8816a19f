"""A small network that tells two kinds of rows apart, stopped before it learns them by heart."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from pyrovae.pairs.looks.isolation import forked_random

_HIDDEN = 64

_STEPS = 3_000  # at most; a loss that does not fall any more ends it long before

_LOOK = 50  # steps between two looks at the held-out rows

_PATIENCE = 6  # looks

_BATCH = 256

_HELD_OUT = 0.15  # share of the rows, by which training stops

_RATE = 3e-3

_DECAY = 1e-2  # of the weights, as torch.optim.AdamW's own

_FAR = 10.0  # standard deviations: further out the network is asked at this distance


class LogOdds(nn.Module):
    r"""log odds of one kind against the other: a network beside a quadratic form of the standardised row.

    \( \log r(x) = a + b^\top u + c^\top u^2 + f(u) \), \( u = (x - m) / s \). Two normals of independent columns have
    such a log ratio without the network.

    Args:
        middle: m, of the columns.
        spread: s, of the columns.
    """

    middle: torch.Tensor
    spread: torch.Tensor

    def __init__(self, middle: torch.Tensor, spread: torch.Tensor):
        super().__init__()
        columns = len(middle)
        self.register_buffer("middle", middle)
        self.register_buffer("spread", torch.where(spread > 0, spread, torch.ones_like(spread)))
        self.quadratic = nn.Linear(2 * columns, 1)
        layers = [nn.Linear(columns, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, 1)]
        self.network = nn.Sequential(*layers)
        for last in (self.quadratic, layers[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., columns) -> (...)."""
        u = ((x - self.middle) / self.spread).clamp(-_FAR, _FAR)
        return (self.quadratic(torch.cat([u, u.square()], -1)) + self.network(u)).squeeze(-1)


def trained_log_odds(x: torch.Tensor, kind: torch.Tensor, seed: int) -> LogOdds:
    """Train one on rows (rows, columns) of two kinds, 1 and 0; no random state outside is moved."""
    with forked_random(seed), torch.inference_mode(False), torch.enable_grad():
        order = torch.randperm(len(x))
        out = max(1, round(_HELD_OUT * len(x)))
        held_out, rows = order[:out], order[out:]
        odds = LogOdds(x[rows].mean(0), x[rows].std(0))
        return _trained(odds, (x[rows], kind[rows]), (x[held_out], kind[held_out]))


def _trained(odds: LogOdds, rows: tuple[torch.Tensor, ...], held_out: tuple[torch.Tensor, ...]) -> LogOdds:
    optimiser = torch.optim.AdamW(odds.parameters(), lr=_RATE, weight_decay=_DECAY)
    best, least, bad = copy.deepcopy(odds.state_dict()), _look(odds, held_out), 0
    for step in range(1, _STEPS + 1):
        chosen = torch.randint(len(rows[0]), (_BATCH,))
        optimiser.zero_grad()
        _loss(odds, *(part[chosen] for part in rows)).backward()
        optimiser.step()
        if step % _LOOK == 0:
            now = _look(odds, held_out)
            bad = 0 if now < least else bad + 1
            if now < least:
                best, least = copy.deepcopy(odds.state_dict()), now
            if bad >= _PATIENCE:
                break
    odds.load_state_dict(best)
    return odds.requires_grad_(False)


@torch.no_grad()
def _look(odds: LogOdds, rows: tuple[torch.Tensor, ...]) -> float:
    return float(_loss(odds, *rows))


def _loss(odds: LogOdds, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(odds(x), kind)


class NetworkClassifier:
    """`LogOdds` as scikit-learn asks for classifiers.

    Args:
        seed: of its weights and batches.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def fit(self, x: np.ndarray, kind: np.ndarray) -> NetworkClassifier:
        """Train on rows of two kinds, 0 and 1."""
        rows = torch.as_tensor(x, dtype=torch.float)
        self.odds = trained_log_odds(rows, torch.as_tensor(kind, dtype=torch.float), self.seed)
        return self

    def decision_function(self, x: np.ndarray) -> Any:
        """log odds of kind 1."""
        return self.odds(torch.as_tensor(x, dtype=torch.float)).double().numpy()
