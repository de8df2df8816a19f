"""Results put together in memory, piece by piece."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

import torch

from pyrovae.data.placement import choose_device
from pyrovae.errors import ArgumentError


class Key(NamedTuple):
    """A result: the site's name, and what of it (nothing where it is the draws themselves)."""

    name: str
    field: str = ""


class Slab(NamedTuple):
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

    def put(self, slab: Slab) -> None:
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

    def put(self, slab: Slab) -> None:
        """Take in a part."""
        self._axes[slab.key] = slab.axis
        start = 0 if self.rows is not None or slab.axis is None else slab.rows.start
        blocks = self._blocks.setdefault(slab.key, {})
        if start not in blocks:
            blocks[start] = self._empty(slab)
        view = blocks[start]
        if slab.axis is not None:
            view = view.narrow(slab.axis, slab.rows.start - start, len(slab.rows))
        if slab.draws is not None:
            view = view[slab.draws.start : slab.draws.stop]
        view.copy_(slab.value)

    def _empty(self, slab: Slab) -> torch.Tensor:
        shape = list(slab.value.shape)
        if slab.draws is not None:
            shape[0] = self.draws
        if slab.axis is not None and self.rows is not None:
            shape[slab.axis] = self.rows
        _check_room(slab, shape)
        return torch.empty(shape, dtype=slab.value.dtype, device=self.device)

    def result(self) -> dict[Key, torch.Tensor]:
        """Everything that was put in."""
        return {key: self._joined(list(blocks.values()), self._axes[key]) for key, blocks in self._blocks.items()}

    @staticmethod
    def _joined(blocks: list[torch.Tensor], axis: int | None) -> torch.Tensor:
        return blocks[0] if axis is None or len(blocks) == 1 else torch.cat(blocks, axis)


def _check_room(slab: Slab, shape: list[int]) -> None:
    size = torch.Size(shape).numel() * slab.value.element_size()
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise ArgumentError(
            f"the draws of {slab.key.name!r} have shape {tuple(shape)} and take {size / 2**30:,.0f} GiB, more than "
            "this machine's memory. Reduce them as they come, with reduce='moments' for one, or ask for fewer draws."
        )
