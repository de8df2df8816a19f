"""Latent sites behind a mask that feed what counts: importance weights then lack their prior and their guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.trace_struct import Trace

from pyrovae.objectives.figures import untempered
from pyrovae.pairs.lawful_values import filled
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.masks import hides_a_part, mask_of
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.trace import Traces, samples

_TRIES = 8  # draws of a site with few values, of which one should be another value


def may_hide(run: Traces) -> bool:
    """Whether a mask stands around a latent site of the model, whatever it hides on these rows."""
    return any(mask_of(node) is not None for node in _latents(run).values())


def hidden_latents(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], run: Traces) -> dict[str, str]:
    """What is wrong with each such site, in words: what is hidden of it moves densities that count.

    With z hidden, `log p - log q` is `log p(x | z)` of a draw from the guide, whose mean is no evidence and follows
    the guide. Where what z feeds is hidden together with it (the steps beyond the end of a sequence), nothing of it is
    there, and the weights stand.

    Args:
        pair: the pair, its data plate held.
        args: the data.
        kwargs: and those given by name.
        run: a run of the pair on them.
    """
    hidden = {name: node for name, node in _latents(run).items() if hides_a_part(node)}
    moved = {name: _moved(node) for name, node in hidden.items()}
    if not moved:
        return {}
    drawn = {name: node["value"] for name, node in _latents(run).items()}
    before, after = (_scores(pair, args, kwargs, values) for values in (drawn, {**drawn, **moved}))
    feeds = [name for name in before if not _alike(before[name], after.get(name))]
    return {name: _words(name, feeds[0]) for name in hidden} if feeds else {}


def _latents(run: Traces) -> dict[str, dict[str, Any]]:
    """Under the author's masks alone: what temper or a discriminator takes out of the loss is in the figures."""
    return {
        name: {**node, "mask": untempered(node)[1]}
        for name, node in samples(run.model)
        if not (node["is_observed"] or is_deterministic(node))
    }


def _moved(node: Mapping[str, Any]) -> torch.Tensor:
    """Another value where a mask hides the one there."""
    value, mask = node["value"], mask_of(node)
    assert mask is not None  # it hides a part
    with torch.no_grad(), forked_random(0):
        for _ in range(_TRIES):
            other = torch.where(mask, value, node["fn"].sample())
            if not torch.equal(other, value):
                break
    return other


def _scores(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], values: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What counts of each site of the model, its latent sites held."""
    held = Trace()
    for name, value in values.items():
        held.add_node(name, type="sample", name=name, value=value, is_observed=False, infer={})
    with torch.no_grad(), forked_random(0):
        model = poutine.trace(filled(poutine.replay(pair.model, trace=held))).get_trace(*args, **kwargs)
        return {
            name: torch.as_tensor(scale_and_mask(node["fn"].log_prob(node["value"]), mask=untempered(node)[1]))
            for name, node in samples(model)
            if not is_deterministic(node)
        }


def _alike(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, equal_nan=True)


def _words(name: str, fed: str) -> str:
    return (
        f"a mask hides values of {name!r} on which {fed!r} depends, and {fed!r} counts there: prior and guide of what "
        "is hidden are in no figure, so that log p - log q is no weight, and neither ELBO nor evidence comes of it. "
        f"Take the mask off {name!r}, or put it around what depends on it, too."
    )
