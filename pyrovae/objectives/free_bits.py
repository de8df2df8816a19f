"""Free bits, around any pair, from outside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch.distributions import Independent, kl_divergence

from pyrovae.errors import ArgumentError
from pyrovae.objectives.figures import TEMPERING, Tempering, data_size, is_data, untempered
from pyrovae.objectives.penalised import same_draw
from pyrovae.objectives.schedules import evaluate
from pyrovae.pairs.pair import HasPair, Side, Wrapped, wrappers
from pyrovae.pairs.trace import INTERNAL, batch_rows


def free_bits(
    pair: HasPair, nats: Mapping[str, float], *, per_dim: bool = False, data_plate: str | None = None
) -> FreeBits:
    """Leave a site's KL unpunished below a number of nats per datum.

    The loss holds `max(nats, KL)` in place of `KL = mean_n KL(q(z_n | x_n) || p(z_n))`, by a factor
    `KL - max(nats, KL)` in the model; the mean is over batch and particles. A global site's KL per datum is
    its KL divided by the size of the data plate. Figures never see the factor.

    Args:
        pair: any pair.
        nats: the free nats per datum of each site.
        per_dim: free nats for each dimension of the site's event, instead of their sum.
        data_plate: the plate of the data, where several hold all observed sites and have the batch's length.

    Returns:
        A pair.

    Raises:
        ArgumentError: a negative number at once; at the first call a site that the pair does not have, that is
            enumerated or depends on one that is, or whose KL has no closed form.

    References:
        Kingma et al., "Improving variational inference with inverse autoregressive flow" (2016), C.8.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pair = pv.free_bits(vae, {"z": 0.5}, per_dim=True)
        >>> pv.check_pair(pair, torch.randn(8, 5))
        ()
    """
    return FreeBits(pair, nats, per_dim=per_dim, data_plate=data_plate)


class FreeBits(Wrapped):
    """A pair with free nats; see `free_bits`."""

    of_the_loss = True

    def __init__(self, pair: HasPair, nats: Mapping[str, float], *, per_dim: bool, data_plate: str | None = None):
        if not isinstance(nats, Mapping) or any(map(callable, nats.values())):
            raise ArgumentError(f"free_bits takes a number of nats for each site, {{'z': 0.5}} say; got {nats!r}.")
        for inner in wrappers(pair):
            if isinstance(inner, FreeBits) and (twice := [site for site in nats if site in inner.nats]):
                raise ArgumentError(
                    f"free_bits names {twice[0]!r}, and the pair has free bits there already, "
                    f"{inner.nats[twice[0]]:g} nats: name each site once, around the pair as it was before."
                )
        self.pair = pair
        self.nats = {site: evaluate(value, 0) for site, value in nats.items()}
        self.per_dim = per_dim
        self.data_plate = data_plate
        self._drawn: dict[str, _Note] = {}  # what the guide drew for the model to come

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Note the guide's distributions, and add one factor for each site named to the model."""
        drawn, self._drawn = self._drawn, {}
        with _Notes(self.nats) as notes:
            yield
        if side == "guide":
            self._check_noted(notes)
            self._drawn = notes.sites
        else:
            self._add_factors(drawn, notes, batch_rows(args, kwargs))

    def _check_noted(self, notes: _Notes) -> None:
        missing = [site for site in self.nats if site not in notes.sites]
        if missing:
            raise ArgumentError(
                f"free_bits names {missing[0]!r}, which the guide does not draw; it draws "
                f"{', '.join(map(repr, notes.names)) or 'nothing'}. A site that the model enumerates has no KL of its "
                "own."
            )
        if notes.sequential:
            raise ArgumentError(
                f"free_bits: the guide enumerates {notes.sequential[0]!r} one value a pass, and what depends on it has "
                "a KL for each value. Enumerate in parallel, or use `temper`."
            )

    def _add_factors(self, drawn: Mapping[str, _Note], notes: _Notes, rows: int | None) -> None:
        for site, note in drawn.items():
            if site not in notes.names:
                raise ArgumentError(f"free_bits names {site!r}, which is no site of the model: it has no prior.")
            # Draws from the prior, and sites that are conditioned on, have no KL.
            if site in notes.sites and same_draw(note.value, notes.sites[site].value):
                size = data_size(notes.data, rows, self.data_plate)
                self._factor(site, note, notes.sites[site], size)

    def _factor(self, site: str, posterior: _Note, prior: _Note, size: int) -> None:
        _check(site, posterior, prior)
        value = _free(posterior, _divergence(site, posterior, prior, per_dim=self.per_dim), self.nats[site], size)
        unit = dist.Unit(value, has_rsample=False)
        mark: Any = {INTERNAL: site}
        pyro.sample(f"{site}_free_bits", unit, obs=unit.sample(), infer=mark)


class _Note(NamedTuple):
    """A site as seen from just outside the pair; what stands further out will act on the factor itself."""

    fn: Any
    value: Any
    scale: Any  # without temper
    mask: Any  # without temper
    weight: float  # of a temper inside
    copies: int  # particles, in plates further out
    outer_mask: bool  # a mask further out
    loose: bool  # batch dims that belong to no plate: it is enumerated, or depends on a site that is
    infer: Mapping[str, Any]


class _Notes(Messenger):
    """Note some sites twice: as they reach this handler, and as they are in the end."""

    def __init__(self, wanted):
        super().__init__()
        self.wanted = wanted
        self.names: list[str] = []
        self.sites: dict[str, _Note] = {}
        self.data: list[tuple] = []  # the plates around each observed site
        self.sequential: list[str] = []  # enumerated one value a pass
        self._inner: dict[str, dict] = {}

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.wanted:
            self._inner[msg["name"]] = msg.copy()
        if is_data(msg):
            self.data.append(msg["cond_indep_stack"])

    def _pyro_post_sample(self, msg) -> None:
        name = msg["name"]
        if site_is_subsample(msg):
            return
        self.names.append(name)
        self.sequential += [name] if "_enum_total" in msg["infer"] else []
        if name not in self._inner or msg["is_observed"]:
            return
        inner, shape = self._inner[name], msg["fn"].batch_shape
        scale, mask = untempered(inner)
        dims = {frame.dim for frame in msg["cond_indep_stack"] if frame.vectorized}
        outer = msg["cond_indep_stack"][: len(msg["cond_indep_stack"]) - len(inner["cond_indep_stack"])]
        self.sites[name] = _Note(
            msg["fn"],
            msg["value"],
            scale,
            mask,
            weight=inner.get(TEMPERING, Tempering()).weight,
            copies=math.prod(int(frame.size) for frame in outer if frame.vectorized),
            outer_mask=msg["mask"] is not inner["mask"] and msg["mask"] is not False,
            loose=any(shape[dim] > 1 for dim in range(-len(shape), 0) if dim not in dims),
            infer=msg["infer"],
        )


def _check(site: str, posterior: _Note, prior: _Note) -> None:
    if posterior.loose or prior.loose or "_enumerate_dim" in posterior.infer:
        raise ArgumentError(
            f"free_bits: the site {site!r} is enumerated, or depends on a site that is; free bits need one KL in "
            "closed form for each datum."
        )
    if posterior.outer_mask:
        raise ArgumentError(
            f"free_bits: a mask stands around the pair, where it would mask the factor of {site!r} row by row. "
            "Mask the pair first, and put free_bits around it."
        )


def _free(note: _Note, divergence: torch.Tensor, nats: float, size: int) -> torch.Tensor:
    """`weight * size * (KL - max(nats, KL))`, KL per datum and summed over dimensions, where `divergence` has them."""
    event = divergence.ndim - len(note.fn.batch_shape)
    mask = note.mask
    if isinstance(mask, torch.Tensor):
        mask = mask.expand(note.fn.batch_shape)
        mask = mask.reshape(mask.shape + (1,) * event)
    total = torch.as_tensor(scale_and_mask(divergence, note.scale, mask))
    if total.ndim > event:
        total = total.flatten(0, total.ndim - event - 1).sum(0)
    average = total / (note.copies * size)
    return note.weight * size * (average - average.clamp(min=nats)).sum()


def _divergence(site: str, posterior: _Note, prior: _Note, *, per_dim: bool) -> torch.Tensor:
    """KL per datum: shape of the plates, and with `per_dim` of the event behind it."""
    guide_fn, model_fn = posterior.fn, prior.fn
    if isinstance(_innermost(guide_fn), dist.Delta):
        raise ArgumentError(
            f"free_bits: the guide puts {site!r} at a point (Delta), as autoguides do behind an auxiliary site; that "
            "has no KL in closed form. Use `temper`, or a guide that draws the site from a distribution."
        )
    if per_dim:
        guide_fn, model_fn = (_without_event(site, fn) for fn in (guide_fn, model_fn))
    try:
        return kl_divergence(guide_fn, model_fn)
    except NotImplementedError:
        raise ArgumentError(
            f"free_bits: the KL of {type(guide_fn).__name__} from {type(model_fn).__name__} at site {site!r} "
            "has no closed form. Use distributions whose KL torch knows, or `temper`."
        ) from None


def _innermost(fn: Any) -> Any:
    """The distribution over single elements, behind `.expand` and `.to_event`."""
    while isinstance(fn, ExpandedDistribution | Independent):
        fn = fn.base_dist
    return fn


def _without_event(site: str, fn: Any) -> Any:
    """The distribution over single dimensions behind `.to_event`."""
    base = _innermost(fn)
    if not base.event_shape:
        return base.expand(fn.batch_shape + fn.event_shape)
    raise ArgumentError(
        f"free_bits: {type(base).__name__} at site {site!r} does not split into dimensions; leave per_dim out."
    )
