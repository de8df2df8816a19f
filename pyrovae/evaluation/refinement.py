"""A guide whose local distributions are moved and stretched, datum by datum, until the ELBO is highest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch.distributions import Distribution, biject_to, constraints
from torch.distributions.transforms import AffineTransform, Transform

from pyrovae.errors import ArgumentError
from pyrovae.evaluation.spread_of import spread_of
from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.pair import Side, Wrapped
from pyrovae.sampling.densities import of_run
from pyrovae.sampling.programs import WholePlate
from pyrovae.sampling.scoring import Scorer

_SPREAD_DRAWS = 64  # for the centre and the scale of each site


class Change(NamedTuple):
    r"""What is done to one site in free coordinates: \(u' = m + d\,(s + L\,(u - m) / d)\), as one run holds it.

    m and d are mean and standard deviation under the guide; s starts at 0, and L at the identity.
    """

    middle: torch.Tensor
    spread: torch.Tensor
    shift: torch.Tensor
    stretch: torch.Tensor  # logarithms of the diagonal of L
    shear: torch.Tensor | None  # what is below the diagonal, (*plates, width, width)
    axis: int | None  # of the rows, from the right

    def learned(self) -> list[torch.Tensor]:
        """The tensors of the change that are optimised."""
        return [part for part in (self.shift, self.stretch, self.shear) if part is not None]


def changes_of(scorer: Scorer, *, full: bool) -> dict[str, Change]:
    """Changes that change nothing yet.

    Raises:
        ArgumentError: a local site of the guide has no pathwise gradient.
    """
    count = max(2, min(_SPREAD_DRAWS, scorer.sampler.tile_draws))
    shared = scorer.shared(range(1))
    values = scorer.values(scorer.drawn(count, shared and shared * count))
    found = {}
    for site, node in scorer.sites.items():
        if not node["fn"].has_rsample or type(node["fn"]).rsample is Distribution.rsample:  # wrappers draw by a call
            raise ArgumentError(
                f"the guide is refined by pathwise gradients, which {site!r} ({type(node['fn']).__name__}) does not "
                "have. Have it summed out by the model, if it is discrete."
            )
        free = biject_to(known_support(node["fn"])).inv(values[site])
        middle, spread = free.mean(0), spread_of(free)
        shear = torch.zeros_like(middle)[..., None].expand(*middle.shape, middle.shape[-1]).clone() if full else None
        shear = shear if len(node["fn"].event_shape) == 1 else None
        parts = torch.zeros_like(middle), torch.zeros_like(middle)
        found[site] = Change(middle, spread, *parts, shear, scorer.sampler.layout.place(("guide", site)).axis)
    return found


class Changed(Wrapped):
    """A pair whose guide draws sites from changed distributions."""

    def __init__(self, pair: WholePlate, changes: Mapping[str, Change]):
        self.pair: WholePlate = pair
        self.changes = changes

    def turn_to(self, batch: Any) -> None:
        """Hold the rows of a batch."""
        self.pair.turn_to(batch)

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """The changes, around the guide."""
        return _Changing(self.changes) if side == "guide" else nullcontext()


class _Changing(Messenger):
    def __init__(self, changes: Mapping[str, Change]):
        super().__init__()
        self.changes = changes

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.changes and not msg["is_observed"]:
            msg["fn"] = _changed(msg["fn"], self.changes[msg["name"]])


def _changed(fn: Any, change: Change) -> Any:
    """The distribution of changed draws; transforms remember their last draw, since some flows have no inverse."""
    free = biject_to(known_support(fn)).with_cache(1)
    shape = free.inverse_shape(fn.batch_shape + fn.event_shape)
    m, d, s, r = (_in_rows(part, change.axis, shape) for part in change[:4])
    seen = getattr(fn, "seen_elements", None)
    if seen is not None:  # what does not count stays as it is
        s, r = s * seen, r * seen
    if change.shear is None:
        affine: Transform = AffineTransform(m + d * s - r.exp() * m, r.exp(), fn.event_dim, cache_size=1)
    else:
        axis = None if change.axis is None else change.axis - 1
        affine = Sheared(m, d, s, r, _in_rows(change.shear, axis, (*shape, shape[-1])))
    return ChangedDistribution(fn, [free.inv, affine, free])


class ChangedDistribution(dist.TransformedDistribution):
    """A distribution of changed draws, of which as many elements count as before."""

    @property
    def seen_elements(self) -> torch.Tensor | None:
        """Which elements count, where not all do."""
        return getattr(self.base_dist, "seen_elements", None)


def _in_rows(part: torch.Tensor, axis: int | None, shape: Any) -> torch.Tensor:
    """As often as a run holds each datum."""
    if axis is None or -axis > len(shape) or shape[axis] == part.shape[axis]:
        return part
    repeats = [1] * part.ndim
    repeats[axis] = shape[axis] // part.shape[axis]
    return part.repeat(repeats)


class Sheared(Transform):
    r"""\(u' = m + d\,(s + L\,(u - m) / d)\) with a lower triangular L."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, m: torch.Tensor, d: torch.Tensor, s: torch.Tensor, r: torch.Tensor, shear: torch.Tensor):
        super().__init__(cache_size=1)
        self.middle, self.spread, self.shift, self.stretch = m, d, s, r
        self.factor = shear.tril(-1) + torch.diag_embed(r.exp())

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        turned = (self.factor @ ((x - self.middle) / self.spread).unsqueeze(-1)).squeeze(-1)
        return self.middle + self.spread * (self.shift + turned)

    def _inverse(self, y: torch.Tensor) -> torch.Tensor:
        turned = ((y - self.middle) / self.spread - self.shift).unsqueeze(-1)
        return self.middle + self.spread * torch.linalg.solve_triangular(self.factor, turned, upper=False).squeeze(-1)

    def log_abs_det_jacobian(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The logarithm of the change of volume."""
        return self.stretch.sum(-1).expand(x.shape[:-1])


def refined(
    scorer: Scorer, *, steps: int, draws: int, full: bool, learning_rate: float = 0.1, global_draws: int = 16
) -> dict[str, Change]:
    """The changes of highest ELBO for the rows of one tile; the pair stays as it is.

    Use it inside `sampler.use.quietly(seed)`.
    """
    changes = changes_of(scorer, full=full)
    learned = [part.requires_grad_() for change in changes.values() for part in change.learned()]

    def weights(step: int) -> torch.Tensor:
        shared = scorer.shared(range(step % global_draws, step % global_draws + 1))
        return log_weights(scorer, draws, shared, changes)

    # Slower towards the end, so that what is left is not the noise of the last steps.
    climb(weights, learned, [learning_rate * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)])
    return {site: Change(*(_detached(part) for part in change)) for site, change in changes.items()}


def climb(
    log_weights_at: Callable[[int], torch.Tensor], learned: Sequence[torch.Tensor], rates: Sequence[float]
) -> None:
    """Raise the mean of log weights (draws, rows) by Adam; each row has parameters of its own.

    Args:
        log_weights_at: the log weights of a step.
        learned: the parameters, which are changed in place.
        rates: the learning rate of each step.
    """
    optimiser = torch.optim.Adam(learned)
    for step, rate in enumerate(rates):
        optimiser.param_groups[0]["lr"] = rate
        with torch.enable_grad():
            loss = -log_weights_at(step).mean(0).sum()  # the sum's gradient is each row's
        gradients = torch.autograd.grad(loss, learned, allow_unused=True)
        for part, gradient in zip(learned, gradients, strict=True):
            part.grad = torch.zeros_like(part) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
        optimiser.step()


def _detached(part: Any) -> Any:
    return part.detach() if isinstance(part, torch.Tensor) else part


def log_weights(
    scorer: Scorer, draws: int, shared: list[Any] | None, changes: Mapping[str, Change] | None
) -> torch.Tensor:
    """log p - log q of draws from the changed guide, (draws, rows), given one draw of the global sites."""
    around: Any = (lambda pair: Changed(pair, changes)) if changes else (lambda pair: pair)
    runs = scorer.drawn(draws, shared and shared * draws, around)
    return torch.cat([of_run(run, len(scorer.rows)).log_weights for run in runs])
