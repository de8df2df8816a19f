"""Counts so large that single precision rounds their log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pyrovae.checks.finding import Finding
from pyrovae.checks.traced_pair import TracedPair, nodes
from pyrovae.pairs.base_of import base_of

_MOST = 0.02  # nats by which a cell may be off

# Families whose log-probability is a small difference of log-gammas of their counts.
_OF_LOG_GAMMAS = (
    "Poisson", "NegativeBinomial", "GammaPoisson", "Binomial", "BetaBinomial", "Multinomial", "DirichletMultinomial",
    "ZeroInflatedPoisson", "ZeroInflatedNegativeBinomial", "ZeroInflatedDistribution",
)  # fmt: skip


def rounded_counts(traced: TracedPair) -> Iterator[Finding]:
    """The log-gammas of observed counts are not rounded by more than their difference can bear."""
    for name in traced.structure.named("observed"):
        node, score = nodes(traced.traces.model)[name], traced.scores.get(("model", name))
        value, family = node["value"], type(base_of(node["fn"])).__name__
        if family not in _OF_LOG_GAMMAS or not isinstance(score, torch.Tensor) or score.dtype == torch.float64:
            continue
        largest = torch.as_tensor(value).double().nan_to_num(nan=0.0).max()
        lost = float(torch.lgamma(largest + 1)) * torch.finfo(score.dtype).eps / 2
        if lost > _MOST:
            yield Finding(
                "rounded-counts",
                "warning",
                f"{name!r} holds counts up to {float(largest):,.0f}, and {family} takes the difference of their "
                f"log-gammas: in {str(score.dtype).removeprefix('torch.')} each is rounded by up to {lost:.2g} nats, "
                "and so are ELBO and evidence. Give the pair double precision: module.double(), doubles in pyro.param, "
                "and data as float64.",
                name,
            )
