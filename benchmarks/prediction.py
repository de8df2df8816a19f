"""How fast, and in how much memory, a pair predicts: pyrovae reducing draws as they come, and Pyro's `Predictive`.

The pair is a Bernoulli VAE of 784 pixels, hidden 400, latent 20. pyrovae reduces `E[x | z]` to moments and three
quantiles; `Predictive` keeps its draws, as it does, at the largest size that fits. Each runs in processes of its own,
in turns; growth is that of the peak of resident memory over its value with the pair and the data loaded.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --rows 1000 --rounds 1
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

LEVELS = (0.05, 0.5, 0.95)
WAYS = ("Predictive, parallel", "Predictive", "pyrovae")


def memory(what: str) -> float:
    """A figure of this process's memory in MiB."""
    with open("/proc/self/status") as status:
        return next(float(line.split()[1]) / 1024 for line in status if line.startswith(what))


def reset_peak() -> None:
    """Let the peak of resident memory start anew."""
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def measure(way: str, rows: int, draws: int) -> tuple[float, float]:
    """Seconds, and MiB by which the peak grew."""
    import torch
    from contestants.by_pyro import Plain
    from contestants.cases import CASES, images
    from pyro.infer import Predictive

    import pyrovae as pv

    torch.manual_seed(0)
    x = images(rows, "cpu")
    pair = Plain(CASES["medium"], rows)
    with torch.no_grad():
        pair.guide(x[:8]), pair.model(x[:8])
    reset_peak()
    before, start = memory("VmRSS"), time.perf_counter()
    if way == "pyrovae":
        pv.posterior_predictive(pair, x, draws=draws, mean=True, reduce=("moments", *LEVELS))
    else:
        predictive = Predictive(pair.model, guide=pair.guide, num_samples=draws, parallel=way.endswith("parallel"))
        with torch.no_grad():
            predictive(x)
    return time.perf_counter() - start, memory("VmHWM") - before


def run(way: str, rows: int, draws: int) -> tuple[float, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--only", way, "--rows", str(rows), "--draws", str(draws)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    seconds, growth = map(float, done.stdout.split()[-2:])
    return seconds, growth


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000, help="of pyrovae; Predictive takes 1,000 at most")
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=WAYS)
    options = parser.parse_args()
    if options.only:
        print(*measure(options.only, options.rows, options.draws))
        return
    sizes = {way: options.rows if way == "pyrovae" else min(options.rows, 1_000) for way in WAYS}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for number in range(options.rounds):
        for way in WAYS:
            found[way].append(run(way, sizes[way], options.draws))
            load, (seconds, growth) = os.getloadavg()[0], found[way][-1]
            print(f"round {number + 1}, {way}: {seconds:.1f} s, {growth:.0f} MiB, load {load:.1f}", flush=True)
    print("\n| way | data x draws | seconds | datum-draws a second | growth, MiB |\n|---|---:|---:|---:|---:|")
    speeds = {}
    for way in WAYS:
        seconds = statistics.median(one[0] for one in found[way])
        speeds[way] = sizes[way] * options.draws / seconds
        growth = max(one[1] for one in found[way])
        print(f"| {way} | {sizes[way]:,} x {options.draws:,} | {seconds:.1f} | {speeds[way]:,.0f} | {growth:.0f} |")
    for way in WAYS[:-1]:
        print(f"\npyrovae / {way}: {speeds['pyrovae'] / speeds[way]:.1f}")


if __name__ == "__main__":
    main()
