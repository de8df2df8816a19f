"""How fast, and in how much memory, a pair predicts: pyrovae reducing draws as they come, and Pyro's `Predictive`.

The pair is a Bernoulli VAE of 784 pixels, hidden 400, latent 20. pyrovae reduces `E[x | z]` to moments and three
quantiles; `Predictive` keeps draws and means, as it does, at the largest size that fits, and reduces nothing. Each runs
in a process of its own, in turns; growth is that of the peak of resident memory over its value with all loaded.

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


def measure(way: str, rows: int, draws: int) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of the processor, and MiB by which the peak grew."""
    import pyro
    import torch
    from contestants.by_pyro import Plain
    from contestants.cases import CASES, images
    from pyro import distributions as dist
    from pyro.infer import Predictive

    import pyrovae as pv

    class Predicting(Plain):
        """What a user of `Predictive` writes: no observation, and the mean as a site."""

        def model(self, x):
            pyro.module("decoder", self.decoder)
            with pyro.plate("data", len(x)):
                likelihood = dist.Bernoulli(logits=self.decoder(pyro.sample("z", self.prior()))).to_event(1)
                pyro.deterministic("mean", likelihood.mean, event_dim=1)
                pyro.sample("x", likelihood)

        def prior(self):
            return dist.Normal(self.zero, self.one).to_event(1)

    torch.manual_seed(0)
    x = images(rows, "cpu")
    pair = (Plain if way == "pyrovae" else Predicting)(CASES["medium"], rows)
    with torch.no_grad():
        pair.guide(x[:8]), pair.model(x[:8])
    reset_peak()
    before, start, work = memory("VmRSS"), time.perf_counter(), time.process_time()
    if way == "pyrovae":
        pv.posterior_predictive(pair, x, draws=draws, mean=True, reduce=("moments", *LEVELS))
    else:
        predictive = Predictive(pair.model, guide=pair.guide, num_samples=draws, parallel=way.endswith("parallel"))
        with torch.no_grad():
            predictive(x)
    return time.perf_counter() - start, time.process_time() - work, memory("VmHWM") - before


def run(way: str, rows: int, draws: int) -> tuple[float, float, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--only", way, "--rows", str(rows), "--draws", str(draws)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    seconds, work, growth = map(float, done.stdout.split()[-3:])
    return seconds, work, growth


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
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for number in range(options.rounds):
        for way in WAYS:
            found[way].append(run(way, sizes[way], options.draws))
            load, (seconds, work, growth) = os.getloadavg()[0], found[way][-1]
            words = f"{seconds:.1f} s, {work:.1f} s of the processor, {growth:.0f} MiB, load {load:.1f}"
            print(f"round {number + 1}, {way}: {words}", flush=True)
    print("\n| way | data x draws | seconds | datum-draws a second | of processor time | growth, MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    speeds: dict[str, tuple[float, float]] = {}
    for way in WAYS:
        seconds, work = (statistics.median(one[column] for one in found[way]) for column in (0, 1))
        speeds[way] = sizes[way] * options.draws / seconds, sizes[way] * options.draws / work
        size, growth = f"{sizes[way]:,} x {options.draws:,}", max(one[2] for one in found[way])
        print(f"| {way} | {size} | {seconds:.1f} | {speeds[way][0]:,.0f} | {speeds[way][1]:,.0f} | {growth:.0f} |")
    for way in WAYS[:-1]:
        wall, worked = (ours / theirs for ours, theirs in zip(speeds["pyrovae"], speeds[way], strict=True))
        print(f"\npyrovae / {way}: {wall:.1f} by the clock, {worked:.1f} by processor time")


if __name__ == "__main__":
    main()
