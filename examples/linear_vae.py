"""A linear VAE that finds the exact maximum of the evidence, which is known: it is probabilistic PCA.

Shows how to test what you train: `pyrovae.truth` holds models whose evidence and posterior have a closed form. Here a
VAE with affine networks is trained from scratch, and its ELBO is compared with the highest evidence that any model
of its kind can have (Tipping and Bishop, 1999).

    python examples/linear_vae.py           # half a minute
    python examples/linear_vae.py --smoke   # seconds
"""

from __future__ import annotations

import argparse

import torch

import pyrovae as pv


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few steps: the way there, not the end")
    options = parser.parse_args()

    random = torch.Generator().manual_seed(0)
    world = pv.truth.LinearGaussian(torch.randn(10, 3, generator=random), torch.randn(10, generator=random), noise=0.5)
    x = world.sample(2000, seed=0)

    best = pv.truth.LinearGaussian.maximum_likelihood(x, latent=3)
    highest = float(best.log_evidence(x).mean())

    torch.manual_seed(0)  # the networks' starting weights; fit's seed is for what comes after
    vae = best.vae()  # the same shape, weights at random: a VAE like any other
    steps = 150 if options.smoke else 8_000
    pv.fit(vae, x, steps=steps, batch_size=500, learning_rate=pv.cosine(1e-2, 1e-5, steps=steps), seed=0)

    reached = pv.rate_distortion(vae, x, draws=20)
    print(f"highest evidence   {highest:9.4f} nats a row, by eigenvectors")
    print(
        f"ELBO of the VAE    {reached.elbo:9.4f} nats a row, after {steps} steps (standard error {reached.error:.4f})"
    )
    print(f"gap                {highest - reached.elbo:9.4f}")
    noise = float(vae.likelihood(torch.zeros(1, 3)).base_dist.scale[0, 0].detach())
    print(f"noise              {noise:9.4f}, against {float(best.noise):.4f} by the formula and 0.5 in the world")


if __name__ == "__main__":
    main()
