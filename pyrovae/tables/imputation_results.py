"""How well imputers did on hidden cells, and one beside another."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.columns import KINDS

MEASURES = ("error", "crps", "coverage", "log_density")


class ImputationScores(NamedTuple):
    """How well imputers did on hidden cells.

    Attributes:
        scores: a frame with a row for each imputer, mask and column: "imputer", "mask", "column", "kind", how many
            cells were "hidden", and the four figures of `imputation_scores`; NaN where an imputer has none.
        level: of the intervals.
        trained_before: imputers that were trained before cells were hidden, maybe on these.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> row = {"imputer": "mean", "column": "a", "kind": "real", "hidden": 9, "crps": 0.5, "coverage": None}
        >>> rows = [{**row, "mask": mask, "error": error, "log_density": None} for mask, error in ((0, 0.9), (1, 1.1))]
        >>> found = pv.tables.ImputationScores(pd.DataFrame(rows), 0.9)
        >>> float(found.overall().loc["mean", ("error of numbers", "mean")])
        1.0
    """

    scores: Any
    level: float
    trained_before: tuple[str, ...] = ()

    def by_column(self) -> Any:
        """Of each imputer and column the mean over masks of each figure, and its standard error."""
        return _over_masks(self.scores.groupby(["imputer", "column"], sort=False)[list(MEASURES)])

    def overall(self) -> Any:
        """Of each imputer the mean over masks of each figure, and its standard error.

        Errors and CRPS are means over columns, coverage and log-density over cells.
        """
        return _over_masks(self._of_masks().groupby("imputer", sort=False))

    def compared(self, first: str, second: str) -> Any:
        """By how much the first imputer's figures are above the second's, paired by mask: mean and standard error."""
        figures = self._of_masks()
        known = figures.index.get_level_values("imputer").unique()
        if unknown := [name for name in (first, second) if name not in known]:
            raise ArgumentError(f"there is no imputer {unknown[0]!r}; there are {', '.join(map(repr, known))}.")
        difference = figures.loc[first] - figures.loc[second]
        return difference.agg(["mean", "sem"]).T.rename(columns={"sem": "error"})

    def _of_masks(self) -> Any:
        """The figures of each imputer and mask."""
        import pandas as pd

        def figures(part: Any) -> Any:
            classes = part["kind"].map(lambda kind: KINDS[kind].has_classes)
            weights = part["hidden"] / part["hidden"].sum()
            pooled = {name: (part[name] * weights).sum(skipna=False) for name in ("coverage", "log_density")}
            errors = {"numbers": part["error"][~classes].mean(), "classes": part["error"][classes].mean()}
            return pd.Series(
                {f"error of {kind}": one for kind, one in errors.items()} | {"crps": part["crps"].mean()} | pooled
            )

        return (
            self.scores.astype(dict.fromkeys(MEASURES, float)).groupby(["imputer", "mask"], sort=False).apply(figures)
        )

    def __str__(self) -> str:
        overall = self.overall()
        names = list(dict.fromkeys(overall.columns.get_level_values(0)))
        lines = [f"{'':12}" + "".join(f"{name:>20}" for name in names)]
        for imputer, row in overall.iterrows():
            cells = (_with_error(*row[name]) for name in names)
            lines.append(f"{imputer!s:12}" + "".join(f"{cell:>20}" for cell in cells))
        masks = self.scores["mask"].nunique()
        lines.append(f"coverage of {self.level:.0%} intervals; mean ± standard error over {masks} masks")
        lines += [f"{name} was trained before cells were hidden, maybe on these" for name in self.trained_before]
        return "\n".join(lines)


def _with_error(mean: float, error: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.3g}" if math.isnan(error) else f"{mean:.3g} ± {error:.2g}"


def _over_masks(groups: Any) -> Any:
    """Means and standard errors, by figure."""
    return groups.agg(["mean", "sem"]).rename(columns={"sem": "error"}, level=1)
