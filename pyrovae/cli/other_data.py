"""Data that a run was not trained on, read as its own were: what is called alike there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyrovae.cli.annotation import Annotation
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.text_config import TextConfig
from pyrovae.data.datasets.array_files import array_names
from pyrovae.data.datasets.table_files import column_names
from pyrovae.data.origin import BUNDLED, TABLES, Data, DataSource
from pyrovae.data.row_annotations import OWN
from pyrovae.errors import DataError


def other_data(source: DataSource, name: str, columns: list[str], annotation: Annotation | None) -> tuple[Data, str]:
    """Other data: columns of the same names, and where it is a file of the same kind, read as the run's own were."""
    kind = "a bundled one" if name in BUNDLED else Path(name).suffix.lower()
    said = {
        k: v
        for k, v in vars(source).items()
        if k not in ("name", "root", "columns", "label", "labels", "condition") and v is not None
    }
    options = said if kind == Path(source.name).suffix.lower() else {}
    if kind in TABLES:
        names = _names(Path(name), options.get("header"))
        options |= {"columns": tuple(columns)} if columns else {}
        options |= {"label": source.label} if source.label in names else {}
    elif source.label is not None and kind == ".npz":
        options["label"] = source.label
    wanted = annotation.names if annotation is not None and kind in TABLES else source.annotations
    data = DataSource(name, **options, **names_beside(source, name, wanted)).load()
    return data, f"{len(data.values):,} rows of {Path(name).name}"


def other_table(source: DataSource, name: str, model_config: TableConfig) -> tuple[Data, str]:
    """Another table: its columns by name, of which some may be missing."""
    other = DataSource(name, header=source.header)
    if not other.is_table:
        raise DataError(f"the run was trained on a table; give it a .csv or .parquet file, and not {name}.")
    label = source.label if source.label in _names(Path(name), source.header) else None
    wanted = [] if model_config.annotation is None else model_config.annotation.names
    other = replace(other, label=label, **names_beside(source, name, wanted))
    data = other.load_rows(model_config.read())
    return data, f"{len(data.values):,} rows of {Path(name).name}"


def other_text(name: str, model_config: TextConfig) -> tuple[Data, str]:
    """Other lines of text."""
    other = DataSource(name)
    if not other.is_text:
        raise DataError(f"the run was trained on lines of text; give it a .txt file, and not {name}.")
    data = other.load_tokens(model_config.read())
    return data, f"{len(data.values):,} lines of {Path(name).name}"


def names_beside(source: DataSource, name: str, wanted: Sequence[str]) -> dict[str, Any]:
    """What names labels or a condition in other data: labels may be missing there, a condition may not."""
    path = Path(name).expanduser()
    if name in BUNDLED:
        inside = [OWN]
    elif path.suffix.lower() == ".npz" and path.is_file():
        inside = array_names(path)
    else:
        inside = _names(path, source.header) if path.suffix.lower() in TABLES else []
    found = tuple(one if one in inside else Path(one).stem for one in wanted)
    missing = [one for one in found if one not in inside]
    if source.labels is not None:
        return {"labels": None if missing else found[0], "condition": None}
    if missing:
        raise DataError(
            f"the run is of data under a condition, and {name} has no {', '.join(map(repr, missing))} beside its rows: "
            "give a table with these columns, or a .npz file with these arrays."
        )
    return {"condition": found or None}


def _names(path: Path, header: bool | None) -> list[str]:
    """What the columns of a table are called; nothing where it is not there."""
    return column_names(path, header=header) if path.is_file() else []
