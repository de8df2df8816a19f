"""Clauses about values: data and draws that their distributions cannot take, or give no finite number for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from pyrovae.checks.exceptions import clause_of, first_sentence, nonfinite_in
from pyrovae.checks.finding import Finding
from pyrovae.checks.supports import family_of, not_finite, outside_support
from pyrovae.checks.traced_pair import TracedPair, log_prob, nodes, short
from pyrovae.pairs.implicit_draws import has_density, loose_words
from pyrovae.pairs.mixed_measures import mixed_measures


def computable(traced: TracedPair) -> Iterator[Finding]:
    """Every log-probability can be computed."""
    for side, name, node in traced.sites():
        score, value = traced.scores.get((side, name)), node["value"]
        kind = short(getattr(value, "dtype", type(value).__name__))
        if isinstance(score, Exception):
            yield Finding(clause_of(str(score))[0], "error", uncomputable_words(name, side, node, score), name)
        elif node["is_observed"] and isinstance(score, torch.Tensor) and _wraps_around(node, score):
            yield Finding(
                "dtype",
                "error",
                f"the observed values of {name!r} are {kind}, too small a type to compute with: their log-probability "
                f"is another than that of the same values as {short(torch.get_default_dtype())}. Cast them: "
                "x.float(), of an array x.astype('float32').",
                name,
            )


def uncomputable_words(name: str, side: str, node: Mapping, error: Exception) -> str:
    """What a distribution says that cannot give the log-probability of a site's value, and how to mend it."""
    value = node["value"]
    clause, mend = clause_of(str(error))
    mend = (
        "Cast the data: x.float(), of an array x.astype('float32')."
        if clause == "dtype" and node["is_observed"]
        else mend
    )
    if node["is_observed"] and isinstance(value, torch.Tensor) and bool(value.isnan().any()):
        mend = "Some are NaN: let what is missing count nowhere (pv.masked(pair)), or fill it."
    return (
        f"{name!r} in the {side}: {family_of(node['fn'])} cannot give the log-probability of values of shape "
        f"{tuple(getattr(value, 'shape', ()))}, type {short(getattr(value, 'dtype', type(value).__name__))}: "
        f"{first_sentence(str(error))}. {mend}"
    ).strip()


def _wraps_around(node: Mapping, score: torch.Tensor) -> bool:
    """Whether small integers give another log-probability than the same numbers as floats."""
    value = node["value"]
    if not isinstance(value, torch.Tensor) or value.dtype not in (torch.uint8, torch.int8, torch.int16):
        return False
    exact = log_prob(node, value.to(torch.get_default_dtype()))
    return isinstance(exact, torch.Tensor) and not torch.allclose(exact, score, rtol=1e-3, equal_nan=True)


def within_support(traced: TracedPair) -> Iterator[Finding]:
    """Observed values are inside the support of their distribution, also where validation is off."""
    for name in traced.structure.named("observed"):
        node, score = nodes(traced.traces.model)[name], traced.scores.get(("model", name))
        value = torch.as_tensor(node["value"])
        finite = not isinstance(score, torch.Tensor) or bool(torch.isfinite(score).all())
        message = outside_support(name, node["fn"], value, node["mask"])
        if message is None and not finite:
            message = not_finite(name, node["fn"], value, node["mask"])
        if message is not None:
            error = ("model", name) in traced.validated or not finite
            yield Finding("support", "error" if error else "warning", message, name)
        elif not finite:
            yield _bad_parameters(traced, "model", name, node)


def finite_draws(traced: TracedPair) -> Iterator[Finding]:
    """The guide draws where the prior has a density, and both give it as a finite number."""
    mixed = mixed_measures(traced.traces)
    for name, node, other in traced.shared():
        if name in mixed:
            yield Finding("mixed-measures", "warning", mixed[name], name)
            continue
        outside = _outside(node["value"], other)
        checked = ("model", name) in traced.validated
        if outside is not None:
            yield Finding(
                "guide-support",
                "error" if checked else "warning",
                f"the guide draws {name!r} from {_family(node)}, the model has {_family(other)} there, and {outside}. "
                "Use a guide with the support of the prior: a family that lives there, or "
                "dist.TransformedDistribution(normal, [biject_to(prior.support)]).",
                name,
            )
            continue
        for side, one in (("guide", node), ("model", other)):
            score = traced.scores.get((side, name))
            if isinstance(score, torch.Tensor) and not bool(torch.isfinite(score).all()):
                yield _bad_parameters(traced, side, name, one)
                break


def _family(node: Mapping) -> str:
    return family_of(node["fn"])


def _outside(value: torch.Tensor, other: Mapping) -> str | None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        return None  # not a matter of supports
    try:
        inside = other["fn"].support.check(value)
        bad = int((~inside).sum())
    except (NotImplementedError, AttributeError, RuntimeError, ValueError):
        return None
    return f"{bad} of {inside.numel()} draws are outside its support" if bad else None


def _bad_parameters(traced: TracedPair, side: str, name: str, node: Mapping) -> Finding:
    """A log-probability that is not finite though the value is a lawful one: the parameters, or the data behind."""
    hole = nonfinite_in(traced.args, traced.kwargs, traced.names)
    start = f"the log-probability of {name!r} in the {side} is not finite"
    if not has_density(node["fn"]):
        return Finding("parameter", "error", loose_words(name))
    if hole:
        return Finding(
            "data",
            "error",
            f"{start}, since the data hold NaN or infinity: {hole[1]}. Drop these rows, or mask what is "
            "missing: pv.masked(pair).",
            hole[0],
        )
    return Finding(
        "parameter",
        "error",
        f"{start}: {_family(node)} gets parameters that are NaN, infinite, or a scale of 0. Bound what the network "
        "gives (softplus, clamp), and look at the scale of its inputs.",
        name,
    )
