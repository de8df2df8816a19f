"""Where the data of a run come from, in plain values, and the data themselves."""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from pyrovae.data import datasets
from pyrovae.data.datasets.array_files import existing, npz, only_array
from pyrovae.data.datasets.labelled import digits
from pyrovae.data.datasets.load import load
from pyrovae.data.datasets.read_frame import read_frame
from pyrovae.data.datasets.read_lines import read_lines
from pyrovae.data.datasets.table_files import column_names, column_text
from pyrovae.data.row_annotations import TABLES, row_annotations
from pyrovae.errors import ArgumentError, DataError, FileError, argument
from pyrovae.pairs.with_schema import RowSchema

BUNDLED = ("digits", "mnist", "fashion-mnist", "kmnist")

# A copy of a memory-mapped file larger than this would not fit everywhere.
_COPIED = 2**30

_UNKNOWN = -1  # in an array of labels, which has no holes

# Fewer columns than this that happen to be a square number are hardly an image.
_SMALLEST_IMAGE = 64


class Data(NamedTuple):
    """Rows of data, what they are, and what they and their classes are called, where that is known."""

    values: np.ndarray
    kind: Literal["images", "table", "text"]
    names: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    frame: Any = None  # whose rows the values are, where a schema makes them
    annotations: Any = None  # a frame of the same rows: what is known of each beside its values

    def take(self, rows: Any) -> Data:
        """Some rows."""
        return self._replace(
            values=self.values[rows],
            labels=None if self.labels is None else self.labels[rows],
            frame=None if self.frame is None else self.frame.iloc[rows],
            annotations=None if self.annotations is None else self.annotations.iloc[rows],
        )


@dataclass(frozen=True)
class DataSource:
    """What the user said about the data."""

    name: str
    root: str | None = None
    key: str | None = None
    header: bool | None = None
    columns: tuple[str, ...] | None = None
    label: str | None = None
    size: tuple[int, int] | None = None
    mode: str | None = None
    shape: tuple[int, ...] | None = None
    labels: str | None = None
    condition: tuple[str, ...] | None = None

    def in_full(self) -> DataSource:
        """The same with the file by its full path, so that it is found from any folder."""
        root, name = (None if one is None else str(Path(one).expanduser().resolve()) for one in (self.root, self.name))
        return replace(self, root=root, name=self.name if self.bundled or name is None else name)

    @property
    def bundled(self) -> bool:
        """Whether a data set of the package is meant; a file of that name is `./digits`."""
        return self.name in BUNDLED

    def load(self, *, test: bool = False) -> Data:
        """The data; `test` takes the test part where there is one."""
        data = self._bundled(train=not test) if self.bundled else self._file()
        return self._annotated(data if self.shape is None else _shaped(data, self.shape))

    @property
    def annotations(self) -> tuple[str, ...]:
        """What names the labels, or the condition: columns, arrays or files."""
        return self.condition or (() if self.labels is None else (self.labels,))

    def _annotated(self, data: Data) -> Data:
        if not self.annotations:
            return data
        own = data.labels if self.bundled else None
        unknown = None if self.labels is None else _UNKNOWN
        found = row_annotations(
            self.name, self.annotations, len(data.values), header=self.header, own=own, unknown=unknown
        )
        if self.labels is None or data.labels is not None:
            return data._replace(annotations=found)
        classes = found.iloc[:, 0]
        return data._replace(
            annotations=found, labels=classes.astype(str).where(classes.notna(), "no label").to_numpy(str)
        )

    @property
    def is_table(self) -> bool:
        """Whether it is a file of named columns, of any kinds."""
        return not self.bundled and Path(self.name).suffix.lower() in TABLES

    def load_frame(self) -> Any:
        """The frame in a file, the labels among its columns."""
        if self.root is not None or self.key is not None or self.size is not None or self.mode is not None:
            unused = next(name for name in ("root", "key", "size", "mode") if getattr(self, name) is not None)
            raise ArgumentError(f"{argument(unused)} means nothing for {self.name}: leave it out.")
        return read_frame(existing(self.name), header=self.header, columns=self.columns)

    def load_rows(self, schema: RowSchema, frame: Any = None) -> Data:
        """The rows that a schema makes of the file, and its frame."""
        frame = self.of_the_model(self.load_frame()) if frame is None else frame
        labels = None if self.label is None else column_text(existing(self.name), self.label, header=self.header)
        names = tuple(column.name for column in schema.columns)
        return self._annotated(Data(schema.encode(frame).numpy(), "table", names, labels, frame))

    @property
    def is_text(self) -> bool:
        """Whether it is a file of lines of text."""
        return not self.bundled and Path(self.name).suffix.lower() == ".txt"

    def load_lines(self) -> Any:
        """The lines of a text file, as a column."""
        import pandas as pd

        given = {name: value for name, value in vars(self).items() if value is not None and name != "name"}
        if given:
            raise ArgumentError(f"{argument(next(iter(given)))} means nothing for {self.name}: leave it out.")
        return pd.Series(read_lines(self.name), name="line", dtype=object)

    def load_tokens(self, vocabulary: RowSchema, lines: Any = None) -> Data:
        """The tokens that a vocabulary makes of the lines, and these."""
        lines = self.load_lines() if lines is None else lines
        return Data(vocabulary.encode(lines).numpy(), "text", frame=lines)

    def of_the_model(self, frame: Any) -> Any:
        """The columns of a frame that are neither labels nor a condition."""
        return frame.drop(columns=[one for one in (self.label, *self.annotations) if one in frame.columns])

    @property
    def has_test_part(self) -> bool:
        """Whether the data set comes in two parts."""
        return self.bundled and self.name != "digits"

    def _bundled(self, *, train: bool) -> Data:
        given = {k: v for k, v in vars(self).items() if v is not None and k not in ("name", "shape", "root")}
        if given:
            raise ArgumentError(f"{argument(next(iter(given)))} means nothing for {self.name}: leave it out.")
        if self.name == "digits":
            if self.root is not None:
                raise ArgumentError(f"{argument('root')} means nothing for digits, which come with the package.")
            return Data(digits().images, "images", labels=digits().labels)
        found = getattr(datasets, self.name.replace("-", "_"))(self.root, train=train)
        return Data(found.images, "images", labels=found.labels)

    def _file(self) -> Data:
        if self.root is not None:
            raise ArgumentError(
                f"{argument('root')} is for {', '.join(BUNDLED[1:])}; {self.name} is a file of your own."
            )
        near = difflib.get_close_matches(self.name, BUNDLED, n=1, cutoff=0.75)
        if near and not os.path.lexists(self.name):
            raise FileError(f"{self.name} does not exist. Did you mean {near[0]!r}, which is bundled?")
        path = existing(self.name)
        table = path.suffix.lower() in TABLES
        options = {"key": self.key, "header": self.header, "size": self.size, "mode": self.mode}
        if path.suffix.lower() == ".npz" and self.key is None and self.annotations:
            options["key"] = only_array(path, but=self.annotations)
        found = load(path, **options, columns=self._columns(path) if table else self.columns)
        labels = None if self.label is None else self._labels(path, len(found.values), table=table)
        return Data(found.values, found.kind, found.names if found.kind == "table" else (), labels)

    def _columns(self, path: Path) -> tuple[str, ...] | None:
        """The columns to train on: those that were named, or all but what is known beside."""
        if self.columns is None and self.label is None and not self.annotations:
            return None
        names = self.columns or column_names(path, header=self.header)
        beside = (*self.annotations, *([] if self.columns else [self.label]))
        return tuple(name for name in names if name not in beside)

    def _labels(self, path: Path, rows: int, *, table: bool) -> np.ndarray:
        if table:
            return column_text(path, str(self.label), header=self.header)
        if path.suffix.lower() != ".npz":
            raise ArgumentError(f"{argument('label')} names a column or an array of an .npz file; {path} has neither.")
        labels = npz(path, self.label)
        if labels.shape != (rows,):
            raise DataError(
                f"the labels {self.label!r} in {path} have shape {labels.shape}, and there are {rows} rows."
            )
        return labels


def _shaped(data: Data, shape: tuple[int, ...]) -> Data:
    """Rows of pixels as images of the shape that was given."""
    values = data.values
    if math.prod(values.shape[1:]) != math.prod(shape) or len(shape) not in (2, 3) or min(shape) < 1:
        words = ",".join(map(str, shape))
        raise DataError(
            f"{argument('shape', text=words)}: a datum holds {math.prod(values.shape[1:])} numbers; give "
            "height,width or channels,height,width whose product is that."
        )
    return data._replace(values=values.reshape(len(values), *shape), kind="images", names=())


def square_images(data: Data) -> tuple[int, int] | None:
    """Height and width, where the rows of a table look like grey images that somebody flattened."""
    columns, values = data.values.shape[-1], data.values
    side = math.isqrt(columns)
    if data.kind != "table" or data.names or side * side != columns or columns < _SMALLEST_IMAGE:
        return None
    few = np.asarray(values[:1_000], dtype=np.float64)
    bytes_ = values.dtype == np.uint8 or (few.max() > 1 and bool((few == np.round(few)).all()))
    inside = few.min() >= 0 and few.max() <= (255 if bytes_ else 1)
    return (side, side) if inside and (bytes_ or bool((abs(few * 255 - np.round(few * 255)) < 1e-3).all())) else None


def split(data: Data, fraction: float, seed: int) -> tuple[Data, Data | None]:
    """Training rows, and the fraction held out; the same rows for the same seed."""
    if not 0 <= fraction < 1:
        raise ArgumentError(
            f"{argument('validation', fraction)}: give the fraction of rows to hold out, from 0 to below 1."
        )
    rows, held = len(data.values), round(fraction * len(data.values))
    if fraction == 0:
        return data, None
    if held == 0 or held == rows:
        raise DataError(
            f"{rows} rows cannot be split by {argument('validation', fraction)}; give more rows, or "
            f"{argument('validation', 0)}."
        )
    if isinstance(data.values, np.memmap) and data.values.nbytes > _COPIED:
        # Slices stay in the file, so that batches are read from it one by one; the last rows are held out.
        return data.take(slice(0, rows - held)), data.take(slice(rows - held, rows))
    order = np.random.default_rng(seed).permutation(rows)
    return data.take(np.sort(order[held:])), data.take(np.sort(order[:held]))
