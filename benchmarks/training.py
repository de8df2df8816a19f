"""What training costs: Pyro's SVI, torch by hand, NumPyro and pyrovae on the same models, side by side in one run.

The contestants take turns, an epoch each, so that whatever else the machine does falls on all of them; medians over
the rounds are given, and ratios. The first epoch, in which code is compiled, is reported apart.

    python benchmarks/training.py
    python benchmarks/training.py --cases small --rounds 5
    python benchmarks/training.py --device cuda
    python benchmarks/training.py --styles
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import pyro
import torch
from contestants import by_numpyro, by_pyro, by_torch
from contestants.cases import CASES, Case, Epoch, images
from contestants.styles import STYLES

import pyrovae as pv

CONTESTANTS = {
    "SVI": by_pyro.svi,
    "torch, eager": by_torch.eager,
    "torch, compiled": by_torch.compiled,
    "NumPyro": by_numpyro.training,
    "pyrovae, plain": by_pyro.plain,
    "pyrovae, traced": by_pyro.traced,
    "pyrovae, compiled": by_pyro.compiled,
    "pyrovae, bfloat16": by_pyro.half,
}
OF_PAIRS = ("SVI", "pyrovae, plain", "pyrovae, traced", "pyrovae, compiled")

# (case, contestant, against, at most)
TARGETS = (
    ("medium", "pyrovae, compiled", "NumPyro", 1.0),
    ("medium", "pyrovae, compiled", "torch, compiled", 0.7),
    ("medium", "pyrovae, bfloat16", "pyrovae, compiled", 0.65),
    ("small", "pyrovae, compiled", "torch, compiled", 0.5),
    ("small", "pyrovae, compiled", "NumPyro", 1.0),
    ("convolutional", "pyrovae, compiled", "torch, compiled", 0.9),
    ("flow", "pyrovae, compiled", "SVI", 0.5),
    ("bayesian", "pyrovae, compiled", "SVI", 0.5),
)


class Result(NamedTuple):
    """What one contestant took, in milliseconds a step; or why it did not start."""

    step: float | None
    first: float  # seconds of the first epoch beyond a later one
    loss: float
    reason: str = ""


def contestants_of(case: Case) -> dict[str, object]:
    """Those that a case is written for."""
    wanted = OF_PAIRS if case.kind in ("flow", "bayesian") else tuple(CONTESTANTS)
    if case.kind == "convolutional":
        wanted = tuple(name for name in wanted if name != "NumPyro")
    return {name: CONTESTANTS[name] for name in wanted}


def measure(case: Case, rows: int, rounds: int, device: str, only: list[str]) -> dict[str, Result]:
    """Run the contestants of a case in turns."""
    x, results, running = images(rows, device), {}, {}
    steps = -(-rows // case.batch)
    for name, make in contestants_of(case).items():
        if only and name not in only:
            continue
        if name == "NumPyro" and importlib.util.find_spec("numpyro") is None:
            results[name] = Result(None, 0.0, 0.0, "not measured (NumPyro is not installed)")
            continue
        start = time.perf_counter()
        epoch = make(case, x)  # type: ignore[operator]
        epoch()
        running[name] = (epoch, time.perf_counter() - start, [], [])
        epoch()  # what compiles late does it here
    for _ in range(rounds):
        for epoch, _, seconds, losses in running.values():
            seconds.append(timed(epoch, losses, device))
    for name, (_, first, seconds, losses) in running.items():
        middle = statistics.median(seconds)
        results[name] = Result(1e3 * middle / steps, first - middle, losses[-1])
    return results


def measure_style(name: str, rounds: int, device: str, only: list[str]) -> str:
    """One row of the table of styles: milliseconds a step by each contestant, in turns."""
    style = STYLES[name]
    data, running = tuple(part.to(device) for part in style.data(style.rows)), {}
    for contestant, make in by_pyro.STYLE_CONTESTANTS.items():
        if (not only or contestant in only) and (style.compiles or contestant != "pyrovae, compiled"):
            training = make(style, data)
            try:
                for _ in range(2):
                    training.epoch()
            except pv.ArgumentError as error:
                print(f"{name}: {error}\n", flush=True)
                continue
            running[contestant] = (training, [])
    for _ in range(rounds):
        for training, seconds in running.values():
            seconds.append(timed(training.epoch, [], device))
    steps = -(-style.rows // style.batch)
    middle = {contestant: 1e3 * statistics.median(seconds) / steps for contestant, (_, seconds) in running.items()}
    least = min(value for contestant, value in middle.items() if contestant != "SVI")
    cells = [f"{middle[one]:.2f}" if one in middle else "not measured" for one in by_pyro.STYLE_CONTESTANTS]
    ratios = [f"{least / middle[one]:.2f}" if one in middle else "" for one in ("pyrovae, plain", "SVI")]
    return f"| {name}, {style.batch} | {' | '.join([*cells, *ratios])} |"


def timed(epoch: Epoch, losses: list[float], device: str) -> float:
    """Seconds of an epoch."""
    start = time.perf_counter()
    losses.append(epoch())
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def table(case: Case, results: dict[str, Result]) -> list[str]:
    """The rows of a case in Markdown."""
    lines = [
        f"| {case.name}: batches of {case.batch}, {case.hidden} hidden, {case.latent} latent | ms a step | "
        "first epoch, s more | loss |",
        "|---|---:|---:|---:|",
    ]
    for name, result in results.items():
        if result.step is None:
            lines.append(f"| {name} | {result.reason} | | |")
        else:
            lines.append(f"| {name} | {result.step:.3f} | {result.first:.1f} | {result.loss:.2f} |")
    return lines


def targets(case: Case, results: dict[str, Result]) -> list[str]:
    """What was to be reached, and what was."""
    lines = []
    for name, contestant, against, most in TARGETS:
        one, other = results.get(contestant), results.get(against)
        if name == case.name and one and other and one.step and other.step:
            ratio = one.step / other.step
            met = "met" if ratio <= most else "not met"
            lines.append(f"| {name} | {contestant} : {against} | {ratio:.2f} | {most:.2f} | {met} |")
    return lines


def machine(device: str) -> str:
    """What it ran on, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    where = torch.cuda.get_device_name() if device == "cuda" else f"{model}, {torch.get_num_threads()} threads"
    versions = [f"torch {torch.__version__}", f"pyro-ppl {pyro.__version__}"]
    versions += [f"{n} {importlib.metadata.version(n)}" for n in ("jax", "numpyro") if importlib.util.find_spec(n)]
    return f"{where}; {', '.join(versions)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=None)
    parser.add_argument("--styles", nargs="*", choices=list(STYLES), default=None, help="pairs as people write them")
    parser.add_argument("--contestants", nargs="+", default=[])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=20_480)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not measured (no CUDA device)")
        return
    if options.styles is not None:
        print(f"{machine(options.device)}; {options.rounds} rounds\n")
        titles = ["pair, rows in a batch", *by_pyro.STYLE_CONTESTANTS, "best : plain", "best : SVI"]
        print(f"| {' | '.join(titles)} |\n|---{'|---:' * (len(titles) - 1)}|")
        for name in options.styles or STYLES:
            print(measure_style(name, options.rounds, options.device, options.contestants), flush=True)
        return
    names = options.cases or [name for name in CASES if name != "large" or options.device == "cuda"]
    print(f"{machine(options.device)}; {options.rows:,} rows, {options.rounds} rounds\n")
    reached: list[str] = []
    for name in names:
        results = measure(CASES[name], options.rows, options.rounds, options.device, options.contestants)
        print("\n".join([*table(CASES[name], results), ""]), flush=True)
        reached += targets(CASES[name], results)
    print("\n".join(["| case | ratio | measured | target | |", "|---|---|---:|---:|---|", *reached]))


if __name__ == "__main__":
    main()
