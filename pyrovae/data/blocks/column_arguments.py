"""Which columns of a table on disk are which argument of the pair, and their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pyrovae.data.blocks.reader import Leaves
from pyrovae.errors import ArgumentError, DataError, argument

_EXACT = 2**53  # up to which floating numbers hold all whole ones

_SHOWN = 5

Wanted = Sequence[str] | str | Mapping[str, Sequence[str] | str] | None


class ColumnArguments:
    """Arguments made of columns: one matrix of columns of numbers, or the lists of one column.

    Args:
        schema: Arrow's, of the table.
        wanted: None for all columns, a name or names for one argument, or a dict of such by argument.
        label: what the table is called in an error.

    Raises:
        ArgumentError: no such column.
        DataError: columns that are no numbers, or lists beside other columns.
    """

    def __init__(self, schema: Any, wanted: Wanted, label: str):
        self.label = label
        names = schema.names
        named = wanted if isinstance(wanted, Mapping) else {0: names if wanted is None else wanted}
        self.columns = {key: [one] if isinstance(one, str) else list(one) for key, one in named.items()}
        self._check_names(names)
        self.types = {key: _common(schema, columns) for key, columns in self.columns.items()}
        self._check_types(schema, everything=wanted is None)

    @property
    def names(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys(name for columns in self.columns.values() for name in columns))

    def leaves(self, table: Any) -> Leaves:
        """The arguments of a part of the table."""
        return {key: self._argument(table, key) for key in self.columns}

    def _argument(self, table: Any, key: Any) -> torch.Tensor:
        columns, kind = [(name, table.column(name)) for name in self.columns[key]], self.types[key]
        if _width_of(columns[0][1].type) is not None:
            return torch.from_numpy(self._lists(*columns[0]))
        numbers = np.stack([self._numbers(column, name, kind).astype(kind, copy=False) for name, column in columns])
        return torch.from_numpy(numbers).T.contiguous()  # torch turns it in tiles, three times as fast as by columns

    def _numbers(self, column: Any, name: str, kind: np.dtype) -> np.ndarray:
        if column.null_count and kind.kind != "f":
            raise DataError(
                f"{self.label}: column {name!r} holds whole numbers with holes. Give the pair a schema "
                "(pv.tables.with_schema), or store the column as floating numbers."
            )
        numbers = column.to_numpy()
        rounds = numbers.dtype.kind in "iu" and kind.kind == "f" and len(numbers)
        if rounds and max(abs(int(numbers.max())), abs(int(numbers.min()))) > _EXACT:
            raise DataError(
                f"{self.label}: column {name!r} holds whole numbers above 2**53, whose last digits a floating "
                f"number has no place for. Leave out what only names the rows ({argument('columns')})."
            )
        return numbers

    def _lists(self, name: str, column: Any) -> np.ndarray:
        """Rows of one column whose cells are lists of one length."""
        import pyarrow

        whole = column.combine_chunks()
        whole = whole.chunk(0) if isinstance(whole, pyarrow.ChunkedArray) else whole
        shape = getattr(whole.type, "shape", None)
        whole = whole.storage if isinstance(whole, pyarrow.ExtensionArray) else whole
        if whole.null_count:
            raise DataError(f"{self.label}: column {name!r} has rows without a list. Leave them out.")
        flat = whole.flatten()
        width = _width_of(whole.type) or (len(flat) // max(len(whole), 1))
        lengths = {width} if pyarrow.types.is_fixed_size_list(whole.type) else set(np.diff(whole.offsets.to_numpy()))
        if lengths - {width}:
            raise DataError(
                f"{self.label}: column {name!r} has lists of {min(lengths)} to {max(lengths)} numbers; a batch is an "
                "array of one width. Pad them, and store how long each is."
            )
        if flat.null_count and not pyarrow.types.is_floating(flat.type):
            raise DataError(f"{self.label}: column {name!r} has lists with holes in whole numbers.")
        numbers = flat.to_numpy(zero_copy_only=False)
        return np.array(numbers).reshape(len(whole), *(shape or (width,)))

    def _check_names(self, known: list[str]) -> None:
        if twice := sorted({name for name in known if known.count(name) > 1}):
            raise DataError(f"{self.label} has two columns {twice[0]!r}; rename one.")
        unknown = [name for name in self.names if name not in known]
        if unknown or not all(self.columns.values()):
            listing = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            raise ArgumentError(
                f"{self.label} has no column {', '.join(map(repr, unknown)) or 'at all'}; it has {listing}."
            )

    def _check_types(self, schema: Any, *, everything: bool) -> None:
        odd = [f"{name!r} ({schema.field(name).type})" for name in self.names if _kind(schema.field(name).type) is None]
        if odd:
            raise DataError(
                f"{self.label}: not numbers: column {', '.join(odd[:_SHOWN])}{', ...' if len(odd) > _SHOWN else ''}. "
                f"Name those to keep, pv.on_disk(..., {argument('columns')}), or give the pair a schema: "
                "pv.tables.with_schema(pair, pv.tables.schema(frame of some rows))."
            )
        for key, columns in self.columns.items():
            lists = [name for name in columns if _width_of(schema.field(name).type) is not None]
            if lists and len(columns) > 1:
                mend = (
                    f"name which is which: {argument('columns', text=repr({name: name for name in columns[:3]}))}"
                    if everything
                    else f"give it an argument of its own in {argument('columns')}"
                )
                raise DataError(
                    f"{self.label}: column {lists[0]!r} holds lists, which make no matrix with other columns "
                    f"({key if isinstance(key, str) else 'one argument'}); {mend}."
                )


def _common(schema: Any, columns: list[str]) -> np.dtype:
    """The type of a matrix of these columns, whatever a part of them holds."""
    kinds = [kind for name in columns if (kind := _kind(schema.field(name).type)) is not None]
    return np.result_type(*kinds) if kinds else np.dtype(float)


def _kind(kind: Any) -> np.dtype | None:
    """numpy's type of a column, or of the numbers in its lists; None where they are no numbers."""
    from pyarrow import types

    inner = _inner(kind)
    fine: tuple[Callable[[Any], bool], ...] = (types.is_integer, types.is_floating, types.is_boolean)
    if any(test(inner) for test in fine):
        return np.dtype(inner.to_pandas_dtype())
    return np.dtype(float) if types.is_decimal(inner) and inner is kind else None


def _inner(kind: Any) -> Any:
    import pyarrow
    from pyarrow import types

    storage = kind.storage_type if isinstance(kind, pyarrow.BaseExtensionType) else kind
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return storage.value_type if any(test(storage) for test in lists) else storage


def _width_of(kind: Any) -> int | None:
    """How many numbers a cell has: 0 where its lists say it, None where it is one."""
    import pyarrow
    from pyarrow import types

    storage = kind.storage_type if isinstance(kind, pyarrow.BaseExtensionType) else kind
    if types.is_fixed_size_list(storage):
        return storage.list_size
    return 0 if types.is_list(storage) or types.is_large_list(storage) else None
