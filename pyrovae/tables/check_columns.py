"""Whether a pair's rows are those of a table."""

from __future__ import annotations

from pyrovae.errors import ArgumentError
from pyrovae.pairs.with_schema import RowSchema


def check_columns(schema: RowSchema, where: str) -> None:
    """Refuse a schema that says of no column what kind it is, such as the vocabulary of lines of text."""
    if not all(hasattr(column, "kind") for column in schema.columns):
        raise ArgumentError(
            f"{where} is of tables, cell by cell, and the rows of this pair are none: its schema, a "
            f"{type(schema).__name__}, says of no column what kind it is. How usual a line of text is says "
            "pv.novelty(pair, lines, calibration=others), and no token of it is missing."
        )
