"""What a VAE knows and does not know, pixel by pixel: noise, latent code and weights.

Trains five VAEs on the digits that come along, makes one pair of them, and splits the uncertainty of reconstructions.
Shows `epistemic.ensemble`, `uncertainty` and `generate_with_uncertainty`.

    python examples/uncertainty.py                # a minute or so
    python examples/uncertainty.py --out FOLDER   # also maps beside the reconstructions
    python examples/uncertainty.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import pyrovae as pv

COLUMNS = ("datum", "mean", "noise", "latent", "weights")


def build() -> pv.VAE:
    return pv.VAE(
        prior=pv.StandardNormal(8),
        likelihood=pv.Bernoulli(pv.MLP(8, [128], (8, 8))),
        posterior=pv.DiagNormal(pv.MLP((8, 8), [128], 2 * 8)),
    )


def draw(path: Path, rows: dict[str, Tensor], means: Tensor, found: pv.Uncertainty) -> None:
    """One row for each datum: itself, its reconstruction, and standard deviations of three kinds on one scale."""
    figure = Figure(figsize=(6.4, 1.12 * len(rows)), layout="constrained")
    parts = [found.aleatoric, found.latent, found.epistemic]
    for number, (axes, (name, datum)) in enumerate(
        zip(figure.subplots(len(rows), len(COLUMNS)), rows.items(), strict=True)
    ):
        maps = [datum, means[number], *(part[number].clamp(min=0).sqrt() for part in parts)]
        for column, (axis, shown) in enumerate(zip(axes, maps, strict=True)):
            grey, top = column < 2, 1.0 if column < 2 else 0.5
            axis.imshow(shown, cmap="gray" if grey else "magma", vmin=0, vmax=top)
            axis.set(xticks=[], yticks=[], title=COLUMNS[column] if number == 0 else "")
        axes[0].set_ylabel(f"{name}\n{found.nats[number]:.0f} nats", rotation=0, ha="right", va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs, two members")
    options = parser.parse_args()

    images = (torch.as_tensor(pv.datasets.digits().images) > 8).float()
    train, test = images[:1500], images[1500:]
    members, epochs, draws = (2, 1, (3, 3)) if options.smoke else (5, 100, (25, 40))
    training = {"epochs": epochs, "learning_rate": 3e-3, "progress": False}
    pair = pv.epistemic.ensemble(build, train, members=members, **training)

    inside = pv.uncertainty(pair, test, draws=draws)["x"]
    order = inside.nats.argsort()
    blocks = torch.ones(8, 8)
    blocks[::2, ::2] = blocks[1::2, 1::2] = 0
    shown = {
        "most certain": test[order[0]],
        "in the middle": test[order[len(order) // 2]],
        "second to last": test[order[-2]],
        "least certain": test[order[-1]],
        "a chessboard": blocks,
        "a negative": 1 - test[order[0]],
    }
    data = torch.stack(list(shown.values()))
    found = pv.uncertainty(pair, data, draws=draws, measure="variance")["x"]
    entropies = pv.uncertainty(pair, data, draws=draws)["x"]
    print(f"{'nats':16}{'in all':>8}{'noise':>8}{'latent':>8}{'weights':>9}")
    for number, name in enumerate(shown):
        noise, latent, weights = (
            float(part[number].sum()) for part in (entropies.aleatoric, entropies.latent, entropies.epistemic)
        )
        print(f"{name:16}{float(entropies.nats[number]):8.1f}{noise:8.1f}{latent:8.1f}{weights:9.1f}")
    made = pv.generate_with_uncertainty(pair, 8, draws=draws, seed=0)
    numbers = ", ".join(f"{float(nats):.0f}" for nats in made.uncertainty["x"].nats)
    print(f"8 generated digits, nats of uncertainty of each: {numbers}")
    if options.out:
        means = pv.posterior_predictive(pair, data, draws=200, mean=True, reduce="mean")["x"]
        draw(options.out / "uncertainty.png", shown, means, found._replace(nats=entropies.nats))


if __name__ == "__main__":
    main()
