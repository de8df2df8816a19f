"""New data that a discriminator takes for real: draws of the model, kept by the ratio of real to drawn density."""

from __future__ import annotations

import logging
import math
from typing import Any, Protocol

import torch

from pyrovae.errors import ArgumentError, PairError, warn_user
from pyrovae.pairs.seeds import seed_for
from pyrovae.prediction.readings import Piece, SiteRequest, pieces
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile

logger = logging.getLogger("pyrovae")

_CUT = 0.01  # of the real mass at most, where the ratio lies above the bound: the bias in total variation

_AHEAD = 2.0  # draws for each row at a time, in expected tries

_TOGETHER = 64  # of them at most

_TRIES = 10_000  # draws for a row before it is given up

_WORTH = 10  # draws without weights that all draws are worth: below it the ratio hangs on a few of them


class DrawScorer(Protocol):
    """What `discriminator` returns, as far as rejection needs it."""

    @property
    def acceptance(self) -> float:
        """The share of draws that is kept."""
        ...

    @property
    def ess(self) -> float:
        """What the draws with their weights are worth."""
        ...

    @property
    def bound(self) -> float:
        """The log ratio from which on every draw is kept."""
        ...

    @property
    def overfitted(self) -> bool:
        """Whether it is worse than guessing."""
        ...

    @property
    def verdict(self) -> str:
        """In words, whether it is to be believed."""
        ...

    def of_tile(self, sampler: Sampler, tile: Tile) -> torch.Tensor:
        """log p_real / p_drawn of draws, (draws, rows)."""
        ...


def bound_of(log_ratios: torch.Tensor) -> float:
    """The least log ratio above which a hundredth of the real mass lies at most.

    Args:
        log_ratios: of drawn rows.
    """
    ratios = log_ratios.exp().sort().values
    above = ratios.flip(0).cumsum(0).flip(0) - ratios * torch.arange(len(ratios), 0, -1)  # sum of max(r - bound, 0)
    return float(ratios[int((above <= _CUT * ratios.sum()).nonzero()[0])].log())


def kept_shares(log_ratios: torch.Tensor, bound: float) -> torch.Tensor:
    """The probability by which each draw is kept."""
    return (log_ratios - bound).clamp(max=0).exp()


def rejected(sampler: Sampler, scorer: Any, request: SiteRequest) -> dict[str, torch.Tensor]:
    """For each row the first draw that is kept, rows first.

    What all rows share differs from row to row then, and is left out.
    """
    if not hasattr(scorer, "of_tile"):
        raise ArgumentError(f"discriminator={scorer!r}; give what pv.discriminator(pair, data) returns.")
    if sampler.rows is None:
        raise PairError("rejection draws for the same rows again and again; give arrays, and no stream.")
    if scorer.ess < _WORTH:
        raise PairError(_too_far_words(scorer))
    if scorer.overfitted:
        warn_user(f"the discriminator is {scorer.verdict}")
    found = _KeptRows(sampler.rows)
    together = min(_TOGETHER, math.ceil(_AHEAD / max(scorer.acceptance, 1e-9)))
    for number in range(math.ceil(_TRIES / together)):
        again = sampler.reseeded(seed_for(sampler.seed, "rejection", number))
        for tile in again.tiles(together, request.kind):
            found.add(again, tile, scorer, request)
        if found.full:
            break
    found.say()
    return found.values


_MEND = (
    "The discriminator tells the pair's draws from real data nearly always, so that there is little to keep. Train the "
    "pair further, or compare what matters: features=, another likelihood, rounded values."
)


def _too_far_words(scorer: DrawScorer) -> str:
    return f"with their weights the draws are worth {scorer.ess:.0f} real data: {scorer.verdict} {_MEND}"


class _KeptRows:
    """Values of the rows that were kept so far."""

    def __init__(self, rows: int):
        self.values: dict[str, torch.Tensor] = {}
        self.waiting = torch.ones(rows, dtype=torch.bool)
        self.tries = self.kept = 0

    @property
    def full(self) -> bool:
        return not bool(self.waiting.any())

    def add(self, sampler: Sampler, tile: Tile, scorer: DrawScorer, request: SiteRequest) -> None:
        """Take in the draws of a tile: for each row that waits the first one kept."""
        here = slice(tile.rows.start, tile.rows.stop)
        if not bool(self.waiting[here].any()):
            return
        keep = self._keep(sampler, tile, kept_shares(scorer.of_tile(sampler, tile), scorer.bound))
        self.tries, self.kept = self.tries + keep.numel(), self.kept + int(keep.sum())
        first = keep.to(torch.uint8).argmax(0)  # the first of the largest
        chosen = (keep.any(0) & self.waiting[here]).nonzero().flatten()
        for piece in pieces(sampler, [tile], request):
            self._put(piece, first, chosen)
        self.waiting[here.start + chosen] = False

    @staticmethod
    def _keep(sampler: Sampler, tile: Tile, shares: torch.Tensor) -> torch.Tensor:
        place = seed_for(sampler.seed, "kept", tile.draws.start, tile.rows.start)
        return torch.rand(shares.shape, generator=torch.Generator().manual_seed(place)) < shares

    def _put(self, piece: Piece, first: torch.Tensor, chosen: torch.Tensor) -> None:
        if piece.axis is None:  # shared by all rows
            return
        value = piece.value.movedim(piece.axis, 1)[first[chosen], chosen].cpu()
        if piece.name not in self.values:
            self.values[piece.name] = value.new_empty(len(self.waiting), *value.shape[1:])
        self.values[piece.name][piece.rows.start + chosen] = value

    def say(self) -> None:
        """Say how many draws were kept; refuse rows for which none was."""
        share = self.kept / max(self.tries, 1)
        if not self.full:
            raise PairError(f"{int(self.waiting.sum()):,} rows had no draw kept in {_TRIES:,} tries. {_MEND}")
        logger.info("rejection kept %.1f %% of %s draws.", 100 * share, f"{self.tries:,}")
