"""Clauses about parameters: whose they are, of what type, and whether anything trains them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import nn

from pyrovae.checks.finding import Finding
from pyrovae.checks.traced_pair import TracedPair, listed, log_prob, nodes, short
from pyrovae.objectives.adversarial import discriminators
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import guide_function, replaced_parameters
from pyrovae.pairs.structure import double_parts
from pyrovae.pairs.trace import INTERNAL, samples, unconstrained


def names_are_free(traced: TracedPair) -> Iterator[Finding]:
    """A parameter whose starting value is a module's must be in Pyro's store itself, not another tensor."""
    taken: dict[Any, list[str]] = {}
    for trace in (traced.traces.model, traced.traces.guide):
        for name, node in nodes(trace).items():
            if node["type"] != "param" or len(node["args"]) < 2:
                continue
            given, stored = node["args"][1], unconstrained(node["value"])
            if isinstance(given, nn.Parameter) and given is not stored:
                taken.setdefault(_owner(traced, name, given), []).append(name)
    for (kind, module), names in taken.items():
        mend = (
            f"pyro.module({module!r}, ...) needs a name that no other module has"
            if kind == "pyro.module"
            else f"give {module} a name of its own, super().__init__('name')"
        )
        yield Finding(
            "module-name-taken",
            "error",
            f"{kind} {module!r}: the name of its parameters ({listed(canonical(names), 3)}) is taken by another "
            f"module, of this pair or of one made before, in Pyro's store. This one would never be trained, silently: "
            f"{mend}, or call pyro.clear_param_store() before a new model is made.",
            module,
        )


def _owner(traced: TracedPair, name: str, given: nn.Parameter) -> tuple[str, str]:
    """How a parameter came into the store: the call and the module's name there."""
    if "$$$" in name:
        return "pyro.module", name.split("$$$")[0]
    for module in traced.modules:
        if any(part is given for part in module.parameters()):
            return "the PyroModule" if isinstance(module, PyroModule) else "the module", type(module).__name__
    return "the module", name.rpartition(".")[0] or name


def one_kind(traced: TracedPair) -> Iterator[Finding]:
    """Parameters and buffers are on one device, and of one floating type."""
    every = {**traced.structure.parameters, **traced.structure.buffers()}
    own = {id(tensor) for part in double_parts(traced.structure) for tensor in part.buffers(recurse=False)}
    floating = {name: one for name, one in every.items() if one.is_floating_point() and id(one) not in own}
    for clause, members in (("device", every), ("dtype", floating)):
        kinds = kinds_of(members, clause)
        if len(kinds) > 1:
            yield Finding(
                clause,
                "warning",
                f"parameters and buffers are of several {'devices' if clause == 'device' else 'floating types'}: "
                f"{in_words(kinds)}. fit brings the data to one only. Bring the modules together: module.to(...).",
            )


def kinds_of(members: Mapping[str, torch.Tensor], attribute: str) -> dict[str, str]:
    """Device or type -> the name of the first tensor that has it."""
    kinds: dict[str, str] = {}
    for name, tensor in members.items():
        kinds.setdefault(short(getattr(tensor, attribute)), name)
    return kinds


def in_words(kinds: Mapping[str, str]) -> str:
    """Kinds, each with an example."""
    return ", ".join(f"{kind} ({name!r})" for kind, name in kinds.items())


# --- gradients -----------------------------------------------------------------------------------------
def gradients_arrive(traced: TracedPair) -> Iterator[Finding]:
    """Every parameter that wants a gradient has a log-probability that depends on it."""
    if any(isinstance(score, Exception) for score in traced.scores.values()):
        return  # there is nothing to take the gradient of; the reason is another clause's
    baselines = _baseline_parameters(traced)
    parameters = {n: p for n, p in traced.structure.parameters.items() if p.requires_grad and id(p) not in baselines}
    scores = [score for score in traced.scores.values() if isinstance(score, torch.Tensor)]
    terms = [score.sum() for score in (*scores, *_own_terms(traced)) if score.requires_grad]
    if terms and parameters:
        total = torch.stack([term.cpu().double() for term in terms]).sum()
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True, retain_graph=True)
        idle = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    else:
        idle = list(parameters)
    left = _left_alone(traced, {name: parameters[name] for name in idle})
    idle = [name for name in idle if name not in left]
    if idle:
        yield Finding(
            "no-gradient",
            "warning",
            f"no gradient reaches {listed(idle)}: they are registered, but nothing that is sampled or observed "
            "depends on them by way of torch (.detach(), torch.no_grad(), float(...) and .item() cut it), so they "
            "would stay as they are. Use them, freeze them (requires_grad_(False)), or take them out.",
            idle[0],
        )


def _baseline_parameters(traced: TracedPair) -> set[int]:
    """Parameters of neural baselines, which the loss itself trains."""
    nets = [node["infer"].get("baseline", {}).get("nn_baseline") for _, node in samples(traced.traces.guide)]
    return {id(p) for net in nets if isinstance(net, nn.Module) for p in net.parameters()}


def _left_alone(traced: TracedPair, idle: Mapping[str, torch.Tensor]) -> set[str]:
    """Those of a guide that stands aside, while a discriminator teaches the model by its draws."""
    layer = next((one for one in discriminators(traced.pair) if one.generates(traced.args, traced.kwargs)), None)
    if layer is None or not idle:
        return set()
    guide = poutine.trace(guide_function(layer.pair)).get_trace(*traced.args, **traced.kwargs)
    found = [part for _, node in samples(guide) for part in (log_prob(node), node["value"])]
    terms = [part.double().sum() for part in found if isinstance(part, torch.Tensor) and part.requires_grad]
    total = torch.stack([torch.zeros((), dtype=torch.float64, requires_grad=True), *terms]).sum()
    gradients = torch.autograd.grad(total, list(idle.values()), allow_unused=True)
    return {name for name, gradient in zip(idle, gradients, strict=True) if gradient is not None}


def _own_terms(traced: TracedPair) -> list[torch.Tensor]:
    """What wrappers add to the loss: of a discriminator and what it trains, say."""
    added = (node for node in traced.traces.model.nodes.values() if INTERNAL in (node.get("infer") or {}))
    return [torch.as_tensor(node["fn"].log_factor) for node in added]  # pyright: ignore[reportTypedDictNotRequiredAccess]  # sample sites all


def all_registered(traced: TracedPair) -> Iterator[Finding]:
    """Pyro has seen the parameters of every module that ran."""
    known = {id(p) for p in (*traced.structure.parameters.values(), *replaced_parameters(traced.pair))}
    missed = [
        f"{type(module).__name__}.{name}"
        for module in traced.modules
        for name, p in module.named_parameters()
        # What is no nn.Parameter was put there for this run: drawn by `pyro.random_module`, say.
        if isinstance(p, nn.Parameter)
        and p.requires_grad
        and id(p) not in known
        and not name.endswith("_unconstrained")
    ]
    if missed:
        yield Finding(
            "unregistered",
            "error",
            f"the parameters {listed(missed)} are used, but Pyro does not know them, so they would never be trained. "
            "Call pyro.module(name, module) at the start of model or guide, or freeze them (requires_grad_(False)).",
            missed[0],
        )
