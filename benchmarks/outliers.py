"""Strange rows and strange cells of a table, found by `tables.outliers` and by what people use.

Wine of 6,497 rows, without its classes. Rows: of 5 % each column is permuted among them, so that every cell is an
ordinary one and the row is none; AUROC of each contestant's score. Cells: 1 % are multiplied by 10 or by a tenth, or
moved by four deviations; AUROC of the probabilities of cells, beside how far each cell is from its column.

    python benchmarks/outliers.py --data-root FOLDER   # the folder that holds tabular/wine
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from contestants import real_tables
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

import pyrovae as pv

warnings.simplefilter("ignore")


def permuted(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    noise = np.random.default_rng(seed)
    rows = noise.choice(len(frame), len(frame) // 20, replace=False)
    found = frame.copy()
    for place in range(frame.shape[1]):
        found.iloc[rows, place] = frame.iloc[noise.permutation(rows), place].to_numpy()
    return found, np.isin(np.arange(len(frame)), rows)


def planted(frame: pd.DataFrame, seed: int, how: str) -> tuple[pd.DataFrame, np.ndarray]:
    noise = np.random.default_rng(seed)
    bad = noise.random(frame.shape) < 0.01
    up = noise.random(frame.shape) < 0.5
    changed = (
        frame * np.where(up, 10.0, 0.1)
        if how == "times ten"
        else (frame + 4 * frame.std().to_numpy() * np.where(up, 1, -1)).abs()
    )
    return frame.where(~bad, changed), bad


def trained(frame: pd.DataFrame, steps: int, latent: int, seed: int, outliers: float | None = None):
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=latent, outliers=outliers)
    loss = pv.objectives.IWAE(10, vectorize_particles=True)
    rate = pv.cosine(3e-3, 3e-5, steps=steps)
    pv.fit(pair, frame, steps=steps, batch_size=128, learning_rate=rate, loss=loss, seed=seed, progress=False)
    return pair


def tails(x: np.ndarray) -> np.ndarray:
    """ECOD: the sum over columns of minus the log of the smaller empirical tail."""
    order = x.argsort(0).argsort(0) + 1
    left, right = order / len(x), (len(x) + 1 - order) / len(x)
    skewed = ((x - x.mean(0)) ** 3).mean(0) < 0
    sums = [-np.log(left).sum(1), -np.log(right).sum(1), -np.log(np.where(skewed, left, right)).sum(1)]
    return np.max(sums, 0)


def rows(frame: pd.DataFrame, options: argparse.Namespace, seed: int) -> dict[str, float]:
    mixed, strange = permuted(frame, seed)
    x = ((mixed - mixed.mean()) / mixed.std()).to_numpy()
    found = pv.tables.outliers(trained(mixed, options.steps, options.latent, seed), mixed)
    scores = {
        "pyrovae": found.rows.to_numpy(),
        "isolation forest": -IsolationForest(random_state=seed).fit(x).score_samples(x),
        "local outlier factor": -LocalOutlierFactor(20).fit(x).negative_outlier_factor_,
        "ECOD": tails(x),
    }
    return {name: roc_auc_score(strange, score) for name, score in scores.items()}


def cells(frame: pd.DataFrame, options: argparse.Namespace, seed: int, how: str) -> dict[str, float]:
    changed, bad = planted(frame, seed, how)
    scores = {}
    for share in (None, 0.02):
        found = pv.tables.outliers(trained(changed, options.steps, options.latent, seed, share), changed)
        probabilities = found.cells[list(frame.columns)].to_numpy()
        called, right = (probabilities > 0.9).sum(), ((probabilities > 0.9) & bad).sum()
        name = f"pyrovae, outliers={share} (called {called}, right {right} of {bad.sum()})"
        scores[name] = roc_auc_score(bad.ravel(), probabilities.ravel())
    apart = ((changed - changed.median()) / (changed.quantile(0.75) - changed.quantile(0.25))).abs()
    return {**scores, "distance from the column": roc_auc_score(bad.ravel(), apart.to_numpy().ravel())}


def _shown(what: str, seed: int, found: dict[str, float]) -> None:
    for name, score in found.items():
        print(f"| {what}, seed {seed} | {name} | {score:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=6497)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--latent", type=int, default=8)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    frame = real_tables.folder(options.data_root / "tabular", "wine", options.rows).frame.iloc[:, :11]
    print("| what | contestant | AUROC |\n|---|---|---:|", flush=True)
    start = time.perf_counter()
    for seed in range(options.seeds):
        _shown("rows", seed, rows(frame, options, seed))
        for how in ("times ten", "moved by 4 deviations"):
            _shown(f"cells {how}", seed, cells(frame, options, seed, how))
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
