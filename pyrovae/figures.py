"""Rate, distortion and ELBO of runs that a loss has already made, without temper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.traceenum_elbo import _compute_dice_elbo, _compute_model_factors
from pyro.poutine.trace_struct import Trace

from pyrovae.pairs import Traces, samples

# Marks in a site's `infer` dictionary.
BEFORE_TEMPER = "_pyrovae_before_temper"  # (weight, scale, mask) of a tempered site
INTERNAL = "_pyrovae_internal"  # a factor of ours, which enters no figure: the site that it belongs to
PARTICLES = "num_particles_vectorized"  # the name of Pyro's own plate over particles


class Figures(NamedTuple):
    """`elbo = -(rate + distortion)`, in nats per datum, never tempered."""

    elbo: torch.Tensor
    rate: torch.Tensor
    distortion: torch.Tensor


@torch.no_grad()
def figures(runs: Sequence[Traces], rows: float) -> Figures:
    """The average over particles of one pass of a loss, per datum.

    `rate = sum(log q - log p)` over latent sites, `distortion = -sum(log p)` over observed sites and factors,
    both scaled by their plates and divided by `rows`.

    Args:
        runs: what the loss traced; log-probabilities that it computed are reused.
        rows: the size of the data plate.
    """
    particles = sum(1 / _enumerated_in_turn(run.guide) for run in runs)
    totals = [_enumerated(run) if _enumerates(run) else _plain(run) for run in runs]
    scale = 1 / (particles * rows)
    rate = torch.as_tensor(sum(rate for rate, _ in totals)) * scale
    distortion = torch.as_tensor(sum(distortion for _, distortion in totals)) * scale
    return Figures(-(rate + distortion), rate, distortion)


def worst_site(runs: Sequence[Traces]) -> str | None:
    """The first site whose log-probability is not finite."""
    for trace in (trace for run in runs for trace in (run.guide, run.model)):
        for name, node in samples(trace):
            if not torch.isfinite(torch.as_tensor(_log_prob(node))).all():
                return name
    return None


# --- without enumeration ----------------------------------------------------------------------------


def _plain(run: Traces) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    rate = sum(site_total(node) for _, node in samples(run.guide))
    distortion: torch.Tensor | float = 0.0
    for _, node in samples(run.model):
        if INTERNAL in node["infer"]:
            continue
        if node["is_observed"]:
            distortion = distortion - site_total(node)
        else:
            rate = rate - site_total(node)
    particles = _vectorised(run)
    return rate / particles, distortion / particles


def site_total(node: dict) -> torch.Tensor | float:
    """A site's log-probability, scaled by plates, masked, not tempered."""
    weight, scale, mask = node["infer"].get(BEFORE_TEMPER, (1.0, None, None))
    if weight == 1:
        total = node.get("log_prob_sum")
        return total.detach() if isinstance(total, torch.Tensor) else _scaled(node, node["scale"], node["mask"])
    return _scaled(node, scale, mask)


def _scaled(node: dict, scale, mask) -> torch.Tensor:
    return torch.as_tensor(scale_and_mask(_log_prob(node), scale, mask)).sum()


def _log_prob(node: dict) -> torch.Tensor:
    known = node.get("unscaled_log_prob")
    return node["fn"].log_prob(node["value"]) if known is None else known.detach()


def _vectorised(run: Traces) -> int:
    frames = (f for trace in run for _, node in samples(trace) for f in node["cond_indep_stack"])
    return next((int(frame.size) for frame in frames if frame.name == PARTICLES), 1)


# --- with enumeration -------------------------------------------------------------------------------


def _enumerates(run: Traces) -> bool:
    return any("_enumerate_dim" in n["infer"] or "_enum_total" in n["infer"] for t in run for _, n in samples(t))


def _enumerated_in_turn(guide: Trace) -> int:
    """How many runs share one particle because sites of the guide are enumerated one value a run."""
    return math.prod(node["infer"].get("_enum_total", 1) for _, node in samples(guide))


def _enumerated(run: Traces) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """Rate and distortion with enumerated sites summed out, by Pyro's own contraction.

    A contraction over sites that the model enumerates is one term: it belongs to the rate where all its
    sites are latent, and to the distortion where one of them is observed.
    """
    total = _dice(run, lambda name, node: True)
    contracted = _contracted(run)
    mixed = any(run.model.nodes[name]["is_observed"] for name in contracted)
    kept = set() if mixed else set(contracted)

    def latent(name: str, node: dict) -> bool:
        return name in kept or (not node["is_observed"] and name not in contracted)

    rate = -_dice(run, latent)
    return rate, -total - rate


def _dice(run: Traces, keep) -> torch.Tensor | float:
    guide = _copied(run.guide, lambda name, node: True)
    model = _copied(run.model, lambda name, node: INTERNAL not in node["infer"] and keep(name, node))
    guide.pack_tensors()
    model.pack_tensors(guide.plate_to_symbol)
    value = _compute_dice_elbo(model, guide)
    value = value.detach() if isinstance(value, torch.Tensor) else value
    return value / _vectorised(run)


def _copied(trace: Trace, keep) -> Trace:
    """A trace of the kept sites with their log-probabilities as they were before tempering."""
    copy = Trace(graph_type=trace.graph_type)
    for name, node in samples(trace):
        if keep(name, node):
            fields = {k: v for k, v in node.items() if k not in ("packed", "log_prob", "log_prob_sum")}
            _, scale, mask = node["infer"].get(BEFORE_TEMPER, (1.0, node["scale"], node["mask"]))
            fields.update(scale=scale, mask=mask, log_prob=scale_and_mask(_log_prob(node), scale, mask))
            copy.add_node(name, **fields)
    return copy


def contraction(model: Trace, guide: Trace) -> list[str]:
    """The model's sites that are contracted together because the model enumerates some of them."""
    enumerated = [
        node for name, node in samples(model) if name not in guide and node["infer"].get("_enumerate_dim") is not None
    ]
    if not enumerated:
        return []
    factors = _compute_model_factors(model, guide)
    summed = factors[3]
    return [name for name, node in samples(model) if summed & set(node["packed"]["unscaled_log_prob"]._pyro_dims)]


def _contracted(run: Traces) -> list[str]:
    guide, model = (_copied(trace, lambda name, node: True) for trace in (run.guide, run.model))
    guide.pack_tensors()
    model.pack_tensors(guide.plate_to_symbol)
    return contraction(model, guide)
