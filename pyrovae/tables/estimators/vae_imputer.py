"""Holes of a table, filled."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pyrovae.data.rows_of_frames import is_frame
from pyrovae.pairs.numbers import check_count
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.estimators.table_estimator import TableEstimator
from pyrovae.tables.likely_cells import likely_cells

logger = logging.getLogger("pyrovae")


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, TableEstimator):
    r"""Holes filled from their distribution given what is there in the row, \( x_h \sim p(x_h \mid x_o) \).

    One value for each: of numbers and proportions the mean of the draws, of classes the most frequent one, of all
    others (heavy-tailed, positive, counts, ordered classes) the median. With `sample_posterior` a draw, another one at
    each call; `imputations` gives several, for `tables.pooled`. A column that was the same everywhere is filled with
    that; one of which nothing was seen, or that the schema leaves out, stays as it is, which is said in the log.

    Args:
        pair: a function of the schema that returns a pair of its rows; left out, `recipes.table_vae`.
        latent: dims of z, where `pair` is left out.
        kinds: of columns by name (of an array by number), or one for all; left out, guessed: see `tables.schema`.
        epochs: passes over the rows; left out, 100, within 300 to 3,000 steps.
        batch_size: rows in a batch.
        learning_rate: of Adam.
        draws: of each hole.
        sample_posterior: fill with a draw.
        random_state: a seed, a `RandomState`, or None for numpy's global generator, as everywhere in scikit-learn.

    Examples:
        >>> import numpy as np, pyrovae as pv
        >>> from sklearn.datasets import load_iris
        >>> x = load_iris().data
        >>> x[::7, 1] = np.nan
        >>> model = pv.estimators.VAEImputer(latent=2, epochs=5, random_state=0)
        >>> int(np.isnan(model.fit_transform(x)).sum()), len(model.imputations(x, draws=3))
        (0, 3)
    """

    def __init__(
        self,
        *,
        pair: Any = None,
        latent: int = 8,
        kinds: Any = None,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        draws: int = 100,
        sample_posterior: bool = False,
        random_state: Any = None,
    ):
        super().__init__(
            pair=pair, latent=latent, kinds=kinds, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
            draws=draws, random_state=random_state,
        )  # fmt: skip
        self.sample_posterior = sample_posterior

    def transform(self, X: Any) -> Any:
        """The table without holes: a frame of a frame, an array of an array."""
        check_is_fitted(self)
        if self.sample_posterior:
            return self.imputations(X, draws=1, random_state=self.random_state_)[0]
        frame, draws = self._drawn(X, check_count("draws", self.draws), self._seed)
        same = (draws == draws[0]).all(0)  # what is there; a mean of the same numbers is off by its last bits
        return self._as_given(X, frame, torch.where(same, draws[0], likely_cells(draws, self.schema_.columns)))

    def imputations(self, X: Any, draws: int = 20, random_state: Any = None) -> list[Any]:
        """Several complete tables, each with other draws.

        Args:
            X: a table with holes.
            draws: how many.
            random_state: of the draws.
        """
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        frame, values = self._drawn(X, check_count("draws", draws), seed)
        return [self._as_given(X, frame, one) for one in values]

    def _fitted(self, X: Any, sample_weight: Any) -> tuple[torch.Tensor, np.ndarray]:
        found = super()._fitted(X, sample_weight)
        self.random_state_ = np.random.RandomState(self._seed)
        return found

    def _drawn(self, X: Any, draws: int, seed: int) -> tuple[Any, torch.Tensor]:
        """The table as a frame, and its rows without holes, (draws, rows, columns)."""
        check_is_fitted(self)
        frame = self._frame(X)
        x = self.schema_.encode(frame)
        holed, whole = x.isnan().any(1), x.expand(draws, *x.shape).clone()
        if holed.any():
            whole[:, holed] = self._completed(x[holed], draws, seed)
        return frame, whole

    def _as_given(self, X: Any, frame: Any, rows: torch.Tensor) -> Any:
        """Rows without holes in the form in which the table was given."""
        known = {one.name: one.levels[0] for one in self.schema_.table if one.form == "constant" and one.levels}
        frame = frame.fillna(known)
        if left := [name for name in frame.columns if name not in self._names and frame[name].isna().any()]:
            logger.warning("the schema leaves out columns %s, whose holes stay", ", ".join(map(repr, left[:5])))
        if not is_frame(X):
            return self.schema_.decode(rows, like=frame).to_numpy(dtype=float)
        named = dict(zip(frame.columns, as_frame(X, names=False).columns, strict=True))
        return self.schema_.decode(rows, like=frame.rename(columns=named), form=X)

    @property
    def _names(self) -> set[str]:
        return {one.name for one in self.schema_.columns}
