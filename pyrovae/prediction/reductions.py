"""Draws reduced as they come: their mean, their moments, their quantiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError
from pyrovae.prediction.arrays import Key, Slab, Target
from pyrovae.prediction.readings import Piece, Request, pieces
from pyrovae.traces import Sampler


class Moments(NamedTuple):
    """Mean and scale (standard deviation) over the draws, each of shape `(*plates, *event)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Moments(mean=torch.zeros(3), scale=torch.ones(3)).scale.shape
        torch.Size([3])
    """

    mean: torch.Tensor
    scale: torch.Tensor


class Summary(NamedTuple):
    """Mean and scale over the draws, `(*plates, *event)`, and quantiles, `(levels, *plates, *event)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Summary(mean=torch.zeros(3), scale=torch.ones(3), quantiles=torch.zeros(2, 3)).quantiles.shape
        torch.Size([2, 3])
    """

    mean: torch.Tensor
    scale: torch.Tensor
    quantiles: torch.Tensor


class Reduction(NamedTuple):
    """What is kept of the draws: which moments, which quantiles, and whether these were asked for as one number."""

    fields: tuple[str, ...]  # of "mean", "scale", "quantiles"
    levels: tuple[float, ...]
    single: bool

    @classmethod
    def of(cls, reduce: Any) -> Reduction:
        """Read the argument `reduce=`."""
        parts = tuple(reduce) if isinstance(reduce, tuple | list) else (reduce,)
        words = {part for part in parts if isinstance(part, str)}
        levels = tuple(float(part) for part in parts if _is_level(part))
        sound = len(words) + len(levels) == len(parts) and words <= {"mean", "moments"} and len(words) < 2
        if not sound or not parts or (words == {"mean"} and levels):
            raise ArgumentError(
                f"reduce={reduce!r}; give 'mean', 'moments', a quantile between 0 and 1, several of them as a tuple, "
                "or ('moments', 0.05, 0.5, 0.95)."
            )
        moments = ("mean",) if words == {"mean"} else ("mean", "scale") if words else ()
        return cls((*moments, *(("quantiles",) if levels else ())), levels, not isinstance(reduce, tuple | list))

    def assembled(self, found: dict[Key, torch.Tensor]) -> dict[str, Any]:
        """`{site: result}` from the fields of each site."""
        names = dict.fromkeys(key.name for key in found)
        return {name: self._one(*(found[Key(name, field)] for field in self.fields)) for name in names}

    def _one(self, *parts: torch.Tensor) -> Any:
        if len(parts) == 1:
            return parts[0][0] if self.levels and self.single else parts[0]
        return Moments(*parts) if len(parts) == 2 else Summary(*parts)


def _is_level(part: Any) -> bool:
    return isinstance(part, int | float) and not isinstance(part, bool) and 0 <= part <= 1


class RunningMoments:
    """Mean and squared deviations of values that come in parts, by the update of Chan et al.

    `mean' = mean + (m - mean) k / n'` and `squares' = squares + s + (m - mean)^2 n k / n'` for k new values of mean m
    and squared deviations s; both numbers stay of the size of the data, however many draws come.

    References:
        Chan, Golub & LeVeque, "Algorithms for computing the sample variance" (1983).
    """

    def __init__(self):
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, values: torch.Tensor) -> None:
        """Take in values `(count, ...)`."""
        values = values if values.is_floating_point() else values.double()
        count, mean = len(values), values.mean(0)
        squares = (values - mean).square().sum(0).double()
        delta, total = mean.double() - self.mean.to(mean.device), self.count + count
        self.squares = self.squares.to(mean.device) + squares + delta.square() * (self.count * count / total)
        self.mean = self.mean.to(mean.device) + delta * (count / total)
        self.count = total

    @property
    def scale(self) -> torch.Tensor:
        """The standard deviation, unbiased in its square; zero for one draw."""
        return (self.squares / max(self.count - 1, 1)).sqrt()


def quantiles_of(values: torch.Tensor, levels: tuple[float, ...]) -> torch.Tensor:
    """Quantiles over the first axis, linear between neighbours, `(levels, ...)`."""
    ordered = values.sort(0).values
    places = torch.tensor(levels, dtype=torch.float64) * (len(values) - 1)
    below = places.floor().long()
    weights = (places - below).to(ordered.dtype).reshape(-1, *[1] * (values.ndim - 1)).to(values.device)
    low, high = ordered[below], ordered[(below + 1).clamp(max=len(values) - 1)]
    return torch.lerp(low, high, weights)


class _State:
    """What is known of one site for one tile of rows."""

    def __init__(self, reduction: Reduction, draws: int):
        self.reduction, self.draws = reduction, draws
        self.moments = RunningMoments()
        self.held: torch.Tensor | None = None

    def add(self, piece: Piece) -> None:
        if "mean" in self.reduction.fields:
            self.moments.add(piece.value)
        if self.reduction.levels:
            value = piece.value if piece.value.is_floating_point() else piece.value.double()
            if self.held is None:
                self.held = value.new_empty((self.draws, *value.shape[1:]))
            self.held[piece.draws.start : piece.draws.stop] = value

    def slabs(self, piece: Piece) -> Iterator[Slab]:
        dtype = piece.value.dtype if piece.value.is_floating_point() else torch.get_default_dtype()
        for field in self.reduction.fields:
            if field == "quantiles":
                assert self.held is not None
                value = quantiles_of(self.held, self.reduction.levels)
            else:
                value = getattr(self.moments, field)
            yield Slab(Key(piece.name, field), value.to(dtype), piece.axis, piece.rows)


@torch.no_grad()
def reduce_into(target: Target, sampler: Sampler, draws: int, request: Request, reduction: Reduction) -> None:
    """Reduce all draws of every tile of rows, and hand on what comes of it."""
    states: dict[str, _State] = {}
    for piece in pieces(sampler, sampler.tiles(draws, request.kind), request):
        state = states.setdefault(piece.name, _State(reduction, draws))
        state.add(piece)
        if piece.draws.stop == draws:
            _put_all(target, states.pop(piece.name).slabs(piece))


def _put_all(target: Target, slabs: Iterable[Slab]) -> None:
    for slab in slabs:
        target.put(slab)
