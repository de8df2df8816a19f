"""The data of a run, in memory or on disk: by what they are known again, and how they are split."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pyrovae.cli.table_config import AnyConfig, TableConfig, data_of, digest_of
from pyrovae.data.blocks.big_table import BigTable
from pyrovae.data.origin import Data, DataSource, split


class RunData(NamedTuple):
    """Data before they are split; `split(fraction, seed)` gives training rows, and those held out."""

    digest: str
    names: tuple[str, ...]
    rows: int
    split: Callable[[float, int], tuple[Data, Data | None]]

    @classmethod
    def in_memory(cls, data: Data, model_config: AnyConfig | None) -> RunData:
        """Data that were read whole."""
        return cls(digest_of(data, model_config), data.names, len(data.values), partial(split, data))

    @classmethod
    def on_disk(cls, table: BigTable, model_config: TableConfig | None) -> RunData:
        """A table that stays where it is; its rows are made by the schema, or a matrix for a pair of the user's own."""
        schema = None if model_config is None else model_config.read()
        names = table.columns if schema is None else tuple(column.name for column in schema.columns)
        return cls(table.digest, names, table.rows, partial(table.split, schema))


def run_data(source: DataSource, model_config: AnyConfig | None) -> RunData:
    """The data of a run that was made before."""
    table = BigTable.of(source) if model_config is None or isinstance(model_config, TableConfig) else None
    if table is not None and (model_config is None or isinstance(model_config, TableConfig)):
        return RunData.on_disk(table, model_config)
    return RunData.in_memory(data_of(source, model_config), model_config)
