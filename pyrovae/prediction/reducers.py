"""Draws reduced as they come, one tile of rows after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.known_support import is_angle
from pyrovae.prediction.arrays import ArrayPart, Key, Target
from pyrovae.prediction.moments import RunningMoments
from pyrovae.prediction.quantiles import over_draws
from pyrovae.prediction.readings import Piece, SiteRequest, pieces
from pyrovae.prediction.reductions import Reduction
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile

MEMORY = 2**30  # bytes: draws of 256 images of 784 pixels that wait for the thousandth take three quarters of it


class Reducer:
    """Reduces the draws of a request.

    Moments alone are brought up to date with every tile. Quantiles need all draws of an element at once: these wait in
    memory, and where it does not hold all elements of a tile of rows, the same draws are made again for the next share
    of them. So the memory decides how long it takes, and no bit of the result. Moments beside quantiles are taken of
    the draws that wait, which are then in the processor's cache.

    Args:
        sampler: what draws.
        draws: how many.
        request: what is read.
        reduction: what is kept of it.
        memory: bytes that waiting draws may take.
    """

    def __init__(self, sampler: Sampler, draws: int, request: SiteRequest, reduction: Reduction, memory: int = MEMORY):
        self.sampler, self.draws, self.request, self.reduction = sampler, draws, request, reduction
        self.memory = max(memory // max(len(request.readings), 1), 1)
        self.buffers: dict[str, torch.Tensor] = {}  # kept from one tile of rows to the next: fresh memory costs time

    def reduce_into(self, target: Target) -> None:
        """Hand on what comes of each tile of rows.

        Raises:
            ArgumentError: a site holds angles.
        """
        self._refuse_angles()
        for tiles in self.sampler.tiles_by_rows(self.draws, self.request.kind):
            for part in self._slabs(tiles):
                target.put(part)

    def _refuse_angles(self) -> None:
        run = self.sampler.use.posterior_run
        for reading in self.request.readings:
            node: Any = run.model.nodes.get(reading.site) or run.guide.nodes.get(reading.site)
            if node is not None and reading.what != "log_prob" and is_angle(node["fn"]):
                raise ArgumentError(
                    f"{argument('reduce')}: {reading.site!r} holds angles, and mean and quantiles of a line are none "
                    "of a circle: between just above -pi and just below pi they say 0. Take the draws themselves; "
                    "of latent sites encode gives the mean direction."
                )

    def _slabs(self, tiles: Callable[[], Iterator[Tile]]) -> Iterator[ArrayPart]:
        moments: dict[str, RunningMoments] = {}
        waiting: dict[str, _Waiting] = {}
        for turn in itertools.count():
            for piece in pieces(self.sampler, tiles(), self.request):
                if not self.reduction.levels:
                    yield from self._moments(piece, moments.setdefault(piece.name, RunningMoments()))
                    continue
                if piece.name not in waiting:
                    waiting[piece.name] = _Waiting(piece, self.draws, self.memory, self.buffers)
                yield from self._summary(piece, waiting[piece.name], turn)
            if all(turn + 1 >= one.turns for one in waiting.values()):
                return

    def _moments(self, piece: Piece, moments: RunningMoments) -> Iterator[ArrayPart]:
        moments.add(piece.value)
        if piece.draws.stop == self.draws:
            for field in self.reduction.fields:
                yield self._slab(piece, field, getattr(moments, field))

    def _summary(self, piece: Piece, waiting: _Waiting, turn: int) -> Iterator[ArrayPart]:
        if turn >= waiting.turns:
            return
        waiting.add(piece, turn)
        if piece.draws.stop == self.draws:
            moments = "mean" in self.reduction.fields
            waiting.take(turn, self.reduction.levels, moments=moments)
            if turn + 1 == waiting.turns:
                found = waiting.result()
                if moments:
                    yield self._slab(piece, "mean", found[0])
                    yield self._slab(piece, "scale", found[1])
                yield self._slab(piece, "quantiles", found[2:] if moments else found)

    @staticmethod
    def _slab(piece: Piece, field: str, value: torch.Tensor) -> ArrayPart:
        return ArrayPart(
            Key(piece.name, field), value.to(_number_type(piece.value)), piece.axis, piece.rows, piece.plates
        )


class _Waiting:
    """The draws of one site for one tile of rows, a share of its elements in each turn."""

    def __init__(self, piece: Piece, draws: int, memory: int, buffers: dict[str, torch.Tensor]):
        first = _ordered_type(piece.value)
        self.draws, self.shape, self.elements = draws, piece.value.shape[1:], piece.value.shape[1:].numel()
        room = max(memory // (draws * first.itemsize), 1)
        self.turns = max(-(-self.elements // room), 1)
        self.share = -(-self.elements // self.turns)
        known = buffers.get(piece.name)
        if known is None or known.numel() < draws * self.share:
            buffers[piece.name] = torch.empty(draws * self.share, dtype=first, device=piece.value.device)
        self.buffer = buffers[piece.name]
        self.found: list[torch.Tensor] = []

    def _part(self, turn: int) -> slice:
        return slice(turn * self.share, min((turn + 1) * self.share, self.elements))

    def _held(self, turn: int) -> torch.Tensor:
        part = self._part(turn)
        width = max(part.stop - part.start, 0)
        return self.buffer[: self.draws * width].view(self.draws, width)

    def add(self, piece: Piece, turn: int) -> None:
        """Hold the share of this turn."""
        self._held(turn)[piece.draws.start : piece.draws.stop] = piece.value.reshape(len(piece.value), -1)[
            :, self._part(turn)
        ]

    def take(self, turn: int, levels: tuple[float, ...], *, moments: bool) -> None:
        """All draws of the share are there."""
        self.found.append(over_draws(self._held(turn), levels, moments=moments))

    def result(self) -> torch.Tensor:
        """What `over_draws` found, (figures, *plates, *event)."""
        joined = torch.cat(self.found, 1)
        return joined.reshape(len(joined), *self.shape)


def _ordered_type(value: torch.Tensor) -> torch.dtype:
    """The type in which draws are held: with numbers between any two."""
    if value.dtype in (torch.float32, torch.float64):
        return value.dtype
    return torch.float32 if value.is_floating_point() else torch.float64


def _number_type(value: torch.Tensor) -> torch.dtype:
    return value.dtype if value.is_floating_point() else torch.get_default_dtype()
