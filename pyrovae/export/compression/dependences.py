"""What depends on what: which distributions move where one value does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError
from pyrovae.export.compression.block_coder import BlockCoder
from pyrovae.export.compression.coding_order import CodingStep, Reads, Source
from pyrovae.export.compression.descents import Descent, MassTree, OneDecision


class Dependences:
    """Changes one value after the other, and sees which distributions move."""

    def __init__(self, coder: BlockCoder, batch: Batch, seed: int):
        self.coder, self.codes, self.parts = coder, coder.plan.codes, coder.plan.parts
        self.leaves = dict(batch.leaves)
        self.generator = torch.Generator().manual_seed(seed % 2**63)

    def reads(self, latent: list[str], sites: list[str]) -> list[Reads]:
        """For each site of each side what it depends on."""
        shapes = {site: self.codes[site].shape(fn) for site, fn in self._fns().items()}
        known = {site: self._random(site, shapes[site]) for site in latent}
        before = self._said(known, self.leaves)
        again = self._said(known, self.leaves)
        if not all(_same(again[step], said) for step, said in before.items()):
            raise PairError(
                "compress: the pair computes another thing each time (random numbers outside of its sites, a state "
                "that changes), so that who decodes computes another thing, too. Draw at sites alone."
            )
        found: dict[CodingStep, set[Source]] = {step: set() for step in before}
        for site in self.codes:
            source = next(iter(self.coder.plan.says(site)))
            for _ in range(2):  # a value that happens to be the same shows nothing
                after = self._said(*self._changed(site, shapes[site], known))
                for step, said in after.items():
                    if not _same(said, before[step]):
                        found[step].add(source)
        self._refuse_own(found)
        order = [CodingStep("guide", site) for site in self._guide_order if site in self.codes]
        order += [CodingStep("model", site) for site in sites]
        return [Reads(step, frozenset(found[step]), self.coder.plan.says(step.site)) for step in order]

    def _fns(self) -> dict[str, Any]:
        placed = self.coder.placed(Batch.of(self.leaves))
        return {site: kept.fn for site, kept in self.coder.run("model", placed, {}, self.codes).kept.items()}

    def _random(self, site: str, shape: torch.Size) -> Tensor:
        return torch.randint(self.codes[site].top + 1, (shape.numel(),), generator=self.generator)

    def _changed(self, site: str, shape: torch.Size, known: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
        numbers = self._random(site, shape)
        if site not in self.parts:
            return {**known, site: numbers}, self.leaves
        part = self.parts[site]
        placed = self.coder.placed(Batch.of(self.leaves))
        fn = self.coder.run("model", placed, dict(known), [site]).kept[site].fn
        leaf = self.leaves[part.key].clone(memory_format=torch.contiguous_format)
        value = self.codes[site].value(numbers, fn)
        part.of(leaf, value.shape).copy_(value)
        return known, {**self.leaves, part.key: leaf}

    def _said(self, known: dict[str, Tensor], leaves: Mapping[int | str, Tensor]) -> dict[CodingStep, list[Tensor]]:
        placed = self.coder.placed(Batch.of(leaves))
        found = {}
        for side in ("guide", "model"):
            kept = self.coder.run(side, placed, dict(known), self.codes).kept
            if side == "guide":
                self._guide_order = list(kept)
            found |= {CodingStep(side, site): _figures(one.descent) for site, one in kept.items()}
        return found

    def _refuse_own(self, found: Mapping[CodingStep, set[Source]]) -> None:
        for step, sources in found.items():
            if step.side == "model" and self.coder.plan.says(step.site) & sources:
                raise PairError(
                    f"compress: the distribution of {step.site!r} moves with the argument that it observes (an "
                    "autoregressive decoder, a scale taken from the data): who decodes does not have it yet. Let the "
                    "model use it by obs= alone."
                )


def _figures(descent: Descent) -> list[Tensor]:
    """What tells one descent from another."""
    if isinstance(descent, MassTree):
        return descent.levels()
    if isinstance(descent, OneDecision):
        return [descent.share()]
    return list(descent.parameters)


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
