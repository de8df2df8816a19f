"""Why a datum is novel, cell by cell, and what it would have to be instead.

Shows `explain`, `counterfactual` and `explanation_stability`: digits with an inverted patch, whose share in the novelty
is the greatest; the nearest usual digits, and the nearest ones that a classifier calls an eight; and whether pairs of
other seeds say the same.

    python examples/explain.py                # a minute or two
    python examples/explain.py --out FOLDER   # also the picture
    python examples/explain.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import pyrovae as pv

PATCHES = torch.arange(16).reshape(4, 4).repeat_interleave(2, 0).repeat_interleave(2, 1).reshape(-1)
WANTED = 8


def build(seed: int) -> pv.VAE:
    torch.manual_seed(seed)
    return pv.VAE(
        prior=pv.StandardNormal(8),
        likelihood=pv.Bernoulli(pv.MLP(8, [128], 64)),
        posterior=pv.DiagNormal(pv.MLP(64, [128], 2 * 8)),
    )


def spoilt(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The data with one patch of each inverted, and which one."""
    patch = torch.randint(16, (len(x),), generator=torch.Generator().manual_seed(0))
    return torch.where(patch[:, None] == PATCHES, 1 - x, x), patch


def classifier(x: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optim = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(300):
        optim.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optim.step()
    return net.requires_grad_(False)


def draw(path: Path, bad: torch.Tensor, found: pv.Explanation, usual: torch.Tensor, eight: torch.Tensor) -> None:
    shares = found.contribution[:8, PATCHES].reshape(-1, 8, 8).numpy()
    top = float(abs(shares).max())
    pictures = [one[:8].reshape(-1, 8, 8).numpy() for one in (bad, usual, eight)]
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots(4, 8)
    for place in range(8):
        axes[0, place].imshow(pictures[0][place], cmap="gray", vmin=0, vmax=1)
        map_ = axes[1, place].imshow(shares[place], cmap="RdBu_r", vmin=-top, vmax=top)
        axes[2, place].imshow(pictures[1][place], cmap="gray", vmin=0, vmax=1)
        axes[3, place].imshow(pictures[2][place], cmap="gray", vmin=0, vmax=1)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for line, words in enumerate(
        ("a patch is\ninverted", "shares in\nthe novelty", "nearest\nusual", "nearest\neight")
    ):
        axes[line, 0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9)
    figure.colorbar(map_, ax=axes[1, :].tolist(), label="nats")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs and rows")
    options = parser.parse_args()
    rows, epochs, repeats = (8, 10, 2) if options.smoke else (60, 150, 8)

    images, labels = pv.datasets.digits()
    x, labels = (torch.as_tensor(images).flatten(1) > 7).float(), torch.as_tensor(labels).long()
    train, held_out = x[:1200], x[1200:1500]
    pairs = [build(seed) for seed in range(2 if options.smoke else 3)]
    for seed, pair in enumerate(pairs):
        pv.fit(pair, train, epochs=epochs, learning_rate=2e-3, seed=seed, progress=False)

    bad, patch = spoilt(x[1500 : 1500 + rows])
    asked = {"groups": PATCHES, "reference": train, "draws": 16, "repeats": repeats}
    several = [pv.explain(pair, bad, of="novelty", **asked) for pair in pairs]
    found = several[0]
    first = float((found.contribution.argmax(1) == patch).double().mean())
    print(f"the inverted patch has the greatest share in {first:.0%} of {rows} digits, and is one of 16")
    print(f"shares leave {float(found.completeness.abs().max()):.1e} nats unexplained")

    latent = [pv.explain(pair, bad, of=("z", 0), **asked) for pair in pairs]
    for what, ones in (("novelty", several), ("z[0]", latent)):
        stable = pv.explanation_stability(ones)
        print(f"correlation between pairs of other seeds, of shares in {what}: {float(stable.correlation.mean()):.2f}")

    net = classifier(train, labels[:1200])
    others = torch.arange(10) != WANTED

    def is_wanted(data: torch.Tensor) -> torch.Tensor:
        scores = net(data)
        return scores[:, WANTED] - scores[:, others].amax(1) - 1.0

    steps = 20 if options.smoke else 200
    common = {"calibration": held_out, "scale": 1.0, "steps": steps, "draws": 8}
    usual = pv.counterfactual(pairs[0], bad[:8], **common)
    eight = pv.counterfactual(pairs[0], bad[:8], toward=is_wanted, **common)
    for name, one in (("usual", usual), ("an eight", eight)):
        met = int(one.met.sum())
        print(f"nearest datum that is {name}: {met} of 8 found, p from {float(one.p_value[one.met].amin()):.2f}" if met
              else f"nearest datum that is {name}: none found in {steps} steps")  # fmt: skip
    if options.out:
        draw(options.out / "explain.png", bad, found, usual.data, eight.data)


if __name__ == "__main__":
    main()
