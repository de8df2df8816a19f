"""A table of Parquet that is too large to be read whole: its columns one by one, its rows in blocks."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.blocks.blocks_without import BlocksWithout
from pyrovae.data.blocks.on_disk import OnDisk
from pyrovae.data.blocks.stored_tables import Fragments, open_parquet
from pyrovae.data.datasets.array_files import reading
from pyrovae.data.datasets.read_frame import to_pandas
from pyrovae.data.datasets.table_files import chosen_columns
from pyrovae.data.origin import Data, DataSource
from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.with_schema import RowSchema

WHOLE = 2**28  # bytes of numbers up to which a file is read whole, which takes some four times as much

HELD_OUT = 20_000  # rows at most, which stay in memory: more would not sharpen a verdict

_MEMORY = 2**27  # bytes of rows to train on that are in memory at a time

_PIECE = 2**20


class BigTable:
    """A file or a folder of Parquet.

    Args:
        source: what the user said about it.

    Attributes:
        columns: what it is trained on.
    """

    def __init__(self, source: DataSource):
        self.source, self.path = source, Path(source.name).expanduser()
        self.dataset = open_parquet(self.path)
        known = [name for name in self.dataset.schema.names if not re.fullmatch(r"__index_level_\d+__", name)]
        wanted = list(source.columns or known)
        self.columns = tuple(known[place] for place in chosen_columns(wanted, known, self.path))
        self.columns = tuple(name for name in self.columns if source.columns or name != source.label)

    @classmethod
    def of(cls, source: DataSource) -> BigTable | None:
        """The table that is meant; None where it is none, small, flattened images, or with labels or a condition."""
        path = Path(source.name).expanduser()
        folder = not source.bundled and path.is_dir() and any(path.rglob("*.parquet"))
        if not folder and (source.bundled or path.suffix.lower() != ".parquet" or not path.is_file()):
            return None
        if source.annotations or source.shape or source.root or source.key or source.size or source.mode:
            return None
        found = cls(source)
        nameless = list(found.columns) == [str(number) for number in range(len(found.columns))]
        return None if nameless or not (folder or found.bytes > WHOLE) else found

    @cached_property
    def reader(self) -> Fragments:
        """What reads the columns as a matrix of numbers."""
        return Fragments(self.dataset, list(self.columns), label=str(self.path))

    @cached_property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(fragment.count_rows() for fragment in self.dataset.get_fragments())

    @property
    def bytes(self) -> int:
        """What its numbers take in memory."""
        return 8 * self.rows * len(self.columns)

    def __str__(self) -> str:
        return (
            f"{self.path} takes {self.bytes / 2**30:,.1f} GiB as numbers: it stays on disk and is read in blocks; "
            f"{HELD_OUT:,} rows at most are held out."
        )

    @property
    def digest(self) -> str:
        """By which the file, or the files, are known again."""
        found = hashlib.sha256()
        with reading(self.path):
            for fragment in self.dataset.get_fragments():
                with open(fragment.path, "rb") as stream:
                    while piece := stream.read(_PIECE):
                        found.update(piece)
        return f"{self.rows} rows on disk {found.hexdigest()[:32]}"

    def column(self, name: str) -> Any:
        """A frame of one column."""
        with reading(self.path):
            return to_pandas(self.dataset.to_table(columns=[name])).reset_index(drop=True)

    def split(self, schema: RowSchema | None, fraction: float, seed: int) -> tuple[Data, Data]:
        """Rows to train on, which stay on disk, and rows that are held out, which do not.

        Args:
            schema: makes rows of frames; None for a matrix of the columns.
            fraction: of the rows to hold out, of which no more than `HELD_OUT` are.
            seed: of the choice.
        """
        held = min(round(fraction * self.rows), HELD_OUT)
        if not 0 < fraction < 1 or not 0 < held < self.rows:
            raise ArgumentError(
                f"{argument('validation', fraction)}: {self.path} stays on disk, and what is said of a run is of rows "
                "that are held out, which memory holds. Give a fraction between 0 and 1 of one row at least, as 0.01."
            )
        rows = np.sort(np.random.default_rng(seed).choice(self.rows, held, replace=False))
        encode = None if schema is None else schema.encode
        reader = Fragments(self.dataset, list(self.columns), encode, label=str(self.path))
        names = self.columns if schema is None else tuple(column.name for column in schema.columns)
        training = Data(OnDisk(BlocksWithout(reader, rows), memory=_MEMORY), "table", names)  # type: ignore[arg-type] - sliced as arrays are
        return training, self._held_out(reader, schema, rows, names)

    def _held_out(self, reader: Fragments, schema: RowSchema | None, rows: np.ndarray, names: tuple[str, ...]) -> Data:
        import pyarrow

        beside = [self.source.label] if self.source.label else []
        ends = np.cumsum(reader.sizes)
        parts = []
        for number, here in enumerate(np.split(rows, np.searchsorted(rows, ends[:-1]))):
            if len(here):
                part = reader.table(number, [*self.columns, *beside])
                parts.append(part.take(pyarrow.array(here - (ends[number] - reader.sizes[number]))))
        table = pyarrow.concat_tables(parts)
        labels = np.array([str(one) for one in table.column(beside[0]).to_pylist()]) if beside else None
        table = table.select(list(self.columns))
        if schema is None:
            return Data(self.reader.arguments.leaves(table)[0].numpy(), "table", names, labels)
        frame = to_pandas(table).reset_index(drop=True)
        return Data(schema.encode(frame).numpy(), "table", names, labels, frame)
