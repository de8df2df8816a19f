"""A block of rows onto a stack of bits and off again, by runs of guide and model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pyrovae.data.batch_sources import Batch
from pyrovae.export.compression.bit_stack import BitStack
from pyrovae.export.compression.coding_order import CodingStep, Source, in_runs
from pyrovae.export.compression.descents import Descent, pop, push
from pyrovae.export.compression.exact_arithmetic import exact_arithmetic
from pyrovae.export.compression.site_codes import SiteCode
from pyrovae.pairs.looks.isolation import validation
from pyrovae.sampling.programs import WholePlate


class Part(NamedTuple):
    """Where in an argument the value of an observed site stands: at `offset`, one stride for each of its dims."""

    key: int | str
    offset: int
    strides: tuple[int, ...]

    def of(self, leaf: Tensor, shape: torch.Size) -> Tensor:
        """That part of an argument, a view."""
        return leaf.as_strided(shape, self.strides, int(leaf.storage_offset()) + self.offset)


class CodingPlan(NamedTuple):
    """All that coding a pair's rows goes by; it stands in the file.

    Attributes:
        codes: the numbers of each site's values.
        parts: for each observed site where its value stands.
        order: the steps of encoding.
        reads: what each step depends on.
        block: the most rows at once.
    """

    codes: Mapping[str, SiteCode]
    parts: Mapping[str, Part]
    order: tuple[CodingStep, ...]
    reads: Mapping[CodingStep, frozenset[Source]]
    block: int

    def says(self, site: str) -> frozenset[Source]:
        """What is known once a site is."""
        return frozenset([self.parts[site].key] if site in self.parts else [(site,)])

    def blocks(self, rows: int) -> list[range]:
        """Rows that are coded together: few at first, since what a block takes out of the stack has to be in it."""
        found, start = [], 0
        while start < rows:
            stop = min(rows, start + min(self.block, max(1, start // 4)))
            found.append(range(start, stop))
            start = stop
        return found


class SeatedSite(NamedTuple):
    """What a run says of a site."""

    fn: Any
    descent: Descent
    value: Tensor


class Seat(Messenger):
    """Gives sites their values, and keeps what their distributions say.

    Args:
        codes: of the sites.
        known: the numbers of values by site; what is popped is added.
        wanted: the sites whose descents are kept.
        popping: takes the numbers of the wanted sites off a stack.

    Attributes:
        kept: by site its distribution, the decisions that lead to its numbers, and its value.
    """

    def __init__(
        self,
        codes: Mapping[str, SiteCode],
        known: dict[str, Tensor],
        wanted: Collection[str],
        popping: Callable[[Descent], Tensor] | None = None,
    ):
        super().__init__()
        self.codes, self.known, self.wanted, self.popping = codes, known, wanted, popping
        self.kept: dict[str, SeatedSite] = {}

    def _pyro_sample(self, msg: Any) -> None:
        code = self.codes.get(msg["name"])
        if code is None:
            return
        name, fn = msg["name"], msg["fn"]
        descent = code.descent(fn) if name in self.wanted else None
        if descent is not None and self.popping is not None:
            with _disable_current_modes():
                self.known[name] = self.popping(descent)
        if name in self.known:
            msg["value"] = code.value(self.known[name], fn)
        elif not msg["is_observed"]:
            msg["value"] = code.placeholder(fn)
        if descent is not None:
            self.kept[name] = SeatedSite(fn, descent, msg["value"])
        msg["done"] = True


class BlockCoder:
    """Codes blocks of rows of a pair.

    Args:
        pair: the pair, its data plate held.
        plan: how.
        place: brings a batch where the pair takes it.
        exact: whether to compute so that every machine gets the same bits.
    """

    def __init__(self, pair: WholePlate, plan: CodingPlan, place: Callable[[Batch], Batch], *, exact: bool):
        self.pair, self.plan, self.place, self.exact = pair, plan, place, exact

    # --- coding -------------------------------------------------------------------------------------------
    def encode(self, batch: Batch, stack: BitStack) -> None:
        """Push the rows of a batch."""
        known: dict[str, Tensor] = {}
        placed = self.placed(batch)
        for steps in in_runs(self.plan.order, self.plan.reads, dict.fromkeys(self.plan.codes, frozenset())):
            names = [step.site for step in steps]
            if steps[0].side == "guide":
                self.run("guide", placed, known, names, partial(pop, stack))
            else:
                self._push(names, self.run("model", placed, known, names), known, stack)

    def decode(self, leaves: dict[int | str, Tensor], stack: BitStack) -> None:
        """Pop the rows of a batch into its arguments; what no site observes is there already."""
        known: dict[str, Tensor] = {}
        backwards = self.plan.order[::-1]
        for steps in in_runs(backwards, self.plan.reads, {name: self.plan.says(name) for name in self.plan.codes}):
            names, placed = [step.site for step in steps], self.placed(Batch.of(leaves))
            if steps[0].side == "guide":
                self._push(names, self.run("guide", placed, known, names), known, stack)
                continue
            seat = self.run("model", placed, known, names, partial(pop, stack))
            for name in names:
                if name in self.plan.parts:
                    part, value = self.plan.parts[name], seat.kept[name].value
                    part.of(leaves[part.key], value.shape).copy_(value)

    def _push(self, names: Sequence[str], seat: Seat, known: Mapping[str, Tensor], stack: BitStack) -> None:
        for name in names:
            fn, descent, value = seat.kept[name]
            push(stack, descent, known[name] if name in known else self.plan.codes[name].numbers(value, fn, name))

    # --- runs ---------------------------------------------------------------------------------------------
    def placed(self, batch: Batch) -> Batch:
        """A batch where the pair takes it, each argument in one piece."""
        batch = self.place(batch)
        return Batch.of({key: leaf.contiguous() for key, leaf in batch.leaves.items()})._replace(
            positions=batch.positions
        )

    def run(
        self,
        side: str,
        placed: Batch,
        known: dict[str, Tensor],
        wanted: Collection[str],
        popping: Callable[[Descent], Tensor] | None = None,
    ) -> Seat:
        """One run of a side with what is known; see `Seat`."""
        self.pair.turn_to(placed)
        seat = Seat(self.plan.codes, known, wanted, popping)
        with self._arithmetic(), seat:
            getattr(self.pair, side)(*placed.args, **placed.kwargs)
        return seat

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        with validation(False):
            if not self.exact:
                yield
                return
            with exact_arithmetic():
                yield
