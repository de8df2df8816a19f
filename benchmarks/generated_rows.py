"""Generated rows of a table beside those of CTGAN and TVAE: told from real ones, and trained on in their place.

Adult with incomes: so many rows train, as many others test. Each generator draws as many rows as it was trained on. A
boosted classifier (`HistGradientBoostingClassifier`) tells drawn rows from real ones that no generator has seen:
AUROC by five-fold cross-validation, 0.5 is chance. And incomes are predicted from the other columns by such a
classifier, trained on real rows or on drawn ones, in real rows that were held out.

    pip install 'pyrovae[generators]'
    python benchmarks/generated_rows.py     # downloads the table
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from contestants import real_tables
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import pyrovae as pv

warnings.simplefilter("ignore")
Generate = Callable[[pd.DataFrame, dict[str, str], int, int], pd.DataFrame]


# --- generators -----------------------------------------------------------------------------------------
def ours(latent: int, k: int, most: int, kind: str = "categorical") -> Generate:
    """A pair of the schema, in which whole numbers of no more than so many different ones are codes, or ordered."""

    def generate(frame: pd.DataFrame, kinds: dict[str, str], epochs: int, seed: int) -> pd.DataFrame:
        torch.manual_seed(seed)
        few = {name: kind for name in frame if name not in kinds and frame[name].nunique() <= most}
        schema = pv.tables.schema(frame, kinds={**kinds, **few})
        pair = pv.recipes.table_vae(schema, latent=latent)
        loss = pv.objectives.IWAE(k, vectorize_particles=True) if k > 1 else None
        rate = pv.cosine(2e-3, 2e-5, steps=epochs * -(-len(frame) // 256))
        pv.fit(pair, frame, epochs=epochs, batch_size=256, learning_rate=rate, loss=loss, seed=seed, progress=False)
        return pv.generate(pair, len(frame), seed=seed)

    return generate


def of_package(name: str) -> Generate:
    """CTGAN's or TVAE's, with their own settings."""

    def generate(frame: pd.DataFrame, kinds: dict[str, str], epochs: int, seed: int) -> pd.DataFrame:
        import ctgan

        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what the package draws by
        options = {"enable_gpu": False, "epochs": epochs}
        model = getattr(ctgan, name)(**options)
        model.set_random_state(seed)
        model.fit(frame, [column for column in frame if column in kinds])
        return model.sample(len(frame))

    return generate


# --- measures -------------------------------------------------------------------------------------------
def _numbers(frame: pd.DataFrame, kinds: dict[str, str]) -> tuple[np.ndarray, list[bool]]:
    """As the classifier takes them: codes of classes, marked as such."""
    return frame.to_numpy(dtype=float), [name in kinds for name in frame]


def told_apart(drawn: pd.DataFrame, real: pd.DataFrame, kinds: dict[str, str], seed: int) -> float:
    """AUROC of drawn against real."""
    x, classes = _numbers(pd.concat([real, drawn]), kinds)
    y = np.repeat([0, 1], [len(real), len(drawn)])
    order = np.random.default_rng(seed).permutation(len(y))
    chosen = HistGradientBoostingClassifier(categorical_features=classes, random_state=seed)
    said = cross_val_predict(chosen, x[order], y[order], cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(y[order], said))


def predicted(train: pd.DataFrame, test: pd.DataFrame, kinds: dict[str, str], seed: int) -> tuple[float, float]:
    """Accuracy and AUROC of the last column."""
    x, classes = _numbers(train, kinds)
    chosen = HistGradientBoostingClassifier(categorical_features=classes[:-1], random_state=seed).fit(
        x[:, :-1], x[:, -1]
    )
    rows = test.to_numpy(dtype=float)
    area = roc_auc_score(rows[:, -1], chosen.predict_proba(rows[:, :-1])[:, 1])
    return float(chosen.score(rows[:, :-1], rows[:, -1])), float(area)


def codes(frame: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """Classes from 0 up, as the classifier wants them."""
    made = {name: pd.Categorical(frame[name]).codes for name in frame if name in kinds}
    return frame.assign(**made)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000, help="that train, and as many that test")
    parser.add_argument("--epochs", type=int, default=300, help="of CTGAN and TVAE, whose own default it is")
    parser.add_argument("--our-epochs", type=int, default=100)
    parser.add_argument("--latent", type=int, default=12)
    parser.add_argument("--k", type=int, default=1, help="draws of the bound that is trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--results", type=Path, default=Path("generated_rows.jsonl"))
    options = parser.parse_args()
    table = real_tables.census(2 * options.rows)
    kinds, frame = table.kinds, codes(table.frame, table.kinds)
    generators: dict[str, tuple[Generate, int]] = {
        "pyrovae": (ours(options.latent, options.k, 20), options.our_epochs),
        "pyrovae, numbers as codes": (ours(options.latent, options.k, 200), options.our_epochs),
        "pyrovae, numbers as ordered codes": (ours(options.latent, options.k, 200, "ordinal"), options.our_epochs),
        "TVAE": (of_package("TVAE"), options.epochs),
        "CTGAN": (of_package("CTGAN"), options.epochs),
    }
    print("| generator | told apart, AUROC | predicted: accuracy | AUROC | seconds |\n|---|---:|---:|---:|---:|")
    for seed in options.seeds:
        order = np.random.default_rng(seed).permutation(len(frame))
        train, test = (frame.iloc[part].reset_index(drop=True) for part in np.array_split(order, 2))
        real = predicted(train, test, kinds, seed)
        print(
            f"| real rows | {told_apart(train, test, kinds, seed):.3f} | {real[0]:.4f} | {real[1]:.4f} | |", flush=True
        )
        for name, (generate, epochs) in generators.items():
            if options.only and name not in options.only:
                continue
            start = time.perf_counter()
            drawn = generate(train, kinds, epochs, seed)
            seconds = time.perf_counter() - start
            row = {"generator": name, "seed": seed, "epochs": epochs, "rows": len(train), "seconds": seconds}
            row["area"] = told_apart(drawn, test, kinds, seed)
            row["accuracy"], row["income_area"] = predicted(drawn, test, kinds, seed)
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"| {name} | {row['area']:.3f} | {row['accuracy']:.4f} | {row['income_area']:.4f} | {seconds:.0f} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
