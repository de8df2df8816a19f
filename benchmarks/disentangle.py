"""Do penalised latent dimensions tell single factors? The beta-TC-VAE and the beta-VAE on sprites, seed by seed.

`python benchmarks/disentangle.py --seeds 0 1 2 --steps 30000`
"""

from __future__ import annotations

import argparse
import time

import torch

import pyrovae as pv

DIMS = 10
CLASSES = [0]  # shape


def build(seed: int) -> pv.VAE:
    """A network of dense layers, as Chen et al. take it for sprites, narrower."""
    torch.manual_seed(seed)
    pixels, hidden = (32, 32), [256, 256]
    return pv.VAE(
        pv.StandardNormal(DIMS),
        pv.Bernoulli(pv.MLP(DIMS, hidden, pixels)),
        pv.DiagNormal(pv.MLP(pixels, hidden, 2 * DIMS)),
    )


def run(method: str, beta: float, seed: int, x: torch.Tensor, factors, options) -> tuple[float, ...]:
    """One training and its scores."""
    start, vae = time.monotonic(), build(seed)
    pair = pv.total_correlation(vae, beta - 1, rows=len(x)) if method == "beta-TC" else vae
    temper = 1.0 if method == "beta-TC" else beta
    fit = pv.fit(
        pair, x, steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate, temper=temper,
        seed=seed, device=options.device, progress=False,
    )  # fmt: skip
    seconds = time.monotonic() - start
    asked = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: options.asked]
    scores = pv.disentanglement(vae, x[asked], factors=factors[asked], classes=CLASSES, seed=0)
    last = fit.history[-1]
    return (scores.mig, *scores.dci, scores.sap, last.rate, last.distortion, seconds)


def main() -> None:
    """Print one row a training, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--beta", type=float, default=6.0)
    parser.add_argument("--rows", type=int, default=None, help="so many of the 92,160 images")
    parser.add_argument("--asked", type=int, default=10_000, help="images that the scores are of")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    images, factors, _ = pv.datasets.sprites(options.rows)
    x = torch.as_tensor(images).div(255).round()
    print("| objective | seed | MIG | DCI: D | C | I | SAP | rate | distortion | s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for method in ("beta-VAE", "beta-TC"):
        found = []
        for seed in options.seeds:
            found.append(run(method, options.beta, seed, x, factors, options))
            print(f"| {method} | {seed} | {_row(found[-1])} |", flush=True)
        means = torch.tensor(found).mean(0).tolist()
        print(f"| {method} | mean | {_row(means)} |", flush=True)


def _row(figures) -> str:
    return " | ".join(f"{figure:.3f}" if place < 5 else f"{figure:.1f}" for place, figure in enumerate(figures))


if __name__ == "__main__":
    main()
