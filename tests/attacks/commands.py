"""Every command of the command line over one folder, as attacks type them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.main import get_command
from typer.testing import CliRunner

from pyrovae.cli.commands import app

PAIR = """
import pyrovae as pv

def make():
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
"""

# What each command is asked over a run; `demo` alone takes none.
OVER_A_RUN = {
    "train": "train --resume --out {run} --epochs 3 --quiet",
    "evaluate": "evaluate {run} --rows 20 --evidence-draws 25",
    "evaluate --seeds": "evaluate {run} --rows 20 --evidence-draws 25 --seeds 2",
    "sample": "sample {run} -n 3",
    "reconstruct": "reconstruct {run} -n 3",
    "export": "export {run} out.nc --draws 2",
    "report": "report {run}",
    "explore": "explore {run} --rows 2",
    "to-onnx": "to-onnx {run} --parts encode -o graphs",
    "model-card": "model-card {run} --rows 20 -o card",
    "encode": "encode {run}",
    "compress": "compress {run} -o data.pv",
    "decompress": "decompress {run} data.pv -o data.npy",
}


# What is asked over a run of a table alone, which has learned next to nothing: nearly all its rows look strange.
OVER_A_TABLE = {
    "impute": "impute {run}",
    "outliers": "outliers {run} --drop 0.99999 --draws 20",
    "sample --where": "sample {run} -n 3 --where kind=a",
}


def command_names() -> set[str]:
    """What the command line knows."""
    return set(get_command(app).commands)  # type: ignore[attr-defined]


def typed(line: str):
    """A command as a user types it, without a shell."""
    return CliRunner().invoke(app, line.split())


def in_words(result) -> bool:
    """Whether a command did what it was asked, or said in a line why not."""
    ended = result.exit_code == 0 or (result.exit_code == 2 and isinstance(result.exception, SystemExit))
    return ended and "Traceback" not in result.output


def train(out: str, *more: str) -> Path:
    """A run of a pair of one's own on three columns, in the current folder."""
    Path("own.py").write_text(PAIR)
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 3)))
    result = typed(f"train x.npy --out {out} --epochs 2 --no-report --quiet {' '.join(more)}")
    assert result.exit_code == 0, result.output
    return Path(out)


def train_table(out: str) -> Path:
    """A run of a table of two columns with holes, in the current folder."""
    rows = [f"{row % 9 / 4 if row % 8 else ''},{'ab'[row % 2]}" for row in range(80)]
    Path("t.csv").write_text("\n".join(["size,kind", *rows]))
    result = typed(f"train t.csv --out {out} --epochs 2 --hidden 4 --no-report --quiet")
    assert result.exit_code == 0, result.output
    return Path(out)


def contents(place: Path) -> dict[str, bytes]:
    """Every file of a folder, or a file."""
    found = sorted(place.rglob("*")) if place.is_dir() else [place]
    return {str(path): path.read_bytes() for path in found if path.is_file()}
