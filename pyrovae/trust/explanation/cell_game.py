"""The game whose players are cells: what a figure of each row is where only some of them are known."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, DataError, PairError, argument
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.seeds import seed_for
from pyrovae.sampling.sampler import Sampler
from pyrovae.trust.explanation.absent_cells import AbsentCells, Backgrounds, missing
from pyrovae.trust.explanation.explained_figures import ExplainedFigure
from pyrovae.trust.explanation.players import Players


class CellGame:
    """A figure of each row as a function of the cells that are known; each of them has the same random numbers.

    Args:
        sampler: of the pair.
        figure: of each row.
        leaves: the data, by place or name.
        key: which of them the cells are of.
        players: which cells come and go together.
        absent: what stands in the place of others.
        seed: of all random numbers: of the pair's draws, and of what fills cells.
        validated: whether distributions check what they are given; not so on a path between two data.
    """

    def __init__(
        self,
        sampler: Sampler,
        figure: ExplainedFigure,
        leaves: dict[int | str, Tensor],
        key: int | str,
        players: Players,
        absent: AbsentCells,
        *,
        seed: int,
        validated: bool = True,
    ):
        self.sampler, self.figure, self.leaves, self.key = sampler.reseeded(seed), figure, leaves, key
        self.players, self.absent, self.seed, self.validated = players, absent, seed_for(seed, "absent"), validated
        self._known: dict[bytes, Tensor] = {}

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.leaves[self.key])

    def value(self, mask: Tensor) -> Tensor:
        """The figure of each row where these players are known, (players,) -> (rows,)."""
        mask = mask.bool()
        place = mask.numpy().tobytes()
        if place not in self._known:
            known = self.players.cells(mask)
            filled = [self.leaves[self.key]] if bool(mask.all()) else self._filled(known)
            self._known[place] = self._mean(filled)
        return self._known[place]

    def whole(self) -> Tensor:
        """Where all are known."""
        return self.value(torch.ones(self.players.count))

    def empty(self) -> Tensor:
        """Where none is."""
        return self.value(torch.zeros(self.players.count))

    def along(self, shares: Tensor) -> Tensor:
        """The figure between a background (0) and the rows (1), (rows, players) -> (rows,), with gradients."""
        assert isinstance(self.absent, Backgrounds)
        leaf, other = self.leaves[self.key], self.absent.background(self.seed)
        between = other + self.players.cells(shares).to(leaf.dtype) * (leaf - other)
        return self._figure(torch.where(missing(leaf), leaf, between), gradients=True)

    def _filled(self, known: Tensor) -> list[Tensor]:
        if isinstance(self.absent, Backgrounds):
            return list(self.absent.filled(known, self.seed))
        try:
            return list(self.absent.filled(known, self.seed))
        except (PairError, DataError) as error:
            raise ArgumentError(
                f"explain: the pair does not say what absent cells of its rows could be ({error}), which "
                f"{argument('absent', 'imputed')} asks for. Give 'marginal', or a baseline in numbers."
            ) from error

    def _mean(self, filled: list[Tensor]) -> Tensor:
        """The figure's mean over ways to fill the rows: in one run, where the pair takes each row several times."""
        if len(filled) == 1 or not self.figure.any_rows or self.sampler.found.inner.name != "rows":
            return torch.stack([self._figure(rows) for rows in filled]).mean(0)
        return self._figure(torch.cat(filled)).reshape(len(filled), -1).mean(0)

    def _figure(self, rows: Tensor, *, gradients: bool = False) -> Tensor:
        times = len(rows) // self.rows
        others = {name: leaf.repeat(times, *[1] * (leaf.ndim - 1)) for name, leaf in self.leaves.items()}
        data = {**(others if times > 1 else self.leaves), self.key: rows}
        try:
            with validation(None if self.validated else False):
                value = self.figure.values(self.sampler.on(data, gradients=gradients)).double()
        except (PairError, DataError) as error:
            if rows is self.leaves[self.key]:
                raise
            mixed = isinstance(self.absent, Backgrounds) and len(self.absent.others) > 1
            mend = (
                "Cells of other rows make none of this pair's: give such rows alone as data and reference, of which "
                "any mixture is one (lines of text of one length)."
                if mixed
                else f"Give values that data can have: {argument('absent', 'imputed')} or 'marginal'."
            )
            raise ArgumentError(
                f"explain: the pair does not take rows in which absent cells are filled so ({error}) {mend}"
            ) from error
        if not bool(value.isfinite().all()):
            bad = (~value.isfinite()).nonzero().flatten().tolist()
            raise DataError(
                f"explain: the {self.figure.words} of row {bad[0] % self.rows} is no finite number "
                f"{'as it was given' if rows is self.leaves[self.key] else 'once cells of it are filled'}, so that "
                "no shares of it add up."
            )
        return value
