"""Neighbours of data: what lies around their encodings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from pyro.distributions import Delta, TorchDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import ComposeTransform, Independent, TransformedDistribution, biject_to

from pyrovae.errors import ArgumentError
from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.drawn import drawn
from pyrovae.prediction.output import Output
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_wholes

_DRAWS = 8


@in_turn
def variations(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = _DRAWS,
    scale: float = 1.0,
    mean: bool = True,
    seed: int | None = 0,
    device: str | torch.device | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, torch.Tensor]:
    """Neighbours of each datum: data decoded from around its encoding.

    `z = m + scale (z' - m)` with `z' ~ q(z | x)` and m its mean, then `E[x | z]`: 0 gives the datum's own
    reconstruction, 1 what the posterior holds for possible, more what lies further off. Distances are taken where a
    distribution has all real numbers (a gamma in logarithms, a flow before its transforms); sites of counts or classes,
    those without a mean or a mode there, and those outside the data plate are drawn as they are.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: neighbours of each datum.
        scale: how far off they lie, in standard deviations of the posterior; 0 or more.
        mean: the mean of the likelihood in place of a draw from it.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: (draws, *plates, *event)}`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.variations(vae, torch.ones(3, 5), draws=4, scale=2.0)["x"].shape
        torch.Size([4, 3, 5])
        >>> still = pv.variations(vae, torch.ones(3, 5), draws=2, scale=0.0)["x"]
        >>> torch.allclose(still[0], still[1])
        True
    """
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < math.inf:
        raise ArgumentError(f"scale={scale!r}; give a finite number of 0 or more.")
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    local = frozenset(site.name for site in sampler.structure.sites.values() if site.local)
    spread = Sampler.of(VariationSpread(pair, local, scale), data, named, seed=sampler.seed, data_plate=data_plate)
    sites = observed_wholes(spread.structure)
    kind = "posterior" if mean else "predictive"  # as `reconstruct` has it
    return drawn(spread, draws, kind, sites, mean=mean, output=Output(device=device))


class VariationSpread(Wrapped):
    """A pair whose guide draws some of its sites nearer to their centres, or further from them."""

    def __init__(
        self, pair: HasPair, sites: frozenset[str], scale: float, held: Mapping[str, Mapping[int, float]] | None = None
    ):
        self.pair, self.sites, self.scale = pair, sites, scale
        self.held = dict(held or {})  # dimensions of a site, and the values that they have

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """The other spread, around the guide."""
        return _Spreading(self.sites, self.scale, self.held) if side == "guide" else nullcontext()


class _Spreading(Messenger):
    def __init__(self, sites: frozenset[str], scale: float, held: Mapping[str, Mapping[int, float]]):
        super().__init__()
        self.sites, self.scale, self.held = sites, scale, held

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.sites and not msg["is_observed"] and _has_distances(msg["fn"]):
            msg["fn"] = _Around(msg["fn"], self.scale, self.held.get(msg["name"]))


def _has_distances(fn: Any) -> bool:
    return not isinstance(fn, Delta) and not getattr(known_support(fn), "is_discrete", False)


class _Around(TorchDistribution):
    """A distribution whose draws have their distances from its centre multiplied; its density is left as it is."""

    def __init__(self, base: Any, scale: float, held: Mapping[int, float] | None = None):
        self.base, self.scale, self.held = base, scale, held
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    arg_constraints: Any = {}  # noqa: RUF012 - what torch calls it

    @property
    def support(self):
        return known_support(self.base)

    @property
    def has_rsample(self):
        return self.base.has_rsample

    def expand(self, batch_shape, _instance=None):
        return _Around(self.base.expand(batch_shape), self.scale, self.held)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008 - as torch has it
        return self._holding(around(self.base, self.base.sample(sample_shape), self.scale))

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        return self._holding(around(self.base, self.base.rsample(sample_shape), self.scale))

    def _holding(self, value):
        if self.held is None:
            return value
        flat = value.reshape(*value.shape[: value.dim() - len(self.event_shape)], -1).clone()
        for place, number in self.held.items():
            flat[..., place] = number
        return flat.reshape(value.shape)

    def log_prob(self, value):
        return self.base.log_prob(value)


def around(fn: Any, value: torch.Tensor, scale: float) -> torch.Tensor:
    """A draw at `scale` times its distance from the centre of its distribution."""
    if isinstance(fn, Independent):
        return around(fn.base_dist, value, scale)
    if isinstance(fn, TransformedDistribution):
        chain: Any = ComposeTransform(list(fn.transforms))
        return chain(around(fn.base_dist, chain.inv(value), scale))
    unbounded: Any = biject_to(known_support(fn))
    centre = _centre(fn, unbounded, value.shape)
    return value if centre is None else unbounded(centre + scale * (unbounded.inv(value) - centre))


def _centre(fn: Any, unbounded: Any, shape: torch.Size) -> torch.Tensor | None:
    """The mean in free coordinates, the mode where there is none (a Cauchy), or nothing."""
    for name in ("mean", "mode"):
        try:
            centre = unbounded.inv(getattr(fn, name).expand(shape))
        except (NotImplementedError, AttributeError):  # how distributions say that they have none
            continue
        if bool(centre.isfinite().all()):
            return centre
    return None
