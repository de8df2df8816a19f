"""What the estimators share: from what scikit-learn gives to a trained pair, and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from pyrovae.data.holed_rows import column_means
from pyrovae.data.rows_of_frames import is_frame
from pyrovae.data.sparse_rows import is_sparse
from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.models.recipes import table_vae
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.masked import masked, takes_holes
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.own_store import own_store
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.with_schema import with_schema
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.impute import impute
from pyrovae.tables.schema import Schema, schema
from pyrovae.training.fit_whole import fit_whole
from pyrovae.training.saved.weight_files import load, save

_PASSES, _FEWEST, _MOST = 100, 300, 3_000  # of training: passes over the rows, and steps within which these stay


class TableEstimator(BaseEstimator):
    """A pair of a table as an estimator.

    Args:
        pair: a function of the schema that returns a pair of its rows; left out, `recipes.table_vae`.
        latent: dims of z, where `pair` is left out.
        kinds: of columns by name (of an array by number), or one for all; left out, guessed: see `tables.schema`.
        epochs: passes over the rows; left out, 100, within 300 to 3,000 steps.
        batch_size: rows in a batch.
        learning_rate: of Adam.
        draws: of the latents for each row, where figures need some.
        random_state: a seed, a `RandomState`, or None for numpy's global generator, as everywhere in scikit-learn.

    Attributes:
        schema_: what the columns are.
        pair_: the pair, trained: any function of pyrovae takes it.
        history_: of its training, a row an epoch.
    """

    def __init__(
        self,
        *,
        pair: Callable[[Schema], HasPair] | None = None,
        latent: int = 8,
        kinds: Mapping[Any, str] | str | None = None,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        draws: int = 100,
        random_state: Any = None,
    ):
        self.pair = pair
        self.latent = latent
        self.kinds = kinds
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.draws = draws
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Describe the table and train a pair of it.

        Args:
            X: a frame, or an array of numbers, (rows, columns), NaN for what is missing.
            y: not looked at.
            sample_weight: of each row: how often an epoch meets it, in expectation.
        """
        self._fitted(X, sample_weight)
        return self

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The mean evidence of rows, log p(x) of what is there, in nats; weights count in the mean alone."""
        return float(np.average(self._evidence(self._rows(X)), weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = True  # figures are by draws, which depend on the place of a row among the others
        return tags

    def _fitted(self, X: Any, sample_weight: Any) -> tuple[torch.Tensor, np.ndarray]:
        """Fit; the rows, and their weights."""
        check_count("batch_size", self.batch_size)
        frame = self._frame(X, reset=True)
        if len(frame) < 2:
            raise DataError(f"the table has {len(frame)} rows; there is nothing to learn from.")
        weights = _check_sample_weight(sample_weight, frame, dtype=np.float64)
        if (weights < 0).any() or not weights.any():
            raise ArgumentError("sample_weight is below 0, or 0 for every row; give weights of which one is above 0.")
        own = as_frame(X, names=False) if is_frame(X) else frame  # with its names, which new rows are to have
        self.schema_ = schema(own[weights > 0], kinds=self._kinds(list(frame.columns)))
        frame, weights = frame[weights > 0], weights[weights > 0]
        x, self._from_frame = self.schema_.encode(frame), is_frame(X)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._fill = column_means(x)
        self.pair_ = self._new_pair()
        run = fit_whole(
            self.pair_, x, epochs=self.epochs, steps=None if self.epochs else _steps(len(x), self.batch_size),
            batch_size=self.batch_size, learning_rate=self.learning_rate, row_weights=weights, seed=self._seed,
            progress=False,
        )  # fmt: skip
        self.history_ = run.history
        return x, weights

    def _new_pair(self) -> HasPair:
        if isinstance(self.pair, HasPair) or not (self.pair is None or callable(self.pair)):
            raise ArgumentError("pair is to be a function of the schema that returns a new pair: every fit trains one.")
        with forked_random(self._seed):
            if self.pair is None:
                return table_vae(self.schema_, latent=self.latent)
            pair = self.pair(self.schema_)
        if not isinstance(pair, HasPair):
            raise ArgumentError(f"pair returned {type(pair).__name__}, which is no pair: it needs .model and .guide.")
        pair = pair if takes_holes(pair) else masked(pair, fill=self._fill)
        return own_store(with_schema(pair, self.schema_))  # several fits of one function have parameters of one name

    def _kinds(self, names: list[str]) -> dict[str, str]:
        if isinstance(self.kinds, str):
            return dict.fromkeys(names, self.kinds)
        by_number = not hasattr(self, "feature_names_in_")
        return {
            names[name] if by_number and isinstance(name, int) and 0 <= name < len(names) else str(name): kind
            for name, kind in (self.kinds or {}).items()
        }

    def _frame(self, X: Any, *, reset: bool = False) -> Any:
        """What is given as a frame, checked against what was fitted on."""
        import pandas as pd

        if is_frame(X):
            validate_data(self, as_frame(X, names=False), reset=reset, skip_check_array=True)
            return as_frame(X)
        if is_sparse(X):
            raise DataError(
                "X is a sparse matrix, and an estimator describes its table by the cells of whole columns: give "
                "X.toarray(), where it fits into memory. A pair of your own takes it as it is, and makes it dense "
                "batch by batch: pv.fit(pair, X), pv.log_evidence(pair, X)."
            )
        numbers: Any = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=1 + reset
        )
        names = [f"x{n}" for n in range(numbers.shape[1])] if reset else [one.name for one in self.schema_.table]
        return pd.DataFrame(numbers, columns=names)

    def _rows(self, X: Any) -> torch.Tensor:
        check_is_fitted(self)
        return self.schema_.encode(self._frame(X))

    def _evidence(self, x: torch.Tensor) -> np.ndarray:
        draws = check_count("draws", self.draws)
        return log_evidence(self.pair_, x, draws=draws, seed=self._seed).value.double().numpy()

    def _completed(self, x: torch.Tensor, draws: int, seed: int) -> torch.Tensor:
        """Draws of rows with holes, (draws, rows, columns): what is there as it is."""
        found = [
            one for one in impute(self.pair_, x, draws=draws, seed=seed).values.values() if one[0].shape == x.shape
        ]
        if len(found) != 1:
            raise PairError(
                "no one site of the pair is the rows of the schema, (rows, columns); let it observe them as one."
            )
        return torch.where(x.isnan(), found[0].to(x), x)

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        if self.pair is not None and "pair_" in state:  # made again by its function: few functions can be pickled
            with TemporaryDirectory() as folder:
                save(self.pair_, path := Path(folder, "pair.safetensors"))
                state = {**state, "pair_": path.read_bytes()}
        return state

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if isinstance(content := vars(self).get("pair_"), bytes):
            self.pair_ = self._new_pair()
            with TemporaryDirectory() as folder:
                Path(folder, "pair.safetensors").write_bytes(content)
                load(self.pair_, Path(folder, "pair.safetensors"))


def _steps(rows: int, batch_size: int) -> int:
    return min(max(_PASSES * -(-rows // batch_size), _FEWEST), _MOST)
