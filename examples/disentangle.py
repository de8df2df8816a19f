"""What single latent dimensions do to sprites: scores against known factors, and strips of moved dimensions.

Shows `datasets.sprites`, `total_correlation` around a pair, `disentanglement` and `traverse`. The picture has a line
for each latent dimension: one image, decoded again while that dimension goes from -2 to 2. A line that changes nothing
is a dimension that is not in use. Seeds differ more than objectives do, so one training shows how to look, and not
which objective is better.

    python examples/disentangle.py                # some minutes
    python examples/disentangle.py --out FOLDER   # also the picture
    python examples/disentangle.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import pyrovae as pv

DIMS, PIXELS = 6, (32, 32)
VALUES = torch.linspace(-2, 2, 9).tolist()


def build(width: int) -> pv.VAE:
    return pv.VAE(
        pv.StandardNormal(DIMS),
        pv.Bernoulli(pv.MLP(DIMS, [width, width], PIXELS)),
        pv.DiagNormal(pv.MLP(PIXELS, [width, width], 2 * DIMS)),
    )


def draw(path: Path, vae: pv.VAE, image: torch.Tensor) -> None:
    figure = pv.plots.traversal(pv.traverse(vae, image, values=VALUES))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few images and steps")
    options = parser.parse_args()

    torch.manual_seed(0)
    images, factors, names = pv.datasets.sprites(600 if options.smoke else 20_000, seed=0)
    x = torch.as_tensor(images).div(255).round()
    vae = build(16 if options.smoke else 256)
    # Beside the ELBO, the dependence of the dimensions on each other counts five times more.
    pair = pv.total_correlation(vae, 5.0, rows=len(x))
    steps = 10 if options.smoke else 2_500
    pv.fit(pair, x, steps=steps, batch_size=256, learning_rate=1e-3, seed=0, progress=False)

    asked = slice(0, 200 if options.smoke else 4_000)
    scores = pv.disentanglement(vae, x[asked], factors=factors[asked], classes=[0])
    active = pv.active_units(vae, x[asked])["z"]
    print(f"{active.count} of {active.total} dimensions are active; MIG {scores.mig:.2f}, SAP {scores.sap:.2f}")
    information = scores.information  # (dimensions, factors)
    best = information.argmax(0)
    for factor, name in enumerate(names):
        said = information[best[factor], factor]
        print(f"{name:<12} is told best by dimension {best[factor]}: {said:.2f} nats")
    if options.out:
        draw(options.out / "disentangle.png", vae, x[:1])


if __name__ == "__main__":
    main()
