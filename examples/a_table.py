"""Pictures of docs/a-table.md: a schema, a fit, outliers, imputation with intervals, and a pooled regression.

scikit-learn's diabetes table with holes and a few absurd rows, as the page takes it. The pictures are what was found
strange, the model's draws beside the data, imputed cells with their intervals beside the truth, and the slope of a
regression by complete rows, by one filled table and by Rubin's rules.

    python examples/a_table.py               # a minute
    python examples/a_table.py --smoke       # fewer epochs
    python examples/a_table.py --out docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

import pyrovae as pv

ABSURD = {9: ("bmi", 262.0), 77: ("blood pressure", 8.1), 140: ("age", 590.0), 333: ("glucose", 9.1)}


def patients() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table as it should be, and as somebody typed it."""
    names = {"bp": "blood pressure", "s1": "cholesterol", "s4": "ratio", "s6": "glucose", "target": "progression"}
    full = load_diabetes(as_frame=True, scaled=False).frame.rename(columns=names)
    full = full[["age", "sex", "bmi", "blood pressure", "cholesterol", "ratio", "glucose", "progression"]]
    full["sex"] = full["sex"].map({1.0: "female", 2.0: "male"})
    typed = full.copy()
    for row, (column, value) in ABSURD.items():
        typed.loc[row, column] = value
    noise = np.random.default_rng(0)
    holes = noise.random(full.shape) < 0.15
    # Blood pressure is measured less often where the body mass is low: not at random, and known from what is there.
    holes[:, 3] |= (full["bmi"] < 24).to_numpy() & (noise.random(len(full)) < 0.4)
    holes[:, -1] = False
    holes[list(ABSURD)] = False
    return full, typed.mask(holes)


def regression(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of the progression on body mass and blood pressure: slopes, and their variances."""
    x = frame[["bmi", "blood pressure"]].to_numpy(dtype=float)
    x = np.column_stack([np.ones(len(x)), x])
    y = frame["progression"].to_numpy(dtype=float)
    inverse = np.linalg.inv(x.T @ x)
    slopes = inverse @ x.T @ y
    variance = ((y - x @ slopes) ** 2).sum() / (len(y) - 3)
    return slopes[1:], variance * inverse.diagonal()[1:]


def trained(frame: pd.DataFrame, epochs: int):
    """The pair, and its training."""
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=4, hidden=(64, 32))
    options = {
        "batch_size": 64,
        "learning_rate": 3e-3,
        "average": 0.99,
        "progress": False,
        "seed": 0,
        "temper": pv.linear(0, 1, steps=200),
    }
    return pair, pv.fit(pair, frame, epochs=epochs, **options)


def draw(path: Path, frame, cleaned, full, found, drawn, estimates) -> None:
    """The four pictures in one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9.4, 7), constrained_layout=True)
    strange = frame.loc[list(ABSURD), ["bmi", "blood pressure"]]
    axes[0, 0].scatter(frame["bmi"], frame["blood pressure"], s=8, color="tab:blue", label="as typed")
    axes[0, 0].scatter(strange["bmi"], strange["blood pressure"], s=60, fc="none", ec="tab:red", label="absurd rows")
    axes[0, 0].set(title="What was typed", xlabel="bmi", ylabel="blood pressure")
    axes[0, 1].scatter(cleaned["bmi"], cleaned["blood pressure"], s=8, color="tab:blue", label="data")
    axes[0, 1].scatter(drawn["bmi"], drawn["blood pressure"], s=8, color="tab:orange", alpha=0.6, label="draws")
    axes[0, 1].set(title="Cleaned, beside draws of the model", xlabel="bmi", ylabel="blood pressure")
    place = [one.name for one in found.table.schema.columns].index("blood pressure")
    rows = np.flatnonzero(cleaned["blood pressure"].isna())[::2][:40]
    low, high = (end[rows, place].numpy() for end in found.interval(0.9)[found.table.site])
    mean, true = found.mean()[found.table.site][rows, place].numpy(), full.loc[cleaned.index[rows], "blood pressure"]
    order = np.argsort(mean)
    places = range(len(rows))
    axes[1, 0].vlines(places, low[order], high[order], color="tab:orange", lw=3, alpha=0.5, label="90 % interval")
    axes[1, 0].plot(places, mean[order], "o", ms=3, color="tab:orange", label="mean of the draws")
    axes[1, 0].plot(places, true.to_numpy()[order], "x", ms=5, color="black", label="what was hidden")
    axes[1, 0].set(title="Imputed cells", xlabel="patients whose blood pressure is missing", ylabel="blood pressure")
    axes[1, 0].set_ylim(50, 165)
    for number, (value, error) in enumerate(estimates.values()):
        color = "black" if number == 0 else "tab:orange"
        axes[1, 1].errorbar(value, number, xerr=1.96 * error, fmt="o", capsize=3, color=color)
    axes[1, 1].set(title="Slope of progression on blood pressure", xlabel="slope, 95 % interval")
    axes[1, 1].set_yticks(range(len(estimates)), list(estimates))
    axes[1, 1].invert_yaxis()
    for axis in axes.flat[:3]:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    parser.add_argument("--out", type=Path, help="folder for the picture")
    options = parser.parse_args()

    full, frame = patients()
    epochs = 5 if options.smoke else 300
    pair, run = trained(frame, epochs)
    print(run.verdict)
    cleaned = pv.tables.outliers(pair, frame).cleaned(above=0.9)
    pair, run = trained(cleaned, epochs)
    found = pv.impute(pair, cleaned, draws=100)
    pooled = pv.tables.pooled(found, regression, complete_degrees=len(cleaned) - 3)
    print(pooled)

    estimates = {}
    for name, table in (
        ("the truth", full),
        ("complete rows, as typed", frame.dropna()),
        ("complete rows, cleaned", cleaned.dropna()),
        ("filled with means", cleaned.fillna(cleaned.mean(numeric_only=True))),
    ):
        slopes, variances = regression(table)
        estimates[name] = slopes[1], variances[1] ** 0.5
    estimates["pooled, 100 imputations"] = float(pooled.estimate[1]), float(pooled.error[1])
    for name, (value, error) in estimates.items():
        print(f"{name:26} {value:.2f} ± {error:.2f}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(
            options.out / "a_table.png", frame, cleaned, full, found, pv.generate(pair, len(cleaned), seed=0), estimates
        )
        print("picture:", options.out / "a_table.png")


if __name__ == "__main__":
    main()
