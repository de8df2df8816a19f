"""Absent cells drawn by the pair itself, given those that are known."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyrovae.data.holed_rows import split
from pyrovae.errors import argument
from pyrovae.evaluation.from_prior import FromPrior
from pyrovae.evaluation.importance_weights import check
from pyrovae.evaluation.per_datum import of_each_datum
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.masked import masked, takes_holes
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.part_observed import with_holes
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.trace import Traces
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import Scorer
from pyrovae.sampling.tiles import Tile
from pyrovae.trust.completed_rows import completed_given, completed_rows
from pyrovae.trust.explanation.absent_cells import missing
from pyrovae.trust.explanation.observed_leaf import observed_leaf
from pyrovae.trust.systematic import systematic
from pyrovae.trust.without_mask_sites import without_mask_sites

logger = logging.getLogger("pyrovae")

_FILLS = 8  # completions of each row: next to the candidates, of which they are chosen, they cost little
_CANDIDATES = 256  # of the guide, and as many of the prior
_FEW = 5  # effective candidates below which completions of a row repeat each other


class OwnImputation:
    r"""Rows completed by draws of the pair, \(x_h \sim p(x_h \mid x_S)\), as often as `fills` says.

    Candidates for the latents are drawn half by the guide, which was perhaps never shown rows with holes, and half from
    the prior, and weighed by the density of this mixture, so that no weight can be large where either of them is right:

    \[ w = \frac{p(x_S, z)}{\tfrac12 q(z \mid x_S) + \tfrac12 p(z)} \]

    Args:
        pair: any pair whose cells are independent given its latents.
        leaves: the data, by place or name.
        key: whose cells they are.
        reference: rows of the usual kind, whose means a guide sees that does not know of holes.
        seed: of the look at the pair.
        data_plate: the plate of the rows, where it cannot be found.
    """

    def __init__(
        self,
        pair: HasPair,
        leaves: dict[int | str, Tensor],
        key: int | str,
        reference: Tensor,
        *,
        seed: int,
        data_plate: str | None,
    ):
        self.leaves, self.key, self.few, self.all = leaves, key, 0, 0
        if not takes_holes(pair):
            pair = masked(pair, fill={key: reference.double().nanmean(0)})
        data = _as_data(leaves)
        pair = without_mask_sites(pair, data, data_plate)
        self.guide = of_each_datum(pair, *split(data), seed, data_plate)
        self.prior = self._prior(pair, data, seed, data_plate)
        self.site = observed_leaf(self.guide, key)

    def _prior(self, pair: HasPair, data: Any, seed: int, data_plate: str | None) -> Sampler | None:
        """What draws latents from the prior; None where the density of the mixture cannot be had."""
        structure = self.guide.structure
        other = ("enumerated", "auxiliary", "unguided")
        if self.guide.global_sites or any(site.role in other for site in structure.sites.values()):
            return None
        args, named = split(data)
        return Sampler.of(FromPrior(pair, structure), args, named, seed=seed, data_plate=data_plate)

    def filled(self, known: Tensor, seed: int) -> Iterator[Tensor]:
        """The rows, completed several times."""
        leaf = self.leaves[self.key]
        holed: dict[int | str, Tensor] = {**self.leaves, self.key: with_holes(leaf, known.expand(leaf.shape))}
        guide = self.guide.reseeded(seed).on(holed)
        if self.prior is None:
            found = completed_rows(guide, _FILLS, 2 * _CANDIDATES)
            self._count(found.ess)
            values = found.values[self.site]
        else:
            values = self._of_mixture(guide, self.prior.reseeded(seed_for(seed, "prior")).on(holed))
        for value in values:
            yield torch.where(known | missing(leaf), leaf, value.to(leaf))

    def _of_mixture(self, guide: Sampler, prior: Sampler) -> Tensor:
        """Of candidates of both, weighed first: what is absent is drawn for those alone that were chosen."""
        parts, by_rows = [], [one.tiles_by_rows(_CANDIDATES, "scored") for one in (guide, prior)]
        for of_guide, of_prior in zip(*by_rows, strict=True):
            scored = [(_latents_of(tile, 0), _weights_of_guide(tile)) for tile in of_guide()]
            scored += [(_latents_of(tile, _CANDIDATES), _weights_of_prior(guide, tile)) for tile in of_prior()]
            candidates, weights = zip(*scored, strict=True)
            chosen = self._chosen(guide, torch.cat(weights), candidates[0].rows)
            parts.append(completed_given(guide, candidates[0].rows, candidates, chosen)[0][self.site])
        return torch.cat(parts, 1)

    def _chosen(self, guide: Sampler, weights: Tensor, rows: range) -> Tensor:
        """Which candidates are taken, (fills, rows)."""
        check(weights.logsumexp(0), rows)
        shares = weights.softmax(0).T
        self._count(1 / shares.square().sum(1))
        with forked_random(seed_for(guide.seed, "chosen", rows.start)):
            return systematic(shares, _FILLS).T

    def _count(self, ess: Tensor) -> None:
        self.few, self.all = self.few + int((ess < _FEW).sum()), self.all + len(ess)

    def tell(self) -> None:
        """Say where completions cannot be trusted."""
        if self.few > 0.1 * self.all:
            logger.warning(
                "explain: in %.0f %% of its completions the pair finds fewer than %d latents that fit the known cells, "
                "so that absent cells vary too little. Train on rows with holes (pv.masked), explain larger groups of "
                "cells (%s), or fill them otherwise: %s.",
                100 * self.few / self.all, _FEW, argument("groups"), argument("absent", "marginal"),
            )  # fmt: skip


def _latents_of(tile: Tile, before: int) -> Tile:
    """What the guide drew, without what the model made of it, which is far larger; so many candidates come before."""
    runs = [run._replace(traces=Traces(Trace(), run.traces.guide)) for run in tile.runs]
    return tile._replace(runs=runs, draws=range(tile.draws.start + before, tile.draws.stop + before))


# --- weights --------------------------------------------------------------------------------------------
def _weights_of_guide(tile: Tile) -> Tensor:
    found = densities_of(tile)
    names = set(tile.names("guide"))
    prior = sum((tile.per_datum(name).double() for name in tile.names() if name in names), torch.zeros(()))
    return (found.model - torch.logaddexp(found.guide, prior.to(found.guide))).cpu()


def _weights_of_prior(guide: Sampler, tile: Tile) -> Tensor:
    found = densities_of(tile)
    with guide.use.quietly():
        scorer = Scorer(guide, tile.batch, tile.rows)
        values = {site: tile.value(site, "guide") for site in scorer.sites}
        own = scorer.scores(values, None).base
    return (found.model - torch.logaddexp(own.to(found.guide), found.guide)).cpu()


def _as_data(leaves: Mapping[int | str, Tensor]) -> Any:
    return dict(leaves) if any(isinstance(name, str) for name in leaves) else tuple(leaves.values())
