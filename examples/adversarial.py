"""Discriminators in training: a guide without a density that takes any shape, and a generator without a likelihood.

Shows `adversarial` twice. In place of a KL: a guide of noise through a network (`pv.Implicit`) where the posterior is
bent, beside a guide of independent normals and the exact density. In place of a likelihood: a decoder alone, with a
guide that draws nothing, learns to draw a ring; `discriminator` says by rows that it has not seen how far the draws
are told from data.

    python examples/adversarial.py                # two minutes
    python examples/adversarial.py --out FOLDER   # also the picture
    python examples/adversarial.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from torch import nn

import pyrovae as pv

SEEN = 1.0  # what is observed where the posterior is looked at


def bent(x: torch.Tensor) -> None:
    """What is seen tells a sum of one latent and the square of another: given it, they lie along a parabola."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z[..., :1] ** 2 + z[..., 1:], 0.2).to_event(1), obs=x)


def guided_by(posterior: nn.Module) -> pv.Pair:
    def guide(x: torch.Tensor) -> None:
        pyro.module("posterior", posterior)
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return pv.own_store(pv.Pair(bent, guide))


def posteriors(epochs: int) -> dict[str, torch.Tensor]:
    """Draws of either guide, given one observation."""
    x = torch.full((2_000, 1), SEEN)
    normal = guided_by(pv.DiagNormal(pv.MLP(1, [16], 4)))
    pv.fit(normal, x, epochs=epochs, learning_rate=3e-3, seed=0, progress=False)
    implicit = guided_by(pv.Implicit(pv.MLP([1, 4], [64, 64], 2, activation=nn.SiLU), noise=4))
    told = pv.adversarial(implicit, pv.MLP([2, 1], [64, 64], 1, activation=nn.SiLU), rounds=3)
    for seed, rate in enumerate((2e-3, 4e-4)):
        pv.fit(told, x, epochs=epochs, learning_rate=rate, seed=seed, progress=False)
    pairs = {"normal guide": normal, "implicit guide": implicit}
    return {name: pv.posterior(pair, x[:1], draws=4_000, seed=0)["z"][:, 0] for name, pair in pairs.items()}


def exact_density() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The places of a grid, and the posterior there."""
    one, two = torch.meshgrid(torch.linspace(-2.6, 2.6, 300), torch.linspace(-4.0, 2.5, 300), indexing="xy")
    normal = dist.Normal(0.0, 1.0)
    log_joint = (
        normal.log_prob(one) + normal.log_prob(two) + dist.Normal(one**2 + two, 0.2).log_prob(torch.tensor(SEEN))
    )
    return one, two, (log_joint - log_joint.logsumexp((0, 1))).exp()


def ring(rows: int) -> torch.Tensor:
    angle = 2 * math.pi * torch.rand(rows)
    return torch.stack([angle.cos(), angle.sin()], 1) * (1 + 0.1 * torch.randn(rows, 1))


def generator() -> pv.Pair:
    decoder = pv.MLP(2, [64, 64], 2, activation=nn.SiLU)

    def model(x: torch.Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Delta(decoder(z)).to_event(1), obs=x)

    return pv.own_store(pv.Pair(model, lambda x: None))


def taught(epochs: int) -> tuple[torch.Tensor, torch.Tensor, pv.Discriminator]:
    """Data, draws, and what a discriminator that was not there says of them."""
    data, held_out, pair = ring(4_000), ring(1_000), generator()
    told = pv.adversarial(pair, pv.MLP(2, [64, 64], 1, activation=nn.SiLU), rounds=3)
    for seed, rate in enumerate((1e-3, 2e-4)):
        run = pv.fit(told, data, epochs=epochs, batch_size=256, learning_rate=rate, seed=seed, progress=False)
    print(run.verdict)
    classifier = LogisticRegression() if epochs < 5 else None
    found = pv.discriminator(pair, held_out, classifier=classifier)
    return data, pv.generate(pair, held_out, seed=0)["x"], found


def picture(path: Path, guides: dict[str, torch.Tensor], data: torch.Tensor, drawn: torch.Tensor) -> None:
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    axes, (one, two, density) = figure.subplots(1, 4), exact_density()
    for axis, (name, draws) in zip(axes, guides.items(), strict=False):
        levels = density.max() * torch.tensor([0.05, 0.2, 0.5, 0.8])
        axis.contour(one, two, density, levels=levels, colors="black", linewidths=0.8)
        axis.scatter(*draws[:1_000].T, s=2)
        axis.set(title=f"exact, and draws of the\n{name}", xlim=(-2.6, 2.6), ylim=(-4, 2.5), xticks=[], yticks=[])
    for axis, (name, rows) in zip(axes[2:], {"data": data, "draws of the generator": drawn}.items(), strict=True):
        axis.scatter(*rows[:1_000].T, s=2)
        axis.set(title=name, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xticks=[], yticks=[])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    guides = posteriors(1 if options.smoke else 40)
    one, _, density = exact_density()
    spread = float((density * one**2).sum().sqrt())
    for name, draws in guides.items():
        print(f"{name:<14}: spread of the first latent {float(draws[:, 0].std()):.2f} (exact {spread:.2f})")
    data, drawn, found = taught(1 if options.smoke else 60)
    print(f"ring: radius {float(drawn.norm(dim=1).mean()):.2f} ± {float(drawn.norm(dim=1).std()):.2f} (data: 1 ± 0.1)")
    print(f"area of draws told from held-out data: {found.area:.3f} ({found.classifier})")
    if options.out is not None:
        picture(options.out / "adversarial.png", guides, data, drawn)


if __name__ == "__main__":
    main()
