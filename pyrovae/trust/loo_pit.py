"""Where each row stands among predictions that have not seen it: leave-one-out PIT of any pair, without a refit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import torch

from pyrovae.evaluation.arviz_versions import psislw
from pyrovae.evaluation.estimate import LogMean
from pyrovae.evaluation.importance_weights import check, global_and_local, row_weights
from pyrovae.evaluation.per_datum import of_each_datum
from pyrovae.pairs.check_room import check_room
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.trace import samples
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.calibration_curves import draw_ranks
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.densities import scored_grid
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import whole_of
from pyrovae.trust.predictions import PredictedRows, predicted
from pyrovae.trust.ranks import Ranks, rank

_TRUSTED = 0.7  # of khat; above it the weights of a row may hang on a few draws

_MOST_DOUBTFUL = 0.05  # of the rows; with more of them the curve may be theirs


class LooPit(NamedTuple):
    """The PIT of an observed site, each row predicted from the others.

    Attributes:
        pit: of every element as `Ranks`, randomised, all elements pooled; NaN where nothing was observed.
        khat: how heavy the tail of a row's weights is, (rows,); above 0.7 it was not left out reliably.
        ess: how many draws the weights of a row are worth, (rows,).
        leaves_out: whether anything that rows share is random, so that a row can be taken out of it.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> found = pv.loo_pit(truth, torch.poisson(torch.full((60,), 3.0)), draws=100)["x"]
        >>> found.khat.shape, found.pit.values.shape
        (torch.Size([60]), torch.Size([60]))
    """

    pit: Ranks
    khat: torch.Tensor
    ess: torch.Tensor
    leaves_out: bool

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @property
    def verdict(self) -> str:
        """In words, whether predictions are too narrow, too wide or off to one side, or why that cannot be told."""
        doubtful = int((self.khat > _TRUSTED).sum())
        if doubtful > _MOST_DOUBTFUL * len(self.khat):
            return (
                f"cannot be told: {doubtful:,} of {len(self.khat):,} rows have weights with a khat above {_TRUSTED}, "
                "each decides much of what is shared. Train without some rows, and ask calibration of those."
            )
        seen = (
            ""
            if self.leaves_out
            else ("; nothing that rows share is random, so that trained weights have seen each row: take rows held out")
        )
        beside = f"; {doubtful:,} rows have a khat above {_TRUSTED}" if doubtful else ""
        return f"{self.pit.verdict}{beside}{seen}"

    def plot(self) -> Any:
        """Draw the PIT's distance from uniform with its band.

        Returns:
            A matplotlib `Figure`.
        """
        figure, (axis,) = blank_figure()
        draw_ranks(axis, self.pit.points, self.pit.share, self.pit.lower, self.pit.upper)
        axis.set(title="leave-one-out PIT less uniform", xlabel="PIT value")
        return figure


@in_turn
@torch.no_grad()
def loo_pit(
    pair: HasPair,
    /,
    *data: Any,
    draws: int | tuple[int, int] = 500,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, LooPit]:
    r"""Where each row stands among predictions from all other rows, with a whole row left out at a time.

    \[ u_n \approx \sum_s r_{ns}\, \mathbf 1[x'_s < x_n], \qquad r_{ns} \propto \frac{1}{p(x_n \mid w_s)}, \qquad
    w_s \sim q(w), \quad z'_s \sim p(z \mid w_s), \quad x'_s \sim p(x \mid z'_s, w_s) \]

    with \(p(x_n \mid w)\) the evidence of the row, its own latents integrated out, and the weights smoothed (PSIS). A
    row is taken out of what all rows share, w; its own code is drawn from the model, as that of a row never seen.
    Reweighting draws of \(q(z_n \mid x_n)\), as LOO-PIT from pointwise likelihoods does, cannot do that.

    Args:
        pair: any pair. Its q(w) is taken for the posterior given these rows.
        *data: the arguments of model and guide: the N rows that q(w) was trained on. For others, `calibration`.
        draws: S; two numbers are those of w, and of z for the evidence given each w (16 where one number is given).
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where several could be.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: LooPit}`. Elements of a row, pixels or columns, have a PIT each; masked ones count nowhere.

    Raises:
        PairError: a pair whose rows have no evidence of their own.

    References:
        Gelfand, Dey and Chang, "Model determination using predictive distributions" (1992); Vehtari, Gelman and Gabry,
        "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC" (2017).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> rates = torch.full((60,), 3.0)
        >>> counts = torch.poisson(rates, generator=torch.Generator().manual_seed(0))
        >>> pv.loo_pit(truth, counts, draws=200)["x"].verdict
        'uniform within the band'
    """
    shared, local = global_and_local(draws)
    shared, local = check_count("draws", shared), check_count("draws", local)
    sampler = of_each_datum(pair, data, named, seed, data_plate)
    leaves_out = _shares_what_is_random(sampler)
    if leaves_out:
        evidences = torch.cat(list(_evidences(sampler, shared, local)), 1)
    else:
        check_room(4 * shared * _count(sampler), "the weights of all draws", "Ask for fewer draws.")
        evidences = torch.zeros(shared, _count(sampler))
    weights = _weights(evidences)
    return {
        whole_of(sampler.structure, site): _of_site(sampler, site, shared, weights, moved=leaves_out)
        for site in sampler.structure.named("observed")
    }


def _shares_what_is_random(sampler: Sampler) -> bool:
    """Whether the guide draws something that all rows share: points and trained weights have no row taken out."""
    shared = {*sampler.global_sites}
    return any(name in shared and not is_delta(node["fn"]) for name, node in samples(sampler.use.posterior_run.guide))


def _count(sampler: Sampler) -> int:
    return sum(len(rows) for _, rows, _ in sampler.row_tiles()) if sampler.rows is None else sampler.rows


def _evidences(sampler: Sampler, shared: int, local: int) -> Iterator[torch.Tensor]:
    """log p(x_n | w_s), (draws, rows), tile by tile of rows."""
    alone = not sampler.structure.drawn(local=True)
    if alone or local == 1:
        for rows, weights in row_weights(sampler, shared):
            check(weights.logsumexp(0), rows)
            yield weights
        return
    for rows, pieces in groupby(scored_grid(sampler, shared, local), key=attrgetter("rows")):
        means = [LogMean() for _ in range(shared)]
        for piece in pieces:
            means[piece.part].add(piece.densities.log_weights.cpu())
        found = torch.stack([mean.estimate().value for mean in means])
        check(found.amin(0), rows)
        yield found


def _weights(evidences: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised weights that take each row out, (draws, rows), and the shapes of their tails."""
    log_weights, khat = psislw((-evidences.T).numpy())
    return torch.from_numpy(log_weights).exp().T, torch.from_numpy(khat)


def _of_site(
    sampler: Sampler, site: str, draws: int, found: tuple[torch.Tensor, torch.Tensor], *, moved: bool
) -> LooPit:
    weights, khat = found
    ranks, start = [], 0
    for number, rows in enumerate(predicted(sampler, site, draws, "model")):
        here = weights[:, start : start + len(rows.truth)].to(rows.truth.device)
        start += len(rows.truth)
        with sampler.use.quietly(seed_for(sampler.seed, "left out", site, number)):
            ranks.append(_ranks(rows, here))
    pit = Ranks.of(torch.cat(ranks), pooled=True)
    return LooPit(pit, khat, 1 / weights.square().sum(0), moved)


def _ranks(rows: PredictedRows, weights: torch.Tensor) -> torch.Tensor:
    """Randomised ranks among weighted draws, of which there are as many as their weights are worth."""
    below, equal = (torch.zeros(rows.truth.shape, dtype=torch.float64, device=rows.truth.device) for _ in range(2))
    start = 0
    for part in rows.parts:
        here = weights[start : start + len(part.draws)].reshape(part.draws.shape[:2] + (1,) * (rows.truth.ndim - 1))
        start += len(part.draws)
        below += ((part.draws < rows.truth) * here).sum(0)
        equal += ((part.draws == rows.truth) * here).sum(0)
    worth = (1 / weights.square().sum(0)).reshape(-1, *[1] * (rows.truth.ndim - 1))
    found = rank(rows.truth, worth * below, worth * equal, worth)
    return torch.where(rows.seen, found, torch.nan).cpu()
