"""The nearest datum of the manifold that meets conditions, found by moving the latents of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.errors import PairError
from pyrovae.evaluation.coordinates import Coordinates
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.seeds import seed_for
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import Scorer
from pyrovae.sampling.site_rows import rows_second

_RATE = 0.15  # of Adam, in free coordinates, where priors are about 1 wide: of 0.05 to 0.3 the nearest to exact borders
_RISE, _FALL = 1.1, 0.95  # of a condition's weight where it does not hold, and where it does
_DRAWS = 32  # of the guide, for the place to start from


class Condition(NamedTuple):
    """What a datum has to meet: `margin` gives (rows,), 0 or more where it is met; `unit` makes margins comparable."""

    margin: Callable[[Sampler], Tensor]
    unit: Tensor


class Found(NamedTuple):
    """The nearest data that met all conditions, (rows, *shape), and whether there were any, (rows,)."""

    data: Tensor
    met: Tensor


class Manifold:
    """The means that a pair gives to one argument, as a function of the latents of each row.

    Args:
        sampler: of the pair, on the rows.
        scorer: of a tile of them.
        key: the argument.
        site: the observed site that it is.
        lawful: makes means values that data can have.
    """

    def __init__(self, sampler: Sampler, scorer: Scorer, key: int | str, site: str, lawful: Callable[[Tensor], Tensor]):
        if not scorer.sites:
            raise PairError("counterfactual moves the latents of each row, and the guide has none that can be moved.")
        if enumerated := sampler.structure.named("enumerated"):
            raise PairError(
                f"counterfactual: the model sums out {enumerated[0]!r}, so that no mean of a row is that of its "
                "latents alone. Draw it in the guide as a continuous site, or ask a pair without it."
            )
        self.sampler, self.scorer, self.key, self.site, self.lawful = sampler, scorer, key, site, lawful
        self.coordinates, self.shared = Coordinates(scorer, "counterfactual"), scorer.shared(range(1))
        rows = slice(scorer.rows.start, scorer.rows.stop)
        self.leaves = {name: leaf[rows] for name, leaf in sampler.use.batches.leaves().items()}

    @property
    def leaf(self) -> Tensor:
        """The rows of this tile."""
        return torch.as_tensor(self.leaves[self.key])

    def start(self) -> Tensor:
        """Where the guide puts the rows, (rows, width)."""
        drawn = self.scorer.drawn(_DRAWS, self.shared and self.shared * _DRAWS)
        return self.coordinates.vector(self.scorer.values(drawn)).mean(0)

    def datum(self, place: Tensor) -> Tensor:
        """The means there, (rows, *shape), as data: gradients are those of the means."""
        values, _ = self.coordinates.values(place[None])
        (run,) = self.scorer.runs(values, self.shared)
        mean = rows_second(self.sampler, run.of(self.site, lambda fn: fn.mean), self.site)[0].cpu()
        if not bool(mean.isfinite().all()):
            raise PairError(f"counterfactual: the distribution of {self.site!r} has no mean that is a datum.")
        return mean + (self.lawful(mean) - mean).detach()

    def on(self, data: Tensor, *, gradients: bool) -> Sampler:
        """The pair on these data."""
        leaves: dict[int | str, Any] = {**self.leaves, self.key: data.to(self.leaf.dtype)}
        return self.sampler.on(leaves, gradients=gradients)


def check_has_mean(sampler: Sampler, site: str) -> None:
    """Refuse a site of which there is no mean to be moved, such as lines of text."""
    fn = sampler.use.posterior_run.model.nodes[site]["fn"]
    try:
        _ = fn.mean
    except NotImplementedError:  # how distributions without a mean say so
        raise PairError(
            f"counterfactual: site {site!r}, a {type(base_of(fn)).__name__}, has no mean, and what is moved is the "
            "mean that latents decode to. What lies between two data shows pv.interpolate, what a code decodes to "
            "pv.reconstruct."
        ) from None


def rounded(sampler: Sampler, site: str) -> Callable[[Tensor], Tensor]:
    """What makes means of a site values of it: whole numbers, where it has no others."""
    fn = sampler.use.posterior_run.model.nodes[site]["fn"]
    return torch.round if getattr(known_support(fn), "is_discrete", False) else lambda mean: mean


def nearest(manifold: Manifold, conditions: Sequence[Condition], scale: Tensor, steps: int) -> Found:
    r"""The data nearest to the rows that meet all conditions.

    \[ \min_z \; \tfrac1d \textstyle\sum_i \big((x'_i(z) - x_i) / s_i\big)^2 + \sum_c \lambda_c \max(0, -m_c(x'(z))) \]

    by Adam, with a λ for each row and condition that grows while it is not met and falls while it is: the search stays
    about the border, and the nearest datum that met all is kept.
    """
    sampler, leaf = manifold.sampler, manifold.leaf
    with sampler.use.quietly(seed_for(sampler.seed, "counterfactual", manifold.scorer.rows.start)), validation(False):
        place = manifold.start().requires_grad_()
        optimiser = torch.optim.Adam([place], lr=_RATE)
        weights = torch.ones(len(conditions), len(leaf), dtype=torch.float64)
        best, least = leaf.clone(), torch.full((len(leaf),), torch.inf, dtype=torch.float64)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = _RATE * (1 - 0.9 * step / steps)
            with torch.enable_grad():
                data = manifold.datum(place)
                margins = _margins(manifold, data, conditions)
                distance = distances(data, leaf, scale)
                loss = distance.square() + (weights * (-margins).clamp(min=0)).sum(0)
                (gradient,) = torch.autograd.grad(loss.sum(), place, allow_unused=True)
            if gradient is None:
                raise PairError(
                    f"counterfactual: what latents decode to at {manifold.site!r} are classes alone, which do not move "
                    "little by little, so that no gradient says where the latents are to go."
                )
            place.grad = gradient.nan_to_num_(0.0, 0.0, 0.0)
            better = (margins >= 0).all(0) & (distance < least)
            best[better], least[better] = data.detach()[better].to(best), distance.detach()[better]
            weights = weights * torch.where(margins.detach() < 0, _RISE, _FALL)
            optimiser.step()
        met = least.isfinite()
        best[~met] = data.detach()[~met].to(best)
    return Found(best, met)


def _margins(manifold: Manifold, data: Tensor, conditions: Sequence[Condition]) -> Tensor:
    here = manifold.on(data, gradients=True)
    return torch.stack([(condition.margin(here).double() / condition.unit) for condition in conditions])


def distances(data: Tensor, rows: Tensor, scale: Tensor) -> Tensor:
    """Root mean square over cells, each in units of its scale, (rows,); cells that are missing do not count."""
    off = ((data.double() - rows.double()) / scale).flatten(1)
    return off.square().nanmean(1).clamp(min=1e-24).sqrt()
