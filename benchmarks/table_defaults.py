"""Which network and which prior a table wants: evidence of held-out rows under different ones.

Every pair is trained in the same way on the same rows; evidence is that of other rows, in nats a row, less that of the
first choice. Standard errors are over the rows.

    python benchmarks/table_defaults.py --data-root FOLDER
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from contestants import real_tables
from pyro.distributions.transforms import affine_coupling

import pyrovae as pv

warnings.simplefilter("ignore")
logging.getLogger("pyrovae").setLevel(logging.ERROR)
LATENT = 8


def of(**options: Any) -> Callable[[Any], Any]:
    """The recipe with these options."""
    return lambda schema: pv.recipes.table_vae(schema, **{"latent": LATENT, "prior": pv.StandardNormal, **options})


def flow(d: int) -> pv.FlowPrior:
    """Four coupling layers."""
    return pv.FlowPrior([affine_coupling(d, hidden_dims=[32]) for _ in range(4)], d)


def mixture(d: int) -> pv.Mixture:
    """Ten normals."""
    return pv.Mixture(10, d)


CHOICES = {
    "8 latents, (128, 64), standard normal": of(hidden=(128, 64)),
    "4 latents": of(hidden=(128, 64), latent=4),
    "16 latents": of(hidden=(128, 64), latent=16),
    "(256, 128)": of(hidden=(256, 128)),
    "(128, 128, 64)": of(hidden=(128, 128, 64)),
    "mixture of 10": of(hidden=(128, 64), prior=mixture),
    "coupling flow": of(hidden=(128, 64), prior=flow),
    "(32,)": of(hidden=(32,)),
    "(64,)": of(hidden=(64,)),
    "(128,)": of(hidden=(128,)),
    "(256,)": of(hidden=(256,)),
    "(128,), 16 latents": of(hidden=(128,), latent=16),
    "(128,), coupling flow": of(hidden=(128,), prior=flow),
    "(128,), mixture of 10": of(hidden=(128,), prior=mixture),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", nargs="+", default=["diabetes", "wine", "adult", "magic", "wdbc"])
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| table | choice | seed | held-out evidence, nats a row | less the first | s |")
    print("|---|---|---:|---:|---:|---:|", flush=True)
    for name in options.tables:
        table = real_tables.named(name, 2 * options.rows, options.data_root)
        schema = pv.tables.schema(table.frame, kinds=table.kinds)
        order = np.random.default_rng(0).permutation(len(table.frame))
        half = min(options.rows, len(order) // 2)
        train, test = (table.frame.iloc[part].reset_index(drop=True) for part in (order[:half], order[half:]))
        for seed in options.seeds:
            first = None
            for choice in options.only:
                start = time.perf_counter()
                found = evidence(CHOICES[choice], schema, train, test, options.steps, seed)
                first = found if first is None else first
                apart = found - first
                error = float(apart.std() / len(apart) ** 0.5)
                print(
                    f"| {name} | {choice} | {seed} | {float(found.mean()):.3f} | {float(apart.mean()):+.3f} ± "
                    f"{error:.3f} | {time.perf_counter() - start:.0f} |",
                    flush=True,
                )


def evidence(
    make: Callable[[Any], Any], schema: Any, train: pd.DataFrame, test: pd.DataFrame, steps: int, seed: int
) -> torch.Tensor:
    """Of each held-out row."""
    torch.manual_seed(seed)
    pair = make(schema)
    rate = pv.cosine(3e-3, 3e-5, steps=steps)
    pv.fit(pair, train, steps=steps, batch_size=128, learning_rate=rate, seed=seed, progress=False)
    return pv.log_evidence(pair, test, draws=300, seed=0).value.double()


if __name__ == "__main__":
    main()
