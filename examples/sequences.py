"""Series of several lengths, with gaps: what is missing is filled in, and what follows is forecast, with intervals.

Shows `recipes.sequence_vae`, `impute` and `posterior_predictive`. Data are counts in two columns, along cycles of
differing speeds. The picture has two series, one with a gap and one that ends early.

    python examples/sequences.py                # two minutes
    python examples/sequences.py --out FOLDER   # also the picture
    python examples/sequences.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv

STEPS = 16


def cycles(count: int) -> torch.Tensor:
    """Counts (count, STEPS, 2)."""
    start, speed = 2 * math.pi * torch.rand(count, 1), 0.4 + 0.3 * torch.rand(count, 1)
    turn = start + speed * torch.arange(STEPS)
    return torch.poisson(torch.stack([(1.2 + turn.cos()).exp(), (1.2 + turn.sin()).exp()], -1))


def holed(x: torch.Tensor) -> torch.Tensor:
    """The same with a gap of four steps in each series."""
    start = torch.randint(1, STEPS - 4, (len(x), 1))
    steps = torch.arange(STEPS)
    return x.masked_fill(((steps >= start) & (steps < start + 4)).unsqueeze(-1), math.nan)


def covered(values: torch.Tensor, truth: torch.Tensor, where: torch.Tensor) -> float:
    """The share of cells within the 90 % intervals of draws."""
    lower, upper = values.quantile(torch.tensor([0.05, 0.95]), 0)
    return float(((truth >= lower) & (truth <= upper))[where].float().mean())


def draw(path: Path, truth: torch.Tensor, rows: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, whole, (title, (values, seen)) in zip(
        figure.subplots(1, 2, sharey=True), truth, rows.items(), strict=True
    ):
        lower, upper = values[:, :, 0].quantile(torch.tensor([0.05, 0.95]), 0)
        steps, there = torch.arange(STEPS), seen[:, 0]
        axes.fill_between(steps, lower, upper, alpha=0.25, label="90 % of draws")
        axes.plot(steps, values[:, :, 0].mean(0), label="their mean")
        axes.plot(steps[there], whole[there, 0], "k.", label="given")
        axes.plot(steps[~there], whole[~there, 0], "rx", label="not given")
        axes.set(title=title, xlabel="step")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few steps")
    options = parser.parse_args()

    torch.manual_seed(0)
    steps, draws = (4, 10) if options.smoke else (800, 200)
    vae = pv.recipes.sequence_vae(2, latent=4, steps=STEPS, likelihood=pv.Poisson, hidden=32)
    # Without the warm-up all is noise at first, and the chain is given up before it is found.
    warm = {"temper": pv.linear(0, 1, steps=steps // 2), "learning_rate": pv.cosine(1e-2, 1e-4, steps=steps)}
    pv.fit(vae, holed(cycles(500)), steps=steps, batch_size=64, seed=0, progress=False, **warm)

    truth = cycles(100)
    x = holed(truth)
    gaps = pv.impute(vae, x, draws=draws, candidates=max(5 * draws, 25)).values["x"]
    print(f"gaps: {covered(gaps, truth, x.isnan()):.0%} within their 90 % intervals")
    lengths = torch.full((len(truth),), STEPS - 5)
    later = pv.posterior_predictive(vae, truth, lengths, draws=draws)["x"]
    ahead = (torch.arange(STEPS) >= STEPS - 5).expand(len(truth), -1).unsqueeze(-1).expand_as(truth)
    print(f"forecasts of 5 steps: {covered(later, truth, ahead):.0%} within their 90 % intervals")
    if options.out:
        rows = {"a gap, filled in": (gaps[:, 0], ~x[0].isnan()), "what follows": (later[:, 1], ~ahead[1])}
        draw(options.out / "sequences.png", truth[:2], rows)


if __name__ == "__main__":
    main()
