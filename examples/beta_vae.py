"""The weight of the KL, from outside the pair: fixed, annealed, and steered to a capacity.

Shows `temper`. The history holds the plain rate and distortion whatever the weight, so that runs compare: a small
weight buys accurate reconstructions with more nats, a large one switches latent dimensions off.

    python examples/beta_vae.py                # a minute or so
    python examples/beta_vae.py --out FOLDER   # also a picture of rate against distortion
    python examples/beta_vae.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv


def build() -> pv.VAE:
    torch.manual_seed(0)  # the same starting weights for every run
    return pv.VAE(
        prior=pv.StandardNormal(10),
        likelihood=pv.Bernoulli(pv.MLP(10, [128], (8, 8))),
        posterior=pv.DiagNormal(pv.MLP((8, 8), [128], 2 * 10)),
    )


def draw(path: Path, points: dict[str, pv.Epoch]) -> None:
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for name, row in points.items():
        axes.plot(row.rate, row.distortion, "o", color="C0")
        axes.annotate(name, (row.rate, row.distortion), xytext=(7, 4), textcoords="offset points")
    axes.set(xlabel="rate: nats that z carries about an image", ylabel="distortion: nats left to say")
    axes.margins(0.18)
    axes.set_xlim(left=-0.5)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    greys = torch.as_tensor(pv.datasets.digits().images) / 16
    epochs = 1 if options.smoke else 100
    steps = epochs * 15  # 1,797 images in batches of 128
    weights = {
        "0.25": 0.25,
        "1": 1.0,
        "4": 4.0,
        "0 to 1 over half of the steps": pv.linear(0, 1, steps=steps // 2),
        "steered to 8 nats": pv.TargetRate(8.0),
    }
    points = {}
    print(f"{'weight of the rate':32}{'at the end':>11}{'rate':>8}{'distortion':>12}{'ELBO':>9}   active")
    for name, weight in weights.items():
        run = pv.fit(build(), greys, epochs=epochs, temper=weight, transform=torch.bernoulli, seed=0, progress=False)
        row, active = run.history[-1], run.active["z"]
        points[name] = row
        print(
            f"{name:32}{row.weight:11.2f}{row.rate:8.2f}{row.distortion:12.2f}{row.elbo:9.2f}"
            f"   {active.count} of {active.total}"
        )
    if options.out:
        draw(options.out / "beta_vae.png", points)


if __name__ == "__main__":
    main()
