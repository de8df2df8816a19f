"""Batches of data on disk: whole windows of rows are read ahead, and cut."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.blocks.on_disk import OnDisk
from pyrovae.data.blocks.reader import Leaves
from pyrovae.data.blocks.window_order import Window, windows_of
from pyrovae.data.inspection import Leaf, signed
from pyrovae.errors import DataError


class Filled:
    """A window in memory: its rows in the order of the epoch, and which rows of the data they are."""

    def __init__(self, window: Window, leaves: Leaves, rows: torch.Tensor):
        self.window, self.leaves, self.rows = window, leaves, rows

    @classmethod
    def of(cls, data: OnDisk, window: Window) -> Filled:
        """Read a window, block after block, each of whose rows goes to its place."""
        leaves: Leaves = {}
        places, start = window.places, 0
        rows = torch.empty(window.rows, dtype=torch.int64)
        for number in window.blocks:
            size = data.reader.sizes[number]
            here, start = places[start : start + size], start + size
            rows[here] = torch.arange(data.ends[number] - size, data.ends[number])
            for name, leaf in data.read(number).items():
                if name not in leaves:
                    leaves[name] = leaf.new_empty((window.rows, *leaf.shape[1:]))
                if leaf.shape[1:] != leaves[name].shape[1:] or leaf.dtype != leaves[name].dtype:
                    raise DataError(f"{data.reader.label}: block {number} has rows of {tuple(leaf.shape[1:])}")
                signed(leaves[name]).index_copy_(0, here, signed(leaf))
        return cls(window, leaves, rows)

    def cut(self, start: int, end: int) -> tuple[Leaves, torch.Tensor]:
        """Rows of the epoch that lie in it."""
        inside = slice(max(start - self.window.first, 0), end - self.window.first)
        return {name: leaf[inside].clone() for name, leaf in self.leaves.items()}, self.rows[inside]


class BlockSource:
    """Data on disk, of which any rows can be had, and neighbouring ones at once."""

    random_access = True
    own_order = True
    generators: tuple[torch.Generator, ...] = ()

    def __init__(self, data: OnDisk):
        self.arrays: dict[int | str, Leaf] = {}
        self.dataset = data
        self.rows = len(data)

    @property
    def order(self) -> str:
        """What decides it beside seed and epoch, in words that a run is resumed by."""
        return f"windows of {self.dataset.window} rows"

    def take(self, rows: torch.Tensor | slice) -> Batch:
        """The given rows of every argument."""
        return Batch.of(self.dataset.take(rows))

    def shuffled(self, batch_size: int, seed: int, epoch: int, skip: int) -> Iterator[Batch]:
        """The batches of an epoch from the one after the first `skip`; the window that comes next is read meanwhile."""
        first = skip * batch_size
        windows = windows_of(self.dataset.reader.sizes, self.dataset.window, seed, epoch)
        self.dataset.forget()  # the memory is that of the windows now
        left = [window for window in windows if window.first + window.rows > first]
        with ThreadPoolExecutor(1, "pyrovae-reading") as reading:
            pending: list[Future[Filled]] = []
            held: list[Filled] = []
            for start in range(first, self.rows, batch_size):
                end = min(start + batch_size, self.rows)
                held = [filled for filled in held if filled.window.first + filled.window.rows > start]
                while not held or held[-1].window.first + held[-1].window.rows < end:
                    if not pending:
                        pending.append(reading.submit(Filled.of, self.dataset, left.pop(0)))
                    held.append(pending.pop().result())
                    held = [filled for filled in held if filled.window.first + filled.window.rows > start]
                if not pending and left and len(held) == 1:
                    pending.append(reading.submit(Filled.of, self.dataset, left.pop(0)))
                yield _joined([filled.cut(start, end) for filled in held])


def _joined(parts: list[tuple[Leaves, torch.Tensor]]) -> Batch:
    leaves, rows = parts[0]
    if len(parts) > 1:
        leaves = {name: torch.cat([part[name] for part, _ in parts]) for name in leaves}
        rows = torch.cat([numbers for _, numbers in parts])
    return Batch.of(leaves)._replace(positions=rows)
