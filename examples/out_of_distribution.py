"""Images that are no digits, told from digits: the bundled digits, three scores of novelty, a rate of false alarms.

Shows that a high density is not enough (a blank image has one), what each score sees, and that a threshold on a
conformal p-value is a rate of false alarms: of digits never seen, about as many are flagged as were asked for.

    python examples/out_of_distribution.py           # half a minute
    python examples/out_of_distribution.py --smoke   # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv

LATENT, ALPHA = 8, 0.05


def build() -> pv.VAE:
    return pv.VAE(
        prior=pv.StandardNormal(LATENT),
        likelihood=pv.DiscretizedLogistic(pv.MLP(LATENT, [128], (2 * 8, 8)), levels=17),
        posterior=pv.DiagNormal(pv.MLP((8, 8), [128], 2 * LATENT)),
    )


def strange(digits: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is to be found."""
    generator = torch.Generator().manual_seed(0)
    places = torch.randperm(64, generator=generator)
    return {
        "mirrored": digits.flip(2),
        "inverted": digits.max() - digits,
        "blank": torch.zeros_like(digits),
        "shuffled": digits.flatten(1)[:, places].reshape(digits.shape),
    }


def draw(path: Path, images: dict[str, torch.Tensor], result: pv.Novelty, starts: dict[str, int]) -> None:
    figure = Figure(figsize=(10, 1.25 * len(images)), layout="constrained")
    grid = figure.subplots(len(images), 10)
    for axes, (name, rows) in zip(grid, images.items(), strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, axis in enumerate(axes):
            p = float(result.combined.p_value[starts[name] + place])
            axis.imshow(rows[place], cmap="gray_r", vmin=0, vmax=float(images["digits"].max()))
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(f"p = {p:.3f}", fontsize=8, color="crimson" if p <= ALPHA else "black")
            axis.spines[:].set_visible(False)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the pictures")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    digits = torch.as_tensor(pv.datasets.digits().images).float()
    digits = digits[torch.randperm(len(digits))]  # in the order of the file, writers follow each other
    train, usual, test = digits[:1000], digits[1000:1400], digits[1400:]
    vae = build()
    pv.fit(vae, train, epochs=5 if options.smoke else 150, validation=usual, patience=20, seed=0, progress=False)

    images = {"digits": test, **strange(test)}
    starts = {name: place * len(test) for place, name in enumerate(images)}
    result = pv.novelty(vae, torch.cat(list(images.values())), calibration=usual, draws=20 if options.smoke else 100)
    names = [name for name in result._fields if getattr(result, name) is not None]
    print(f"share flagged at a rate of false alarms of {ALPHA}:\n{'':12}{''.join(f'{name:>12}' for name in names)}")
    for kind, start in starts.items():
        shares = [result.flagged(ALPHA, by=name)[start : start + len(test)].double().mean() for name in names]
        print(f"{kind:12}{''.join(f'{share:12.3f}' for share in shares)}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(options.out / "novelty_images.png", images, result, starts)
        result.plot().savefig(options.out / "novelty_scores.png", dpi=110)
        print("picture:", options.out / "novelty_scores.png")


if __name__ == "__main__":
    main()
