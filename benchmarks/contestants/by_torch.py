"""The VAE written by hand in torch, eager and compiled."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from contestants.cases import Case, Epoch, networks, shuffled


class Loss(nn.Module):
    """Minus the ELBO of a batch, summed over its rows."""

    def __init__(self, case: Case):
        super().__init__()
        self.encoder, self.decoder = networks(case)

    def forward(self, x: Tensor) -> Tensor:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        scale = log_scale.exp()
        logits = self.decoder(loc + scale * torch.randn_like(loc))
        distortion = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return distortion + (0.5 * (loc**2 + scale**2 - 1) - log_scale).sum()


def _training(case: Case, x: Tensor, *, compiled: bool) -> Epoch:
    module = Loss(case).to(x.device)
    optimiser = torch.optim.Adam(module.parameters(), lr=case.learning_rate, fused=True)
    loss_of = torch.compile(module) if compiled else module

    def epoch() -> float:
        total = torch.zeros((), device=x.device)
        for batch in shuffled(x, case.batch):
            optimiser.zero_grad()
            loss = loss_of(batch)
            loss.backward()
            optimiser.step()
            total += loss.detach()
        return float(total) / len(x)

    return epoch


def eager(case: Case, x: Tensor) -> Epoch:
    """As most people write it, with the fused Adam."""
    return _training(case, x, compiled=False)


def compiled(case: Case, x: Tensor) -> Epoch:
    """The same under `torch.compile`."""
    return _training(case, x, compiled=True)
