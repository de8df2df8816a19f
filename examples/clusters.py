"""Clusters without labels: a VAE whose prior is a mixture, and how many components held-out evidence asks for.

Shows `recipes.mixture_vae`, `clusters` and `choose_latent`. Data are three clouds of rows in
ten columns, on a bent surface. The picture has the codes, coloured by the cluster that they were given.

    python examples/clusters.py                # a minute
    python examples/clusters.py --out FOLDER   # also the picture
    python examples/clusters.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv

COLUMNS, CLOUDS = 10, 3


def clouds(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows, and the cloud that each is of, which nobody is told."""
    of = torch.randint(CLOUDS, (count,))
    centres = torch.tensor([[3.0, 0.0], [-2.0, 2.5], [-2.0, -2.5]])
    codes = centres[of] + 0.5 * torch.randn(count, 2)
    bend = torch.randn(2, COLUMNS, generator=torch.Generator().manual_seed(7))
    return torch.tanh(codes @ bend / 2) + 0.1 * torch.randn(count, COLUMNS), of


def build(components: int) -> pv.MixtureVAE:
    torch.manual_seed(0)
    return pv.recipes.mixture_vae(
        COLUMNS,
        latent=2,
        components=components,
        likelihood=lambda network: pv.Normal(network, scale=pv.LearnedScale(COLUMNS)),
        hidden=[64],
    )


def agreement(labels: torch.Tensor, of: torch.Tensor) -> float:
    """The share of rows whose cluster's most frequent cloud is their own."""
    right = [of[labels == one].bincount(minlength=CLOUDS).max() for one in labels.unique()]
    return float(torch.stack(right).sum() / len(of))


def draw(path: Path, codes: torch.Tensor, labels: torch.Tensor) -> None:
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    for one in labels.unique().tolist():
        axes.plot(*codes[labels == one].T, ".", markersize=3, label=f"cluster {one}")
    axes.set(xlabel="z[0]", ylabel="z[1]")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    (x, _), (x_test, of) = clouds(1000), clouds(500)
    epochs = 2 if options.smoke else 60
    training = {"epochs": epochs, "learning_rate": 3e-3}
    choice = pv.choose_latent(build, x, [1, 2, 3, 5], seed=0, **training)
    print(f"components that held-out evidence asks for: {choice.smallest}")
    vae = build(CLOUDS)
    pv.fit(vae, x, seed=0, progress=False, **training)
    found = pv.clusters(vae, x_test)
    print(f"expected sizes: {[round(float(size)) for size in found.sizes]}")
    print(f"rows in a cluster of their own cloud: {agreement(found.labels, of):.1%}")
    if options.out:
        draw(options.out / "clusters.png", pv.encode(vae, x_test)["z"].mean, found.labels)


if __name__ == "__main__":
    main()
