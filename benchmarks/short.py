"""Whether `staged="auto"` makes a short training slower: calls of `fit` beside the plain path, in fresh processes.

Each pair of runs trains the same model for the same number of epochs, one with `staged=False` and one with "auto", the
folder of compiled code empty at first; the time is that of the whole call.

    python benchmarks/short.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 3


def train(staged: str, seconds: float, case: str) -> None:
    """Train for about so many seconds of the plain path, and print how long it took and by which route."""
    from contestants.by_pyro import build
    from contestants.cases import CASES, images

    import pyrovae as pv

    chosen = CASES[case]
    x = images(20_480, "cpu")
    plain = {"small": 2.4e-3, "medium": 9e-3}[case]
    start = time.perf_counter()
    run = pv.fit(
        build(chosen, x), x, steps=int(seconds / plain), batch_size=chosen.batch, seed=0,
        staged=False if staged == "False" else staged, progress=False,
    )  # fmt: skip
    print(f"{time.perf_counter() - start}|{run.route}")


def run(staged: str, seconds: float, case: str) -> tuple[float, str]:
    """The same in a process of its own, with an empty folder for compiled code."""
    with tempfile.TemporaryDirectory() as cache:
        command = [
            sys.executable,
            "-W",
            "ignore",
            __file__,
            "--staged",
            staged,
            "--seconds",
            str(seconds),
            "--case",
            case,
        ]
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    took, route = done.stdout.strip().splitlines()[-1].split("|")
    return float(took), route


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", nargs="+", type=float, default=[2, 5, 20])
    parser.add_argument("--case", default="small", choices=("small", "medium"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--staged", help="one run of this process")
    options = parser.parse_args()
    if options.staged:
        train(options.staged, options.seconds[0], options.case)
        return
    print("| a training of about | plain | auto | auto : plain | what auto did |")
    print("|---|---:|---:|---:|---|")
    for seconds in options.seconds:
        pairs = [[run(staged, seconds, options.case) for staged in ("False", "auto")] for _ in range(options.rounds)]
        plain, auto = (statistics.median(pair[side][0] for pair in pairs) for side in range(2))
        print(
            f"| {seconds:g} s, {options.case} | {plain:.1f} s | {auto:.1f} s | {auto / plain:.2f} | {pairs[-1][1][1]} |"
        )


if __name__ == "__main__":
    main()
