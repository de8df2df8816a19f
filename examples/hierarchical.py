"""Two levels of latents beside one: each level is the learned prior of the one below.

Shows `HierarchicalVAE` with a ladder, on handwritten digits. The picture has digits drawn with the upper level held
in each row and the lower one drawn anew. Whether a second level pays shows on data held out: on as few as these it
does not.

    python examples/hierarchical.py                # a minute or two
    python examples/hierarchical.py --out FOLDER   # also the picture
    python examples/hierarchical.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv

PIXELS = (8, 8)


def normal(inputs: int, size: int) -> pv.DiagNormal:
    return pv.DiagNormal(pv.MLP(inputs, [64], 2 * size))


def one_level() -> pv.VAE:
    torch.manual_seed(0)
    likelihood = pv.Bernoulli(pv.MLP(8, [128], PIXELS))
    return pv.VAE(pv.StandardNormal(8), likelihood, pv.DiagNormal(pv.MLP(PIXELS, [128], 2 * 8)))


def two_levels() -> pv.HierarchicalVAE:
    torch.manual_seed(0)
    encoders = [pv.MLP(PIXELS, [128], 64), pv.MLP(64, [64], 32)]
    return pv.HierarchicalVAE(
        prior=pv.StandardNormal(4),
        levels=[normal(4, 8)],
        likelihood=pv.Bernoulli(pv.MLP(8, [128], PIXELS)),
        posterior=pv.Ladder(encoders, [normal(64, 8), normal(32, 4)]),
    )


@torch.no_grad()
def held_above(vae: pv.HierarchicalVAE) -> torch.Tensor:
    """Images (draws of z_2, draws of z_1 for each, 8, 8)."""
    torch.manual_seed(3)
    z_2 = vae.prior().sample(torch.Size([6]))
    z_1 = vae.levels[0](z_2).sample(torch.Size([8])).transpose(0, 1)
    return vae.likelihood(z_1).mean


def draw(path: Path, images: torch.Tensor) -> None:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    rows = [torch.cat([torch.nn.functional.pad(image, (1, 1, 1, 1)) for image in row], 1) for row in images]
    axes.imshow(torch.cat(rows, 0), cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[], xlabel="the lower level drawn anew", ylabel="another upper level in each row")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    images = (torch.as_tensor(pv.datasets.digits().images) > 7).float()
    images = images[torch.randperm(len(images))]
    train, test = images[:1500], images[1500:]
    epochs = 1 if options.smoke else 150
    for name, vae in (("one level", one_level()), ("two levels", two_levels())):
        pv.fit(vae, train, epochs=epochs, validation=test, patience=20, seed=0, progress=False)
        evidence = pv.log_evidence(vae, test, draws=20 if options.smoke else 500, seed=0).value.mean()
        print(f"{name:12} evidence {float(evidence):8.2f} nats an image held out")
    if options.out:
        draw(options.out / "hierarchical.png", held_above(vae))


if __name__ == "__main__":
    main()
