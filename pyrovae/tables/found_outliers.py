"""What was found strange in a table, and the table without it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.data.row_words import LINE
from pyrovae.models.conditionals.columns import kind_of
from pyrovae.pairs.numbers import check_share
from pyrovae.pairs.with_schema import RowSchema
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.column_label import column_text

_SHOWN = 10


class FoundOutliers(NamedTuple):
    """How probable it is of each cell and each row that it is an outlier.

    Attributes:
        cells: a frame of probabilities, NaN where a cell is missing.
        rows: a series of them: that the cells of a row do not belong together, or one of them to its column.
        expected: of each suspect cell what the rest of its row makes likely: row, column, the value, the ends of a
            90 % interval ("low", "high"; of classes the most probable one, twice) and the probability.
        frame: the frame, in pandas.

    Examples:
        >>> import torch, pyrovae as pv
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"a": [1.0, 2.0, 90.0]})
        >>> cells = pd.DataFrame({"a": [0.0, 0.0, 0.99]})
        >>> found = pv.tables.FoundOutliers(cells, pd.Series([0.0, 0.0, 0.9]), pd.DataFrame(), frame)
        >>> found.cleaned()["a"].isna().tolist()
        [False, False, True]
    """

    cells: Any
    rows: Any
    expected: Any
    frame: Any

    def cleaned(self, above: float = 0.9) -> Any:
        """The frame with holes in the place of cells that are outliers, and without rows of which no cell is to blame.

        Args:
            above: the probability from which on something is one.
        """
        bad = self._cells(above)
        found = self.frame.copy()
        for name in self.cells.columns[bad.any()]:
            found[name] = found[name].where(~bad[name].to_numpy())
        return found[~((self.rows > above) & ~bad.any(axis=1)).to_numpy()]

    def dropped(self, above: float = 0.9) -> Any:
        """The frame without rows that are outliers, as a whole or in one of their cells.

        Args:
            above: the probability from which on something is one.
        """
        return self.frame[~(self._cells(above).any(axis=1) | (self.rows > above)).to_numpy()]

    def _cells(self, above: float) -> Any:
        return self.cells > check_share("above", above)

    def __str__(self) -> str:
        bad = (self.rows > 0.5) & (self.cells > 0.5).sum(axis=1).eq(0)
        row = LINE if self.frame.index.name == LINE else "row"
        lines = [
            f"{row} {_cell(one)}"
            for one in self.expected.sort_values("probability", ascending=False).to_dict("records")
        ]
        lines += [
            f"{row} {place!r}: its cells do not belong together (probability {probability:.2g})"
            for place, probability in self.rows[bad].sort_values(ascending=False).items()
        ]
        more = f"\nand {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        return "\n".join(lines[:_SHOWN]) + more if lines else "no cell and no row is more probably an outlier than not."


def found_outliers(
    frame: Any, schema: RowSchema, cells: torch.Tensor, rows: torch.Tensor, likely: torch.Tensor | None
) -> FoundOutliers:
    """What was found, in the words of the frame.

    Args:
        frame: of pandas.
        schema: what its columns are.
        cells: the probabilities, (rows, columns).
        rows: those of rows, (rows,).
        likely: draws of what suspect cells should be, (draws, suspect rows, columns).
    """
    import pandas as pd

    own = {column_text(name): name for name in frame.columns}
    texts = [column.name for column in schema.columns]
    names = [own.get(name, name) for name in texts]
    probabilities = pd.DataFrame(cells.numpy(), index=frame.index, columns=names)
    suspect = (cells > 0.5).numpy()
    expected = pd.DataFrame(columns=["row", "column", "value", "low", "high", "probability"])
    if likely is not None:
        where = np.flatnonzero(suspect.any(1))
        ends = [as_frame(schema.decode(_end(likely, schema, share), nearest=True)) for share in (0.05, 0.95)]
        expected = pd.DataFrame(
            {
                "row": frame.index[row], "column": names[place], "value": frame.iloc[row][names[place]],
                "low": ends[0][texts[place]].iloc[number], "high": ends[1][texts[place]].iloc[number],
                "probability": float(cells[row, place]),
            }
            for number, row in enumerate(where) for place in np.flatnonzero(suspect[row])
        )  # fmt: skip
    return FoundOutliers(probabilities, pd.Series(rows.numpy(), index=frame.index), expected, frame)


def _end(likely: torch.Tensor, schema: RowSchema, share: float) -> torch.Tensor:
    """One end of the central intervals; of classes without an order the most frequent one."""
    found = torch.from_numpy(np.quantile(likely.double().numpy(), share, axis=0, method="nearest"))
    for place, column in enumerate(schema.columns):
        if not kind_of(column).ordered:
            found[:, place] = likely[..., place].double().mode(0).values
    return found


def _cell(one: dict[str, Any]) -> str:
    low, high = _short(one["low"]), _short(one["high"])
    likely = low if low == high else f"{low} to {high}"
    return (
        f"{one['row']!r}, {one['column']!r}: {_short(one['value'])}, where {likely} is expected "
        f"(probability {one['probability']:.3g})"
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
