"""What `sample`, `reconstruct`, `report` and `export` write of a trained run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

import pyrovae as pv
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.table_outputs import ELSEWHERE, new_file, with_schema, write_frame
from pyrovae.cli.text_config import TextConfig
from pyrovae.cli.text_outputs import reconstruct_lines
from pyrovae.cli.trained_run import Trained
from pyrovae.data.batch_sources import Batch
from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError
from pyrovae.plots import pictures


def export(run: Trained, out: Path, *, draws: int, seed: int | None) -> None:
    """Write draws of everything, with columns and classes as labels."""
    pv.to_arviz(run.pair, *run.arguments(), draws=draws, seed=seed, out=out, **_labels(run))


def _labels(run: Trained) -> dict[str, Any]:
    dims, coords = {}, {}
    site = run.observed()
    if run.data.names and run.rows(1).shape[1:] == (len(run.data.names),):
        dims[site], coords["column"] = ["column"], list(run.data.names)
    structure = run.structure()
    plate = structure.data_plate
    if run.data.labels is not None and plate is not None:
        coords["label"] = (f"{plate}_plate" if plate in structure.sites else plate, run.data.labels)
    return {"dims": dims, "coords": coords}


_TABLE = (".csv", ".npy")

_IMAGES = (".png", ".npy")

# Pixels on the screen that a small image is enlarged to.
_VISIBLE = 64


def check_number(count: int) -> None:
    """Refuse no rows, and more than any machine can count."""
    if count < 1:
        raise ArgumentError(f"-n {count}: give 1 at least.")
    if count >= 2**63:
        raise ArgumentError(f"-n {count}: give 2**63 - 1 at most.")


def raw_values(run: Trained, drawn: torch.Tensor, *, mean: bool) -> np.ndarray:
    """What was drawn, in the units and the type of the data."""
    values = run.restore(drawn)
    kind = run.data.values.dtype
    return values if mean or not np.issubdtype(kind, np.integer) else _whole(values, kind)


def reconstruct(run: Trained, count: int, *, out: Path | None) -> list[Path]:
    """Write the first rows' reconstructions; images with the originals above them."""
    check_number(count)
    if isinstance(run.model_config, TextConfig):
        return [reconstruct_lines(run, count, out=out)]
    if isinstance(run.model_config, TableConfig):
        frame = pv.reconstruct(with_schema(run), run.data.frame.iloc[:count], *run.arguments(count)[1:])
        return [write_frame(run, frame, "reconstructions", out)]
    rows = run.arguments(count)
    values = run.restore(pv.reconstruct(run.pair, *rows)[run.observed()])
    originals = run.restore(rows[0])

    def picture() -> Any:
        return pictures.paired(originals, values, value_range(run))

    return written(run, values, "reconstructions", out, picture)


def _whole(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Draws as whole numbers of the data's type, or of a wider one: -1 is no byte, and would be written as 255."""
    rounded = np.round(values)
    for wanted in (kind, np.dtype(np.int64)):
        limits = np.iinfo(wanted)
        if limits.min <= rounded.min() and rounded.max() < float(limits.max) + 1:
            return rounded.astype(wanted)
    return rounded


def repeated(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Rows that give shapes and covariates to a pair that cannot be asked for a number of data."""
    return rows[torch.arange(count) % len(rows)]


def value_range(run: Trained) -> tuple[float, float]:
    """What is black and what is white."""
    if run.model_config is not None and run.model_config.scaling == "binary":
        return 0.0, 1.0
    return pictures.value_range(run.data.values)


def written(run: Trained, values: np.ndarray, name: str, out: Path | None, picture: Callable[[], Any]) -> list[Path]:
    """Write values as rows or as a picture; the files."""
    shown = pictures.is_picture(values.shape[1:]) and run.data.kind == "images"
    kinds = _IMAGES if shown else _TABLE
    paths = [run.folder.path / f"{name}{suffix}" for suffix in kinds] if out is None else [new_file(out, kinds)]
    for path in paths:
        with whole_file(path, make_folder=True, mend=ELSEWHERE) as stream:
            if path.suffix == ".npy":
                np.save(stream, values)
            elif path.suffix == ".csv":
                _write_csv(stream, values, run.data.names)
            else:
                picture().save(stream, format="PNG")
    return paths


def _write_csv(stream: BinaryIO, values: np.ndarray, names: tuple[str, ...]) -> None:
    flat = values.reshape(len(values), -1)
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(names or [f"column {number}" for number in range(flat.shape[1])])
    writer.writerows([f"{number:.7g}" for number in row] for row in flat.tolist())
    text.detach()  # flushed, and the stream left open


def write_report(run: Trained, *, out: Path | None = None) -> Path:
    """Write report.html, into the folder of the run where no other place is given."""
    from pyrovae.report.page import render

    place = run.folder.report if out is None else new_file(out, (".html",))
    binary = run.model_config is not None and run.model_config.scaling == "binary"
    outcome = run.config.ended
    text = render(
        run.pair,
        Batch(run.arguments(), {}),
        history=run.folder.read_metrics(outcome.history),
        title=run.folder.path.resolve().name,
        data_words=run.words,
        kind=run.data.kind,
        names=run.data.names,
        labels=run.data.labels,
        raw_range=(0.0, 1.0) if binary else None,
        restore=run.restore,
        outcome=asdict(outcome),
        settings=_settings(run),
        table=_table(run),
        decode=run.model_config.read().decode if isinstance(run.model_config, TextConfig) else None,
    )
    with whole_file(place, make_folder=True, mend=ELSEWHERE) as stream:
        stream.write(text.encode(errors="backslashreplace"))  # a name of a folder may be no text
    return place


def _table(run: Trained) -> Any:
    """Schema and frame, where the pair takes nothing beside it."""
    if not isinstance(run.model_config, TableConfig) or run.condition is not None:
        return None
    return run.model_config.read(), run.data.frame


def _settings(run: Trained) -> dict[str, str]:
    """What the report says about how the run was made."""
    config = run.config
    made = {"pair": config.pair} if run.model_config is None else asdict(run.model_config)
    made = {name: value for name, value in made.items() if name not in ("schema", "annotation", "vocabulary")}
    made |= {} if run.annotation is None else {run.annotation.role: ", ".join(run.annotation.names)}
    listed = {"data": config.data.name, **made, **asdict(config.fit), **config.versions}
    return {name.replace("_", " "): _text(value) for name, value in listed.items()}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
