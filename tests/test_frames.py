"""Frames in and out: every function takes them in the place of the rows that a pair's schema makes of them."""

from __future__ import annotations

import json
import logging
import tempfile

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from test_schemas import a_frame, with_holes
from torch import nn

import pyrovae as pv
from pyrovae.tables.likely_cells import likely_cells

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

FRAME = with_holes(a_frame(24))[["height", "job", "share", "id", "country"]]
SCHEMA = pv.tables.schema(FRAME)
ROWS = SCHEMA.encode(FRAME)


def table_vae():
    torch.manual_seed(0)
    return pv.recipes.table_vae(SCHEMA, latent=2, hidden=(8,))


def wide_table_vae():
    """The same with a guide of scales near 1, as that of a row without cells is after training."""
    pair = table_vae()
    *_, last = (module for module in pair.pair.pair.posterior.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        last.bias[2:] = 0.0
    return pair


def own():
    """A pair of plain functions, in single precision, with a label of each row beside the table."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(3, 4), nn.Linear(2, 3)

    def model(x, y):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("row", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)
            pyro.sample("label", dist.Normal(z[..., 0], 1.0), obs=y)

    def guide(x, y):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


NUMBERS = pd.DataFrame(np.random.default_rng(1).normal(size=(16, 3)), columns=list("abc"))
NUMBERS = NUMBERS.set_index(pd.Index([f"r{number}" for number in range(16)]))
LABEL = torch.randn(16, generator=torch.Generator().manual_seed(2))


def carrying():
    return pv.tables.with_schema(own(), pv.tables.schema(NUMBERS))


def explored(pair, x):
    """What the page's decoder comes to at a place that the codes tell."""
    with tempfile.TemporaryDirectory() as folder:
        page = pv.explore(pair, x, path=f"{folder}/page.html").read_text()
    found = json.loads(page.split('id="model">')[1].split("</script>")[0])
    return torch.tensor([place for check in found["checks"] for place in check["at"]])


def encoded(found):
    """The rows of a frame, or of what stands in its place."""
    return found["x"] if isinstance(found, dict) else SCHEMA.encode(found)


QUIET = {"progress": False, "seed": 0}
ASKED = {
    "ais": lambda pair, x: pv.ais(pair, x, chains=2, steps=2),
    "active_units": lambda pair, x: pv.rate_distortion(pair, x),
    "calibration": lambda pair, x: pv.calibration(pair, x, draws=9),
    "check_pair": lambda pair, x: pv.check_pair(pair, x),
    "counterfactual": lambda pair, x: pv.counterfactual(pair, x, calibration=x, alpha=0.2, steps=2, draws=2).p_value,
    "describe": lambda pair, x: torch.tensor([len(pv.describe(pair, x).sites)]),
    "disentanglement": lambda pair, x: pv.disentanglement(pair, x, factors=torch.arange(24) % 2).information,
    "reweighted": lambda pair, x: pv.reweighted(pair, x, draws=1_000).factor(torch.zeros(3, 2)),
    "discriminator": lambda pair, x: pv.discriminator(pair, x, site="x", classifier=LogisticRegression()).score,
    "elbo": lambda pair, x: pv.elbo(pair, x),
    "encode": lambda pair, x: pv.encode(pair, x),
    "explain": lambda pair, x: pv.explain(pair, x, of="elbo", draws=2, repeats=2).contribution,
    "explore": lambda pair, x: explored(pair, x),
    "fit": lambda pair, x: pv.fit(pair, x, validation=x, epochs=1, **QUIET).history[-1][:4],
    "steps": lambda pair, x: [step.loss for step in pv.steps(pair, x, epochs=1, seed=0)],
    "generate_with_uncertainty": lambda pair, x: pv.generate_with_uncertainty(pair, x, draws=3, seed=0),
    "interpolate": lambda pair, x: encoded(pv.interpolate(pair, x[:2], points=2)),
    "inference_gap": lambda pair, x: pv.inference_gap(pair, x, draws=4, steps=2, seed=0),
    "linear_probe": lambda pair, x: pv.linear_probe(pair, x, labels=torch.arange(24) % 2, folds=2),
    "log_evidence": lambda pair, x: pv.log_evidence(pair, x, draws=8),
    "log_likelihood": lambda pair, x: pv.log_likelihood(pair, x, draws=3),
    "loo_pit": lambda pair, x: pv.loo_pit(pair, x, draws=9)["x"].pit.values,
    "mutual_information": lambda pair, x: pv.mutual_information(pair, x, queries=3),
    "novelty": lambda pair, x: pv.novelty(pair, x, calibration=x, scores=("evidence",), draws=3),
    "posterior": lambda pair, x: pv.posterior(pair, x, draws=3),
    "posterior_predictive": lambda pair, x: pv.posterior_predictive(pair, x, draws=3),
    "prior_predictive": lambda pair, x: pv.prior_predictive(pair, x, draws=3, seed=0),
    "psis": lambda pair, x: pv.psis(pair, x, draws=40),
    "rate_distortion": lambda pair, x: pv.rate_distortion(pair, x),
    "to_arviz": lambda pair, x: pv.to_arviz(pair, x, draws=4)["observed_data"]["x"].values,
    "traverse": lambda pair, x: pv.traverse(pair, x, dims=[0], values=[0.5]),
    "uncertainty": lambda pair, x: pv.uncertainty(pair, x, draws=4),
    "variations": lambda pair, x: pv.variations(pair, x),
    "choose_latent": lambda pair, x: pv.choose_latent(lambda _: table_vae(), x, [1], folds=2, epochs=1, draws=2).trials,
    "fit_best": lambda pair, x: pv.fit_best(table_vae, x, restarts=1, epochs=1, progress=False).history[-1][:4],
    "over_seeds": lambda pair, x: pv.over_seeds(table_vae, x, held_out=x, seeds=1, epochs=1).evidence,
    "curve": lambda pair, x: pv.rate_distortion_curve(table_vae, x, [1.0], epochs=1).points,
    "bayesian_weights": lambda pair, x: pv.elbo(pv.epistemic.bayesian_weights(pair, x), x),
    "ensemble": lambda pair, x: pv.elbo(pv.epistemic.ensemble(table_vae, x, members=2, epochs=1, **QUIET), x),
    "swag": lambda pair, x: pv.elbo(pv.epistemic.swag(pair, x, epochs=3, every=1, seed=0), x),
}


# Where each of the quick ones takes its data stands another seam; these have theirs in common with one of them.
SLOW = [
    "ais",
    "bayesian_weights",
    "swag",
    "ensemble",
    "fit_best",
    "over_seeds",
    "curve",
    "inference_gap",
    "linear_probe",
    "calibration",
    "loo_pit",
    "mutual_information",
    "variations",
    "psis",
    "log_likelihood",
    "posterior",
    "uncertainty",
]


def flat(found):
    """All numbers in a result."""
    if found is None or isinstance(found, str):
        return []
    if isinstance(found, dict):
        return [part for one in found.values() for part in flat(one)]
    if isinstance(found, tuple | list):
        return [part for one in found for part in flat(one)]
    return [torch.as_tensor(found, dtype=torch.float64).nan_to_num(-1.0)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in ASKED])
def test_every_function_takes_the_frame(name):
    shuffled = FRAME[FRAME.columns[::-1]]  # by name, whatever their order
    pyro.clear_param_store()
    of_rows = flat(ASKED[name](table_vae(), ROWS))
    pyro.clear_param_store()
    of_frame = flat(ASKED[name](table_vae(), shuffled))
    assert len(of_rows) == len(of_frame)
    assert all(torch.equal(one, other) for one, other in zip(of_rows, of_frame, strict=True))
    assert name == "check_pair" or sum(one.numel() for one in of_rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in ASKED])
def test_every_function_takes_arrays_of_any_strides_and_byte_order(name):
    pyro.clear_param_store()
    of_rows = flat(ASKED[name](table_vae(), ROWS))
    array = ROWS.numpy()
    backwards = array[::-1].astype(array.dtype.newbyteorder(">"))[::-1]  # a view with negative strides
    assert backwards.strides[0] < 0
    pyro.clear_param_store()
    of_array = flat(ASKED[name](table_vae(), backwards))
    assert len(of_rows) == len(of_array)
    assert all(torch.equal(one, other) for one, other in zip(of_rows, of_array, strict=True))


@pytest.mark.slow
def test_a_frame_stands_beside_other_data_and_by_name():
    """Of any pair that is given a schema, in the type that the pair computes in."""
    pair, rows = carrying(), torch.tensor(NUMBERS.to_numpy())
    expected = pv.log_evidence(pair, rows, LABEL, draws=8).value
    assert torch.equal(pv.log_evidence(pair, NUMBERS, LABEL, draws=8).value, expected)
    assert torch.equal(pv.log_evidence(pair, x=NUMBERS[["c", "a", "b"]], y=LABEL, draws=8).value, expected)
    assert torch.equal(pv.log_evidence(pair, {"x": NUMBERS, "y": LABEL}, draws=8).value, expected)
    assert torch.equal(pv.log_evidence(pair, pa.Table.from_pandas(NUMBERS), LABEL, draws=8).value, expected)
    run = pv.fit(pair, (NUMBERS, LABEL), epochs=1, validation=(NUMBERS, LABEL), **QUIET)
    pyro.clear_param_store()
    again = pv.fit(carrying(), {"x": rows, "y": LABEL}, epochs=1, validation={"x": rows, "y": LABEL}, **QUIET)
    assert run.history[0].validation_elbo == again.history[0].validation_elbo


def test_a_pair_without_a_schema_refuses_a_frame_with_the_mend():
    for ask in (pv.log_evidence, pv.impute, pv.generate, pv.check_pair):
        with pytest.raises(pv.DataError, match=r"pandas DataFrame becomes its rows.*pv\.tables\.with_schema"):
            ask(own(), NUMBERS, LABEL)
    with pytest.raises(pv.DataError, match="becomes its rows"):
        pv.fit(own(), (NUMBERS, LABEL), epochs=1)
    with pytest.raises(pv.ArgumentError, match="is no schema"):
        pv.tables.with_schema(own(), NUMBERS)


# --- frames out ----------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_filled_frame_is_like_the_one_that_was_given():
    pair = table_vae()
    filled = pv.impute(pair, FRAME)
    assert filled.index.equals(FRAME.index)
    assert list(filled.columns) == list(FRAME.columns)
    assert dict(filled.dtypes) == dict(FRAME.dtypes)
    assert not filled.isna().any().any()
    seen = FRAME.notna()
    assert filled.where(seen).equals(FRAME.where(seen))
    found = pv.impute(pair, FRAME, draws=100)
    frames, holes = found.frames(), FRAME["height"].isna().to_numpy()
    assert len(frames) == 100
    assert all(one["id"].equals(FRAME["id"]) for one in frames)
    drawn = np.stack([one["height"] for one in frames])
    assert np.ptp(drawn[:, holes], axis=0).min() > 0
    assert np.ptp(drawn[:, ~holes], axis=0).max() == 0
    assert np.allclose(filled["height"][holes], drawn.mean(0)[holes])  # of numbers the mean
    jobs = np.stack([one["job"] for one in frames])
    for place in np.flatnonzero(FRAME["job"].isna()):
        levels, counts = np.unique(jobs[:, place], return_counts=True)
        assert counts[list(levels).index(filled["job"].iloc[place])] == counts.max()  # of classes the most frequent


def test_each_kind_of_column_is_filled_by_its_rule():
    draws = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 1.0], [9.0, 100.0, 2.0], [1.0, 3.0, 0.0]])[:, None, :]
    for kind, expected in {"real": 2.5, "positive": 0.0, "count": 0.0, "categorical": 0.0}.items():
        column = pv.Column("a", kind, classes=10 if kind == "categorical" else 0)
        assert float(likely_cells(draws[..., :1], [column])) == expected
    assert likely_cells(
        draws, [pv.Column("a", "real"), pv.Column("b", "count"), pv.Column("c", "ordinal", 3)]
    ).tolist() == [[2.5, 1.0, 1.0]]


def test_what_is_there_stays_to_the_last_digit_where_the_pair_computes_in_single_precision():
    frame = NUMBERS.mask(np.random.default_rng(0).random(NUMBERS.shape) < 0.2)
    found = pv.impute(carrying(), frame, LABEL, draws=30)
    assert set(found.values) == {"row", "label"}
    for one in (*found.frames(), found.filled()):
        assert one.where(frame.notna()).equals(frame)
        assert not one.isna().any().any()


def test_a_mask_is_a_frame_by_name():
    pair = table_vae()
    seen = FRAME.notna()
    seen.iloc[3, seen.columns.get_loc("height")] = False
    found = pv.impute(pair, FRAME, mask=seen[seen.columns[::-1]], draws=20)
    place = [one.name for one in SCHEMA.columns].index("height")
    assert found.missing["x"][3, place]
    assert int(found.missing["x"].sum()) == int(ROWS.isnan().sum()) + 1
    by_name = pv.impute(pair, x=FRAME, mask={"x": seen}, draws=20)
    assert torch.equal(found.values["x"], by_name.values["x"])
    with pytest.raises(pv.ArgumentError, match="mask is an array, and the data are a frame"):
        pv.impute(pair, FRAME, mask=seen.to_numpy())
    with pytest.raises(pv.ArgumentError, match="column 'height' holds something else"):
        pv.impute(pair, FRAME, mask=FRAME)


def test_generated_and_reconstructed_rows_are_frames():
    pair = table_vae()
    made = pv.generate(pair, 5, seed=0)
    assert list(made.columns) == ["height", "job", "share", "country"]
    assert made["country"].tolist() == ["CH"] * 5
    assert set(made["job"]) <= set(FRAME["job"])
    assert [len(one) for one in pv.generate(pair, 5, draws=2, seed=0)] == [5, 5]
    again = pv.reconstruct(pair, FRAME)
    assert again.index.equals(FRAME.index)
    assert dict(again.dtypes) == dict(FRAME.dtypes)
    assert pv.reconstruct(pair, ROWS)["x"].shape == ROWS.shape
    both = pv.generate(carrying(), NUMBERS, LABEL, seed=0)
    assert both["row"].shape == (16, 3)
    assert both["label"].shape == (16,)


def types(frame):
    return (frame.columns, frame.dtypes) if hasattr(frame, "dtypes") else (frame.column_names, frame.schema.types)


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_other_libraries_get_their_own_frames_back(library):
    module = pytest.importorskip(library)
    of = pa.Table.from_pandas if library == "pyarrow" else module.from_pandas
    whole = with_holes(a_frame(24)).reset_index(drop=True)
    frame = of(whole.astype({"codes": "Int64"}))
    schema = pv.tables.schema(frame, kinds={"visits": "count", "codes": "count"})
    pair = pv.recipes.table_vae(schema, latent=2, hidden=(8,))
    for found in (pv.impute(pair, frame), pv.impute(pair, frame, draws=5).frames()[0], pv.reconstruct(pair, frame)):
        assert type(found) is type(frame)
        assert list(zip(*types(found), strict=True)) == list(zip(*types(frame), strict=True))
        assert len(found) == 24
    assert type(pv.generate(pair, frame, seed=0)) is type(frame)


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_whole_numbers_of_other_libraries_keep_type_and_digits(library):
    """Numbers with holes came as doubles, and what their type cannot hold went back as holes."""
    module = pytest.importorskip(library)
    of = pa.Table.from_pandas if library == "pyarrow" else module.from_pandas
    large = [2**53 + 1, 2**53 + 3, None, 2**53 + 7] * 6
    small = pd.Series([250, 3, None, 200, 255, 0] * 4)
    frame = of(pd.DataFrame({"large": pd.array(large, "Int64"), "small": small.astype("UInt8"), "x": range(0, 48, 2)}))
    schema = pv.tables.schema(frame, kinds=dict.fromkeys(["large", "small", "x"], "real"))
    pair = pv.recipes.table_vae(schema, latent=1, hidden=(4,))
    for found in pv.impute(pair, frame, draws=20, candidates=40).frames():
        assert list(zip(*types(found), strict=True)) == list(zip(*types(frame), strict=True))
        back = found.to_pandas()
        assert not back.isna().any().any()
        assert [int(one) for one in found["large"].to_pylist()][1::4] == large[1::4] if library == "pyarrow" else True
    doubles = pv.tables.schema(pd.DataFrame({"small": small * 10.5, "x": range(0, 48, 2)}), kinds={"small": "real"})
    made = pv.generate(pv.recipes.table_vae(doubles, latent=1, hidden=(4,)), frame, seed=0)
    assert dict(zip(*types(made), strict=True))["small"] == dict(zip(*types(frame), strict=True))["small"]
    assert not made.to_pandas()["small"].isna().any()


def test_what_is_no_frame_is_said(caplog):
    with caplog.at_level(logging.WARNING, "pyrovae"):
        pv.log_evidence(table_vae(), FRAME.drop(columns="job"), draws=8)
    assert "'job' are not in this frame, and count as missing" in caplog.text
    empty = FRAME.copy()
    empty.loc[empty.index[3]] = None
    with caplog.at_level(logging.WARNING, "pyrovae"):
        value, error = pv.log_evidence(wide_table_vae(), empty, draws=50)
    assert "1 rows are missing entirely" in caplog.text
    assert (float(value[3]), float(error[3])) == (0.0, 0.0)
    with pytest.raises(pv.DataError, match="none of the schema's columns"):
        pv.log_evidence(table_vae(), NUMBERS, draws=8)
    with pytest.raises(pv.DataError, match="two columns 'height'"):
        pv.fit(table_vae(), pd.concat([FRAME, FRAME[["height"]]], axis=1), epochs=1)
    with pytest.raises(pv.DataError, match="empty"):
        pv.impute(table_vae(), FRAME.iloc[:0])


def test_imputations_go_to_arviz():
    found = pv.impute(table_vae(), FRAME, draws=4)
    groups = found.to_arviz()
    drawn, seen = groups["posterior_predictive"]["x"], groups["observed_data"]["x"]
    assert drawn.sizes == {"chain": 1, "draw": 4, "row": 24, "column": 3}
    assert np.array_equal(drawn.sel(column="share").values[0], found.values["x"][..., 2].numpy())
    assert np.array_equal(np.isnan(seen.values), found.missing["x"].numpy())
    assert np.allclose(seen.sel(column="height").to_numpy(), FRAME["height"], equal_nan=True)
    assert np.array_equal(groups["constant_data"]["khat"].values, found.khat.numpy())
    other = pv.impute(carrying(), NUMBERS, LABEL, draws=4).to_arviz()
    assert other["posterior_predictive"]["label"].sizes == {"chain": 1, "draw": 4, "row": 16}


# --- files ---------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_saved_pair_keeps_its_schema(tmp_path):
    pair, path = table_vae(), tmp_path / "model.safetensors"
    pv.fit(pair, FRAME, epochs=1, checkpoint=tmp_path / "run", **QUIET)
    pv.save(pair, path)
    for written in (path, *(tmp_path / "run").glob("checkpoint-*.safetensors")):
        schema = pv.tables.read_schema(written)
        assert schema == SCHEMA
        again = pv.load(pv.recipes.table_vae(schema, latent=2, hidden=(8,)), written)
        assert torch.equal(pv.encode(again, FRAME)["z"].mean, pv.encode(pair, FRAME)["z"].mean)
    other = pv.tables.schema(FRAME.assign(height=FRAME["height"] * 2))
    with pytest.raises(pv.FileError, match="saved with another schema"):
        pv.load(pv.recipes.table_vae(other, latent=2, hidden=(8,)), path)
    bare = pv.recipes.table_vae(list(SCHEMA.columns), latent=2, hidden=(8,))
    with pytest.raises(pv.DataError, match=r"pv\.tables\.read_schema\(path\) has it"):
        pv.log_evidence(pv.load(bare, path), FRAME)
    assert pv.log_evidence(pv.tables.with_schema(bare, schema), FRAME, draws=8).value.isfinite().all()
    pv.save(bare, tmp_path / "bare.safetensors")
    with pytest.raises(pv.FileError, match="of a pair that carried no schema"):
        pv.tables.read_schema(tmp_path / "bare.safetensors")


@pytest.mark.slow
def test_a_run_is_resumed_with_its_own_schema_and_frame_alone(tmp_path):
    pv.fit(table_vae(), FRAME, epochs=1, checkpoint=tmp_path, **QUIET)
    options = {"epochs": 2, "checkpoint": tmp_path, "resume": True, **QUIET}
    noted = pv.tables.Schema(tuple(one._replace(dtype="float32") for one in SCHEMA.table))
    with pytest.raises(pv.ArgumentError, match="WithSchema around Masked was"):
        pv.fit(pv.tables.with_schema(table_vae().pair, noted), FRAME, **options)
    with pytest.raises(pv.DataError, match="argument 'x' of the data"):
        pv.fit(table_vae(), FRAME.assign(height=FRAME["height"] + 1), **options)
    assert len(pv.fit(table_vae(), FRAME[FRAME.columns[::-1]], **options).history) == 2
