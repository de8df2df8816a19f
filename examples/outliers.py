"""Find the cells of a table that somebody mistyped, and train again without them.

scikit-learn's wine table, in which 1 per cent of the cells are multiplied by ten or divided by ten, as a slipped point
does: `outliers` says which cells, and what was expected; `refit_without_outliers` makes holes of them. Shown are how
well the cells are found, and what the model is worth for rows without mistakes, before and after.

    python examples/outliers.py           # a minute
    python examples/outliers.py --smoke   # fewer epochs
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.metrics import roc_auc_score

import pyrovae as pv


def mistyped(frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    noise = np.random.default_rng(0)
    bad = noise.random(frame.shape) < 0.01
    return frame.where(~bad, frame * np.where(noise.random(frame.shape) < 0.5, 10.0, 0.1)), bad


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    clean = load_wine(as_frame=True).data
    frame, bad = mistyped(clean)
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=3, hidden=(32,))
    how = {"epochs": 10 if options.smoke else 300, "batch_size": 32, "learning_rate": 3e-3, "progress": False}
    pv.fit(pair, frame, seed=0, **how)
    before = pv.log_evidence(pair, clean, draws=200).value.median()

    found = pv.tables.outliers(pair, frame)
    print(found)
    named = roc_auc_score(bad.ravel(), found.cells[list(frame.columns)].to_numpy().ravel())
    print(f"{bad.sum()} cells are mistyped; AUROC of their probabilities: {named:.3f}")

    again = pv.tables.refit_without_outliers(pair, frame, seed=0, **how)
    after = pv.log_evidence(pair, clean, draws=200).value.median()
    print(f"left out: {int(again.frame.isna().sum().sum())} cells and {len(frame) - len(again.frame)} rows")
    print(f"evidence of a row without mistakes: {before:.1f} nats before, {after:.1f} after")


if __name__ == "__main__":
    main()
