"""Data: every call gives the same rows and leaves the global generator alone."""

from __future__ import annotations

import torch

from registry.entries import LATENT, ROWS, WIDTH


def _factors(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(20)
    z = torch.randn(ROWS, LATENT, generator=generator)
    weights = torch.randn(LATENT, *shape, generator=generator)
    noise = torch.randn(ROWS, *shape, generator=generator)
    return torch.einsum("nk,k...->n...", z, weights) + 0.3 * noise


def real(*shape: int) -> torch.Tensor:
    return _factors(*(shape or (WIDTH,)))


def binary(*shape: int) -> torch.Tensor:
    return (real(*shape) > 0).float()


def grey(*shape: int) -> torch.Tensor:
    return torch.sigmoid(real(*shape))


def counts(*shape: int) -> torch.Tensor:
    return (2 * real(*shape)).exp().clamp(max=20).round()


def labels(count: int) -> torch.Tensor:
    return torch.arange(ROWS) % count
