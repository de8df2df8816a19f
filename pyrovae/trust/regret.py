"""Likelihood regret: how much better a datum is explained by a posterior made for it alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import ArgumentError
from pyrovae.evaluation.coordinates import Coordinates
from pyrovae.evaluation.refinement import climb
from pyrovae.evaluation.spread_of import spread_of
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.seeds import seed_for
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import Scorer, scorers

_POOL = 64  # draws of the guide that are moved; with fewer, the move would fit their chance

_TOGETHER = 8  # of them in one step

_STEPS, _RATE = 60, 0.1  # of Adam, in standard deviations of the guide: a few of them is far for a posterior


class Move(NamedTuple):
    """An affine change of the guide's draws, for each row and coordinate: a shift in units of `scale`, a log factor."""

    centre: torch.Tensor
    scale: torch.Tensor
    shift: torch.Tensor
    stretch: torch.Tensor

    def moved(self, position: torch.Tensor) -> torch.Tensor:
        """Draws after the change, (draws, rows, width)."""
        return self.centre + self.scale * self.shift + (position - self.centre) * self.stretch.exp()


def regrets(sampler: Sampler) -> torch.Tensor:
    r"""How much the ELBO of each row gains by a short refinement of its own posterior, (rows,).

    \[ \text{regret}_n = \max_{a, b} \mathcal L(x_n; q_{a, b}) - \mathcal L(x_n; q), \qquad
    q_{a, b}: \; z = \mu + \sigma a + e^{b} (z' - \mu), \; z' \sim q(z \mid x_n) \]

    The guide's draws are shifted and stretched in unconstrained coordinates, each on its own. Where there are global
    sites, all is given one draw of them.
    """
    parts = [_of_tile(sampler, scorer) for scorer in scorers(sampler)]
    return torch.cat(parts).cpu()


def _of_tile(sampler: Sampler, scorer: Scorer) -> torch.Tensor:
    if not scorer.sites:
        raise ArgumentError("regret is that of the guide's local sites, and it has none; leave this score out.")
    coordinates = Coordinates(scorer, "regret")
    with sampler.use.quietly(seed_for(sampler.seed, "regret", scorer.rows.start)), validation(False):
        pool = _drawn(scorer, coordinates)
        move = _refined(scorer, coordinates, pool)
        fresh = _drawn(scorer, coordinates)
        return _elbo(scorer, coordinates, fresh, move) - _elbo(scorer, coordinates, fresh, None)


class Drawn(NamedTuple):
    """Draws of the guide in unconstrained coordinates, (draws, rows, width), and their log density there."""

    position: torch.Tensor
    log_density: torch.Tensor


def _shared(scorer: Scorer, draws: int) -> list[Trace] | None:
    one = scorer.shared(range(1))
    return one and one * draws


def _drawn(scorer: Scorer, coordinates: Coordinates) -> Drawn:
    parts = []
    for _ in range(_POOL // _TOGETHER):
        shared = _shared(scorer, _TOGETHER)
        position = coordinates.vector(scorer.values(scorer.drawn(_TOGETHER, shared)))
        values, volume = coordinates.values(position)
        parts.append((position, scorer.scores(values, shared).base + volume))
    return Drawn(*map(torch.cat, zip(*parts, strict=True)))


def _gain(scorer: Scorer, coordinates: Coordinates, drawn: Drawn, move: Move | None) -> torch.Tensor:
    """log p - log q of moved draws, (draws, rows)."""
    position = drawn.position if move is None else move.moved(drawn.position)
    values, volume = coordinates.values(position)
    target = scorer.scores(values, _shared(scorer, len(position))).target + volume
    stretched = 0.0 if move is None else move.stretch.sum(-1)
    return target - drawn.log_density + stretched


def _refined(scorer: Scorer, coordinates: Coordinates, pool: Drawn) -> Move:
    centre, scale = pool.position.mean(0), spread_of(pool.position)
    counted = _counted(scorer, coordinates, pool.position[:_TOGETHER])
    shift, stretch = (torch.zeros_like(centre).requires_grad_() for _ in range(2))

    def gain(step: int) -> torch.Tensor:
        place = step % (_POOL // _TOGETHER) * _TOGETHER
        part = Drawn(*(values[place : place + _TOGETHER] for values in pool))
        move = Move(centre, scale, shift * counted, stretch * counted)
        return _gain(scorer, coordinates, part, move).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    climb(gain, [shift, stretch], [_RATE * (1 - 0.95 * step / _STEPS) for step in range(_STEPS)])
    return Move(centre, scale, shift.detach() * counted, stretch.detach() * counted)


def _counted(scorer: Scorer, coordinates: Coordinates, position: torch.Tensor) -> torch.Tensor:
    """Coordinates on which any density depends; those that a mask hides stay where they are."""
    with torch.enable_grad():
        leaf = position.detach().requires_grad_()
        scores = scorer.scores(coordinates.values(leaf)[0], _shared(scorer, len(leaf)))
        (slope,) = torch.autograd.grad((scores.base + scores.target).sum(), leaf)
    return (slope != 0).any(0)


def _elbo(scorer: Scorer, coordinates: Coordinates, drawn: Drawn, move: Move | None) -> torch.Tensor:
    parts = zip(*(values.split(_TOGETHER) for values in drawn), strict=True)
    return torch.cat([_gain(scorer, coordinates, Drawn(*part), move) for part in parts]).mean(0)
