"""A folder of exported parts, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from pyrovae.data.whole_file import whole_folder
from pyrovae.export.deployment.exported_part import ExportedPart, PartProgram, Runner, checked
from pyrovae.sampling.sampler import Sampler

Write = Callable[[PartProgram, Path], Runner]


def write_parts(
    sampler: Sampler, parts: Sequence[PartProgram], folder: str | os.PathLike[str], ending: str, write: Write
) -> dict[str, ExportedPart]:
    """Write each part, hold it against the pair, and put it in its place together with `parts.json`."""
    with whole_folder(folder) as partial:
        found = {one.part.name: _written(sampler, one, partial / f"{one.part.name}{ending}", write) for one in parts}
        described = {name: _plain(one) for name, one in found.items()}
        (partial / "parts.json").write_text(json.dumps(described, indent=2), encoding="utf-8")
    return {name: one._replace(file=str(Path(folder) / Path(one.file).name)) for name, one in found.items()}


def _written(sampler: Sampler, one: PartProgram, path: Path, write: Write) -> ExportedPart:
    run = write(one, path)
    worst, rows = checked(sampler, one, run)
    return ExportedPart(one.part.name, str(path), one.inputs, one.outputs, one.left_out, worst, rows)


def _plain(one: ExportedPart) -> dict[str, Any]:
    return {
        "file": Path(one.file).name,
        "inputs": [given._asdict() for given in one.inputs],
        "outputs": list(one.outputs),
        "left_out": dict(one.left_out),
        "largest_difference": one.difference,
        "rows_tried": list(one.rows),
        "torch": torch.__version__,
    }
