"""A prior that goes where the codes are: fewer draws that look like no digit, and a higher ELBO.

Shows `reweighted` on a VAE whose KL counted a tenth, so that its pictures are sharp and its codes lie far out: a
classifier of codes against draws of the prior, whose odds multiply the prior; what that is worth on codes that
it has not seen, the ELBO of held-out digits, and how far a discriminator tells draws from digits, before and after.

    python examples/reweighted.py                # a minute
    python examples/reweighted.py --out FOLDER   # also the picture
    python examples/reweighted.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

import pyrovae as pv


def digits() -> torch.Tensor:
    return (torch.as_tensor(pv.datasets.digits().images).flatten(1) > 7).float()


def draw(path: Path, pairs: dict[str, pv.HasPair], x: torch.Tensor) -> None:
    codes = pv.posterior(pairs["prior"], x, draws=1, seed=0)["z"][0]
    made = {name: pv.generate(pair, len(x), seed=1) for name, pair in pairs.items()}
    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.6, 1))
    planes = {"codes of data": codes, **{f"draws: {name}": drawn["z"] for name, drawn in made.items()}}
    for axis, (words, z) in zip(above.subplots(1, 3), planes.items(), strict=True):
        axis.scatter(*z.T, s=3)
        axis.set(title=words, xlim=(-6, 6), ylim=(-6, 6), aspect="equal", xticks=[], yticks=[])
    axes = below.subplots(len(made), 14)
    for line, (name, drawn) in enumerate(made.items()):
        for place, image in enumerate(drawn["x"][:14]):
            axes[line, place].imshow(image.reshape(8, 8), cmap="gray", vmin=0, vmax=1)
            axes[line, place].set(xticks=[], yticks=[])
        axes[line, 0].set_ylabel(name, rotation=0, ha="right", va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs and draws")
    options = parser.parse_args()

    images = digits()
    train, held_out = images[:1_300], images[1_300:]
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [128], 64)), pv.DiagNormal(pv.MLP(64, [128], 4)))
    epochs = 3 if options.smoke else 100
    pv.fit(vae, train, epochs=epochs, learning_rate=2e-3, temper=0.1, seed=0, progress=False)

    better = pv.reweighted(vae, train, draws=20_000 if options.smoke else 1_000_000)
    print(better)
    pairs = {"prior": vae, "reweighted": better}
    for name, pair in pairs.items():
        bound = pv.elbo(pair, held_out, draws=100).value.mean()
        found = pv.discriminator(pair, held_out, classifier=LogisticRegression(max_iter=2_000))
        print(f"{name:<10} ELBO of held-out digits {float(bound):.2f} nats, area of draws told apart {found.area:.3f}")
    if options.out is not None:
        draw(options.out / "reweighted.png", pairs, train)


if __name__ == "__main__":
    main()
