"""A guide made from a model: the latent path of a series, without a line of guide.

A walk that pulls back to 0 is seen through noise, twelve times a series. `AmortizedGuide` finds the sites z_0 … z_11 in
the model, sees that each depends on the one before, and gives them one head. All is jointly normal, so that the exact
evidence is known: shown is how close the bound comes, and, in a picture, what the guide says of one series.

    python examples/amortized_guide.py           # two minutes, a picture into amortized-guide/
    python examples/amortized_guide.py --smoke   # fewer steps
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from torch import nn

import pyrovae as pv

TIMES, PULL, NOISE = 12, 0.9, 0.7


def walk(x: torch.Tensor) -> None:
    """The model; its guide is made from it."""
    z = torch.zeros(len(x))
    with pyro.plate("series", len(x)):
        for t in range(TIMES):
            z = pyro.sample(f"z_{t}", dist.Normal(PULL * z, 1.0))
            pyro.sample(f"x_{t}", dist.Normal(z, NOISE), obs=x[:, t])


class Encoder(nn.Module):
    """From a whole series features for each time, read backwards: what is to come says where the walk is."""

    def __init__(self, hidden: int):
        super().__init__()
        self.rnn = nn.GRU(1, hidden, batch_first=True)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features by site."""
        backwards, _ = self.rnn(x.flip(1).unsqueeze(-1))
        return {f"z_{t}": features for t, features in enumerate(backwards.flip(1).unbind(1))}


def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paths and what is seen of them."""
    torch.manual_seed(0)
    steps, path = torch.randn(count, TIMES), [torch.zeros(count)]
    for t in range(TIMES):
        path.append(PULL * path[-1] + steps[:, t])
    z = torch.stack(path[1:], 1)
    return z, z + NOISE * torch.randn_like(z)


def evidence(x: torch.Tensor) -> torch.Tensor:
    """Exact, of each series."""
    times = torch.arange(TIMES)
    passed = torch.where(times[:, None] >= times, PULL ** (times[:, None] - times).clamp(min=0), 0.0)
    covariance = passed @ passed.T + NOISE**2 * torch.eye(TIMES)
    return dist.MultivariateNormal(torch.zeros(TIMES), covariance).log_prob(x)


def picture(pair: pv.Pair, z: torch.Tensor, x: torch.Tensor, path: Path) -> None:
    """One series: what was, what was seen, and what the guide says."""
    draws = pv.posterior(pair, x[:1], draws=500, seed=0)
    paths = torch.stack([torch.as_tensor(draws[f"z_{t}"]).reshape(500) for t in range(TIMES)], 1)
    low, middle, high = paths.quantile(torch.tensor([0.05, 0.5, 0.95]), 0)
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.fill_between(range(TIMES), low, high, alpha=0.25, label="guide, central 90 %")
    axes.plot(middle, label="guide, median")
    axes.plot(z[0], "k--", label="path")
    axes.plot(x[0], "k.", label="seen")
    axes.set(xlabel="time", ylabel="z")
    axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.2), frameon=False)
    path.mkdir(parents=True, exist_ok=True)
    figure.savefig(path / "path.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few steps")
    parser.add_argument("--out", type=Path, default=Path("amortized-guide"))
    options = parser.parse_args()

    z, x = drawn(2_000)
    guide = pv.AmortizedGuide(walk, Encoder(16 if options.smoke else 64))
    pair = pv.Pair(walk, guide)
    steps = 60 if options.smoke else 3_000
    rate = pv.cosine(1e-2, 1e-4, steps=steps)
    print(pv.fit(pair, x, steps=steps, batch_size=100, learning_rate=rate, seed=0, progress=False).route)
    bound = pv.elbo(pair, x, draws=50, seed=0).value.mean()
    print(f"sites of one head: z_0 to z_{TIMES - 1}; heads: {len(guide.heads)}")
    print(f"ELBO {bound:.3f} nats a series, exact evidence {evidence(x).mean():.3f}")
    picture(pair, z, x, options.out)


if __name__ == "__main__":
    main()
