"""A VAE of a table that makes up 1,000 new rows: 128-64-32, batches of 32.

Shows the recipe for raw numbers, whose columns may have any location and scale: standardisation is a part of the pair,
so that what it generates is in the units of the table, and so is the density that the ELBO bounds.

    python examples/vector_vae.py                # a minute or so
    python examples/vector_vae.py --out FOLDER   # writes the rows as rows.csv
    python examples/vector_vae.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import pyrovae as pv


def table(rows: int, columns: int = 128) -> np.ndarray:
    """A table with ten causes behind its columns, which differ in location and in scale by orders of magnitude."""
    random = np.random.default_rng(0)
    causes = random.normal(size=(rows, 10))
    mixed = np.tanh(causes @ random.normal(size=(10, 40)) / 3) @ random.normal(size=(40, columns)) / 3
    noise = 0.3 * random.normal(size=(rows, columns))
    return 10 ** random.uniform(-2, 4, columns) * (mixed + noise) + 10 ** random.uniform(-2, 4, columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for rows.csv")
    parser.add_argument("--smoke", action="store_true", help="few rows, few epochs")
    options = parser.parse_args()

    data = table(500 if options.smoke else 10_000)
    train, test = data[: -len(data) // 10], data[-len(data) // 10 :]

    vae = pv.recipes.vector_vae(128, latent=32, hidden=[64])
    run = pv.fit(
        vae, train, epochs=1 if options.smoke else 30, batch_size=32, validation=test, patience=5, average=0.999, seed=0
    )
    print(f"{run.reason} after {run.step} steps; {run.verdict}")

    rows = pv.generate(vae, 1000, seed=0)["x"].double().numpy()
    scale = train.std(0)
    print(f"made {rows.shape[0]:,} rows of {rows.shape[1]} columns")
    print(f"column means are off by {np.abs((rows.mean(0) - train.mean(0)) / scale).mean():.3f} of a column's spread")
    print(f"column spreads are off by {np.abs(rows.std(0) / scale - 1).mean():.1%}")
    gap = np.corrcoef(rows.T) - np.corrcoef(train.T)
    print(f"correlations are off by {np.abs(gap[~np.eye(128, dtype=bool)]).mean():.3f} on average")
    units = pv.active_units(vae, torch.as_tensor(test))["z"]
    print(f"the table has 10 causes; {units.count} of {units.total} latent dimensions are in use")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        np.savetxt(options.out / "rows.csv", rows, delimiter=",", fmt="%.6g")
        print("rows:", options.out / "rows.csv")


if __name__ == "__main__":
    main()
