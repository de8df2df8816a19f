"""Columns of Arrow's types: what is generated has them."""

import numpy as np
import pandas as pd
import pytest

import pyrovae as pv

pyarrow = pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    "type_of_column",
    ["dictionary", "date32[day][pyarrow]", "timestamp[us][pyarrow]", "timestamp[us, tz=Asia/Tokyo][pyarrow]"],
)
def test_what_is_drawn_has_the_type_of_its_column(type_of_column):
    noise = np.random.default_rng(0)
    if type_of_column == "dictionary":
        dtype = pd.ArrowDtype(pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))
        column = pd.Series(np.where(noise.random(40) < 0.5, "u", "v")).astype(dtype)
    else:
        dates = pd.Series(pd.to_datetime("2020-01-01") + pd.to_timedelta(noise.integers(0, 500, 40), unit="D"))
        dates = dates.dt.tz_localize("Asia/Tokyo") if "tz" in type_of_column else dates
        column = dates.astype(type_of_column)
    frame = pd.DataFrame({"a": noise.normal(size=40), "b": column})
    schema = pv.tables.schema(frame)
    rows = schema.encode(frame)
    pd.testing.assert_frame_equal(schema.decode(rows), frame)
    made = pv.generate(pv.recipes.table_vae(schema, latent=1, hidden=(4,)), 5, seed=0)
    assert made["b"].dtype == frame["b"].dtype
