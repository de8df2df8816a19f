"""How much memory a training takes: pyrovae, SVI and a compiled torch loop, each in a process of its own.

What is counted is the growth of the peak of resident memory over its value after the imports, the data included, which
each process makes for itself: 60,000 images as floats, or as bytes where it says so.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

WAYS = ("torch, compiled", "SVI", "pyrovae, plain", "pyrovae, compiled", "pyrovae, compiled, bytes")


def peak() -> float:
    """The peak of resident memory in MiB."""
    with open("/proc/self/status") as status:
        return next(float(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def measure(way: str, rows: int, epochs: int) -> float:
    """MiB by which the peak grows while one contestant trains."""
    import torch
    from contestants import by_pyro, by_torch
    from contestants.cases import CASES, PIXELS

    if "compiled" in way:
        import torch._inductor.compile_fx

    case = CASES["medium"]
    before = peak()
    data = torch.empty(rows, PIXELS, dtype=torch.uint8 if way.endswith("bytes") else torch.float32)
    for part in data.split(1_000):
        part.bernoulli_(0.2)
    make = {"torch, compiled": by_torch.compiled, "SVI": by_pyro.svi, "pyrovae, plain": by_pyro.plain}
    epoch = make.get(way, by_pyro.compiled)(case, data)
    for _ in range(epochs):
        epoch()
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", choices=WAYS)
    options = parser.parse_args()
    if options.only:
        print(measure(options.only, options.rows, options.epochs))
        return
    grown = {}
    for way in WAYS:
        command = [
            sys.executable,
            __file__,
            "--only",
            way,
            "--rows",
            str(options.rows),
            "--epochs",
            str(options.epochs),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        grown[way] = float(done.stdout.split()[-1])
    print(
        f"| {options.rows:,} images of 784 pixels, {options.epochs} epochs | growth, MiB | to compiled torch | target |"
    )
    print("|---|---:|---:|---:|")
    targets = {"pyrovae, compiled": 1.1, "pyrovae, compiled, bytes": 0.5}
    for way, growth in grown.items():
        print(f"| {way} | {growth:.0f} | {growth / grown['torch, compiled']:.2f} | {targets.get(way, '')} |")


if __name__ == "__main__":
    main()
