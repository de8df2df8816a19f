"""How long the first step takes, from nothing to its end: pyrovae's plain path beside `SVI`, in turns.

python benchmarks/first_step.py
"""

from __future__ import annotations

import statistics
import time

import pyro
from contestants.by_pyro import build
from contestants.cases import CASES, images
from pyro.infer import SVI, Trace_ELBO

import pyrovae as pv

ROUNDS = 7


def by_svi(case, x) -> float:
    start = time.perf_counter()
    pair = build(case, x)
    SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(x[: case.batch])
    return time.perf_counter() - start


def by_pyrovae(case, x) -> float:
    start = time.perf_counter()
    next(pv.steps(build(case, x), x, steps=10**6, batch_size=case.batch, seed=0, staged="auto"))
    return time.perf_counter() - start


def main() -> None:
    x = images(20_480, "cpu")
    print("| first step | SVI | pyrovae | later by |\n|---|---:|---:|---:|")
    for name in ("medium", "small", "flow", "bayesian"):
        times: dict[str, list[float]] = {"SVI": [], "pyrovae": []}
        for _ in range(ROUNDS):
            for way, run in (("SVI", by_svi), ("pyrovae", by_pyrovae)):
                pyro.clear_param_store()
                times[way].append(run(CASES[name], x))
        svi, own = (statistics.median(values) for values in times.values())
        print(f"| {name} | {svi:.3f} s | {own:.3f} s | {own - svi:.3f} s |")


if __name__ == "__main__":
    main()
