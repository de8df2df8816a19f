"""Labels for some rows: a VAE that learns classes from a hundred labels and from all images.

Shows `recipes.semi_supervised_vae` on handwritten digits. Beside it stands a logistic regression on the labelled images
alone. The picture has digits drawn under each class.

    python examples/semi_supervised.py                # a minute
    python examples/semi_supervised.py --out FOLDER   # also the picture
    python examples/semi_supervised.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

import pyrovae as pv

CLASSES, LABELLED = 10, 100


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    found = pv.datasets.digits()
    order = torch.randperm(len(found.labels))
    images = (torch.as_tensor(found.images) > 7).float().flatten(1)
    return images[order], torch.as_tensor(found.labels).long()[order]


def few_labels(labels: torch.Tensor) -> torch.Tensor:
    """As many of each class, and -1, which is unknown, for the rest."""
    known = torch.full_like(labels, -1)
    for number in range(CLASSES):
        rows = (labels == number).nonzero()[: LABELLED // CLASSES, 0]
        known[rows] = number
    return known


def draw(path: Path, vae: pv.LabelledVAE) -> None:
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    rows = []
    for number in range(CLASSES):
        drawn = pv.generate(vae.conditional().under(number), 12, seed=0, mean=True)["x"].reshape(-1, 8, 8)
        rows.append(torch.cat([torch.nn.functional.pad(image, (1, 1, 1, 1)) for image in drawn], 1))
    axes.imshow(torch.cat(rows, 0), cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[], title="drawn under the classes 0 to 9")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    images, labels = digits()
    x, x_test, y_test = images[:1300], images[1300:], labels[1300:]
    known = few_labels(labels[:1300])

    vae = pv.recipes.semi_supervised_vae(64, latent=4, classes=CLASSES, hidden=[256], classification=200.0)
    # Rows with a label are met more often: they are one in thirteen.
    weights = torch.where(known >= 0, 5.0, 1.0)
    epochs = 2 if options.smoke else 100
    pv.fit(vae, (x, known), epochs=epochs, row_weights=weights, learning_rate=2e-3, seed=0, progress=False)
    said = pv.encode(vae, x_test)["y"].mean.argmax(-1)
    alone = LogisticRegression(max_iter=1000).fit(x[known >= 0], known[known >= 0])
    print(f"error with {LABELLED} labels: {(said != y_test).double().mean():.1%}")
    print(f"logistic regression on the labelled images alone: {1 - alone.score(x_test, y_test):.1%}")
    if options.out:
        draw(options.out / "semi_supervised.png", vae)


if __name__ == "__main__":
    main()
