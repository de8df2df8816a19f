"""Fill the holes of a table of numbers and classes, and see whether the intervals are to be believed.

scikit-learn's wine table, of which every fifth cell is hidden: a schema guesses what the columns are, `table_vae`
makes a pair of it, which trains on the rows as they are, and `impute` draws what is missing. Shown are the errors
beside those of the column's mean or most frequent class, and how many hidden cells lie inside the 90 per cent
intervals.

    python examples/impute_table.py           # a minute
    python examples/impute_table.py --smoke   # fewer epochs
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

import pyrovae as pv


def table() -> pd.DataFrame:
    wine = load_wine(as_frame=True)
    kinds = np.array(["barolo", "grignolino", "barbera"])
    return wine.data.assign(wine=kinds[wine.target])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    full = table()
    hidden = np.random.default_rng(0).random(full.shape) < 0.2
    frame = full.mask(hidden)

    schema = pv.tables.schema(frame)
    print(schema)
    pair = pv.recipes.table_vae(schema, latent=3, hidden=(64, 32))
    epochs = 5 if options.smoke else 400
    pv.fit(pair, frame, epochs=epochs, batch_size=32, learning_rate=3e-3, seed=0, average=0.99, progress=False)
    found = pv.impute(pair, frame, draws=100)

    x, truth = schema.encode(frame), schema.encode(full).numpy()
    low, high = (end.numpy() for end in found.interval(0.9)["x"])
    mean = found.mean()["x"].numpy()
    errors, before, covered = [], [], []
    for place, column in enumerate(schema.columns):
        rows = np.flatnonzero(np.isnan(x[:, place].numpy()))
        if column.classes:
            votes = found.values["x"][:, rows, place].numpy().astype(int)
            likeliest = np.array([np.bincount(vote).argmax() for vote in votes.T])
            often = np.bincount(x[:, place][~x[:, place].isnan()].numpy().astype(int)).argmax()
            print(f"{column.name}: wrong class in {(likeliest != truth[rows, place]).mean():.0%} of hidden cells, "
                  f"{(often != truth[rows, place]).mean():.0%} by the most frequent one")  # fmt: skip
            continue
        spread = np.nanstd(x[:, place].numpy())
        errors.append(((mean[rows, place] - truth[rows, place]) / spread) ** 2)
        before.append(((np.nanmean(x[:, place].numpy()) - truth[rows, place]) / spread) ** 2)
        covered.append((low[rows, place] <= truth[rows, place]) & (truth[rows, place] <= high[rows, place]))
    print(f"numbers: error {np.concatenate(errors).mean() ** 0.5:.2f} of a standard deviation, "
          f"{np.concatenate(before).mean() ** 0.5:.2f} by the column's mean")  # fmt: skip
    print(f"90% intervals cover {np.concatenate(covered).mean():.0%} of the hidden numbers")
    filled = found.filled()
    print(f"holes before: {frame.isna().sum().sum()}, after: {filled.isna().sum().sum()}")


if __name__ == "__main__":
    main()
