"""Latents that are no sites: a model that draws them itself, and takes their KL off by a factor."""

from __future__ import annotations

import torch

from pyrovae.errors import PairError
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.trace import samples
from pyrovae.sampling.programs import WholePlate, only_global, run_once
from pyrovae.sampling.use import Use


def refuse_hidden_draws(use: Use) -> None:
    """Refuse weights of a model whose draws show at no site while a factor stands for what they cost.

    The mean of exp(log p(x | z) - KL) over z ~ q is no evidence: with q the posterior it lies above it.
    """
    structure = use.structure
    factors = [name for name in structure.named("factor") if name in use.posterior_run.model]
    if not factors or structure.drawn(local=True):
        return
    if not torch.allclose(_total(use, 1), _total(use, 2), rtol=1e-5, equal_nan=True):
        raise PairError(
            f"the model draws random numbers that are no sites, and has a pyro.factor, {factors[0]!r}: if that takes "
            "off a KL worked out by hand, elbo and rate_distortion stand (the factor is part of the distortion), but "
            "no importance weight does, and an evidence of such weights would lie above the true one. Draw the latent "
            "by pyro.sample in guide and model, and leave the factor out; TraceMeanField_ELBO takes the same KL in "
            "closed form."
        )


def _total(use: Use, seed: int) -> torch.Tensor:
    """What the model says of data and factors in a run, all draws of the guide held."""
    pair, batch = WholePlate(use.pair, use.structure.data_plate, follows=False), use.first(None)
    given = only_global(use.posterior_run.guide, use.structure)
    with use.quietly(seed):
        pair.turn_to(batch)
        model = run_once(pair, batch, use.structure, "posterior", given).model
        scored = [node for _, node in samples(model) if node["is_observed"] and not is_deterministic(node)]
        return torch.stack(
            [torch.as_tensor(node["fn"].log_prob(node["value"])).double().sum() for node in scored]
        ).sum()
