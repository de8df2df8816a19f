"""Results put together in memory, piece by piece."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch

from pyrovae.data.placement import choose_device
from pyrovae.pairs.check_room import check_room


class Key(NamedTuple):
    """A result: the site's name, and what of it (nothing where it is the draws themselves)."""

    name: str
    field: str = ""


class ArrayPart(NamedTuple):
    """A part of a result: `axis`, from the right, holds `rows`; the first axis holds `draws` where there are some.

    `plates` names what stands in each axis of the site, behind the draws or the quantiles.
    """

    key: Key
    value: torch.Tensor
    axis: int | None
    rows: range
    plates: tuple[str | None, ...]
    draws: range | None = None


class Target(Protocol):
    """Where results go to."""

    def put(self, part: ArrayPart) -> None:
        """Take in a part."""
        ...


class Arrays:
    """Results as tensors on a device.

    Args:
        rows: how many data there are; None where that shows only at the end.
        draws: how many draws there are.
        device: where the tensors are.
    """

    def __init__(self, rows: int | None, draws: int, device: str | torch.device | None):
        self.rows, self.draws = rows, draws
        self.device = choose_device(device or "cpu")
        self._blocks: dict[Key, dict[int, torch.Tensor]] = {}
        self._axes: dict[Key, int | None] = {}

    def put(self, part: ArrayPart) -> None:
        """Take in a part."""
        self._axes[part.key] = part.axis
        start = 0 if self.rows is not None or part.axis is None else part.rows.start
        blocks = self._blocks.setdefault(part.key, {})
        if start not in blocks:
            blocks[start] = self._empty(part)
        view = blocks[start]
        if part.axis is not None:
            view = view.narrow(part.axis, part.rows.start - start, len(part.rows))
        if part.draws is not None:
            view = view[part.draws.start : part.draws.stop]
        view.copy_(part.value)

    def _empty(self, part: ArrayPart) -> torch.Tensor:
        shape = list(part.value.shape)
        if part.draws is not None:
            shape[0] = self.draws
        if part.axis is not None and self.rows is not None:
            shape[part.axis] = self.rows
        check_room(
            math.prod(shape) * part.value.element_size(),
            f"the draws of {part.key.name!r} have shape {tuple(shape)} and",
            "Reduce them as they come, with reduce='moments' for one, or ask for fewer draws.",
        )
        return torch.empty(shape, dtype=part.value.dtype, device=self.device)

    def result(self) -> dict[Key, torch.Tensor]:
        """Everything that was put in."""
        return {key: self._joined(list(blocks.values()), self._axes[key]) for key, blocks in self._blocks.items()}

    @staticmethod
    def _joined(blocks: list[torch.Tensor], axis: int | None) -> torch.Tensor:
        return blocks[0] if axis is None or len(blocks) == 1 else torch.cat(blocks, axis)
