"""Posterior means of the latents as features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from pyrovae.errors import PairError
from pyrovae.prediction.encode import encode_rows
from pyrovae.tables.estimators.table_estimator import TableEstimator


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TableEstimator):
    r"""Rows of a table as the posterior means of their latents, \( \mathbb E_{q(z \mid x)}\, z \).

    Args:
        pair: a function of the schema that returns a pair of its rows; left out, `recipes.table_vae`.
        latent: dims of z, where `pair` is left out.
        kinds: of columns by name (of an array by number), or one for all; left out, guessed: see `tables.schema`.
        epochs: passes over the rows; left out, 100, within 300 to 3,000 steps.
        batch_size: rows in a batch.
        learning_rate: of Adam.
        draws: of the latents for each row, where figures need some.
        random_state: a seed, a `RandomState`, or None for numpy's global generator, as everywhere in scikit-learn.

    Examples:
        >>> import pyrovae as pv
        >>> from sklearn.datasets import load_iris
        >>> model = pv.estimators.VAETransformer(latent=2, epochs=5, random_state=0)
        >>> model.fit_transform(load_iris().data).shape
        (150, 2)
    """

    def transform(self, X: Any) -> np.ndarray:
        """The means, (rows, dims of all local latent sites); of a site of classes their probabilities."""
        return self._latents(self._rows(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # latents are in the pair's own type
        tags.non_deterministic = False  # means are no draws
        return tags

    def _fitted(self, X: Any, sample_weight: Any) -> tuple[torch.Tensor, np.ndarray]:
        x, weights = super()._fitted(X, sample_weight)
        self._n_features_out = self._latents(x[:1]).shape[1]
        return x, weights

    def _latents(self, x: torch.Tensor) -> np.ndarray:
        found = encode_rows(self.pair_, (x,), {}, draws=self.draws, seed=self._seed)
        means = [part.mean for part in found.values()]
        if not means:
            raise PairError("the pair has no latent site of single rows, so that there is nothing to make of them.")
        return torch.cat([mean.flatten(1) for mean in means], 1).numpy()
