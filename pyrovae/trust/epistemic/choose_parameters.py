"""Which parameters of a pair are meant: by name, by module, or by what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Structure, parameters_of
from pyrovae.pairs.trace import Traces, run, samples
from pyrovae.trust.epistemic.weights import ChooseNames

Chosen = str | nn.Module | Sequence[str | nn.Module]


def parameters_named(chosen: Chosen) -> ChooseNames:
    """Choose by modules, and by patterns of canonical names such as "decoder.*"."""
    wanted = [chosen] if isinstance(chosen, str | nn.Module) else list(chosen)

    def choose(pair: HasPair, structure: Structure, args: tuple, kwargs: Mapping[str, Any]) -> list[str]:
        found: set[str] = set()
        for one in wanted:
            fitting = {name for name, tensor in structure.parameters.items() if _fits(one, name, tensor)}
            if not fitting:
                what = repr(one) if isinstance(one, str) else f"the module {type(one).__name__}"
                raise ArgumentError(
                    f"parameters=: {what} holds no trained parameter of the pair; it has "
                    f"{', '.join(map(repr, list(structure.parameters)[:8]))}."
                )
            found |= fitting
        return [name for name in structure.parameters if name in found]

    return choose


def _fits(one: str | nn.Module, name: str, tensor: Tensor) -> bool:
    if isinstance(one, str):
        return fnmatchcase(name, one)
    return any(tensor is parameter for parameter in one.parameters())


def likelihood_parameters(pair: HasPair, structure: Structure, args: tuple, kwargs: Mapping[str, Any]) -> list[str]:
    """Choose what observed sites depend on once the latent ones are given: of a VAE, the decoder."""
    with isolated(0), torch.enable_grad():
        traces = run(pair, args, kwargs)
        given = traces.guide.copy()
        for _, node in samples(given):
            if isinstance(node["value"], Tensor):
                node["value"] = node["value"].detach()
        model = poutine.trace(poutine.replay(pair.model, trace=given)).get_trace(*args, **kwargs)
        total = sum(
            node["fn"].log_prob(node["value"]).sum()
            for name, node in samples(model)
            if name in structure.sites and structure.sites[name].role == "observed"
        )
        tensors = parameters_of(Traces(model, traces.guide))
        gradients = _gradients(total, list(tensors.values()))
    reached = [name for name, gradient in zip(tensors, gradients, strict=True) if gradient is not None]
    return [name for name in structure.parameters if name in reached]


def _gradients(total: Any, tensors: list[Tensor]) -> Sequence[Tensor | None]:
    if not isinstance(total, Tensor) or not total.requires_grad:
        return [None] * len(tensors)
    return torch.autograd.grad(total, tensors, allow_unused=True)
