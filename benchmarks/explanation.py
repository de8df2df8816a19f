"""Whether shares of cells find what is wrong with a row: bad cells planted in wine and in MNIST.

Pairs are trained on clean rows; of held-out rows one cell each is spoilt: multiplied by ten or divided by ten, or moved
up by four deviations; in images a patch of 4 by 4 pixels is inverted. AUROC of the shares in the row's novelty, cell
against cell of the same row, and how often the bad cell is ranked first; beside it how far a cell lies from its column,
and how improbable it is given the row's code alone.

    python benchmarks/explanation.py --data-root FOLDER   # the folder that holds tabular/wine and mnist
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from contestants import real_tables

import pyrovae as pv

warnings.simplefilter("ignore")

PATCH = 4
PATCHES = torch.arange(49).reshape(7, 7).repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1).reshape(-1)
WAYS = {
    "shapley, imputed": {"absent": "imputed"},
    "shapley, marginal": {"absent": "marginal"},
    "shapley, mean": {"absent": "mean"},
    "integrated gradients, mean": {"method": "integrated_gradients", "absent": "mean"},
    "integrated gradients, marginal": {"method": "integrated_gradients", "absent": "marginal"},
    "lime, marginal": {"method": "lime", "absent": "marginal"},
}


# Latents of images are not found by chance, means of pixels are no pixels, and a linear model of 49 cells for each
# image takes longer than all the rest.
NOT_OF_IMAGES = ("shapley, imputed", "shapley, mean", "lime, marginal")


def in_rows(scores: torch.Tensor, bad: torch.Tensor) -> tuple[float, float]:
    """The chance that the bad cell of a row is above another one of it, ties by halves; how often it is the first."""
    own = scores.gather(1, bad[:, None])
    others = torch.ones_like(scores, dtype=torch.bool).scatter(1, bad[:, None], False)
    above = (own > scores).double() + 0.5 * (own == scores).double()
    return float(above[others].mean()), float((scores.argmax(1) == bad).double().mean())


# --- wine -----------------------------------------------------------------------------------------------
def wine(options: argparse.Namespace, seed: int, how: str) -> dict[str, tuple[float, float, float]]:
    noise = np.random.default_rng(seed)
    frame = real_tables.folder(options.data_root / "tabular", "wine", None).frame.iloc[:, :11]
    frame = frame.iloc[noise.permutation(len(frame))].reset_index(drop=True)
    train, spoilt = frame.iloc[options.rows :], frame.iloc[: options.rows].copy()
    bad = torch.from_numpy(noise.integers(11, size=options.rows))
    for row, column in enumerate(bad.tolist()):
        value = spoilt.iloc[row, column]
        up = value + 4 * train.iloc[:, column].std()
        spoilt.iloc[row, column] = value * noise.choice([0.1, 10.0]) if how == "times ten" else up
    pair = pv.recipes.table_vae(pv.tables.schema(train), latent=8)
    loss = pv.objectives.IWAE(10, vectorize_particles=True)
    rate = pv.cosine(3e-3, 3e-5, steps=options.steps)
    pv.fit(pair, train, steps=options.steps, batch_size=128, learning_rate=rate, loss=loss, seed=seed, progress=False)
    found = explained(pair, spoilt, bad, reference=train, draws=options.draws, repeats=options.repeats, seed=seed)
    apart = ((spoilt - train.median()) / (train.quantile(0.75) - train.quantile(0.25))).abs().to_numpy()
    return {**found, "distance from the column": (*in_rows(torch.from_numpy(apart), bad), 0.0)}


def explained(pair, data, bad, *, skip=(), **options) -> dict[str, tuple[float, float, float]]:
    found = {}
    for name, way in WAYS.items():
        if name in skip:
            continue
        start = time.perf_counter()
        one = pv.explain(pair, data, of="novelty", **options, **way)
        found[name] = (*in_rows(one.contribution.flatten(1), bad), time.perf_counter() - start)
    return found


# --- images ---------------------------------------------------------------------------------------------
def binarised(options: argparse.Namespace, *, train: bool) -> torch.Tensor:
    images = torch.as_tensor(pv.datasets.mnist(options.data_root / "mnist", train=train).images)
    return (images.reshape(-1, 784) > 127).float()


def mnist(options: argparse.Namespace, seed: int, how: str) -> dict[str, tuple[float, float, float]]:
    noise = torch.Generator().manual_seed(seed)
    train, test = (binarised(options, train=part) for part in (True, False))
    spoilt = test[torch.randperm(len(test), generator=noise)[: options.rows]].clone()
    bad = torch.randint(49, (options.rows,), generator=noise)
    here = bad[:, None] == PATCHES
    spoilt[here] = 1 - spoilt[here]
    torch.manual_seed(seed)
    pair = pv.VAE(
        pv.StandardNormal(16),
        pv.Bernoulli(pv.MLP(16, [256], 784)),
        pv.DiagNormal(pv.MLP(784, [256], 32)),
    )
    pv.fit(pair, train, epochs=options.epochs, seed=seed, progress=False)
    common = {"reference": train[:2000], "draws": options.draws, "repeats": options.repeats, "seed": seed}
    found = explained(pair, spoilt, bad, skip=NOT_OF_IMAGES, groups=PATCHES, **common)
    code = pv.encode(pair, spoilt)["z"].mean
    odd = -torch.distributions.Bernoulli(logits=pair.likelihood.network(code)).log_prob(spoilt).detach()
    sums = torch.zeros(len(odd), 49).index_add(1, PATCHES, odd)
    return {**found, "improbable given the code": (*in_rows(sums, bad), 0.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--what", nargs="*", default=list(WHAT))
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print("| what | shares by | AUROC in rows | ranked first | seconds |\n|---|---|---:|---:|---:|", flush=True)
    for what in options.what:
        for seed in range(options.seeds):
            for name, (area, first, seconds) in WHAT[what][0](options, seed, WHAT[what][1]).items():
                print(f"| {what}, seed {seed} | {name} | {area:.3f} | {first:.2f} | {seconds:.0f} |", flush=True)


WHAT = {
    "wine times ten": (wine, "times ten"),
    "wine 4 deviations up": (wine, "up"),
    "mnist patch inverted": (mnist, ""),
}


if __name__ == "__main__":
    main()
