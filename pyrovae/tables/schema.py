"""What the columns of a table are: guessed from a frame, to be looked at and corrected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import KINDS
from pyrovae.tables.as_frame import as_frame, in_form_of
from pyrovae.tables.column_label import column_label, column_text
from pyrovae.tables.guess_column import guessed_column
from pyrovae.tables.said_twice import said_twice
from pyrovae.tables.schema_toml import schema_toml
from pyrovae.tables.table_column import DATES, TableColumn, in_timezone

logger = logging.getLogger("pyrovae")


class Schema(NamedTuple):
    """What the columns of a table are.

    Attributes:
        table: each column of the frame, those that are left out included.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> frame = pd.DataFrame({"age": [31.5, None, 58.0], "job": ["cook", "clerk", None]})
        >>> schema = pv.tables.schema(frame)
        >>> x = schema.encode(frame)
        >>> schema.decode(x).equals(frame)
        True
    """

    table: tuple[TableColumn, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the model, in the order of `encode`."""
        return tuple(one.column for one in self.table if one.column is not None)

    def encode(self, frame: Any) -> torch.Tensor:
        """The rows as a pair takes them, (rows, columns), NaN for what is missing.

        Columns are taken by name. A class that the schema does not know counts as missing, and so does a column that is
        not there; both are said in the log, and so are rows of which nothing is there.

        Raises:
            DataError: a column holds what its kind cannot be.
        """
        frame = as_frame(frame)
        names = [one.name for one in self.table if one.column is not None]
        if not (here := [name for name in names if name in frame.columns]):
            raise DataError(f"none of the schema's columns ({', '.join(map(repr, names[:5]))}) is in this frame.")
        for words, found in (
            ("are not in this frame, and count as missing in every row", set(names) - set(here)),
            ("are none of the schema's, and are left out", set(frame.columns) - {one.name for one in self.table}),
        ):
            if found:
                logger.warning("columns %s %s", ", ".join(map(repr, sorted(found, key=str)[:5])), words)
        rows = np.stack([self._numbers(frame, one) for one in self.table if one.column is not None], 1)
        if empty := int(np.isnan(rows).all(1).sum()):
            logger.warning(
                "%d rows are missing entirely: they count nowhere, and the model alone tells their cells", empty
            )
        return torch.from_numpy(rows)

    def _numbers(self, frame: Any, one: TableColumn) -> np.ndarray:
        if one.name not in frame.columns:
            return np.full(len(frame), np.nan)
        numbers, strange = one.numbers(frame[one.name])
        if strange:
            logger.warning("column %r has classes that the schema does not know, which count as missing: %s", one.name,
                           ", ".join(map(repr, strange[:5])))  # fmt: skip
        return numbers

    def decode(self, rows: Any, *, like: Any = None, form: Any = None, nearest: bool = False) -> Any:
        """A frame of rows as `encode` gives them.

        Args:
            rows: (rows, columns).
            like: a frame of the same rows, whose index, order and other columns are kept, and whose library is taken.
            form: a frame, of whose library (pandas, polars, pyarrow) the new one is to be; left out, that of `like`.
            nearest: take the nearest class where a number is between two, as the mean of a binary column is.
        """
        import pandas as pd

        form, like = like if form is None else form, None if like is None else as_frame(like, names=False)

        numbers = np.asarray(torch.as_tensor(rows).detach().cpu(), dtype=float)
        known = [one for one in self.table if one.column is not None]
        if numbers.ndim != 2 or numbers.shape[1] != len(known):
            raise DataError(f"rows have the shape {numbers.shape}; give (rows, {len(known)}), one draw at a time.")
        if like is not None and len(like) != len(numbers):
            raise DataError(f"there are {len(numbers)} rows, and the frame that they are to be like has {len(like)}.")
        if nearest:
            classes = [one.form == "classes" for one in known]
            numbers = np.where(classes, np.rint(numbers), numbers)
        places = {one.name: place for place, one in enumerate(known)}
        found = {} if like is None else dict(as_frame(like).reset_index(drop=True).items())
        for one in self.table:
            if one.name in places:
                found[one.name] = _kept(found.get(one.name), one, numbers[:, places[one.name]])
            elif one.form == "constant" and one.name not in found:
                found[one.name] = pd.Series([one.levels[0] if one.levels else None] * len(numbers))
        frame = pd.DataFrame(found)
        if like is not None:
            frame = frame.set_axis(like.index)
        if form is None or isinstance(form, pd.DataFrame):  # those of other libraries have texts
            frame = frame.set_axis(self._names(frame.columns, () if like is None else like.columns), axis=1)
        return in_form_of(frame, form)

    def _names(self, texts: Any, given: Any) -> Any:
        """What the columns are called: as in the frame that was given, the others as in that of the schema."""
        import pandas as pd

        labels = {one.name: one.name if one.label is None else one.label for one in self.table}
        if len(given):
            labels = {} if all(isinstance(name, str) for name in given) else labels
            new = [labels.get(name, name) for name in texts[len(given) :]]
            return given.append(pd.Index(new)) if new else given
        return pd.Index([labels[name] for name in texts])

    def toml(self) -> str:
        """All that it says, as TOML."""
        return schema_toml(self.table)

    def save(self, path: Any) -> None:
        """Write it as TOML; `read_schema` reads it again, edited or not."""
        with whole_file(path) as stream:
            stream.write(self.toml().encode())

    def __str__(self) -> str:
        return "\n".join(_lines(self.table))


def schema(frame: Any, *, kinds: Mapping[str, str] | None = None) -> Schema:
    """Guess what the columns of a frame are.

    Numbers above 0 whose logarithms are less skewed, or that are not far from it, are positive (or zero); whole
    numbers from 0 up are counts where there are more than 20 different ones (or hardly one twice), and codes of classes
    otherwise; texts and booleans are classes; texts such as 30-39, <5 or 100+, and pandas' intervals, are intervals in
    which a number lies; a column that is the same everywhere, or texts that are all different, are left out.
    `print(schema)` shows it, with what is worth knowing; `kinds` corrects it, and so does an edited file
    (`read_schema`).

    Args:
        frame: of pandas, or of any library that exchanges tables (Arrow's stream or the dataframe interchange), such as
            polars and pyarrow.
        kinds: of columns by name: "real", "heavy" (outliers), "peaked" (several peaks), "positive",
            "positive_or_zero", "count", "inflated_count", "proportion", "binary", "categorical", "ordinal", "interval"
            (a number known to lie in one), "positive_interval" (the same above 0), or "left out".

    Returns:
        A `Schema`.

    Raises:
        DataError: the frame has no rows or columns, or a name twice, or a column of objects of several types.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> frame = pd.DataFrame({"children": [0, 2, 1, 0], "income": [1.5e3, 5e4, None, 2020.5]})
        >>> print(pv.tables.schema(frame, kinds={"children": "count"}))
        children  count     whole numbers from 0 up: NegativeBinomial
        income    positive  numbers above 0: LogNormal
    """
    if kinds is not None and not isinstance(kinds, Mapping):
        raise ArgumentError(f"kinds is a {type(kinds).__name__}; give a dictionary, column name to kind.")
    labels = [column_label(name) for name in as_frame(frame, names=False).columns]
    frame, kinds = as_frame(frame), {column_text(name): kind for name, kind in (kinds or {}).items()}
    if not len(frame) or not len(frame.columns):
        raise DataError(
            f"the frame has {len(frame)} rows and {len(frame.columns)} columns; there is nothing to learn from."
        )
    if unknown := [name for name in kinds if name not in frame.columns]:
        raise ArgumentError(f"kinds has {unknown[0]!r}; the frame has {', '.join(map(repr, frame.columns[:8]))}.")
    for name, kind in kinds.items():
        if kind not in (*KINDS, "left out"):
            raise ArgumentError(f"kinds: {name!r} is {kind!r}; give {', '.join(map(repr, KINDS))} or 'left out'.")
    found = _of_columns(
        guessed_column(name, frame[name], kinds.get(name))._replace(label=label)
        for name, label in zip(frame.columns, labels, strict=True)
    )
    return Schema(said_twice(found.table, frame))


def schema_by_column(names: Sequence[str], read: Callable[[str], Any]) -> Schema:
    """The same of a table that is never whole in memory, whose columns are not compared with each other.

    Args:
        names: of its columns.
        read: gives a frame of the column of a name.
    """
    return _of_columns(guessed_column(name, as_frame(read(name))[name], None) for name in names)


def _of_columns(columns: Iterable[TableColumn]) -> Schema:
    table = tuple(columns)
    if not any(one.column for one in table):
        raise DataError("no column is left: all are constant, identifiers, or left out.")
    return Schema(table)


def _kept(before: Any, one: TableColumn, numbers: np.ndarray) -> Any:
    """The cells that are as they were, as they were written; the others decoded, of the same type."""
    import pandas as pd

    if before is None or before.isna().all():  # of which the type says nothing
        return one.values(numbers)
    known = one.numbers(before)[0]
    # A class that the schema does not know was not seen by the model, and is there all the same.
    same = (known == numbers) | (np.isnan(known) & (np.isnan(numbers) | before.notna().to_numpy()))
    if same.all():
        return before
    decoded = one.values(numbers[~same]).set_axis(before.index[~same])  # whole where the schema's type is
    if one.form == "number" and pd.api.types.is_numeric_dtype(before):
        decoded = one.of_type(decoded, before.dtype)
    try:
        filled, decoded = _able_to_hold(before, decoded)
        filled[~same] = decoded
        filled = filled.astype(before.dtype) if isinstance(before.dtype, pd.SparseDtype) else filled
    except (ValueError, TypeError):  # a type that cannot hold them
        decoded = decoded.astype(object).reindex(before.index)
        return before.astype(object).where(same, decoded).infer_objects()
    return filled


def _able_to_hold(before: Any, decoded: Any) -> tuple[Any, Any]:
    """A copy of a column that can hold what was decoded, and that in its type: its classes, its timezone.

    Raises:
        ValueError, TypeError: there is no way to.
    """
    import pandas as pd

    if isinstance(before.dtype, pd.CategoricalDtype):
        new = [level for level in decoded.dropna().unique() if level not in before.cat.categories]
        before = before.cat.add_categories(new)
    if isinstance(before.dtype, pd.SparseDtype):
        return before.sparse.to_dense(), decoded.astype(before.dtype.subtype)  # cells of a sparse one cannot be set
    if isinstance(before.dtype, pd.DatetimeTZDtype):
        # Numbers of days are those of the clock on the wall, of whichever zone the frame has it.
        naive = decoded if decoded.dt.tz is None else decoded.dt.tz_localize(None)
        decoded = in_timezone(naive, before.dt.tz)
    changed = decoded.astype(before.dtype)
    if pd.api.types.is_integer_dtype(before.dtype) and (changed != decoded).any():
        raise ValueError(f"{before.dtype} does not hold all classes")  # of numbers it would wrap them around
    return before.copy(), changed


def _lines(table: Sequence[TableColumn]) -> Iterator[str]:
    names = max(len(one.name) for one in table)
    shown = [one.column.kind if one.column else one.form for one in table]
    kinds = max(map(len, shown))
    for one, kind in zip(table, shown, strict=True):
        words = [KINDS[kind].words] if one.column else []
        if one.form in DATES:
            words = ["a date, in days"]
        if one.column and one.column.classes:
            words.append(f"{one.column.classes} classes")
        yield f"{one.name:<{names}}  {kind:<{kinds}}  {'; '.join([*words, *([one.note] if one.note else [])])}".rstrip()
