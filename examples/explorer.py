"""A page in which a decoder runs: move a latent number in a browser, and the digit changes.

    python examples/explorer.py --out digits

writes digits/digits.html; open it in a browser. It holds 100 of the digits, to start from and as neighbours.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import pyrovae as pv


def main(epochs: int, out: Path) -> None:
    images, labels = pv.datasets.digits()
    x = torch.from_numpy(images)[:, None].float()
    torch.manual_seed(0)
    vae = pv.VAE(
        prior=pv.StandardNormal(6),
        likelihood=pv.Normal(pv.MLP(6, [128], (1, 8, 8)), scale=pv.LearnedScale(initial=4.0)),
        posterior=pv.DiagNormal(pv.MLP((1, 8, 8), [128], 12)),
    )
    run = pv.fit(vae, x[:1500], epochs=epochs, seed=0, progress=False)
    page = pv.explore(run, x[1500:], path=out / "digits.html", rows=100, labels=labels[1500:])
    print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB, opens without a network")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--smoke", action="store_true", help="an epoch, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("explorer"))
    given = parser.parse_args()
    main(1 if given.smoke else given.epochs, given.out)
