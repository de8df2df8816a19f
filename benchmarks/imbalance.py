"""A classifier that has seen little of one class: generated rows of it beside weights, a threshold, and SMOTE.

Half of a table is for training, where one class is cut to 2 per cent; the rest tests. A boosted classifier of
scikit-learn is given the rows as they are, or with rows of the rare class added until there are as many as of the
others. Balanced accuracy is the mean of both classes' shares of right answers at a probability of one half (of
`threshold` at one chosen by cross-validation). Log loss is that of rows in which the rare class is 2 per cent as in
training; probabilities of classifiers that met other shares are brought back to these by Bayes' rule first.

    python benchmarks/imbalance.py          # some minutes
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections import defaultdict

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

import pyrovae as pv

logging.getLogger("pyrovae").setLevel(logging.ERROR)
warnings.simplefilter("ignore")
SHARE = 0.02


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, and whether a row is of the class that is made rare."""
    if name == "breast_cancer":
        x, y = datasets.load_breast_cancer(return_X_y=True)
        return x, y == 0
    x, y = datasets.load_digits(return_X_y=True)
    return x, y == 8


def split(x: np.ndarray, rare: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """Training rows with few of the rare class, and all others."""
    order = np.random.default_rng(seed).permutation(len(x))
    half = order[: len(x) // 2]
    common = half[~rare[half]]
    few = half[rare[half]][: max(round(len(common) * SHARE / (1 - SHARE)), 2)]
    train, test = np.concatenate([common, few]), order[len(x) // 2 :]
    return x[train], rare[train], x[test], rare[test]


def boosted(x: np.ndarray, rare: np.ndarray, seed: int, **options) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(random_state=seed, max_iter=100, **options).fit(x, rare)


def smote(rows: np.ndarray, count: int, seed: int, neighbours: int = 5) -> np.ndarray:
    """Points between a row of the rare class and one of its neighbours (Chawla et al., 2002)."""
    noise = np.random.default_rng(seed)
    spread = rows.std(0) + 1e-12
    near = NearestNeighbors(n_neighbors=min(neighbours + 1, len(rows))).fit(rows / spread)
    others = near.kneighbors(rows / spread, return_distance=False)[:, 1:]
    chosen = noise.integers(len(rows), size=count)
    other = others[chosen, noise.integers(others.shape[1], size=count)]
    return rows[chosen] + noise.random((count, 1)) * (rows[other] - rows[chosen])


def generated(x: np.ndarray, rare: np.ndarray, count: int, seed: int, steps: int, power: float) -> np.ndarray:
    """Rows of the rare class from a pair of the whole table, which has met that class more often."""
    frame = pd.DataFrame(x, columns=[f"x{place}" for place in range(x.shape[1])])
    constant = frame.nunique() == 1
    kept = frame.loc[:, ~constant].assign(rare=np.where(rare, "yes", "no"))
    schema = pv.tables.schema(kept, kinds={**dict.fromkeys(kept.columns[:-1], "real"), "rare": "binary"})
    torch.manual_seed(seed)
    pair = pv.recipes.table_vae(schema, latent=8)
    rate = pv.cosine(3e-3, 3e-5, steps=steps)
    weights = pv.balanced(rare, power=power)
    pv.fit(pair, kept, steps=steps, learning_rate=rate, row_weights=weights, seed=seed, progress=False)
    made = pv.tables.generate_where(pair, count, {"rare": "yes"}, seed=seed)
    found = frame.iloc[np.zeros(count, int)].reset_index(drop=True)  # constant columns are what they are
    found[made.columns[:-1]] = made.iloc[:, :-1].to_numpy(dtype=float)
    return found.to_numpy()


def back(chance: np.ndarray, share: float) -> np.ndarray:
    """Probabilities among rows of which 2 per cent are rare, from those of a classifier that met another share."""
    odds = chance / (1 - chance) * (SHARE / (1 - SHARE)) / (share / (1 - share))
    return odds / (1 + odds)


def scores(chance: np.ndarray, rare: np.ndarray, share: float, threshold: float = 0.5) -> tuple[float, float]:
    """Balanced accuracy and log loss."""
    right = (chance > threshold) == rare
    true = np.clip(back(np.clip(chance, 1e-9, 1 - 1e-9), share), 1e-9, 1 - 1e-9)
    loss = -SHARE * np.log(true[rare]).mean() - (1 - SHARE) * np.log(1 - true[~rare]).mean()
    return float(right[rare].mean() + right[~rare].mean()) / 2, float(loss)


def contestants(x: np.ndarray, rare: np.ndarray, test: np.ndarray, truth: np.ndarray, seed: int, steps: int):
    """Name, balanced accuracy and log loss of each."""
    lack, own = int((~rare).sum() - rare.sum()), float(rare.mean())

    def with_rows(rows: np.ndarray) -> tuple[float, float]:
        model = boosted(np.concatenate([x, rows]), np.concatenate([rare, np.ones(len(rows), bool)]), seed)
        return scores(model.predict_proba(test)[:, 1], truth, 0.5)

    plain = boosted(x, rare, seed).predict_proba(test)[:, 1]
    yield "nothing", scores(plain, truth, own)
    weighted = boosted(x, rare, seed, class_weight="balanced")
    yield "class_weight", scores(weighted.predict_proba(test)[:, 1], truth, 0.5)
    folds = StratifiedKFold(min(3, int(rare.sum())), shuffle=True, random_state=seed)
    model = HistGradientBoostingClassifier(random_state=seed, max_iter=100)
    said = cross_val_predict(model, x, rare, cv=folds, method="predict_proba")[:, 1]
    best = max(np.unique(said)[:-1], key=lambda one: scores(said, rare, own, one)[0], default=0.5)
    yield "threshold", scores(plain, truth, own, float(best))
    yield "SMOTE", with_rows(smote(x[rare], lack, seed))
    yield "pyrovae", with_rows(generated(x, rare, lack, seed, steps, power=0.0))
    yield "pyrovae, balanced", with_rows(generated(x, rare, lack, seed, steps, power=1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", nargs="+", default=["breast_cancer", "digits"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    for name in options.tables:
        found = defaultdict(list)
        for seed in range(options.seeds):
            x, rare, test, truth = split(*table(name), seed)
            for who, figures in contestants(x, rare, test, truth, seed, options.steps):
                found[who].append(figures)
                print(name, seed, who, *(f"{one:.3f}" for one in figures), flush=True)
        print(f"\n| {name}: {rare.sum()} of {len(rare)} rows | balanced accuracy | log loss |\n|---|---:|---:|")
        for who, rows in found.items():
            means, errors = np.mean(rows, 0), np.std(rows, 0, ddof=1) / len(rows) ** 0.5
            print(f"| {who} | {' | '.join(f'{m:.3f} ± {e:.3f}' for m, e in zip(means, errors, strict=True))} |")


if __name__ == "__main__":
    main()
