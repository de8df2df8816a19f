"""Weights of the rate, around any pair, from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyrovae.errors import ArgumentError
from pyrovae.objectives.figures import TEMPERING, Tempering
from pyrovae.objectives.schedules import evaluate
from pyrovae.objectives.target_rate import SteeredWeight
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.pairs.trace import INTERNAL

Weight = float | Callable[[int], float] | SteeredWeight


def temper(pair: HasPair, weight: Weight | Mapping[str, Weight]) -> Tempered:
    """Multiply the log-probability at latent sites by a weight, in model and guide alike.

    `loss = distortion + sum_s weight_s * rate_s`. A number counts at every latent site, global and auxiliary
    ones included; `{site: weight}` at that site and the auxiliary sites behind it. 0 drops a site.

    Args:
        pair: any pair.
        weight: a number, a schedule of `pair.step`, a `TargetRate` or `TargetDistortion`, or a dict of numbers and
            schedules by site.

    Returns:
        A pair with an attribute `step`, which a loop of your own moves on; setting it moves on every `temper`
        further inside, too. `weight` is the weight at that step, and `observe(rate, distortion)` tells a target
        the figures of the step just made.

    Raises:
        ArgumentError: a negative weight at once; at the first call a site that the pair does not have, or that
            cannot have a weight of its own.

    References:
        Higgins et al., "beta-VAE" (2017).

    Examples:
        >>> import pyro, torch, pyrovae as pv
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

    of_the_loss = True

    def __init__(self, pair: HasPair, weight: Weight | Mapping[str, Weight]):
        self.pair = pair
        self.schedules: dict[str | None, Any] = {**weight} if isinstance(weight, Mapping) else {None: weight}
        self._step = 0
        self._states = {s: w.initial() for s, w in self.schedules.items() if isinstance(w, SteeredWeight)}
        self._sites_behind: dict[str, str] | None = None  # auxiliary site -> the site whose weight it takes
        self._guided: set[str] = set()  # what the guide drew last
        self._given: dict[str | None, torch.Tensor] = {}  # weights that are the input of a graph
        self.weights()  # a negative number is refused here, not in the middle of a training

    # --- the weights ----------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """The step at which schedules are read; setting it sets that of every temper further inside."""
        return self._step

    @step.setter
    def step(self, value: int) -> None:
        for layer in self._layers():
            layer._step = value

    def weights(self) -> dict[str | None, float]:
        """The weights of this layer at the current step, by site; None stands for every site."""
        return {site: self._weight(site, schedule) for site, schedule in self.schedules.items()}

    @property
    def weight(self) -> float | dict[str, float]:
        """The weight at the current step, of all layers together: one number, or one for each site named."""
        layers = [layer.weights() for layer in self._layers()]
        everywhere, named = 1.0, {str(site): 1.0 for layer in layers for site in layer if site is not None}
        for layer in layers:
            everywhere *= layer.get(None, 1.0)
            named = {site: total * layer.get(site, layer.get(None, 1.0)) for site, total in named.items()}
        return named or everywhere

    def observe(self, rate: float, distortion: float = math.nan) -> None:
        """Tell every `TargetRate` and `TargetDistortion` the figures of the step just made, in nats per datum."""
        for layer in self._layers():
            for site, state in layer._states.items():
                layer._states[site] = layer.schedules[site].observe(rate, distortion, state)

    @property
    def states(self) -> dict[str | None, float]:
        """What steered weights remember, layer by layer: to be kept in a checkpoint."""
        return {_key(depth, s): state for depth, layer in self._numbered() for s, state in layer._states.items()}

    @states.setter
    def states(self, values: Mapping[str | None, float]) -> None:
        for depth, layer in self._numbered():
            layer._states = {site: values[_key(depth, site)] for site in layer._states}

    def _weight(self, site: str | None, schedule: Weight) -> float:
        if isinstance(schedule, SteeredWeight):
            return schedule.weight(self._states[site])
        return evaluate(schedule, self.step)

    # --- weights that are inputs of a graph -----------------------------------------------------------

    def moving(self) -> dict[tuple[int, str | None], float]:
        """The weights that may differ from step to step, by layer and site, at the current step."""
        return {
            (depth, site): weight
            for depth, layer in self._numbered()
            for site, weight in layer.weights().items()
            if callable(layer.schedules[site]) or site in layer._states
        }

    @contextmanager
    def given(self, weights: Mapping[tuple[int, str | None], torch.Tensor]) -> Iterator[None]:
        """The same weights as tensors, whose values are not looked at."""
        layers = list(self._layers())
        for (depth, site), weight in weights.items():
            layers[depth]._given[site] = weight
        try:
            yield
        finally:
            for layer in layers:
                layer._given = {}

    def _layers(self) -> Iterator[Tempered]:
        """This temper and those further inside."""
        pair: Any = self
        while isinstance(pair, Wrapped):
            if isinstance(pair, Tempered):
                yield pair
            pair = pair.pair

    def _numbered(self) -> Iterator[tuple[int, Tempered]]:
        return enumerate(self._layers())

    # --- the pair -------------------------------------------------------------------------------------

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """The weights, the same around both sides."""
        weight_of = self._weights_of_sites(args, kwargs)
        with _Temper(weight_of, side=side) as tempered:
            yield
        if side == "guide":
            self._guided = set(tempered.seen)
        elif not self._given:  # else the plain passes before have checked it
            _check_contractions(tempered.seen, self._guided, weight_of)

    def _weights_of_sites(self, args, kwargs) -> Callable[[str], Any]:
        # A weight of 0 drops its sites, which no tensor could do.
        weights: dict[str | None, Any] = {s: self._given.get(s, w) if w else w for s, w in self.weights().items()}
        if None in weights:
            everywhere = weights[None]
            return lambda site: everywhere
        if self._sites_behind is None:
            with torch.enable_grad():  # which auxiliary site serves which latent one shows in gradients
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
        if self._states and len(known) > 1:
            kind = next(type(self.schedules[site]).__name__ for site in self._states)
            raise ArgumentError(
                f"temper gives {', '.join(map(repr, self._states))} a {kind}, which is told the figures of all "
                f"{len(known)} latent sites together. Give it as the one weight of all: temper(pair, {kind}(...))."
            )
        self._sites_behind = self._auxiliaries(structure)

    def _auxiliaries(self, structure: Structure) -> dict[str, str]:
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
        return behind


def _key(depth: int, site: str | None) -> str | None:
    return f"{depth}@{site or ''}" if depth else site


class _Temper(Messenger):
    """Scale what is not observed; `poutine.scale` refuses 0, and would scale observed sites too."""

    def __init__(self, weight_of: Callable[[str], Any], *, side: str):
        super().__init__()
        self.weight_of = weight_of
        self.side = side
        self.seen: dict[str, dict] = {}

    def _pyro_sample(self, msg) -> None:
        internal = msg["infer"].get(INTERNAL)
        # In a guide factors count too: they are part of log q.
        data = msg["is_observed"] and self.side == "model" and internal is None
        if data or site_is_subsample(msg):
            return
        weight = self.weight_of(internal or msg["name"])
        given = isinstance(weight, torch.Tensor)  # whose value is not looked at
        if not given and weight == 1:
            return
        before = msg.get(TEMPERING, Tempering())
        if given or weight:
            msg["scale"] = msg["scale"] * weight
            msg[TEMPERING] = before._replace(factor=before.factor * weight)
        elif not before.dropped:
            # Masked, not scaled: 0 * (-inf) is nan.
            msg[TEMPERING] = before._replace(dropped=True, mask=msg["mask"])
            msg["mask"] = False

    def _pyro_post_sample(self, msg) -> None:
        if not site_is_subsample(msg) and INTERNAL not in msg["infer"]:
            self.seen[msg["name"]] = msg


def _check_contractions(seen: Mapping[str, Any], guided: set[str], weight_of: Callable[[str], float]) -> None:
    """Sites that the model sums out together are one term, which takes one weight, and none if data are in it."""
    dims = {n: m["infer"]["_enumerate_dim"] for n, m in seen.items() if "_enumerate_dim" in m["infer"]}
    summed = {name: dim for name, dim in dims.items() if name not in guided}
    together = [name for name, msg in seen.items() if name in summed or _reaches(msg, set(summed.values()))]
    observed = [name for name in together if seen[name]["is_observed"]]
    weights = {name: weight_of(name) for name in together if name not in observed}
    names, holding = (", ".join(map(repr, group)) for group in (together, observed))
    if observed and any(weight != 1 for weight in weights.values()):
        raise ArgumentError(
            f"temper: the model sums out {names} together, and {holding} is observed: there is no KL of its own to "
            "weight. Leave temper out, or draw the enumerated site in the guide."
        )
    if len(set(weights.values())) > 1:
        raise ArgumentError(
            f"temper: the model sums out {names} together, which takes one weight; they have {weights}."
        )


def _reaches(msg: Mapping[str, Any], dims: set[int]) -> bool:
    """Whether a site's distribution has one of the dims."""
    shape = msg["fn"].batch_shape
    return not is_deterministic(msg) and any(-dim <= len(shape) and shape[dim] > 1 for dim in dims)
