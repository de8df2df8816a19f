"""`pyrovae to-onnx` and `pyrovae model-card`: a run for programs without this package, and for the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyrovae as pv
from pyrovae.cli.trained_run import Trained
from pyrovae.errors import ArgumentError, FileError

_FORMATS: Mapping[str, Callable[..., Any]] = {"onnx": pv.to_onnx, "torch": pv.to_torch_export}


def write_parts(run: Trained, out: Path, *, format: str, parts: str) -> list[str]:
    """Write parts of the run's pair; a line on each of them."""
    if format not in _FORMATS:
        raise ArgumentError(f"--format {format}; give onnx or torch.")
    _check_new(out)
    listed = tuple(part.strip() for part in parts.split(",") if part.strip())
    found = _FORMATS[format](run.pair, *run.arguments(), folder=out, parts=listed)
    return [
        f"{one.file}: {', '.join(given.name for given in one.inputs)} -> {', '.join(one.outputs)} "
        f"(differs from the run by {one.difference:.0e} at most)"
        for one in found.values()
    ]


def write_card(run: Trained, out: Path, *, license: str | None, rows: int) -> Path:
    """Write the run as a folder for the Hub."""
    _check_new(out)
    words = f"Trained by `pyrovae train`; measured on {run.words}."
    return pv.model_card(
        run.pair, *run.arguments(), path=out, title=run.folder.path.name, description=words, license=license, rows=rows
    )


def _check_new(out: Path) -> None:
    if out.exists():
        raise FileError(f"{out} exists and is left as it is; choose another name with --out.")
