"""A VAE of MNIST that draws 10 new images: 784-128-20, batches of 256, Adam at a learning rate of 1e-3.

Shows the built-in pair, pixels binarised afresh at each step, held-out data, and the three pictures that one looks at
first: data, their reconstructions, and images that never were.

    python examples/vae_mnist.py                      # downloads MNIST; a minute or two on two cores
    python examples/vae_mnist.py --data-root FOLDER   # the folder of the four IDX files, gzipped or not
    python examples/vae_mnist.py --smoke              # seconds; on the digits that come with the package
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv


def mnist(root: str | None):
    return pv.datasets.mnist(root).images, pv.datasets.mnist(root, train=False).images


def small_digits():
    levels = pv.datasets.digits().images * 15  # 0 to 16 becomes 0 to 240
    return levels[:1500], levels[1500:]


def binarised(levels: torch.Tensor) -> torch.Tensor:
    # Bernoulli is a density of zeros and ones. Drawing them anew at each step, with the grey value as the
    # probability, keeps the information of the greys, and no fixed pattern of noise can be learned by heart.
    return torch.bernoulli(levels / 255)


def build(shape: tuple[int, int], hidden: int) -> pv.VAE:
    return pv.VAE(
        prior=pv.StandardNormal(20),
        likelihood=pv.Bernoulli(pv.MLP(20, [hidden], shape)),
        posterior=pv.DiagNormal(pv.MLP(shape, [hidden], 2 * 20)),
    )


def draw(path: Path, rows: dict[str, torch.Tensor]) -> None:
    figure = Figure(figsize=(10, 1.05 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 10)
    for axes, (name, images) in zip(grid, rows.items(), strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, image in zip(axes, images, strict=True):
            axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", help="the folder of the four IDX files; left out, they are downloaded")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=128, help="width of the hidden layers")
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="two epochs on few data")
    options = parser.parse_args()

    train, test = small_digits() if options.smoke and not options.data_root else mnist(options.data_root)
    if options.smoke:
        train, test, options.epochs = train[:2000], test[:200], 2

    torch.manual_seed(0)  # the starting weights; the seed of `fit` is for all that comes after
    vae = build(train.shape[1:], options.hidden)
    run = pv.fit(
        vae,
        train,  # bytes stay bytes in memory; batches become floats
        epochs=options.epochs,
        batch_size=256,
        learning_rate=1e-3,
        validation=test,
        transform=binarised,
        seed=0,
    )
    last = run.history[-1]
    print(f"{run.step} steps in {run.seconds:.0f} s; test ELBO {last.validation_elbo:.1f} nats an image")
    print(run.verdict)

    shown = binarised(torch.as_tensor(test[:10]))
    new = pv.generate(vae, 10, seed=1, mean=True)["x"]  # the probability of each pixel, smoother than zeros and ones
    print("drew", len(new), "images of", tuple(new.shape[1:]), "pixels")
    if options.out:
        again = pv.reconstruct(vae, shown)["x"]
        draw(options.out / "vae_mnist.png", {"data": shown, "reconstructed": again, "new": new})


if __name__ == "__main__":
    main()
