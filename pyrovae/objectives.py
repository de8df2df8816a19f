"""Which ELBO is right for which pair, and how `fit` runs it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.util import torch_backward, torch_item

from pyrovae.errors import ArgumentError
from pyrovae.figures import contraction
from pyrovae.handlers import FreeBits, Tempered
from pyrovae.isolation import isolated
from pyrovae.pairs import HasPair, Structure, Traces, Wrapped, plates, unwrapped

Loss = ELBO | Callable[..., Any]


def own_loss(loss: Loss | None, structure: Structure | None = None) -> Loss:
    """A loss for one fit: a fresh copy, since an ELBO remembers the depth of a pair's plates.

    Left out, it is `Trace_ELBO()`, or `TraceEnum_ELBO()` where the model enumerates a site.
    """
    if loss is None:
        return TraceEnum_ELBO() if structure and structure.named("enumerated") else Trace_ELBO()
    if isinstance(loss, type) or not (isinstance(loss, ELBO) or callable(loss)):
        raise ArgumentError(f"loss is {loss!r}; give an object such as pyro.infer.Trace_ELBO(), not its class or name.")
    if type(loss).__name__.startswith("Jit"):
        raise ArgumentError(
            f"{type(loss).__name__} compiles the pass away, and with it the figures of the history. Use "
            f"{type(loss).__name__.removeprefix('Jit')}."
        )
    return copy.copy(loss)


def loss_and_gradients(loss: Loss, pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> float:
    """One pass of the loss, gradients accumulated into the parameters, as `SVI.step` does it."""
    if hasattr(loss, "loss_and_grads"):
        value = loss.loss_and_grads(pair.model, pair.guide, *args, **kwargs)  # type: ignore[union-attr]
    else:
        value = loss(pair.model, pair.guide, *args, **kwargs)
        torch_backward(value)
    # ReweightedWakeSleep returns a pair of losses.
    return sum(map(torch_item, value)) if isinstance(value, tuple) else float(torch_item(value))


def loss_alone(loss: Loss, pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """One pass without gradients, for the figures that a recorder reads off it."""
    run = loss.loss if hasattr(loss, "loss") else loss  # type: ignore[union-attr]
    run(pair.model, pair.guide, *args, **kwargs)


def check_objective(
    loss: Loss, pair: HasPair, structure: Structure, run: Traces, args: tuple, kwargs: Mapping[str, Any]
) -> None:
    """Refuse combinations of loss, weights and pair that would be silently wrong."""
    weights = _weights(pair)
    if isinstance(loss, RenyiELBO):
        _check_renyi(pair, structure, run, weights)
    enumerated = structure.named("enumerated")
    if enumerated and not isinstance(loss, TraceEnum_ELBO):
        raise ArgumentError(
            f"the model enumerates {', '.join(map(repr, enumerated))}, which {type(loss).__name__} does not sum out. "
            "Use loss=pyro.infer.TraceEnum_ELBO(), or draw it in the guide."
        )
    if enumerated and weights:
        _check_contraction(loss, pair, weights, args, kwargs)


def _weights(pair: Any) -> dict[str | None, Any]:
    """The schedules of every temper around a pair that is not the number 1."""
    found: dict[str | None, Any] = {}
    while isinstance(pair, Wrapped):
        if isinstance(pair, Tempered):
            found.update({site: w for site, w in pair.schedules.items() if w != 1})
        pair = pair.pair
    return found


def _check_renyi(pair: Any, structure: Structure, run: Traces, weights: Mapping) -> None:
    sizes = plates(run)
    scaled = [name for name, (length, size) in sizes.items() if size not in (length, -1)]
    global_sites = [s.name for s in structure.sites.values() if s.role == "latent" and not s.local]
    inner = pair
    while isinstance(inner, Wrapped) and not isinstance(inner, FreeBits):
        inner = inner.pair
    reasons = {
        "temper weights the KL": bool(weights),
        "free bits change the KL": isinstance(inner, FreeBits),
        f"the plate {', '.join(scaled)} scales log-probabilities": bool(scaled),
        f"{', '.join(global_sites)} is drawn once for all data": bool(global_sites),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ArgumentError(
                f"RenyiELBO exponentiates scaled log-probabilities, so that its bound is another one where {reason}. "
                "Use Trace_ELBO(num_particles=...), which is right there; per-datum multi-sample objectives are "
                "planned as pyrovae.objectives.IWAE."
            )


def _check_contraction(loss: Any, pair: HasPair, weights: Mapping, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Sites contracted together are one term, which can have one weight, and none where data are in it."""
    probe, plain = copy.copy(loss), unwrapped(pair)
    with isolated():
        if probe.max_plate_nesting == float("inf"):
            probe._guess_max_plate_nesting(plain.model, plain.guide, args, kwargs)
        model, guide = next(iter(probe._get_traces(plain.model, plain.guide, args, kwargs)))
    names = contraction(model, guide)
    observed = [name for name in names if model.nodes[name]["is_observed"]]
    weight_of = {name: str(weights.get(name, weights.get(None, 1.0))) for name in names if name not in observed}
    if observed:
        raise ArgumentError(
            f"temper: {', '.join(map(repr, names))} are summed out together, and {', '.join(map(repr, observed))} is "
            "observed: there is no KL of its own to weight. Leave temper out, or draw the enumerated site in the guide."
        )
    if len(set(weight_of.values())) > 1:
        raise ArgumentError(
            f"temper: {', '.join(map(repr, names))} are summed out together and need one weight; they have {weight_of}."
        )
