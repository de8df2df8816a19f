"""What is trained: networks and data, the same for every contestant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

PIXELS = 784


class Case(NamedTuple):
    """One row of the table."""

    name: str
    batch: int
    hidden: int
    latent: int
    kind: str = "dense"
    learning_rate: float = 1e-3


CASES = {
    "medium": Case("medium", 256, 400, 20),
    "small": Case("small", 32, 128, 32),
    "convolutional": Case("convolutional", 128, 256, 16, "convolutional"),
    "flow": Case("flow", 64, 64, 8, "flow"),
    "bayesian": Case("bayesian", 64, 64, 8, "bayesian"),
    "large": Case("large", 4096, 2048, 64),  # for a device
}


def images(rows: int, device: str) -> Tensor:
    """Images of 0 and 1 as floats, in which ten patterns recur, so that there is something to learn."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(10, PIXELS, generator=generator) ** 3
    chosen = patterns[torch.randint(10, (rows,), generator=generator)]
    return torch.bernoulli(chosen, generator=generator).to(device)


def shuffled(x: Tensor, size: int) -> Iterator[Tensor]:
    """The batches of an epoch, as a user writes them."""
    yield from x[torch.randperm(len(x), device=x.device)].split(size)


def dense(case: Case) -> tuple[nn.Module, nn.Module]:
    """An encoder to 2 * latent numbers, and a decoder to logits."""
    hidden, latent = case.hidden, case.latent
    encoder = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
    decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS))
    return encoder, decoder


class _Images(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 1, 28, 28)


def convolutional(case: Case) -> tuple[nn.Module, nn.Module]:
    """Two convolutions each way, and a layer between them and the code."""
    encoder = nn.Sequential(
        _Images(),
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 2 * case.latent),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(case.latent, 32 * 7 * 7), nn.ReLU(),
        nn.Unflatten(1, (32, 7, 7)),
        nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1),
        nn.Flatten(),
    )  # fmt: skip
    return encoder, decoder


def networks(case: Case) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of a case, alike at every call."""
    torch.manual_seed(0)
    return convolutional(case) if case.kind == "convolutional" else dense(case)


Epoch = Callable[[], float]  # makes one pass over the data and returns the mean loss per datum
