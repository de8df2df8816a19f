"""Which ELBO is right for which pair, and how `fit` runs it."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.infer import ELBO, RenyiELBO, ReweightedWakeSleep, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.elbo import ELBOModule
from pyro.infer.trace_tail_adaptive_elbo import TraceTailAdaptive_ELBO
from pyro.infer.tracetmc_elbo import TraceTMC_ELBO
from pyro.infer.util import torch_backward, torch_item

from pyrovae.errors import ArgumentError, PyrovaeError
from pyrovae.objectives.adversarial import Adversarial, discriminators
from pyrovae.objectives.free_bits import FreeBits
from pyrovae.objectives.multi_sample import IWAE
from pyrovae.objectives.penalised import Penalised
from pyrovae.objectives.summed_elbo import SummedELBO
from pyrovae.objectives.temper import Tempered
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair, Wrapped, wrappers
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, plates, samples

Loss = ELBO | Callable[..., Any]


# Their weights of several particles are exponentials of log-probabilities, scales included.
_EXPONENTIATING = (RenyiELBO, ReweightedWakeSleep, TraceTailAdaptive_ELBO)


def own_loss(loss: Loss | None, structure: Structure | None = None) -> Loss:
    """A loss for one fit: a fresh copy of an ELBO, which remembers the depth of a pair's plates.

    Left out, it is `Trace_ELBO()`, or `TraceEnum_ELBO()` where the model or the guide enumerates a site.
    """
    if loss is None:
        if structure is None or not any(site.summed for site in structure.sites.values()):
            return Trace_ELBO()
        return SummedELBO(max_plate_nesting=structure.depth)
    if isinstance(loss, type) or not (isinstance(loss, ELBO) or callable(loss)):
        raise ArgumentError(f"loss is {loss!r}; give an object such as pyro.infer.Trace_ELBO(), not its class or name.")
    if isinstance(loss, ELBOModule):
        raise ArgumentError(
            "loss is an ELBO that was called on a model and a guide; give the ELBO itself: Trace_ELBO()."
        )
    elbo = _elbo(loss)
    if elbo is None:
        return loss
    if type(elbo).__name__.startswith("Jit"):
        raise ArgumentError(
            f"{type(elbo).__name__} compiles the pass away, and with it the figures of the history. Use "
            f"{type(elbo).__name__.removeprefix('Jit')}."
        )
    own = copy.copy(elbo)
    if structure is not None and isinstance(own, TraceEnum_ELBO) and own.max_plate_nesting == math.inf:
        # Found once, and not guessed, and said, at each copy; particles in one pass stand in a plate of their own.
        own.max_plate_nesting = structure.depth + (own.vectorize_particles and own.num_particles > 1)
    if isinstance(own, IWAE) and own.data_plate is None and structure is not None:
        own.data_plate = structure.data_plate
    return own if loss is elbo else getattr(own, loss.__name__)  # type: ignore[union-attr]


def _elbo(loss: Loss) -> ELBO | None:
    """The ELBO that a loss is, or whose method it is (`Trace_ELBO().differentiable_loss`)."""
    owner = getattr(loss, "__self__", loss)
    return owner if isinstance(owner, ELBO) else None


def loss_and_gradients(loss: Any, pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """One pass of the loss, gradients accumulated into the parameters, as `SVI.step` does it.

    Returns:
        The loss as a number; while a pass is traced, as a tensor.
    """
    if hasattr(loss, "loss_and_grads"):
        value = loss.loss_and_grads(pair.model, pair.guide, *args, **kwargs)
    else:
        value = loss(pair.model, pair.guide, *args, **kwargs)
        torch_backward(value)
    # ReweightedWakeSleep returns a pair of losses.
    parts: Any = value if isinstance(value, tuple) else (value,)
    items: list[Any] = [torch_item(part) for part in parts]
    return items[0] if len(items) == 1 else sum(items)


def loss_alone(loss: Any, pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """One pass without gradients, for the figures that a recorder reads off it; what the loss says of it."""
    run = loss.loss if hasattr(loss, "loss") else loss
    return run(pair.model, pair.guide, *args, **kwargs)


def is_of_several_draws(loss: Loss) -> bool:
    """Whether a loss is minus a bound of several draws of each datum, which the ELBO of single draws says little of."""
    return isinstance(_elbo(loss), IWAE | RenyiELBO)


def try_once(loss: Loss, pair: HasPair, structure: Structure, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Run the loss and its gradient once, isolated, so that what it cannot do shows before training."""
    held = {name: parameter.grad for name, parameter in structure.parameters.items()}
    try:
        with (
            isolated(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.backends.cudnn.flags(enabled=False),  # whose recurrent layers have no gradient in eval mode
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            loss_and_gradients(copy.copy(loss) if isinstance(loss, ELBO) else loss, pair, args, kwargs)
    except PyrovaeError:
        raise
    except Exception as error:
        first = " ".join(str(error).split())[:400]
        raise ArgumentError(
            f"loss={type(loss).__name__} fails on the first batch, though model and guide run: {type(error).__name__}: "
            f"{first}. Choose a loss that this pair allows, or change its settings."
        ) from error
    finally:
        for name, parameter in structure.parameters.items():
            parameter.grad = held[name]


def check_objective(
    loss: Loss, pair: HasPair, structure: Structure, run: Traces, args: tuple, kwargs: Mapping[str, Any]
) -> None:
    """Refuse combinations of loss, weights and pair that would be silently wrong."""
    elbo = _elbo(loss)
    if isinstance(elbo, _EXPONENTIATING):
        _check_exponentiating(elbo, pair, structure, run)
    if isinstance(elbo, TraceTailAdaptive_ELBO):
        raise ArgumentError(
            "TraceTailAdaptive_ELBO has gradients but no loss (Pyro returns inf for it), by which no training can be "
            "judged here. Use it in an SVI loop of your own, or take RenyiELBO(alpha=...)."
        )
    if is_of_several_draws(loss) and discriminators(pair):
        raise ArgumentError(
            f"{type(elbo).__name__} weighs draws by the guide's density, in place of which adversarial puts a "
            "discriminator. Use Trace_ELBO()."
        )
    enumerated = structure.named("enumerated")
    if enumerated and elbo is not None and not isinstance(elbo, TraceEnum_ELBO | TraceTMC_ELBO):
        raise ArgumentError(
            f"the model enumerates {', '.join(map(repr, enumerated))}, which {type(elbo).__name__} does not sum out. "
            "Use loss=pyro.infer.TraceEnum_ELBO(), or draw it in the guide."
        )
    if elbo is not None and any(
        isinstance(layer, FreeBits | Penalised | Adversarial) or _weights(layer) for layer in wrappers(pair)
    ):
        # What temper and free bits refuse shows in a pass; before a training is better than in its first step.
        with isolated(), torch.no_grad():
            loss_alone(copy.copy(elbo), pair, args, kwargs)


def check_rows(pair: HasPair, rows: int | None) -> None:
    """Refuse a penalty that was told of another number of rows than the data have."""
    for layer in wrappers(pair):
        if isinstance(layer, Penalised):
            layer.term.check_rows(rows)


def _weights(layer: Wrapped) -> bool:
    return isinstance(layer, Tempered) and any(weight != 1 for weight in layer.schedules.values())


def _check_exponentiating(elbo: ELBO, pair: HasPair, structure: Structure, run: Traces) -> None:
    around = list(wrappers(pair))
    sizes = plates(run)
    scaled = [f"the plate {name!r}" for name, (length, size) in sizes.items() if size not in (length, -1)]
    scaled = scaled or [f"a scale at {name!r}" for trace in run for name, node in samples(trace) if _scaled(node)]
    global_sites = [s.name for s in structure.sites.values() if s.role == "latent" and not s.local]
    reasons = {
        "temper weights the KL": any(map(_weights, around)),
        "free bits change the KL": any(isinstance(layer, FreeBits) for layer in around),
        "a penalty stands around the pair": any(isinstance(layer, Penalised) for layer in around),
        f"{', '.join(scaled[:1])} multiplies log-probabilities": bool(scaled),
        # Only Renyi's bound is meant to have one weight for each datum.
        f"{', '.join(global_sites)} is drawn once for all data": bool(global_sites) and isinstance(elbo, RenyiELBO),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ArgumentError(
                f"{type(elbo).__name__} exponentiates scaled log-probabilities, so that its bound is another one where "
                f"{reason}. Use Trace_ELBO(num_particles=...), which is right there; for a bound of several "
                "draws of each datum that is right there, too, use pyrovae.objectives.IWAE(k)."
            )


def _scaled(node: Mapping[str, Any]) -> bool:
    return bool((torch.as_tensor(node["scale"]) != 1).any())
