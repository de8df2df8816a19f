"""Three priors under the same networks: standard normal, learned mixture, VampPrior.

Shows that prior, likelihood and posterior are positions that any conditional can take. A richer prior costs fewer
nats, since it need not be met at one round cloud; whether it pays shows on data held out.

    python examples/vamp_prior.py           # a minute or so
    python examples/vamp_prior.py --smoke   # seconds
"""

from __future__ import annotations

import argparse

import torch

import pyrovae as pv

LATENT = 8


def build(name: str, greys: torch.Tensor) -> pv.VAE:
    torch.manual_seed(0)  # the same starting weights for every prior
    likelihood = pv.Bernoulli(pv.MLP(LATENT, [128], (8, 8)))
    posterior = pv.DiagNormal(pv.MLP((8, 8), [128], 2 * LATENT))
    if name == "standard normal":
        return pv.VAE(pv.StandardNormal(LATENT), likelihood, posterior)
    if name == "mixture of 30":
        return pv.VAE(pv.Mixture(30, LATENT), likelihood, posterior)
    # 30 images to start from, kept between 0 and 1, seen through the posterior that encodes the data too.
    return pv.VAE(
        pv.VampPrior(greys[:30], posterior, activation=torch.nn.Hardtanh(0.0, 1.0)),
        likelihood,
        posterior,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    greys = torch.as_tensor(pv.datasets.digits().images) / 16
    greys = greys[torch.randperm(len(greys))]
    train, test = greys[:1500], greys[1500:]
    epochs = 1 if options.smoke else 150

    print(f"{'prior':18}{'test ELBO':>10}{'rate':>8}{'distortion':>12}   nats an image")
    for name in ("standard normal", "mixture of 30", "VampPrior of 30"):
        run = pv.fit(
            build(name, train),
            train,
            epochs=epochs,
            validation=test,
            patience=30,  # the richer the prior, the sooner it learns the training data by heart
            transform=torch.bernoulli,
            seed=0,
            progress=False,
        )
        best = max(run.history, key=lambda row: row.validation_elbo)
        print(f"{name:18}{best.validation_elbo:10.2f}{best.validation_rate:8.2f}{best.validation_distortion:12.2f}")


if __name__ == "__main__":
    main()
