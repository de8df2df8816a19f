"""The data scientist: a table of her own with holes and mistakes, filled, cleaned and continued.

Run in an empty folder: `python data_scientist.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from terminal import terminal

import pyrovae as pv


def main() -> None:
    whole = load_wine(as_frame=True).frame.rename(columns={"target": "kind"})
    whole["kind"] = whole["kind"].map({0: "barolo", 1: "grignolino", 2: "barbera"})
    holes = np.random.default_rng(0).random(whole.shape) < 0.1
    holes[:, -1] = False
    frame = whole.mask(holes)
    frame.to_csv("wine.csv", index=False)

    # In Python: from the frame to a frame without holes.
    frame = pd.read_csv("wine.csv")
    schema = pv.tables.schema(frame)
    print(schema)
    pair = pv.recipes.table_vae(schema, latent=3)
    pv.fit(pair, frame, epochs=60, batch_size=32, learning_rate=5e-3, seed=0, progress=False)
    filled = pv.impute(pair, frame)
    assert not filled.isna().any(axis=None)
    seen = ~holes[:, :-1]
    numbers, truth = filled.iloc[:, :-1].to_numpy(float), whole.iloc[:, :-1].to_numpy(float)
    assert np.allclose(numbers[seen], truth[seen])  # what was there stays
    scale, middle = frame.iloc[:, :-1].std().to_numpy(), frame.iloc[:, :-1].median().to_numpy()
    errors = [np.abs((one - truth) / scale)[~seen].mean() for one in (numbers, np.broadcast_to(middle, truth.shape))]
    print(f"error of a hole: {errors[0]:.2f} deviations, by medians {errors[1]:.2f}")
    assert errors[0] < errors[1]
    rows = pv.generate(pair, 20, seed=0)
    assert list(rows.columns) == list(frame.columns)

    # And in a terminal, as the README says.
    terminal("pyrovae train wine.csv --out runs/wine --epochs 2 --hidden 16 --quiet --no-report")
    terminal("pyrovae impute runs/wine wine.csv -o filled.csv")
    terminal("pyrovae outliers runs/wine wine.csv -o strange.csv --draws 20")
    terminal("pyrovae sample runs/wine -n 10 --where kind=barolo --out barolo.csv")
    assert not pd.read_csv("filled.csv").isna().any(axis=None)
    assert (pd.read_csv("barolo.csv")["kind"] == "barolo").all()
    assert Path("strange.csv").exists()


if __name__ == "__main__":
    main()
