"""What draws can be reduced to: their mean, their moments, their quantiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError
from pyrovae.prediction.arrays import Key


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
