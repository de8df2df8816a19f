"""What a run knows of each row beside its values: a class for some rows, or the condition that they stand under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pyrovae.cli.read_where import read_where
from pyrovae.data.row_words import row_words
from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.units.table_units import TableUnits
from pyrovae.tables.read_schema import schema_from
from pyrovae.tables.schema import Schema, schema
from pyrovae.tables.table_column import TableColumn

_FEW = 20  # classes that any number of rows may be of
_SHOWN = 8

UNKNOWN = -1  # the label of a row that has none, as the pair takes it


@dataclass(frozen=True)
class Annotation:
    """Labels or a condition, described by plain values.

    Examples:
        >>> import pandas as pd
        >>> labels = Annotation.of("labels", pd.DataFrame({"job": ["cook", "clerk", None, "cook"]}))
        >>> labels.codes(pd.DataFrame({"job": ["clerk", None]})).tolist()
        [0, -1]
    """

    role: Literal["labels", "condition"]
    columns: str  # the schema, as TOML

    @classmethod
    def of(cls, role: Literal["labels", "condition"], frame: Any) -> Annotation:
        """What the columns are, or an error where they cannot be that."""
        if role == "labels":
            return cls(role, _of_classes(frame).toml())
        found = schema(frame)
        for one in found.table:
            if one.column is None:
                raise DataError(f"--condition {one.name}: {one.note.removeprefix('left out: ')}; leave it out.")
        annotation = cls(role, found.toml())
        annotation.codes(frame)
        return annotation

    def read(self) -> Schema:
        """What the columns are."""
        return schema_from(self.columns, f"the {self.role} of the run")

    @property
    def names(self) -> list[str]:
        """What the columns are called."""
        return [one.name for one in self.read().table]

    @property
    def levels(self) -> tuple[Any, ...]:
        """The classes of labels."""
        return self.read().table[0].levels if self.role == "labels" else ()

    @property
    def width(self) -> int:
        """How many numbers networks see of it."""
        return len(self.levels) if self.role == "labels" else self.units().width

    def units(self) -> TableUnits:
        """What makes these numbers of a condition."""
        return TableUnits(self.read().columns, position=1)

    def codes(self, frame: Any) -> np.ndarray:
        """As the pair takes them: class numbers (rows,), -1 where unknown; or the condition, (rows, columns)."""
        numbers = np.stack([self._numbers(one, frame) for one in self.read().table], 1)
        if self.role == "labels":
            return np.where(np.isnan(numbers[:, 0]), UNKNOWN, numbers[:, 0]).astype(np.int64)
        if (holes := np.argwhere(np.isnan(numbers))).size:
            row, place = holes[0]
            raise DataError(
                f"--condition {self.names[place]} is missing in {row_words(frame.index, int(row))}: nothing is said "
                "under a condition that is not known. Fill the holes, or leave these rows out."
            )
        return numbers

    def _numbers(self, one: TableColumn, frame: Any) -> np.ndarray:
        if one.name not in frame.columns:
            raise DataError(f"the run's {self.role} {one.name!r} is not among these data.")
        numbers, strange = one.numbers(frame[one.name])
        if strange:
            raise DataError(
                f"{one.name!r} holds {', '.join(strange[:_SHOWN])}, which no row had in training: its classes are "
                f"{_few(one.levels)}."
            )
        return numbers

    def frame(self, codes: Any) -> Any:
        """The columns of codes."""
        numbers = np.asarray(codes, dtype=float).reshape(len(codes), -1)
        return self.read().decode(np.where(numbers == UNKNOWN, np.nan, numbers) if self.role == "labels" else numbers)

    def chosen(self, where: Sequence[str]) -> np.ndarray:
        """The codes of one row of which `column=value` is said of each column."""
        import pandas as pd

        given = read_where(self.read(), where)
        if unknown := [name for name in given if name not in self.names]:
            raise ArgumentError(f"--where {unknown[0]}: of this run's {self.role}, {_few(self.names)}, none is that.")
        if missing := [name for name in self.names if name not in given]:
            raise ArgumentError(f"--where: give {_few(missing)}, too; the run draws under all of {_few(self.names)}.")
        if ranges := [name for name in given if isinstance(given[name], tuple)]:
            raise ArgumentError(f"--where {ranges[0]}: rows are drawn under one value of it; a range is none.")
        return self.codes(pd.DataFrame([given]))

    def words(self, frame: Any) -> str:
        """What it is, for the user."""
        if self.role == "condition":
            return f"Under the condition of\n{self.read()}"
        codes = self.codes(frame)
        counts = [f"{level} ({(codes == code).sum():,})" for code, level in enumerate(self.levels)]
        return f"Labels {self.names[0]!r}: {_few(counts)}; {(codes == UNKNOWN).sum():,} rows without one."

    def check_training(self, codes: np.ndarray) -> None:
        """Refuse labels of which a class is among no rows that are trained on."""
        if self.role == "condition":
            return
        if missing := [level for code, level in enumerate(self.levels) if not (codes == code).any()]:
            raise DataError(
                f"no row that is trained on has the label {_few(missing)}: all are held out. Label more rows, hold out "
                "fewer (--validation), or other ones (--seed)."
            )


def arguments_of(annotation: Annotation | None, rows: Any, codes: np.ndarray | None) -> Any:
    """The data of a pair: rows, or rows and what goes with them."""
    return rows if annotation is None or rows is None else (rows, codes)


def _of_classes(frame: Any) -> Schema:
    """A single column of classes."""
    import pandas as pd

    if len(frame.columns) != 1:
        raise DataError(f"labels are one class a row; {_few(frame.columns)} are {len(frame.columns)} columns.")
    (name,), values = frame.columns, frame.iloc[:, 0]
    seen, wanted = values.dropna(), "a label is one of a few classes: whole numbers, texts or truth values"
    if not len(seen):
        raise DataError(f"--labels {name}: all labels are missing. Label some rows, or leave --labels out.")
    if pd.api.types.is_datetime64_any_dtype(values):
        raise DataError(f"--labels {name} holds dates; {wanted}. Dates go into --condition.")
    if pd.api.types.is_float_dtype(values) and (seen % 1 != 0).any():
        raise DataError(
            f"--labels {name} holds {seen[seen % 1 != 0].iloc[0]:g}; {wanted}. Numbers go into --condition."
        )
    if seen.nunique() == 1:
        raise DataError(f"--labels {name}: all labels are {seen.iloc[0]}, so that there is nothing to tell apart.")
    if seen.nunique() > max(_FEW, len(seen) / 2):
        raise DataError(f"--labels {name} has {seen.nunique():,} different values in {len(seen):,} rows; {wanted}.")
    if isinstance(values.dtype, pd.CategoricalDtype):
        frame = frame.assign(**{name: values.cat.remove_unused_categories()})
    elif pd.api.types.is_float_dtype(values):
        frame = frame.assign(**{name: values.convert_dtypes()})
    return schema(frame, kinds={name: "categorical"})


def _few(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
