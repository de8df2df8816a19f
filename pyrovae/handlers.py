"""Effects around any pair, from outside: weights of the rate, free bits, and the recorder of figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.block_messenger import BlockMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from torch.distributions import kl_divergence

from pyrovae.errors import ArgumentError, PairError
from pyrovae.figures import BEFORE_TEMPER, INTERNAL, Figures, figures
from pyrovae.isolation import Wall
from pyrovae.pairs import HasPair, Structure, Traces, Wrapped, batch_rows, inspect, samples
from pyrovae.schedules import TargetRate, evaluate

Weight = float | Callable[[int], float] | TargetRate


# --- temper -----------------------------------------------------------------------------------------


def temper(pair: HasPair, weight: Weight | Mapping[str, Weight]) -> Tempered:
    """Multiply the log-probability at latent sites by a weight, in model and guide alike.

    `loss = distortion + sum_s weight_s * rate_s`. A number counts at every latent site, global and auxiliary
    ones included; `{site: weight}` at that site and the auxiliary sites behind it. 0 drops a site.

    Args:
        pair: any pair.
        weight: a number, a schedule of `pair.step`, a `TargetRate`, or a dict of them by site.

    Returns:
        A pair with an attribute `step`, which a loop of your own moves on.

    References:
        Higgins et al., "beta-VAE" (2017).

    Example:
        >>> import pyro, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> annealed = pv.temper(vae, pv.linear(0, 1, steps=100))
        >>> svi = pyro.infer.SVI(annealed.model, annealed.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
        >>> for annealed.step in range(3):
        ...     loss = svi.step(torch.zeros(8, 5))
        >>> annealed.weight
        0.02
    """
    return Tempered(pair, weight)


class Tempered(Wrapped):
    """A pair whose latent sites are weighted; see `temper`."""

    def __init__(self, pair: HasPair, weight: Weight | Mapping[str, Weight]):
        self.pair = pair
        self.schedules = dict(weight) if isinstance(weight, Mapping) else {None: weight}
        self.step = 0
        self.states = {s: w.initial() for s, w in self.schedules.items() if isinstance(w, TargetRate)}
        self._sites_behind: dict[str, str] | None = None  # auxiliary site -> the site whose weight it takes
        self.weights()  # a negative number is refused here, not in the middle of a training

    def weights(self) -> dict[str | None, float]:
        """The weights at the current step, by site; None stands for every site."""
        return {site: self._weight(site, schedule) for site, schedule in self.schedules.items()}

    @property
    def weight(self) -> float | dict[str, float]:
        """The weight at the current step: one number, or one for each site that was named."""
        weights = self.weights()
        return weights[None] if None in weights else {str(k): v for k, v in weights.items()}

    def observe(self, rate: float) -> None:
        """Tell a `TargetRate` the rate of the step just made, in nats per datum."""
        for site, state in self.states.items():
            _, self.states[site] = self.schedules[site].update(rate, state)

    def _weight(self, site: str | None, schedule: Weight) -> float:
        if isinstance(schedule, TargetRate):
            return schedule.weight(self.states[site])
        return evaluate(schedule, self.step)

    def model(self, *args, **kwargs):
        """The pair's model under the weights."""
        with _Temper(self._weights_of_sites(args, kwargs), observed=False):
            return self.pair.model(*args, **kwargs)

    def guide(self, *args, **kwargs):
        """The pair's guide under the same weights."""
        with _Temper(self._weights_of_sites(args, kwargs), observed=True):
            return self.pair.guide(*args, **kwargs)

    def _weights_of_sites(self, args, kwargs) -> Callable[[str], float]:
        weights = self.weights()
        if None in weights:
            everywhere = weights[None]
            return lambda site: everywhere
        if self._sites_behind is None:
            self.prepare(inspect(self.pair, args, kwargs, data_plate="-"))
        behind = self._sites_behind or {}
        return lambda site: weights.get(behind.get(site, site), 1.0)

    def prepare(self, structure: Structure) -> None:
        """Check the sites that were named against the pair's, and find their auxiliary sites."""
        if None in self.schedules:
            return
        known = structure.named("latent") + structure.named("enumerated")
        unknown = [site for site in self.schedules if site not in known]
        if unknown:
            raise ArgumentError(
                f"temper names the site {unknown[0]!r}, which is not a latent site of this pair; "
                f"its latent sites are {', '.join(known) or 'none'}."
            )
        behind = {}
        for auxiliary, served in structure.auxiliaries.items():
            named = [site for site in served if site in self.schedules]
            if named and len(served) > 1:
                raise ArgumentError(
                    f"temper names {named[0]!r}, but its auxiliary site {auxiliary!r} serves {', '.join(served)} "
                    "together, so that one of them cannot have a weight of its own. Give one number for all, "
                    "or a guide with one auxiliary site each (AutoNormal)."
                )
            behind.update(dict.fromkeys([auxiliary], named[0]) if named else {})
        self._sites_behind = behind


class _Temper(Messenger):
    """Scale what is not observed; `poutine.scale` refuses 0, and would scale observed sites too."""

    def __init__(self, weight_of: Callable[[str], float], *, observed: bool):
        super().__init__()
        self.weight_of = weight_of
        self.observed = observed  # in a guide factors count too: they are part of log q

    def _pyro_sample(self, msg) -> None:
        name = msg["infer"].get(INTERNAL, msg["name"])
        data = msg["is_observed"] and not self.observed and INTERNAL not in msg["infer"]
        if data or site_is_subsample(msg):
            return
        weight = self.weight_of(name)
        if weight == 1:
            return
        if INTERNAL not in msg["infer"]:
            # Scales already there stay in the record when temper is applied twice: the first one knows them.
            msg["infer"].setdefault(BEFORE_TEMPER, (weight, msg["scale"], msg["mask"]))
        msg["scale"] = msg["scale"] * weight
        if weight == 0:
            # 0 * (-inf) is nan, so the value is dropped, too. The scale stays 0 for the contraction over
            # enumerated sites, which applies masks inside the logarithm and scales outside.
            msg["mask"] = False


# --- free bits --------------------------------------------------------------------------------------


def free_bits(pair: HasPair, nats: Mapping[str, float], *, per_dim: bool = False) -> FreeBits:
    """Leave a site's KL unpunished below a number of nats per datum.

    The loss holds `max(nats, KL)` in place of `KL = mean_n KL(q(z_n | x_n) || p(z_n))`, by a factor
    `KL - max(nats, KL)` in the model; the average is over the batch and its particles. Figures never see it.

    Args:
        pair: any pair.
        nats: the free nats per datum of each site.
        per_dim: free nats for each dimension of the site's event, instead of their sum.

    Returns:
        A pair.

    Raises:
        ArgumentError: a site's KL has no closed form, the site is enumerated, or there is no such site.

    References:
        Kingma et al., "Improving variational inference with inverse autoregressive flow" (2016), C.8.

    Example:
        >>> import pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pair = pv.free_bits(vae, {"z": 0.5}, per_dim=True)
        >>> pv.check_pair(pair, torch.randn(8, 5))
        ()
    """
    return FreeBits(pair, nats, per_dim=per_dim)


class FreeBits(Wrapped):
    """A pair with free nats; see `free_bits`."""

    def __init__(self, pair: HasPair, nats: Mapping[str, float], *, per_dim: bool):
        self.pair = pair
        self.nats = {site: evaluate(value, 0) for site, value in nats.items()}
        self.per_dim = per_dim
        self._guide_sites: dict[str, Any] = {}

    def guide(self, *args, **kwargs):
        """The pair's guide, whose distributions are noted for the factor."""
        with _Notes(self.nats) as notes:
            result = self.pair.guide(*args, **kwargs)
        self._guide_sites = notes.sites
        return result

    def model(self, *args, **kwargs):
        """The pair's model with one factor for each site named."""
        with _Notes(self.nats) as notes:
            result = self.pair.model(*args, **kwargs)
        for site, nats in self.nats.items():
            self._factor(site, nats, notes.sites.get(site))
        return result

    def _factor(self, site: str, nats: float, model_site) -> None:
        guide_site = self._guide_sites.get(site)
        if model_site is None or guide_site is None:
            raise ArgumentError(
                f"free_bits names {site!r}, which is not a latent site of both model and guide"
                f" (the guide has {', '.join(self._guide_sites) or 'none of the sites named'})."
            )
        value = free_nats(site, model_site, guide_site, nats, per_dim=self.per_dim)
        unit = dist.Unit(value, has_rsample=False)
        pyro.sample(f"{site}_free_bits", unit, obs=unit.sample(), infer={INTERNAL: site})


class _Notes(Messenger):
    """Keep the messages of some sites."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        self.sites: dict[str, Any] = {}

    def _pyro_post_sample(self, msg) -> None:
        if msg["name"] in self.names and not msg["is_observed"]:
            self.sites[msg["name"]] = msg.copy()


def free_nats(site: str, model_site, guide_site, nats: float, *, per_dim: bool) -> torch.Tensor:
    """`scale * rows * (KL - max(nats, KL))` for one site, with the scale that the site's own KL has."""
    if any(s["infer"].get("enumerate") for s in (model_site, guide_site)):
        raise ArgumentError(f"free_bits: the site {site!r} is enumerated; free bits need a KL in closed form.")
    divergence = _divergence(site, guide_site["fn"], model_site["fn"], per_dim=per_dim)
    event = divergence.ndim - len(guide_site["fn"].batch_shape)
    rows = guide_site["fn"].batch_shape.numel()
    scale, mask = guide_site["scale"], guide_site["mask"]
    if isinstance(mask, torch.Tensor):
        mask = mask.expand(guide_site["fn"].batch_shape).reshape(mask.shape + (1,) * event)
    summed = torch.as_tensor(scale_and_mask(divergence, 1.0, mask))
    average = summed.flatten(0, summed.ndim - event - 1).sum(0) / rows if summed.ndim > event else summed
    return scale * rows * (average - average.clamp(min=nats)).sum()


def _divergence(site: str, guide_fn, model_fn, *, per_dim: bool) -> torch.Tensor:
    """KL per datum: shape of the plates, and with `per_dim` of the event behind it."""
    if per_dim:
        guide_fn, model_fn = (_without_event(site, fn) for fn in (guide_fn, model_fn))
    try:
        return kl_divergence(guide_fn, model_fn)
    except NotImplementedError:
        raise ArgumentError(
            f"free_bits: the KL of {type(guide_fn).__name__} from {type(model_fn).__name__} at site {site!r} "
            "has no closed form. Use distributions whose KL torch knows, or `temper`."
        ) from None


def _without_event(site: str, fn):
    """The distribution over single dimensions behind `.to_event`."""
    base = fn
    while isinstance(base, dist.torch_distribution.ExpandedDistribution):
        base = base.base_dist
    if isinstance(base, torch.distributions.Independent):
        return base.base_dist.expand(fn.batch_shape + fn.event_shape)
    raise ArgumentError(
        f"free_bits: {type(fn).__name__} at site {site!r} does not split into dimensions; leave per_dim out."
    )


# --- the recorder -----------------------------------------------------------------------------------


def record(pair: HasPair, *, data_plate: str | None = None) -> Recorded:
    """Read rate and distortion off the passes that a loss makes anyway.

    Args:
        pair: any pair.
        data_plate: the plate whose size is the number of data; left out, the one that holds all observed sites.

    Returns:
        A pair with `figures()`: the ELBO, rate and distortion per datum since the last call, without temper.

    Example:
        >>> import pyro, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> recorded = pv.record(vae)
        >>> svi = pyro.infer.SVI(recorded.model, recorded.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
        >>> loss = svi.step(torch.zeros(8, 5))
        >>> bool((recorded.figures().elbo + loss / 8).abs() < 1e-5)
        True
    """
    return Recorded(pair, data_plate=data_plate)


class Recorded(Wrapped):
    """A pair whose passes are recorded; see `record`."""

    def __init__(self, pair: HasPair, *, data_plate: str | None = None):
        self.pair = pair
        self.data_plate = data_plate
        self.runs: list[Traces] = []
        self._guide: Trace | None = None
        self._rows: int | None = None

    def guide(self, *args, **kwargs):
        """The pair's guide."""
        self._guide = enclosing_trace()
        return self.pair.guide(*args, **kwargs)

    def model(self, *args, **kwargs):
        """The pair's model."""
        trace = enclosing_trace()
        if trace is not None and self._guide is not None:
            self.runs.append(Traces(trace, self._guide))
            self._rows = batch_rows(args, kwargs)
        self._guide = None
        return self.pair.model(*args, **kwargs)

    def figures(self) -> Figures:
        """ELBO, rate and distortion per datum of the passes since the last call, averaged over particles."""
        if not self.runs:
            raise PairError(
                "no pass was recorded: run the loss on `recorded.model` and `recorded.guide` before asking."
            )
        runs, self.runs = self.runs, []
        return figures(runs, self.size(runs[-1]))

    def size(self, run: Traces) -> float:
        """The size of the data plate in a run; the number of rows where it has none."""
        shared: list[set] = [
            {frame for frame in node["cond_indep_stack"] if frame.size > 0}
            for _, node in samples(run.model)
            if node["is_observed"] and INTERNAL not in node["infer"]
        ]
        frames = set.intersection(*shared) if shared else set()
        sizes = [
            int(frame.full_size or frame.size)
            for frame in frames
            if self.data_plate in (None, frame.name) and frame.name != "num_particles_vectorized"
        ]
        return sizes[0] if len(sizes) == 1 else (self._rows or 1)


def enclosing_trace() -> Trace | None:
    """The trace that is being made around the caller; None in a pass that an ELBO makes to guess shapes."""
    # What stands outside a wall of our own has nothing to do with the loss that runs inside it.
    walls = [place for place, handler in enumerate(_PYRO_STACK) if isinstance(handler, Wall)]
    inside = _PYRO_STACK[walls[-1] + 1 if walls else 0 :]
    if any(isinstance(handler, BlockMessenger) for handler in inside):
        return None
    # The outermost: enumeration puts tracers of its own inside the one that the ELBO reads.
    tracers = [h for h in inside if isinstance(h, TraceMessenger) and not h.param_only]
    return tracers[0].trace if tracers else None


# --- the index of the data plate ----------------------------------------------------------------------


class FixedPlate(Wrapped):
    """A pair whose data plate is given the rows of the batch as its subsample.

    `plate(size=N, subsample_size=len(x))` would draw a permutation of N at each pass, of which only the
    length is used. `index` is that of the batch's own rows, so that what the model indexes by it belongs to
    the same data; None counts from 0.
    """

    def __init__(self, pair: HasPair, data_plate: str | None):
        self.pair = pair
        self.data_plate = data_plate
        self.index: torch.Tensor | None = None

    def model(self, *args, **kwargs):
        """The pair's model."""
        with _Index(self.data_plate, self.index, batch_rows(args, kwargs)):
            return self.pair.model(*args, **kwargs)

    def guide(self, *args, **kwargs):
        """The pair's guide."""
        with _Index(self.data_plate, self.index, batch_rows(args, kwargs)):
            return self.pair.guide(*args, **kwargs)


class _Index(Messenger):
    def __init__(self, name: str, index: torch.Tensor | None, rows: int | None):
        super().__init__()
        self.name, self.index, self.rows = name, index, rows

    def _pyro_sample(self, msg) -> None:
        if msg["name"] != self.name or not site_is_subsample(msg) or msg["value"] is not None:
            return
        wanted, size = msg["fn"].subsample_size, msg["fn"].size
        if wanted is None or wanted >= size or wanted != self.rows:
            return
        usable = self.index is not None and len(self.index) == wanted and int(self.index.max()) < size
        chosen = self.index if usable and self.index is not None else torch.arange(wanted)
        msg["value"] = chosen.to(msg["fn"].device)
        msg["done"] = True
