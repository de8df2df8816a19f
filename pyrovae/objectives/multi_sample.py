"""Bounds of several draws for each datum, right under plates, subsamples, masks, temper and global sites."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.infer.util import torch_item
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from pyro.util import warn_if_nan

from pyrovae.errors import ArgumentError
from pyrovae.objectives.boundaries import Boundaries
from pyrovae.objectives.particles import Common, Terms, common_of, frame_of, plate_of, terms_of
from pyrovae.pairs.looks.isolation import isolated, log_level
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import Pair
from pyrovae.pairs.trace import INTERNAL, Traces, batch_rows, run, samples


class IWAE(ELBO):
    r"""The importance-weighted bound: the log of the mean weight of k draws, for each datum on its own.

    \[ \mathcal L = \log\frac{p(w)}{q(w)} + \sum_n s \log \frac1k \sum_{i=1}^k
    \frac{p(x_n, z_{ni} \mid w)}{q(z_{ni} \mid x_n, w)}, \qquad w \sim q(w),\; z_{ni} \sim q(z_n \mid x_n, w) \]

    Global sites w are drawn once; a datum's weights are over its own sites. s is the scale of a subsample, times what
    the author scales all data by: it multiplies each datum's bound and never stands in an exponent, as in Pyro's
    `RenyiELBO`. What is masked is not there. Temper with the weight \(\beta\) gives
    \(p(x_n \mid z_{ni}) \big(p(z_{ni}) / q(z_{ni} \mid x_n)\big)^\beta\) for the weight of a draw, and multiplies the
    KL of global sites. `IWAE(1)` is `Trace_ELBO()`, value and gradient. Sites without pathwise gradients take the score
    function, less the bound that the other draws predict (VIMCO).

    Args:
        k: draws for each datum.
        vectorize_particles: draw them in one plate, for pairs that broadcast and have no global sites; otherwise in a
            loop.
        max_plate_nesting: depth of the pair's plates; left out, it is found by a run where it is needed.
        data_plate: the plate of the data, where it cannot be found.

    References:
        Burda et al., "Importance weighted autoencoders" (2016); Mnih and Rezende, "Variational inference for Monte
        Carlo objectives" (2016).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> run = pv.fit(vae, torch.randn(64, 5), epochs=2, loss=pv.objectives.IWAE(5), seed=0, progress=False)
        >>> run.history[-1].loss < -run.history[-1].elbo  # tighter than the ELBO of the same draws
        True
    """

    def __init__(
        self,
        k: int,
        *,
        vectorize_particles: bool = False,
        max_plate_nesting: float = math.inf,
        data_plate: str | None = None,
    ):
        k = check_count("k", k, where=f"{type(self).__name__}: ")
        super().__init__(num_particles=k, max_plate_nesting=max_plate_nesting, vectorize_particles=vectorize_particles)
        self.data_plate = data_plate

    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Any:
        """The negative bound of one pass."""
        loss: Any = -torch_item(self._particles(model, guide, args, kwargs).bound())  # type: ignore[operator]
        warn_if_nan(loss, "loss")
        return loss

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Any:
        """The negative bound as a tensor whose gradient is the estimate."""
        bound, surrogate = self._bound_and_surrogate(model, guide, args, kwargs)
        return -(bound.detach() + (surrogate - surrogate.detach()))

    def loss_and_grads(self, model: Callable, guide: Callable, *args, **kwargs) -> Any:
        """The negative bound, its gradient accumulated into the parameters."""
        bound, surrogate = self._bound_and_surrogate(model, guide, args, kwargs)
        if surrogate.requires_grad:
            (-surrogate).backward(retain_graph=self.retain_graph)
        loss: Any = -torch_item(bound)  # type: ignore[operator]
        warn_if_nan(loss, "loss")
        return loss

    def _bound_and_surrogate(self, model: Any, guide: Any, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        particles = self._particles(model, guide, args, kwargs)
        return particles.bound(), particles.surrogate()

    def _guess_max_plate_nesting(self, model: Any, guide: Any, args: Any, kwargs: Any) -> None:
        with log_level("pyro.infer.elbo", logging.WARNING):  # a guess that is always right is no news
            super()._guess_max_plate_nesting(model, guide, args, kwargs)

    # --- the passes -----------------------------------------------------------------------------------

    def _particles(self, model: Any, guide: Any, args: tuple, kwargs: dict) -> Particles:
        rows = batch_rows(args, kwargs)
        if self.vectorize_particles and self.num_particles > 1:
            (run,) = self._get_traces(model, guide, args, kwargs)
            plate = plate_of(run.model, rows, self.data_plate)
            _refuse_global_sites(run, plate)
            return Particles([terms_of(run, plate, single=False)], common_of(run, plate))
        runs = list(self._runs(model, guide, args, kwargs, rows))
        plate = plate_of(runs[0].model, rows, self.data_plate)
        terms = [terms_of(run, plate, single=self.num_particles == 1) for run in runs]
        return Particles(terms, common_of(runs[0], plate))

    def _runs(self, model: Any, guide: Any, args: tuple, kwargs: dict, rows: int | None) -> Iterator[Traces]:
        """A run for each draw; what is outside the data plate, and which rows are in it, is as in the first."""
        watched: list[Any] = [poutine.trace(model), poutine.trace(guide)]  # what Pyro hands out lacks the subsamples
        first = self._get_trace(watched[0], watched[1], args, kwargs)
        yield first
        plate = plate_of(first.model, rows, self.data_plate)
        shared = [_shared(handler.trace, plate) for handler in watched]
        again = [poutine.replay(fn, trace=trace) for fn, trace in zip((model, guide), shared, strict=True)]
        for _ in range(self.num_particles - 1):
            yield self._get_trace(again[0], again[1], args, kwargs)

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Traces:
        model_trace, guide_trace = get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)
        run = Traces(model_trace, guide_trace)
        _refuse(run, type(self).__name__)
        return run


class DReG(IWAE):
    r"""The same bound as `IWAE`, with the doubly reparameterised gradient for the guide.

    With \(\tilde w_{ni}\) the weights of datum n, which add up to 1, the guide's parameters \(\phi\) get

    \[ \nabla_\phi \mathcal L_n = \mathbb E \sum_i \tilde w_{ni}^2\,
    \frac{\partial \log w_{ni}}{\partial z_{ni}} \frac{\partial z_{ni}}{\partial \phi} \]

    which has the expectation of IWAE's gradient, but does not drown in noise as k grows; the model's get IWAE's own.
    The local sites of the guide need pathwise gradients; global sites may have either.

    Args:
        k: draws for each datum.
        vectorize_particles: draw them in one plate, for pairs that broadcast and have no global sites; otherwise in a
            loop.
        max_plate_nesting: depth of the pair's plates; left out, it is found by a run where it is needed.
        data_plate: the plate of the data; left out, it is found by a run before the first pass.

    References:
        Tucker et al., "Doubly reparameterized gradient estimators for Monte Carlo objectives" (2019); Bauer and Mnih,
        "Generalized doubly reparameterized gradient estimators" (2021).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> run = pv.fit(vae, torch.randn(64, 5), epochs=2, loss=pv.objectives.DReG(5), seed=0, progress=False)
        >>> run.step
        2
    """

    def _bound_and_surrogate(self, model: Any, guide: Any, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        if not torch.is_grad_enabled():
            return super()._bound_and_surrogate(model, guide, args, kwargs)
        with Boundaries(self._plate(model, guide, args, kwargs)) as boundaries:
            particles = self._particles(model, guide, args, kwargs)
        if not particles.is_pathwise:
            raise ArgumentError(
                "DReG needs local sites with pathwise gradients; the guide has one without (a discrete one, say). Use "
                "pyrovae.objectives.IWAE, which takes the score function there."
            )
        weights = particles.weights()
        behind = boundaries.pulled_back(particles.weighted(particles.log_weights(), weights.square()))
        # The model's parameters and global sites see the draws as constants; the guide's see what came back to them.
        direct = particles.weighted(particles.log_models(), weights)
        return particles.bound(), direct + behind + particles.common_surrogate()

    def _plate(self, model: Any, guide: Any, args: tuple, kwargs: dict) -> str | None:
        if self.data_plate is not None:
            return self.data_plate
        with isolated(), torch.no_grad():
            first = run(Pair(model, guide), args, kwargs)
        return plate_of(first.model, batch_rows(args, kwargs), None)


class Particles(NamedTuple):
    """The terms of all draws: of the data, in one or several runs, and of what they share."""

    terms: list[Terms]
    common: Common

    @property
    def is_pathwise(self) -> bool:
        """Whether no local site needs the score function."""
        return not any(isinstance(term.score, torch.Tensor) for term in self.terms)

    def log_models(self) -> torch.Tensor:
        """log p of the local sites, (k, rows)."""
        return torch.cat([torch.as_tensor(term.model) for term in self.terms])

    def log_weights(self) -> torch.Tensor:
        """log p - log q of the local sites, (k, rows)."""
        return torch.cat([torch.as_tensor(term.model - term.guide) for term in self.terms])

    def weights(self) -> torch.Tensor:
        """Each datum's weights, which add up to 1, as constants."""
        return self.log_weights().detach().softmax(0)

    def bounds(self) -> torch.Tensor:
        """The bound of each datum, (rows,)."""
        log_weights = self.log_weights()
        return log_weights.logsumexp(0) - math.log(len(log_weights))

    def bound(self) -> torch.Tensor:
        """The bound of the batch, scaled to the data."""
        return (self.terms[0].scale * self.bounds().sum() + self.common.value).detach()

    def surrogate(self) -> torch.Tensor:
        """A number whose gradient estimates that of the bound."""
        total = self.terms[0].scale * self.bounds().sum()
        if not self.is_pathwise:
            scores = torch.cat([torch.as_tensor(term.score) for term in self.terms])
            total = total + self.terms[0].scale * (self._learning_signals() * scores).sum()
        return total + self.common_surrogate()

    def common_surrogate(self) -> Any:
        """The same of what all data share."""
        if isinstance(self.common.score, torch.Tensor):
            return self.common.value + self.bound() * self.common.score
        return self.common.value

    def weighted(self, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """A weighted sum over draws and rows, scaled to the data; a draw without weight may be infinite."""
        return self.terms[0].scale * (weights * torch.where(weights > 0, values, 0.0)).sum()

    def _learning_signals(self) -> torch.Tensor:
        """What each draw adds to its datum's bound, beyond what the others let expect, (k, rows)."""
        log_weights, bounds = self.log_weights().detach(), self.bounds().detach()
        count = len(log_weights)
        if count == 1:
            return bounds.expand_as(log_weights)
        others = (log_weights.sum(0) - log_weights) / (count - 1)
        replaced = torch.where(torch.eye(count, dtype=torch.bool, device=others.device)[..., None], others, log_weights)
        return bounds - (replaced.logsumexp(1) - math.log(count))


def _shared(trace: Trace, plate: str | None) -> Trace:
    """What several runs of a pair have in common: sites outside the data plate, and the subsamples of plates."""
    kept = Trace()
    for name, node in trace.nodes.items():
        if node["type"] != "sample" or node["is_observed"]:
            continue
        if site_is_subsample(node) or (plate is not None and frame_of(node, plate) is None):
            kept.add_node(name, **node)
    return kept


def _refuse_global_sites(run: Traces, plate: str | None) -> None:
    found = [name for name, node in samples(run.guide) if plate is not None and frame_of(node, plate) is None]
    if found:
        raise ArgumentError(
            f"vectorize_particles=True would draw {found[0]!r}, which all data share, once for each particle. Leave it "
            "out: the draws of a datum are then made in a loop, given one draw of what is shared."
        )


def _refuse(run: Traces, name: str) -> None:
    """Refuse what would make weights silently wrong."""
    factors = [n for n, node in run.model.nodes.items() if INTERNAL in (node.get("infer") or {})]
    if factors:
        raise ArgumentError(
            f"free bits and penalties around the pair change an ELBO, and {name} is none. Use Trace_ELBO, or `temper`."
        )
    summed = [n for n, node in samples(run.guide) if node["infer"].get("enumerate")]
    summed += [n for n, node in samples(run.model) if not node["is_observed"] and n not in run.guide]
    if summed:
        raise ArgumentError(
            f"{name} does not sum out {summed[0]!r}, which is enumerated, or drawn by the model alone. Draw it in the "
            "guide, or use pyro.infer.TraceEnum_ELBO()."
        )
