"""Which of a model's draws look real, what the others are worth, and draws that are kept by rejection.

Shows `discriminator` and `generate(..., discriminator=)`: a classifier of real digits against those of a small VAE,
held out and calibrated; the draws that it takes for real and those that it does not; and how far it tells digits apart
before and after rejection.

    python examples/discriminator.py                # a minute
    python examples/discriminator.py --out FOLDER   # also the picture
    python examples/discriminator.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

import pyrovae as pv


def draw(path: Path, found: pv.Discriminator, kept: torch.Tensor) -> None:
    order = found.draw_score.argsort()
    rows = {"least\nreal": found.draws["x"][order[:12]], "most\nreal": found.draws["x"][order[-12:]], "kept": kept[:12]}
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    axis = above.subplots()
    axis.hist([found.score.numpy(), found.draw_score.numpy()], bins=40, label=["real", "drawn"], density=True)
    axis.axvline(0, color="gray", linewidth=0.8)
    axis.set(xlabel="log p_real(x) / p_drawn(x), held out", yticks=[])
    axis.legend()
    axes = below.subplots(3, 12)
    for line, (words, images) in enumerate(rows.items()):
        for place, image in enumerate(images):
            axes[line, place].imshow(image.reshape(8, 8), cmap="gray", vmin=0, vmax=1)
            axes[line, place].set(xticks=[], yticks=[])
        axes[line, 0].set_ylabel(words, rotation=0, ha="right", va="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs and a simple classifier")
    options = parser.parse_args()

    images = (torch.as_tensor(pv.datasets.digits().images).flatten(1) > 7).float()
    train, held_out = images[:1000], images[1000:]
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(8), pv.Bernoulli(pv.MLP(8, [128], 64)), pv.DiagNormal(pv.MLP(64, [128], 16)))
    pv.fit(vae, train, epochs=5 if options.smoke else 150, learning_rate=2e-3, seed=0, progress=False)

    found = pv.discriminator(vae, held_out, classifier=LogisticRegression(max_iter=2000) if options.smoke else None)
    print(found)
    kept = pv.generate(vae, 200, discriminator=found, seed=0)["x"]
    print(f"area before {found.area:.3f}, after {found.area_after:.3f}; kept {found.acceptance:.1%} of the draws")
    if options.out is not None:
        draw(options.out / "discriminator.png", found, kept)


if __name__ == "__main__":
    main()
