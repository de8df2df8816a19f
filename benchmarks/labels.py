"""MNIST with a hundred labels: errors of test images.

Two models in a stack ("M1+M2", Kingma et al. 2014): a VAE of all 60,000 images without their labels, and the
semi-supervised VAE of its codes, of which a hundred rows have a label, ten of each digit. Beside it a logistic
regression on the codes of the hundred. Nothing is chosen by a label of a test image.

    python benchmarks/labels.py                      # downloads MNIST
    python benchmarks/labels.py --data-root FOLDER   # the folder of the four IDX files
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import pyrovae as pv

warnings.simplefilter("ignore")
logging.getLogger("pyrovae").setLevel(logging.ERROR)
BATCH, CODE, CLASSES = 256, 50, 10


def features(images: Tensor, options: argparse.Namespace) -> pv.VAE:
    """M1: a VAE of all images, pixels drawn afresh in each batch."""
    torch.manual_seed(options.seed)
    pair = pv.VAE(
        pv.StandardNormal(CODE),
        pv.Bernoulli(pv.MLP(CODE, [600, 600], 784)),
        pv.DiagNormal(pv.MLP(784, [600, 600], 2 * CODE)),
    )
    rate = pv.cosine(1e-3, 1e-5, steps=-(-len(images) // BATCH) * options.epochs)
    place = None if options.folder is None else options.folder / "features"
    pv.fit(pair, images, epochs=options.epochs, batch_size=BATCH, learning_rate=rate, transform=torch.bernoulli,
           seed=options.seed, checkpoint=place, resume=place is not None, progress=False)  # fmt: skip
    return pair


def few_labels(labels: Tensor, seed: int, count: int = 100) -> Tensor:
    """Labels of as many rows of each class, -1 for the others."""
    order = np.random.default_rng(seed).permutation(len(labels))
    known = torch.full_like(labels, -1)
    for number in range(CLASSES):
        here = [place for place in order if labels[place] == number][: count // CLASSES]
        known[here] = number
    return known


def semi_supervised(codes: Tensor, known: Tensor, options: argparse.Namespace, seed: int) -> pv.LabelledVAE:
    """M2: of the codes, a class and what else there is to say."""
    torch.manual_seed(seed)
    pair = pv.recipes.semi_supervised_vae(
        CODE, latent=options.latent, classes=CLASSES, hidden=[options.hidden], classification=options.classification,
        likelihood=lambda network: pv.Normal(network, scale=pv.LearnedScale(CODE)),
    )  # fmt: skip
    weights = torch.where(known >= 0, options.share * len(known) / (known >= 0).sum(), 1.0)
    rate = pv.cosine(1e-3, 1e-5, steps=-(-len(codes) // BATCH) * options.second)
    pv.fit(pair, (codes, known), epochs=options.second, batch_size=BATCH, learning_rate=rate, row_weights=weights,
           seed=seed, progress=False)  # fmt: skip
    return pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="the folder of the four IDX files; left out, they are downloaded")
    parser.add_argument("--epochs", type=int, default=50, help="of the VAE of images")
    parser.add_argument("--second", type=int, default=20, help="epochs of the VAE of codes and labels")
    parser.add_argument("--latent", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=300)
    parser.add_argument("--classification", type=float, default=50.0)
    parser.add_argument("--share", type=float, default=0.1, help="of the rows met that have a label")
    parser.add_argument("--draws", type=int, default=3, help="of which rows have labels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to keep the VAE of images")
    options = parser.parse_args()
    train = pv.datasets.mnist(train=True, root=options.data_root)
    test = pv.datasets.mnist(train=False, root=options.data_root)
    images, other = (torch.as_tensor(part.images).flatten(1) / 255.0 for part in (train, test))
    labels, others = (torch.as_tensor(part.labels).long() for part in (train, test))
    start = time.perf_counter()
    first = features(images, options)
    codes, other_codes = (pv.encode(first, x)["z"].mean for x in (images, other))
    print(f"VAE of images: {time.perf_counter() - start:.0f} s\n", flush=True)
    print(
        "| labelled rows drawn by | errors, M1+M2 | of a logistic regression on the codes | s |\n|---:|---:|---:|---:|"
    )
    for draw in range(options.draws):
        start = time.perf_counter()
        known = few_labels(labels, draw)
        pair = semi_supervised(codes, known, options, draw)
        said = pv.encode(pair, other_codes)["y"].mean.argmax(-1)
        alone = LogisticRegression(max_iter=2000).fit(codes[known >= 0], known[known >= 0]).predict(other_codes)
        errors = float((said != others).double().mean()), float((alone != others.numpy()).mean())
        print(f"| {draw} | {errors[0]:.4f} | {errors[1]:.4f} | {time.perf_counter() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
