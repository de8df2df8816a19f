"""The density of a table's rows, and new rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pyrovae.errors import PairError
from pyrovae.pairs.numbers import check_count
from pyrovae.prediction.generate import generate
from pyrovae.tables.estimators.table_estimator import TableEstimator


class VAEDensity(TableEstimator):
    r"""The evidence of rows, \( \log p(x) \) by importance weights, and draws of new ones.

    Args:
        pair: a function of the schema that returns a pair of its rows; left out, `recipes.table_vae`.
        latent: dims of z, where `pair` is left out.
        kinds: of columns by name (of an array by number), or one for all; left out, guessed: see `tables.schema`.
        epochs: passes over the rows; left out, 100, within 300 to 3,000 steps.
        batch_size: rows in a batch.
        learning_rate: of Adam.
        draws: of the latents for each row.
        random_state: a seed, a `RandomState`, or None for numpy's global generator, as everywhere in scikit-learn.

    Examples:
        >>> import pyrovae as pv
        >>> from sklearn.datasets import load_iris
        >>> model = pv.estimators.VAEDensity(latent=2, epochs=5, random_state=0).fit(load_iris().data)
        >>> model.score_samples(load_iris().data[:3]).shape, model.sample(4, random_state=0).shape
        ((3,), (4, 4))
    """

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row, in nats and in the units of the data; of rows with holes that of what is there."""
        return self._evidence(self._rows(X))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """New rows: a frame where the estimator was fitted on one, else an array.

        Args:
            n_samples: how many.
            random_state: of the draws.
        """
        check_is_fitted(self)
        blank = torch.zeros(check_count("n_samples", n_samples), len(self.schema_.columns), dtype=torch.float64)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        frame = generate(self.pair_, blank, seed=seed)
        if isinstance(frame, dict):
            raise PairError(
                f"the pair gives {', '.join(map(repr, frame))}, of which no one is a row of the schema alone; let it "
                "observe the columns as one site, (rows, columns), and nothing else."
            )
        if self._from_frame:
            return frame
        return frame.reindex(columns=[one.name for one in self.schema_.table]).to_numpy(dtype=float)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"  # its mixin brings a score that returns nothing
        return tags
