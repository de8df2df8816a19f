"""Images under a condition: digits drawn of a chosen class, and the same style under every class.

Shows `recipes.conditional_vae` with class labels. `under(number)` is the pair of one condition, of which new
rows are drawn by their number; a code that is kept, while the class changes, is a style. The picture has one in each
row.

    python examples/conditional.py                # half a minute
    python examples/conditional.py --out FOLDER   # also the picture
    python examples/conditional.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv

CLASSES, STYLES = 10, 6


@torch.no_grad()
def styles(vae: pv.ConditionalVAE) -> torch.Tensor:
    """Images (styles, classes, 8, 8): the same code under each class."""
    torch.manual_seed(1)
    codes = vae.prior().sample(torch.Size([STYLES]))
    each = [vae.under(number).likelihood(codes).mean for number in range(CLASSES)]
    return torch.stack(each, 1).reshape(STYLES, CLASSES, 8, 8)


def draw(path: Path, images: torch.Tensor) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    rows = [torch.cat([torch.nn.functional.pad(image, (1, 1, 1, 1)) for image in row], 1) for row in images]
    axes.imshow(torch.cat(rows, 0), cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[], xlabel="the classes 0 to 9", ylabel="a style in each row")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    found = pv.datasets.digits()
    images = (torch.as_tensor(found.images) > 7).float().flatten(1)
    labels = torch.as_tensor(found.labels).long()
    order = torch.randperm(len(images))
    train, test = order[:1500], order[1500:]

    vae = pv.recipes.conditional_vae(64, latent=4, classes=CLASSES, hidden=[128])
    epochs = 2 if options.smoke else 100
    pv.fit(vae, (images[train], labels[train]), epochs=epochs, seed=0, progress=False)
    right = pv.log_evidence(vae, images[test], labels[test], draws=100).value.mean()
    wrong = pv.log_evidence(vae, images[test], (labels[test] + 1) % CLASSES, draws=100).value.mean()
    print(f"evidence of images held out: {right:.1f} nats under their own class, {wrong:.1f} under another")
    drawn = pv.generate(vae.under(3), 5, seed=0)["x"]
    print(f"drew {len(drawn)} images of class 3")
    if options.out:
        draw(options.out / "conditional.png", styles(vae))


if __name__ == "__main__":
    main()
