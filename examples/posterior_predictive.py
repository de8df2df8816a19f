"""What a trained VAE holds for possible: predictions with their spread, neighbours, a predictive check, a file.

Shows draws of the posterior and of data given data, reduced to moments and quantiles while they are made, the
neighbours of an image, whether new images have as much ink as the old ones, and 1,000 draws written to a netCDF file
that never were in memory together.

    python examples/posterior_predictive.py                # half a minute, on the digits that come with the package
    python examples/posterior_predictive.py --out FOLDER   # with the picture
    python examples/posterior_predictive.py --smoke
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv

LEVELS = (0.05, 0.5, 0.95)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    # Ink or none, of levels from 0 to 16: Bernoulli is a density of zeros and ones.
    images = (torch.as_tensor(pv.datasets.digits().images) > 7).float()
    return images[:1500], images[1500:]


def build(hidden: int) -> pv.VAE:
    return pv.VAE(
        prior=pv.StandardNormal(8),
        likelihood=pv.Bernoulli(pv.MLP(8, [hidden], (8, 8))),
        posterior=pv.DiagNormal(pv.MLP((8, 8), [hidden], 2 * 8)),
    )


def check(vae: pv.VAE, test: torch.Tensor, draws: int) -> str:
    # A figure of the whole set, in the data and in sets drawn from the model alone: if the model is right, the data's
    # lies among the drawn ones.
    ink = test.mean((1, 2))
    drawn = pv.prior_predictive(vae, len(test), draws=draws, seed=2)["x"].mean((2, 3))
    words = []
    for name, figure in (("mean", torch.mean), ("spread", torch.std)):
        low, high = torch.quantile(figure(drawn, 1), torch.tensor([0.05, 0.95])).tolist()
        words.append(f"{name} {float(figure(ink)):.3f}, drawn sets have {low:.3f} to {high:.3f}")
    return "ink per image: " + "; ".join(words)


def draw(path: Path, rows: dict[str, torch.Tensor]) -> None:
    figure = Figure(figsize=(9, 1.0 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 8)
    for axes, (name, images) in zip(grid, rows.items(), strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, image in zip(axes, images, strict=True):
            axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("0.8")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="two epochs, few draws")
    options = parser.parse_args()
    if options.smoke:
        options.epochs, options.draws = 2, 40

    train, test = digits()
    torch.manual_seed(0)
    vae = build(128)
    run = pv.fit(vae, train, epochs=options.epochs, learning_rate=2e-3, validation=test, seed=0)
    print(f"test ELBO {run.history[-1].validation_elbo:.1f} nats an image")

    # The probability of ink: its mean and spread over the posterior, and the quantiles, from draws that nobody keeps.
    ink = pv.posterior_predictive(vae, test, draws=options.draws, mean=True, reduce=("moments", *LEVELS))["x"]
    print(f"probability of ink: scale {float(ink.scale.mean()):.3f} on average, {float(ink.scale.max()):.3f} at most")

    # Drawn images against the given ones, pixel by pixel: E[x] is the share of draws with ink there.
    share = pv.posterior_predictive(vae, test, draws=options.draws, reduce="mean")["x"]
    print(f"pixels that the draws have as they are: {float((share - test).abs().lt(0.5).float().mean()):.1%}")
    print(check(vae, test, options.draws))

    with tempfile.TemporaryDirectory() as folder:
        written = pv.posterior(vae, test, draws=options.draws, out=f"{folder}/posterior.nc")["z"]
        print("draws in a file:", dict(written.sizes))

    if options.out:
        near, far = (pv.variations(vae, test[:1], draws=8, scale=scale, seed=3)["x"][:, 0] for scale in (1.0, 3.0))
        rows = {"data": test, "mean": ink.mean, "scale × 2": 2 * ink.scale}
        rows |= {f"{level:.0%} quantile": ink.quantiles[number] for number, level in enumerate(LEVELS)}
        rows = {name: images[:8] for name, images in rows.items()}
        draw(options.out / "posterior_predictive.png", {**rows, "first: near": near, "first: far": far})


if __name__ == "__main__":
    main()
