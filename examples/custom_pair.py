"""A pair of one's own: counts from several laboratories, in plain Pyro functions.

Shows that pyrovae needs no classes of its own: a model and a guide with a covariate, `check_pair`, training with an
annealed KL, encodings, data generated for covariates of one's choice, saving and loading.

    python examples/custom_pair.py           # half a minute
    python examples/custom_pair.py --smoke   # seconds
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import pyrovae as pv

GENES, LABS, LATENT = 30, 3, 2


class Decoder(nn.Module):
    """From a cell's state and its laboratory to the logarithm of expected counts."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(LATENT + LABS, 64), nn.ReLU(), nn.Linear(64, GENES))

    def forward(self, z, lab):
        """Log expected counts, of shape (cells, GENES)."""
        return self.network(torch.cat([z, nn.functional.one_hot(lab, LABS).float()], -1))


class Encoder(nn.Module):
    """From counts and laboratory to mean and scale of the cell's state."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(GENES + LABS, 64), nn.ReLU(), nn.Linear(64, 2 * LATENT))

    def forward(self, counts, lab):
        """Mean and scale of z, each of shape (cells, LATENT)."""
        inputs = torch.cat([counts.log1p(), nn.functional.one_hot(lab, LABS).float()], -1)
        loc, raw = self.network(inputs).chunk(2, -1)
        return loc, nn.functional.softplus(raw) + 1e-4


def make_pair() -> pv.Pair:
    decoder, encoder = Decoder(), Encoder()

    def model(counts, lab):
        pyro.module("decoder", decoder)
        total = pyro.param("total_count", torch.ones(GENES), constraint=dist.constraints.positive)
        with pyro.plate("cells", len(counts)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            logits = decoder(z, lab) - total.log()
            pyro.sample("counts", dist.NegativeBinomial(total, logits=logits).to_event(1), obs=counts)

    def guide(counts, lab):
        pyro.module("encoder", encoder)
        with pyro.plate("cells", len(counts)):
            loc, scale = encoder(counts, lab)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return pv.Pair(model, guide)


def cells(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts of cells on a ring, measured in three laboratories, the third of which finds twice as much."""
    random = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(rows, generator=random)
    lab = torch.randint(0, LABS, (rows,), generator=random)
    genes = 1.5 * torch.randn(2, GENES, generator=random)
    rate = (torch.stack([angle.cos(), angle.sin()], -1) @ genes + 1 + 0.7 * (lab == 2)[:, None]).exp()
    return torch.poisson(rate, generator=random), lab, angle


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few cells, few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    counts, lab, angle = cells(500 if options.smoke else 5_000)
    pair = make_pair()
    pv.check_pair(pair, counts[:8], lab[:8])  # says in words what is wrong; here nothing is

    epochs = 3 if options.smoke else 60
    run = pv.fit(pair, (counts, lab), epochs=epochs, temper=pv.linear(0, 1, steps=200), learning_rate=3e-3, seed=0)
    print(f"ELBO {run.history[0].elbo:.1f} -> {run.history[-1].elbo:.1f} nats a cell. {run.verdict}")

    z = pv.encode(pair, counts, lab)["z"].mean
    found = torch.linalg.lstsq(z - z.mean(0), torch.stack([angle.cos(), angle.sin()], -1)).solution
    turned = (z - z.mean(0)) @ found
    off = torch.remainder(torch.atan2(turned[:, 1], turned[:, 0]) - angle + torch.pi, 2 * torch.pi) - torch.pi
    print(f"median distance on the ring between true and encoded state: {off.abs().median().rad2deg():.0f} degrees")

    # The covariates are used, the observed values are not: only their shape counts.
    totals = [
        pv.generate(pair, torch.zeros(2000, GENES), torch.full((2000,), k), seed=0)["counts"].sum(-1).mean()
        for k in range(LABS)
    ]
    print("generated counts a cell, by laboratory:", ", ".join(f"{total:.0f}" for total in totals))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.safetensors"
        pv.save(pair, path)
        pv.load(pair, path)
        print("saved and loaded:", path.name)


if __name__ == "__main__":
    main()
