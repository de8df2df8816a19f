"""What is given for the rows of a frame, with labels: the same rows in their order, or a refusal."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyrovae as pv
from pyrovae.data.check_same_rows import check_same_rows

ANOTHER_ORDER = "labels of the frame's rows in another order"


@pytest.fixture(scope="module")
def known():
    """A table whose rows have names, and a pair of it that was hardly trained."""
    noise = np.random.default_rng(0)
    frame = pd.DataFrame(noise.normal(size=(40, 2)), columns=["a", "b"], index=[f"row {n}" for n in range(40)])
    frame.loc[frame.index[:5], "a"] = np.nan
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=(4,))
    pv.fit(pair, frame, steps=2, seed=0, progress=False)
    return pair, frame


def test_a_mask_in_another_order_is_refused_and_not_taken_by_place(known):
    pair, frame = known
    mask = frame.notna()
    mask.loc["row 20", "b"] = False
    with pytest.raises(pv.errors.ArgumentError, match=f"mask has the {ANOTHER_ORDER}"):
        pv.impute(pair, frame, mask=mask.iloc[::-1], seed=0)
    ordered = mask.iloc[::-1].loc[frame.index]
    filled = pv.impute(pair, frame, mask=ordered, seed=0)
    assert list(frame.index[(filled["b"] != frame["b"]).to_numpy()]) == ["row 20"]
    anew = pv.impute(pair, frame, mask=mask.reset_index(drop=True), seed=0)  # by place, where labels say nothing
    pd.testing.assert_frame_equal(anew, filled)


def test_weights_in_another_order_are_refused(known):
    pair, frame = known
    weights = pd.Series(np.arange(40.0), index=frame.index)
    with pytest.raises(pv.errors.ArgumentError, match=f"row_weights has the {ANOTHER_ORDER}"):
        pv.fit(pair, frame, steps=1, row_weights=weights.iloc[::-1], seed=0, progress=False)
    pv.fit(pair, frame, steps=1, row_weights=weights, seed=0, progress=False)
    pv.fit(pair, frame, steps=1, row_weights=weights.iloc[::-1].to_numpy(), seed=0, progress=False)


def test_known_cells_and_hidden_ones_in_another_order_are_refused(known):
    pair, frame = known
    with pytest.raises(pv.errors.ArgumentError, match=f"calibrated_on has the {ANOTHER_ORDER}"):
        pv.impute(pair, frame, draws=20, seed=0).interval(0.9, calibrated_on=frame.iloc[::-1])
    hidden = frame.notna() & (np.arange(40) > 30)[:, None]
    with pytest.raises(pv.errors.ArgumentError, match=f"hidden has the {ANOTHER_ORDER}"):
        pv.tables.imputation_scores(lambda holed: holed.fillna(0.0), frame, hidden=hidden.iloc[::-1])


def test_an_imputer_returns_the_rows_that_it_was_given(known):
    _, frame = known
    found = {
        "labels of the frame's rows": lambda holed: holed.fillna(0.0).iloc[::-1],
        "returned 5 rows for a table of 40": lambda holed: holed.fillna(0.0).iloc[:5],
        "an imputer returned NoneType; it has to return a trained pair": lambda holed: None,
    }
    for words, imputer in found.items():
        with pytest.raises((pv.errors.ArgumentError, pv.errors.DataError), match=words):
            pv.tables.imputation_scores(imputer, frame, masks=1)


def test_an_array_with_labels_beside_a_frame_is_in_its_order():
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=20)}, index=range(100, 120))
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=(4,), classes=2)
    labels = pd.Series(np.arange(20) % 2, index=frame.index)
    with pytest.raises(pv.errors.ArgumentError, match=ANOTHER_ORDER):
        pv.fit(pair, (frame, labels.iloc[::-1]), steps=1, seed=0, progress=False)
    for one in (labels, labels.iloc[::-1].to_numpy()):  # what may not be written to, and what is turned round
        pv.fit(pair, (frame, one), steps=1, seed=0, progress=False)
    with pytest.raises(pv.errors.ArgumentError, match=ANOTHER_ORDER):
        pv.log_evidence(pair, frame, labels.iloc[::-1], seed=0)


def test_labels_that_say_nothing_are_let_through():
    frame = pd.DataFrame({"a": range(3)}, index=[5, 6, 7])
    for given in (
        None,
        [1, 2, 3],
        np.arange(3),
        torch.arange(3),
        pd.Series([1, 2, 3]),
        pd.Series([1, 2], index=[7, 6]),
    ):
        check_same_rows(frame, given, "row_weights")
    check_same_rows(torch.zeros(3), pd.Series([1, 2, 3]), "row_weights")
    with pytest.raises(pv.errors.ArgumentError, match="row_weights has"):
        check_same_rows(frame, pd.Series(range(3), index=[5, 7, 6]), "row_weights")
