"""What a training step costs: plain `SVI`, `pv.steps`, and torch written by hand, side by side in one run.

The three take turns, a block of steps each, so that whatever else the machine does falls on all of them; the medians
over the blocks are given. The objective is the same: Bernoulli pixels, one draw, Adam.

    python benchmarks/training.py
    python benchmarks/training.py --rounds 5    # shorter
    python benchmarks/training.py --threads 2   # on a machine that does nothing else
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

import pyrovae as pv

ROWS = 20_000


def build(hidden: int, latent: int) -> pv.VAE:
    return pv.VAE(
        prior=pv.StandardNormal(latent),
        likelihood=pv.Bernoulli(pv.MLP(latent, [hidden], 784)),
        posterior=pv.DiagNormal(pv.MLP(784, [hidden], 2 * latent)),
    )


def forever(x: Tensor, size: int) -> Iterator[Tensor]:
    while True:
        yield from x[torch.randperm(len(x))].split(size)


def by_svi(x: Tensor, size: int, hidden: int, latent: int) -> Callable[[], object]:
    vae, batches = build(hidden, latent), forever(x, size)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    return lambda: svi.step(next(batches))


def by_pyrovae(x: Tensor, size: int, hidden: int, latent: int) -> Callable[[], object]:
    running = pv.steps(build(hidden, latent), x, steps=10**9, batch_size=size, seed=0)
    return lambda: next(running)


def by_hand(x: Tensor, size: int, hidden: int, latent: int) -> Callable[[], object]:
    encoder = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
    decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    batches = forever(x, size)

    def step() -> float:
        batch = next(batches)
        optimiser.zero_grad()
        loc, log_scale = encoder(batch).chunk(2, -1)
        scale = log_scale.exp()
        logits = decoder(loc + scale * torch.randn_like(loc))
        distortion = nn.functional.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
        loss = distortion + (0.5 * (loc**2 + scale**2 - 1) - log_scale).sum()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


WAYS = {"SVI": by_svi, "pyrovae": by_pyrovae, "torch by hand": by_hand}


def first_step(make: Callable[..., Callable[[], object]], *size: int, x: Tensor) -> float:
    """Milliseconds from nothing to the end of the first step, checks and set-up included."""
    start = time.perf_counter()
    make(x, *size)()
    return 1e3 * (time.perf_counter() - start)


def block(step: Callable[[], object], count: int) -> float:
    """Milliseconds a step over a block of steps."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    return 1e3 * (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    # One by default: with several, a step waits for the slowest, and that is whatever else runs on its core.
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = (torch.rand(ROWS, 784) < 0.2).float()

    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.rounds} rounds of blocks\n")
    print("| network, batch | | " + " | ".join(WAYS) + " | pyrovae : SVI |")
    print("|---|---|" + "---:|" * (len(WAYS) + 1))
    for size, hidden, latent in ((256, 400, 20), (32, 128, 32)):
        first = {n: [first_step(make, size, hidden, latent, x=x) for _ in range(5)] for n, make in WAYS.items()}
        running = {name: make(x, size, hidden, latent) for name, make in WAYS.items()}
        for step in running.values():
            block(step, 10)
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(options.rounds):
            for name, step in running.items():
                times[name].append(block(step, 40))
        for what, found in (("step", times), ("first step", first)):
            middle = {name: statistics.median(values) for name, values in found.items()}
            ratio = middle["pyrovae"] / middle["SVI"]
            cells = " | ".join(f"{value:.2f} ms" for value in middle.values())
            print(f"| 784-{hidden}-{latent}, {size} | {what} | {cells} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
