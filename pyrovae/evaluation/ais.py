"""Evidence by annealing from the guide, or the prior, to the posterior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import ArgumentError
from pyrovae.evaluation.coordinates import Coordinates
from pyrovae.evaluation.estimate import Estimate, LogMean
from pyrovae.evaluation.exact_draws import ExactDraws
from pyrovae.evaluation.from_prior import FromPrior
from pyrovae.evaluation.hamiltonian import Ends, chains_at, moved
from pyrovae.evaluation.importance_weights import checked, joined
from pyrovae.evaluation.per_datum import check_proper, of_each_datum
from pyrovae.evaluation.spread_of import spread_of
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import Scorer, scorers
from pyrovae.sampling.tiles import draw_ranges

_PILOTS = 4  # chains that find the step sizes

_WANTED = 0.75  # share of accepted moves; 0.65 is the best of one long move, short moves like it higher

_GAIN = 0.3  # by how much a step size follows one move's acceptance

_SPREAD_DRAWS = 32  # for the scale of each coordinate

_SETTLING = 10  # moves by which the first step size is found


class Ais(NamedTuple):
    """Evidence between two stochastic bounds, and the share of accepted moves, each (rows,).

    In expectation `lower` lies below log p(x_n) and `upper` above it. `upper` is None without exact posterior draws.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> pv.ais(truth, truth.sample(2), chains=2, steps=3).lower.value.shape
        torch.Size([2])
    """

    lower: Estimate
    upper: Estimate | None
    acceptance: torch.Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


@in_turn
def ais(
    pair: HasPair,
    /,
    *data: Any,
    chains: int = 16,
    steps: int = 200,
    leapfrogs: int = 5,
    start: Literal["guide", "prior"] = "guide",
    reverse: Mapping[str, torch.Tensor] | None = None,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Ais:
    r"""The evidence of each datum by annealed importance sampling with Hamiltonian moves.

    \[ \log p(x_n) \approx \log \frac1K \sum_k \prod_{t=1}^T \Big(\frac{p(x_n, z_{t-1})}{q(z_{t-1})}\Big)^{\beta_t -
    \beta_{t-1}}, \qquad z_0 \sim q, \quad z_t \sim \text{a move that leaves } q^{1 - \beta_t} p^{\beta_t}
    \text{ as it is} \]

    with q the guide's distribution of the local sites, or their prior. In expectation this lies below the truth. The
    same path backwards, from an exact draw of the posterior, gives one that lies above it. Exact draws are there where
    the data were drawn from the model itself: `reverse` takes the latent sites of those draws (bidirectional Monte
    Carlo). Real data have none, and get a lower bound alone.

    Step sizes are found for each datum and temperature by chains of a pilot run, so that no move depends on the past of
    the chain that makes it, and the estimates stay unbiased for p(x_n). Moves are made in unconstrained coordinates.
    Where the pair has global sites w, each chain has a draw of its own from q(w), as in `log_evidence`; with `reverse`
    both directions are given the values there. Sites that the model enumerates are summed out.

    Args:
        pair: any pair whose guide has continuous local sites.
        *data: the arguments of model and guide, N rows.
        chains: for each datum.
        steps: temperatures, T.
        leapfrogs: leapfrog steps of a move.
        start: "guide", or "prior" where the guide is far off, has no density for given values (some flows), or draws
            sites through auxiliary ones.
        reverse: `{site: (rows, *event)}`, the values from which the data were drawn, such as
            `pv.generate(pair, 100)` returns.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        An `Ais`.

    Raises:
        ArgumentError: a local site of the guide is discrete, or `reverse` lacks one.

    References:
        Neal, "Annealed importance sampling" (2001); Grosse et al., "Sandwiching the marginal likelihood using
        bidirectional Monte Carlo" (2015); Wu et al., "On the quantitative analysis of decoder-based generative
        models" (2017).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> drawn = pv.generate(truth, torch.zeros(8, 3), seed=0)  # data of known latents
        >>> found = pv.ais(truth, drawn["x"], start="prior", chains=4, steps=20, reverse=drawn)
        >>> exact = truth.log_evidence(drawn["x"]).mean()
        >>> bool(found.lower.value.mean() < exact + 0.1), bool(exact - 0.1 < found.upper.value.mean())
        (True, True)
    """
    chains, steps, leapfrogs = check_counts(chains=chains, steps=steps, leapfrogs=leapfrogs)
    if start not in ("guide", "prior"):
        raise ArgumentError(f"start={start!r}; give 'guide' or 'prior'.")
    if start == "prior":
        sampler = _from_the_prior(pair, data, named, seed, data_plate)
    else:
        sampler = check_proper(of_each_datum(pair, data, named, seed, data_plate))
    plan = AnnealingPlan(chains, _temperatures(steps), leapfrogs)
    parts = [_of_tile(sampler, scorer, plan, reverse) for scorer in scorers(sampler)]
    lower, upper, acceptance = zip(*parts, strict=True)
    return Ais(joined(lower), joined(upper) if reverse is not None else None, torch.cat(acceptance))


class AnnealingPlan(NamedTuple):
    """How chains are annealed."""

    chains: int
    temperatures: list[float]
    leapfrogs: int


class AnnealingPath(NamedTuple):
    """What the moves of one tile of rows need: densities, scales (rows, width), steps (temperatures, rows)."""

    ends: Ends
    scale: torch.Tensor
    steps: torch.Tensor


def _temperatures(steps: int) -> list[float]:
    """From 0 to 1, closer together at both ends, where densities change fastest."""
    raw = [1 / (1 + math.exp(-4 * (2 * t / steps - 1))) for t in range(steps + 1)]
    return [(value - raw[0]) / (raw[-1] - raw[0]) for value in raw]


def _from_the_prior(
    pair: HasPair, data: tuple, named: Mapping[str, Any], seed: int | None, data_plate: str | None
) -> Sampler:
    structure = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate).structure
    summed = structure.named("enumerated", local=True)
    if summed:
        raise ArgumentError(
            f"start='prior' draws local sites one by one, and the model sums out {summed[0]!r}, on which others may "
            "depend. Leave it at start='guide'."
        )
    return of_each_datum(FromPrior(pair, structure), data, named, seed, structure.data_plate)


# --- one tile of rows ---------------------------------------------------------------------------------
def _of_tile(
    sampler: Sampler, scorer: Scorer, plan: AnnealingPlan, reverse: Mapping[str, torch.Tensor] | None
) -> tuple[Estimate, Estimate, torch.Tensor]:
    if not scorer.sites:
        raise ArgumentError("the guide has no local site that could be moved; log_evidence needs no annealing there.")
    coordinates = Coordinates(scorer, "ais")
    exact = ExactDraws.of(scorer, reverse) if reverse is not None else None
    up, down, accepted = LogMean(), LogMean(), torch.zeros(len(scorer.rows))
    with sampler.use.quietly(seed_for(sampler.seed, "ais", scorer.rows.start)), validation(False):
        path = _pilot(scorer, coordinates, plan, exact)
        for part in draw_ranges(plan.chains, sampler.tile_draws):
            shared = exact.shared(len(part)) if exact else scorer.shared(part)
            here = path._replace(ends=_ends(scorer, coordinates, shared))
            terms, rate = annealed(_drawn(scorer, coordinates, len(part), shared), here, plan)
            up.add(terms.cpu())
            accepted = accepted + rate.cpu() * len(part) / plan.chains  # outside, inference mode may be on
            if exact:
                down.add(annealed(coordinates.vector(exact.values(len(part))), here, plan, backwards=True)[0].cpu())
    lower = checked(up.estimate(), scorer.rows)
    return lower, _negated(checked(down.estimate(), scorer.rows)) if exact else lower, accepted


def _negated(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, estimate.error)


def _drawn(scorer: Scorer, coordinates: Coordinates, draws: int, shared: list[Trace] | None) -> torch.Tensor:
    """Positions drawn from the guide."""
    return coordinates.vector(scorer.values(scorer.drawn(draws, shared)))


def _ends(scorer: Scorer, coordinates: Coordinates, shared: list[Trace] | None) -> Ends:
    """The densities of guide and posterior in unconstrained coordinates."""

    def ends(position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, volume = coordinates.values(position)
        scores = scorer.scores(values, shared)
        return scores.base + volume, scores.target + volume

    return ends


# --- chains -------------------------------------------------------------------------------------------
def _pilot(scorer: Scorer, coordinates: Coordinates, plan: AnnealingPlan, exact: ExactDraws | None) -> AnnealingPath:
    """The scale of each coordinate, and a step size for each datum and temperature, from chains of their own."""
    count = max(2, min(_SPREAD_DRAWS, scorer.sampler.tile_draws))
    shared = exact.shared(count) if exact else scorer.shared(range(1))
    shared = shared and shared[:1] * count  # of one global draw, since a loop over several takes long
    drawn = _drawn(scorer, coordinates, count, shared)
    scale = spread_of(drawn)
    pilots = min(_PILOTS, count)
    ends = _ends(scorer, coordinates, shared[:pilots] if shared else None)
    here, step = chains_at(drawn[:pilots], ends), torch.full_like(scale[:, 0], 0.7 * scale.shape[1] ** -0.25)
    steps = [step]
    for number, temperature in enumerate([plan.temperatures[1]] * _SETTLING + plan.temperatures[1:-1]):
        here, probability = moved(here, ends, temperature, step, scale, plan.leapfrogs)
        steps.append(step)
        gain = 1.0 if number < _SETTLING else _GAIN
        step = step * (gain * (probability.mean(0).to(step) - _WANTED)).exp()
    return AnnealingPath(ends, scale, torch.stack(steps[-len(plan.temperatures) + 1 :]))


def annealed(
    position: torch.Tensor, path: AnnealingPath, plan: AnnealingPlan, *, backwards: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log weights of chains, (chains, rows), and the share of accepted moves, (rows,)."""
    order = list(range(len(plan.temperatures)))
    order = order[::-1] if backwards else order
    here, total, rates = chains_at(position, path.ends), torch.zeros((), dtype=torch.float64), []
    for before, after in pairwise(order):
        total = total + (plan.temperatures[after] - plan.temperatures[before]) * (here.target - here.base)
        if after != order[-1]:
            here, probability = moved(
                here, path.ends, plan.temperatures[after], path.steps[after], path.scale, plan.leapfrogs
            )
            rates.append(probability.mean(0))
    return total, torch.stack(rates).mean(0) if rates else torch.full_like(total[0], math.nan)
