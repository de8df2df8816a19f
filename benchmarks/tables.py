"""Imputation beside what people use: errors of hidden cells over tables and ways of being missing.

Each table is cut to so many rows, and cells are hidden at random (30 %), by another column, or by themselves; then each
imputer gives draws. Numbers: root mean square error of the mean of draws over the column's deviation; classes: share of
wrong most frequent ones; CRPS in the same units (of classes half the Brier score). Ranks are over contestants within a
table and mask, by mechanism. What is done stands in a file, and is not done again.

    python benchmarks/tables.py                              # downloads KEEL's tables; many hours of two cores
    python benchmarks/tables.py --tables wine adult --data-root FOLDER --masks 1 --rows 1500
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from contestants import real_tables
from contestants.imputers import IMPUTERS

import pyrovae as pv
from pyrovae.tables.likely_cells import likely_cells

warnings.simplefilter("ignore")
TABLES = ("wine", "adult", *real_tables.KEEL, *real_tables.BUNDLED)
DRAWS = 20
WITH_A_POINT = ("forests, chained", "factor analysis")  # whose first draw is an answer of its own


BATCH = 128


def ours(schema, steps: int, passes: int, latent: int, k: int, *, mechanism: bool = False):
    """A pair of the schema, trained on what is there by the bound of k draws; its own answer first, then draws.

    With `mechanism` it learns as well which cells are there, by what they hold. Of few rows so many steps would be more
    passes than that, which learn them by heart.
    """

    def impute(x: np.ndarray, classes: list[int], draws: int, seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        rows = torch.from_numpy(x)
        hides = pv.SelfMasking(schema) if mechanism else None
        pair = pv.recipes.table_vae(schema, latent=latent, mechanism=hides)
        loss = pv.objectives.IWAE(k, vectorize_particles=True) if k > 1 else None
        count = min(steps, passes * -(-len(rows) // BATCH))
        rate = pv.cosine(3e-3, 3e-5, steps=count)
        pv.fit(pair, rows, steps=count, batch_size=BATCH, learning_rate=rate, loss=loss, seed=seed, progress=False)
        found = pv.impute(pair, rows, draws=100, seed=seed).values["x"]
        return np.concatenate([likely_cells(found, schema.columns)[None].numpy(), found[:draws].numpy()])

    return impute


# --- scores ---------------------------------------------------------------------------------------------
def scores(found: np.ndarray, truth: np.ndarray, hole: np.ndarray, classes: list[int], point: bool) -> dict[str, float]:
    """Of one imputer on one table with holes; `point`: the first of the draws is an answer of its own."""
    draws = found[1:] if point and len(found) > 1 else found
    errors, crps, inside = [], [], []
    for column, count in enumerate(classes):
        here = hole[:, column]
        if not here.any():
            continue
        said, true = draws[:, here, column], truth[here, column]
        scale = 1.0 if count else truth[:, column].std() + 1e-12
        best = found[0, here, column] if point else _mode(said, count) if count else said.mean(0)
        far = (said != true) if count else np.abs(said - true)
        errors.append(float((best != true).mean() if count else np.sqrt(np.square(best - true).mean()) / scale))
        crps.append(float((far.mean(0) - 0.5 * _apart(said, classes=count > 0)).mean() / scale))
        if not count and len(said) >= DRAWS:
            low, high = np.quantile(said, [0.05, 0.95], axis=0, method="weibull")
            inside.append(float(((true >= low) & (true <= high)).mean()))
    return {
        "error": float(np.mean(errors)),
        "crps": float(np.mean(crps)),
        "cover": float(np.mean(inside)) if inside else float("nan"),
    }


def _apart(said: np.ndarray, *, classes: bool) -> np.ndarray:
    """How far two draws are from each other on average, without bias: over all pairs of different ones."""
    if len(said) == 1:
        return np.zeros(said.shape[1:])
    others = [np.roll(said, lag, 0) for lag in range(1, len(said))]
    return np.mean([said != other if classes else np.abs(said - other) for other in others], (0, 1))


def _mode(said: np.ndarray, count: int) -> np.ndarray:
    return np.stack([(said == one).sum(0) for one in range(count)]).argmax(0)


def ranks(rows: list[dict], score: str) -> dict[str, list[float]]:
    """Of each imputer in each table with holes that all have done, 1 the best."""
    groups: dict[tuple, dict[str, float]] = defaultdict(dict)
    for row in rows:
        groups[row["table"], row["mechanism"], row["mask"]][row["imputer"]] = row[score]
    found: dict[str, list[float]] = defaultdict(list)
    most = max(map(len, groups.values()))
    for group in groups.values():
        if len(group) == most:
            for place, who in enumerate(sorted(group, key=group.__getitem__), start=1):
                found[who].append(place)
    return found


# --- tables ---------------------------------------------------------------------------------------------
def holes(table: real_tables.Table, x: np.ndarray, options: argparse.Namespace):
    """Mechanism, number of the mask, and the mask."""
    for mechanism in options.mechanisms:
        if mechanism.isdigit():
            found = [mask for key, mask in table.masks.items() if key.startswith(mechanism)]
            for number, mask in enumerate(found[: options.masks]):
                yield f"published {mechanism} %", number, mask
        else:
            for number in range(options.masks):
                yield mechanism, number, real_tables.hidden(x, mechanism, number)


def without_looking(table: real_tables.Table, schema, mask: np.ndarray, full: np.ndarray):
    """The schema of what is not hidden; that of all, where a class is seen nowhere else."""
    frame = table.frame.copy()
    for place, column in enumerate(schema.columns):
        frame[column.name] = frame[column.name].mask(mask[:, place])
    found = pv.tables.schema(frame, kinds={column.name: column.kind for column in schema.columns})
    same = [(one.name, one.classes) for one in found.columns] == [(one.name, one.classes) for one in schema.columns]
    return found if same and np.array_equal(found.encode(table.frame).numpy(), full) else schema


# --- runs -----------------------------------------------------------------------------------------------
def run(options: argparse.Namespace) -> list[dict]:
    """What is not in the file of results is done and added to it."""
    known = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    done = {tuple(row[key] for key in ("table", "mechanism", "mask", "imputer")) for row in known}
    for name in options.tables:
        table = real_tables.named(name, options.rows, options.data_root)
        schema = pv.tables.schema(table.frame, kinds=table.kinds)
        full = schema.encode(table.frame).numpy()
        for mechanism, number, mask in holes(table, full, options):
            x = np.where(mask, np.nan, full)
            own = without_looking(table, schema, mask, full)
            made = (own, options.steps, options.passes, options.latent)
            who = {**IMPUTERS, **{f"pyrovae, {k} draws": ours(*made, k) for k in options.k}}
            if mechanism == "mnar":  # where it is not what hides cells, nobody would give it
                who |= {f"pyrovae, {k} draws, mechanism": ours(*made, k, mechanism=True) for k in options.k}
            for imputer in who:
                if (name, mechanism, number, imputer) in done or imputer in options.without:
                    continue
                start = time.perf_counter()
                found = who[imputer](x, [column.classes for column in schema.columns], DRAWS, number)
                row = {"table": name, "mechanism": mechanism, "mask": number, "imputer": imputer}
                row |= {"seconds": time.perf_counter() - start}
                point = imputer in WITH_A_POINT or imputer.startswith("pyrovae")
                row |= scores(found, full, mask, [column.classes for column in schema.columns], point)
                known.append(row)
                with options.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(*(f"{value:.3f}" if isinstance(value, float) else value for value in row.values()), flush=True)
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--mechanisms", nargs="+", default=("mcar", "mar", "mnar"), help="or 20: published masks")
    parser.add_argument("--masks", type=int, default=3)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--passes", type=int, default=400, help="over the rows, at most")
    parser.add_argument("--latent", type=int, default=8)
    parser.add_argument("--k", type=int, nargs="*", default=[10], help="draws of the bound that is trained")
    parser.add_argument("--without", nargs="*", default=[], help="imputers by name")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, default=Path("tables.jsonl"))
    options = parser.parse_args()
    rows = run(options)
    for mechanism in dict.fromkeys(row["mechanism"] for row in rows):
        print(f"\n{mechanism}\n")
        report([row for row in rows if row["mechanism"] == mechanism])
    for k in options.k:
        paired(rows, f"pyrovae, {k} draws")


def report(rows: list[dict]) -> None:
    """A table of one mechanism."""
    error, crps = ranks(rows, "error"), ranks(rows, "crps")
    print("| imputer | rank by error | rank by CRPS | error | CRPS | 90 % cover | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for who in sorted(error, key=lambda one: np.mean(crps[one])):
        mine = [row for row in rows if row["imputer"] == who]
        means = [float(np.mean([row[key] for row in mine])) for key in ("error", "crps", "cover", "seconds")]
        numbers = [np.mean(error[who]), np.mean(crps[who]), *means]
        print(f"| {who} | {' | '.join(f'{number:.3f}' for number in numbers)} |")


def paired(rows: list[dict], ours: str) -> None:
    """By how much others are above ours, in tables with holes that both have done: mean, standard error, better in."""
    found: dict[str, dict[tuple, dict]] = defaultdict(dict)
    for row in rows:
        found[row["imputer"]][row["table"], row["mechanism"], row["mask"]] = row
    print(f"\nless {ours}\n\n| imputer | error | CRPS | errs more in | of |\n|---|---:|---:|---:|---:|")
    for who in sorted(found):
        both = [key for key in found[who] if key in found[ours]]
        if who == ours or len(both) < 3:
            continue
        apart = {
            score: np.array([found[who][key][score] - found[ours][key][score] for key in both])
            for score in ("error", "crps")
        }
        cells = [f"{one.mean():+.3f} ± {one.std(ddof=1) / np.sqrt(len(one)):.3f}" for one in apart.values()]
        print(f"| {who} | {' | '.join(cells)} | {int((apart['error'] > 0).sum())} | {len(both)} |")


if __name__ == "__main__":
    main()
