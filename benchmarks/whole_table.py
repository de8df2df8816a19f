"""What a whole table takes: a schema from the frame, training, draws for every hole.

Adult with the cells of its first published mask hidden, and its first 2,000 rows; each in a process of its own, so that
peaks of memory are its own. The error of numbers is the root mean square over the column's range, of classes the share
of wrong ones, as they are published with the masks.

    python benchmarks/whole_table.py --data-root FOLDER
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from contestants import real_tables

import pyrovae as pv

MASK = "20_1"


def told(options: argparse.Namespace, rows: int | None, say: multiprocessing.Queue) -> None:
    """One table from the frame with holes to draws of all of them."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    table = real_tables.folder(options.data_root / "tabular", options.table, rows)
    hidden = next(mask for name, mask in table.masks.items() if name.endswith(MASK))
    frame = table.frame.mask(pd.DataFrame(hidden, columns=table.frame.columns))
    before, start = _peak(), time.perf_counter()
    pair = pv.recipes.table_vae(pv.tables.schema(frame, kinds=table.kinds))
    loss = pv.objectives.IWAE(options.k, vectorize_particles=True) if options.k > 1 else None
    pv.fit(pair, frame, epochs=options.epochs, loss=loss, seed=0, progress=False)
    trained = time.perf_counter()
    imputed = pv.impute(pair, frame, draws=options.draws, candidates=options.candidates, seed=0)
    drawn = time.perf_counter()
    numbers, classes = errors(table, hidden, imputed.filled())
    say.put((len(frame), trained - start, drawn - trained, _peak() - before, numbers, classes))


def errors(table: real_tables.Table, hidden: np.ndarray, filled: pd.DataFrame) -> tuple[float, float]:
    """Of numbers and of classes, where cells were hidden."""
    numbers, classes = [], []
    for place, name in enumerate(table.frame):
        true, said = table.frame[name][hidden[:, place]], filled[name][hidden[:, place]]
        if table.kinds.get(name) in ("categorical", "binary"):
            classes.append(float((true != said.astype(true.dtype)).mean()))
        else:
            spread = table.frame[name].max() - table.frame[name].min()
            numbers.append(float(np.sqrt(np.square(true - said.astype(float)).mean()) / spread))
    return float(np.mean(numbers)), float(np.mean(classes))


def _peak() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--table", default="adult")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--k", type=int, default=1, help="draws of the bound that is trained")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--candidates", type=int, help="left out, five times as many as draws")
    options = parser.parse_args()
    print(
        "| rows | training, s | draws, s | peak over the imports and the table, MiB | error of numbers | of classes |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    context = multiprocessing.get_context("spawn")
    for rows in (None, 2000):
        say = context.Queue()
        child = context.Process(target=told, args=(options, rows, say))
        child.start()
        found = say.get()
        child.join()
        print(f"| {found[0]:,} | {found[1]:.1f} | {found[2]:.1f} | {found[3]:.0f} | {found[4]:.3f} | {found[5]:.3f} |")


if __name__ == "__main__":
    main()
