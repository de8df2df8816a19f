"""What a step of Pyro's deep Markov model costs: plain SVI beside `fit`'s own steps, staged, in one run.

On one thread, in CPU seconds of the process. The two take turns, some steps each, so that whatever else the machine
does falls on both; the median over the rounds of their ratio is given. The first steps, in which a graph is traced or
compiled and compared, are reported apart.

    python benchmarks/sequences.py
    python benchmarks/sequences.py --sizes example --staged compiled
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import pyro
import torch
from contestants.deep_markov import DMM, notes
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import ClippedAdam

import pyrovae as pv

BATCH = 20
FIRST = 20  # steps of which some are compared with plain ones
# Those of the example, and such as short series of few columns need.
SIZES = {
    "small": {"input_dim": 8, "z_dim": 8, "emission_dim": 16, "transition_dim": 16, "rnn_dim": 32},
    "example": {"input_dim": 88, "z_dim": 100, "emission_dim": 100, "transition_dim": 200, "rnn_dim": 600},
}
ADAM = {"lr": 3e-4, "betas": (0.96, 0.999), "clip_norm": 10.0, "lrd": 0.99996, "weight_decay": 0.0}


def plain(pair: DMM, data: tuple[torch.Tensor, ...]) -> Callable[[], float]:
    """A step of SVI on the next batch."""
    svi = SVI(pair.model, pair.guide, ClippedAdam(ADAM), Trace_ELBO())
    return lambda: svi.step(*_rows(data, torch.randint(len(data[0]), (BATCH,))))


def staged(pair: Any, data: tuple[torch.Tensor, ...], route: str) -> Callable[[], float]:
    """A step of `pv.steps`."""
    running = pv.steps(pair, data, steps=10**9, batch_size=BATCH, learning_rate=3e-4, clip_norm=10.0, staged=route)
    return lambda: next(running).loss


def _rows(data: tuple[torch.Tensor, ...], index: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(leaf[index] for leaf in data)


def seconds(step: Callable[[], Any], count: int) -> float:
    """Of one of so many steps."""
    start = time.process_time()
    for _ in range(count):
        step()
    return (time.process_time() - start) / count


def compare(size: str, steps: int, route: str, rounds: int, block: int) -> str:
    """A row of the table."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    data = notes(400, steps, SIZES[size]["input_dim"])
    one = plain(DMM(**SIZES[size]), data)
    other = staged(pv.own_store(DMM(**SIZES[size])), data, route)
    first = FIRST * seconds(other, FIRST)
    one()
    found = [(seconds(one, block), seconds(other, block)) for _ in range(rounds)]
    svi, own = (1e3 * statistics.median(turn[side] for turn in found) for side in range(2))
    ratio = statistics.median(a / b for a, b in found)
    return f"| {size}, {steps} steps | {route} | {svi:.1f} | {own:.1f} | {ratio:.1f} | {first:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--staged", nargs="+", default=["traced", "compiled"], choices=["traced", "compiled"])
    parser.add_argument("--steps", type=int, default=20, help="of the longest series")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--block", type=int, default=5, help="optimiser steps in a turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| deep Markov model | route | SVI, ms a step | pyrovae, ms a step | times as fast | first steps, s |")
    print("|---|---|---:|---:|---:|---:|")
    for size in options.sizes:
        for route in options.staged:
            print(compare(size, options.steps, route, options.rounds, options.block), flush=True)


if __name__ == "__main__":
    main()
