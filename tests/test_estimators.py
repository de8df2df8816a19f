"""scikit-learn estimators: its own checks, exact answers of known models, frames, weights, and pipelines."""

from __future__ import annotations

import logging
import math
import pickle
import random
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from test_schemas import a_frame, with_holes

import pyrovae as pv

pd = pytest.importorskip("pandas")

ESTIMATORS = {name: getattr(pv.estimators, name) for name in pv.estimators.__all__}
QUICK = {"epochs": 1, "latent": 2, "draws": 10, "random_state": 0}
every = pytest.mark.parametrize("kind", ESTIMATORS.values(), ids=ESTIMATORS)

TRUTH = pv.truth.LinearGaussian(torch.tensor([[2.0], [1.0], [-1.0], [0.5]]), torch.tensor([0.0, 3.0, -2.0, 10.0]), 0.5)
COVARIANCE = (TRUTH.weight @ TRUTH.weight.T + 0.25 * torch.eye(4)).double()


def known(schema):
    """The model of the truth with its posterior, but for a scale that training hardly moves."""

    def guide(x, mask):
        """Of one latent: what is there of each column tells of it on its own."""
        scale = pyro.param("scale", torch.tensor(1.0))
        weight = torch.where(mask, TRUTH.weight[:, 0], 0.0)
        precision = 1 + weight.square().sum(-1) / TRUTH.noise**2
        loc = (weight * (x - TRUTH.mean)).sum(-1) / TRUTH.noise**2 / precision
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc[:, None], (scale / precision.sqrt())[:, None]).to_event(1))

    return pv.Pair(TRUTH.model, guide)


def exact(kind, **options):
    return kind(**{**QUICK, "pair": known, "learning_rate": 1e-9, "kinds": "real", **options})


def rows(count=60, seed=0):
    return TRUTH.sample(count, seed=seed).double().numpy()


def given(row):
    """Mean and covariance of what is missing of a row given what is there."""
    row, mean = torch.tensor(row), TRUTH.mean.double()
    seen = ~row.isnan()
    gain = COVARIANCE[~seen][:, seen] @ torch.linalg.inv(COVARIANCE[seen][:, seen])
    whole = COVARIANCE[~seen][:, ~seen] - gain @ COVARIANCE[seen][:, ~seen]
    return mean[~seen] + gain @ (row - mean)[seen], whole


# --- the checks of scikit-learn -------------------------------------------------------------------------
@pytest.mark.slow
@every
@pytest.mark.filterwarnings("ignore")
def test_the_interface_is_that_of_scikit_learn(kind):
    check_estimator(kind(**QUICK), legacy=False)


BY_CHANCE = {
    "check_sample_weight_equivalence_on_dense_data": "training draws rows by their weights: a row of weight 2 counts "
    "as one that is there twice in expectation, not in every bit; see test_a_row_of_weight_2_counts_as_two"
}


@pytest.mark.slow
@every
@pytest.mark.filterwarnings("ignore")
def test_all_checks_of_scikit_learn_pass(kind):
    check_estimator(kind(**QUICK), expected_failed_checks=BY_CHANCE)


# --- exact answers --------------------------------------------------------------------------------------
def test_density_is_the_exact_evidence():
    x = rows()
    model = exact(pv.estimators.VAEDensity, draws=50).fit(x)
    wanted = TRUTH.log_evidence(torch.tensor(x).float()).numpy()
    assert np.allclose(model.score_samples(x), wanted, atol=1e-3)
    assert model.score(x) == pytest.approx(wanted.mean(), abs=1e-3)
    weights = np.arange(60.0)
    assert model.score(x, sample_weight=weights) == pytest.approx(np.average(wanted, weights=weights), abs=1e-3)
    drawn = model.sample(4_000, random_state=0)
    assert np.allclose(drawn.mean(0), TRUTH.mean, atol=0.15)
    assert np.allclose(np.cov(drawn.T), COVARIANCE, atol=0.4)


@pytest.mark.slow
def test_what_is_missing_is_filled_by_its_exact_mean():
    x = rows(40)
    x[::2, 0] = x[1::3, 2] = math.nan
    model = exact(pv.estimators.VAEImputer, draws=2_000).fit(x)
    filled = model.transform(x)
    for before, after in zip(x, filled, strict=True):
        seen = ~np.isnan(before)
        assert np.array_equal(before[seen], after[seen])
        if not seen.all():
            mean, whole = given(before)
            # Of as many draws, chosen among five times as many.
            assert np.all(np.abs(after[~seen] - mean.numpy()) < 5 * whole.diagonal().sqrt().numpy() / 1_500**0.5)


def test_draws_vary_as_what_is_missing_does():
    x = np.repeat(rows(1), 300, 0)
    x[:, 0] = math.nan
    model = exact(pv.estimators.VAEImputer, sample_posterior=True).fit(rows())
    one, other = model.transform(x), model.transform(x)
    mean, whole = given(x[0])
    assert not np.array_equal(one, other)
    assert one[:, 0].std() == pytest.approx(float(whole.sqrt()), rel=0.15)
    assert one[:, 0].mean() == pytest.approx(float(mean), abs=5 * float(whole.sqrt()) / 300**0.5)
    again = clone(model).fit(rows())
    assert np.array_equal(again.transform(x), one)
    several = model.imputations(x, draws=3, random_state=1)
    assert len(several) == 3
    assert not np.array_equal(several[0], several[1])


def test_scores_of_rows_with_holes_compare_with_those_of_full_rows():
    """Evidence of what is there, less the entropy of what is not."""
    x = rows(3)
    model = exact(pv.estimators.VAEOutlierDetector, draws=50).fit(rows())
    assert np.allclose(model.score_samples(x), TRUTH.log_evidence(torch.tensor(x).float()), atol=1e-3)
    x[:, 0] = math.nan
    x = np.repeat(x, 100, 0)
    _, whole = given(x[0])
    seen = dist.MultivariateNormal(TRUTH.mean[1:].double(), COVARIANCE[1:, 1:])
    entropy = 0.5 * math.log(2 * math.pi * math.e * float(whole))
    wanted = seen.log_prob(torch.tensor(x[:, 1:])).numpy() - entropy
    # One completion is off by sqrt(1 / 2), 1,000 of them by a thirtieth of that.
    found = model.score_samples(x).reshape(3, 100).mean(1)
    assert np.allclose(found, wanted.reshape(3, 100).mean(1), atol=0.1)


def test_outliers_are_the_share_that_was_asked_for_and_what_is_far_out():
    x = rows(200)
    model = exact(pv.estimators.VAEOutlierDetector, contamination=0.05).fit(x)
    assert (model.predict(x) == -1).sum() == 10
    assert np.allclose(model.decision_function(x), model.score_samples(x) - model.offset_)
    far = TRUTH.mean.numpy() + np.array([9.0, -9.0, 9.0, 0.0])
    assert model.predict(np.stack([far, TRUTH.mean.numpy()])).tolist() == [-1, 1]
    assert model.predict([[1e200, 0, 0, 0], [0, 3, -2, 10], [0, 0, math.nan, -1e300]]).tolist() == [-1, 1, -1]
    # A row of weight 0 is not there: the share is one of the others.
    weights = (model.score_samples(x) >= model.offset_).astype(float)
    other = exact(pv.estimators.VAEOutlierDetector, contamination=0.05).fit(x, sample_weight=weights)
    assert other.offset_ > model.offset_
    assert (other.predict(x) == -1).sum() == 10 + 9


@pytest.mark.slow
def test_a_search_chooses_the_better_model():
    def worse(schema):
        pair = known(schema)
        return pv.Pair(pv.truth.LinearGaussian(TRUTH.weight, TRUTH.mean, 2.0).model, pair.guide)

    search = GridSearchCV(exact(pv.estimators.VAEDensity), {"pair": [worse, known]}, cv=2)
    assert search.fit(rows()).best_params_["pair"] is known


# --- weights --------------------------------------------------------------------------------------------
def mean_of_rows(schema):
    """A mean that is learnt, and nothing else."""

    def model(x):
        loc = pyro.param("loc", torch.zeros(len(schema.columns), dtype=torch.float64))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    return pv.Pair(model, lambda x: None)


def learnt(model):
    with model.pair_.entries():
        return float(pyro.param("loc").detach())


@pytest.mark.slow
def test_a_row_of_weight_2_counts_as_two():
    noise = np.random.default_rng(0)
    x = np.r_[noise.normal(-2, 1, 150), noise.normal(3, 1, 150)][:, None]
    weights = np.r_[np.full(150, 1.0), np.full(150, 3.0)]
    fit = partial(
        pv.estimators.VAEDensity(
            pair=mean_of_rows, epochs=60, batch_size=100, learning_rate=0.02, kinds="real", random_state=0
        ).fit
    )
    weighted = learnt(fit(x, sample_weight=weights))
    twice = learnt(fit(x.repeat(weights.astype(int), 0)))
    plain = learnt(fit(x))
    assert weighted == pytest.approx(np.average(x[:, 0], weights=weights), abs=0.2)
    assert weighted == pytest.approx(twice, abs=0.2)
    assert plain == pytest.approx(x.mean(), abs=0.1)
    assert learnt(fit(x, sample_weight=np.full(300, 7.0))) == plain
    absent = learnt(fit(x, sample_weight=np.r_[np.zeros(150), np.ones(150)]))
    assert absent == learnt(fit(x[150:]))


@pytest.mark.parametrize("weights", [-np.ones(60), np.zeros(60), np.ones(59)], ids=["negative", "none", "short"])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match=r"sample_weight|weights"):
        pv.estimators.VAEDensity(**QUICK).fit(rows(), sample_weight=weights)


# --- frames ---------------------------------------------------------------------------------------------
FRAME = with_holes(a_frame(60))


@pytest.mark.slow
def test_a_frame_is_filled_and_stays_what_it_was(caplog):
    frame = FRAME.copy()
    frame.iloc[3, frame.columns.get_loc("country")] = frame.iloc[4, frame.columns.get_loc("id")] = None
    model = pv.estimators.VAEImputer(**QUICK, kinds={"codes": "count"}).fit(frame)
    with caplog.at_level(logging.WARNING, "pyrovae"):
        filled = model.transform(frame)
    assert "leaves out columns 'id', whose holes stay" in caplog.text
    assert filled.drop(columns="id").notna().all().all()
    assert filled.index.equals(frame.index)
    assert list(filled.columns) == list(frame.columns) == list(model.get_feature_names_out())
    assert filled["country"].iloc[3] == "CH"
    assert set(filled["job"]) == {"cook", "clerk", "nurse"}
    assert str(filled["grade"].dtype) == "category"
    there = frame.notna()
    for name in frame.columns:
        assert (filled[name][there[name]] == frame[name][there[name]]).all(), name
    drawn = pv.estimators.VAEDensity(**QUICK).fit(frame).sample(5, random_state=0)
    assert set(drawn["grade"]) <= {"low", "mid", "high"}


@pytest.mark.slow
def test_kinds_are_one_for_all_or_by_name_or_by_place():
    fit = pv.estimators.VAEDensity(**QUICK).set_params
    whole = np.random.default_rng(0).integers(0, 4, (60, 3)).astype(float)
    kinds = [one.kind for one in fit(kinds=None).fit(whole).schema_.columns]
    assert kinds == ["categorical"] * 3
    assert [one.kind for one in fit(kinds="count").fit(whole).schema_.columns] == ["count"] * 3
    chosen = [one.kind for one in fit(kinds={1: "ordinal"}).fit(whole).schema_.columns]
    assert chosen == ["categorical", "ordinal", "categorical"]
    named = pd.DataFrame(whole, columns=["a", "b", "c"])
    assert fit(kinds={"b": "real"}).fit(named).schema_.columns[1].kind == "real"
    with pytest.raises(pv.ArgumentError, match="kinds has 'q'"):
        fit(kinds={"q": "real"}).fit(named)


@pytest.mark.slow
def test_frames_of_other_libraries_and_names_that_are_numbers():
    pa = pytest.importorskip("pyarrow")
    frame = FRAME[["height", "job"]].reset_index(drop=True)
    filled = pv.estimators.VAEImputer(**QUICK).fit_transform(pa.Table.from_pandas(frame))
    assert isinstance(filled, pa.Table)
    there = frame["job"].notna()
    assert filled.to_pandas()["job"][there].equals(frame["job"][there])
    assert filled.to_pandas().notna().all().all()
    numbered = frame.set_axis([0, 1], axis=1)
    model = pv.estimators.VAEImputer(**QUICK, kinds={1: "categorical"}).fit(numbered)
    assert list(model.transform(numbered).columns) == [0, 1]
    assert list(model.get_feature_names_out()) == ["x0", "x1"]
    assert list(pv.estimators.VAEDensity(**QUICK).fit(numbered).sample(2, random_state=0).columns) == [0, 1]


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_sparse_matrices_are_refused_with_what_takes_them(kind):
    sparse = pytest.importorskip("scipy.sparse").csr_array(np.eye(30))
    with pytest.raises(pv.DataError, match=r"sparse matrix.*whole columns.*X\.toarray.*pv\.fit\(pair, X\)"):
        ESTIMATORS[kind](**QUICK).fit(sparse)


def test_columns_of_another_frame_are_refused():
    model = pv.estimators.VAETransformer(**QUICK).fit(FRAME)
    with pytest.raises(ValueError, match="same order"):
        model.transform(FRAME[FRAME.columns[::-1]])
    with pytest.raises(ValueError, match="now missing"):
        model.transform(FRAME.drop(columns="job"))
    with pytest.raises(ValueError, match="could not convert string"):
        pv.estimators.VAETransformer().fit(np.array([["a", "b"], ["c", "d"]], dtype=object))


# --- pipelines and the like -----------------------------------------------------------------------------
@pytest.mark.slow
def test_pipelines_columns_and_frames_on_the_way_out():
    y = np.arange(60) % 2
    parts = ColumnTransformer([("latents", pv.estimators.VAETransformer(**QUICK), ["height", "job"])])
    latents = parts.set_output(transform="pandas").fit_transform(FRAME)
    assert list(latents.columns) == ["latents__vaetransformer0", "latents__vaetransformer1"]
    assert latents.index.equals(FRAME.index)
    whole = make_pipeline(
        pv.estimators.VAEImputer(**QUICK), pv.estimators.VAETransformer(**QUICK), LogisticRegression()
    )
    assert set(whole.fit(FRAME, y).predict(FRAME)) <= {0, 1}
    array = rows()
    array[0, 0] = math.nan
    framed = pv.estimators.VAEImputer(**QUICK).set_output(transform="pandas").fit_transform(array)
    assert list(framed.columns) == ["x0", "x1", "x2", "x3"]


def test_weights_are_routed(monkeypatch):
    import sklearn

    seen = []
    inner = pv.estimators.VAETransformer._fitted
    monkeypatch.setattr(
        pv.estimators.VAETransformer,
        "_fitted",
        lambda self, X, weights: seen.append(weights) or inner(self, X, weights),
    )
    weights = np.linspace(1, 2, 60)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = pv.estimators.VAETransformer(**QUICK).set_fit_request(sample_weight=True)
        whole = make_pipeline(asking, LogisticRegression().set_fit_request(sample_weight=False))
        whole.fit(rows(), np.arange(60) % 2, sample_weight=weights)
    assert np.array_equal(seen[0], weights)


@every
def test_copies_and_pickles_answer_alike(kind):
    model = exact(kind, contamination=0.2) if kind is pv.estimators.VAEOutlierDetector else exact(kind)
    assert clone(model).get_params() == model.get_params()
    for one in (model, kind(**QUICK)):
        one.fit(rows())
        again = pickle.loads(pickle.dumps(one))
        assert again.score(rows()) == one.score(rows())


@pytest.mark.slow
def test_a_search_in_several_processes():
    search = GridSearchCV(pv.estimators.VAEDensity(**QUICK), {"latent": [1, 2]}, cv=2, n_jobs=2)
    alone = GridSearchCV(pv.estimators.VAEDensity(**QUICK), {"latent": [1, 2]}, cv=2)
    found, wanted = (one.fit(rows()).cv_results_["mean_test_score"] for one in (search, alone))
    assert found == pytest.approx(wanted, rel=1e-4)


def numpy_state():
    return np.random.get_state()[1].tolist()  # noqa: NPY002 - the global generator is the matter


@every
def test_nothing_global_changes(kind):
    pyro.clear_param_store()
    before = torch.get_rng_state(), numpy_state(), random.getstate(), torch.get_num_threads()
    model = exact(kind).fit(rows())
    model.score(rows())
    after = torch.get_rng_state(), numpy_state(), random.getstate(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert list(pyro.get_param_store().keys()) == []
    assert clone(model).fit(rows()).score(rows()) == model.score(rows())


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("VAEDensity", {"pair": known(None)}, "a function of the schema that returns a new pair"),
        ("VAEDensity", {"pair": lambda schema: schema}, "Schema, which is no pair"),
        ("VAEDensity", {"draws": 0}, "draws=0"),
        ("VAEDensity", {"batch_size": 0}, "batch_size=0"),
        ("VAEOutlierDetector", {"contamination": 0}, "contamination=0"),
        ("VAEOutlierDetector", {"contamination": "auto"}, "contamination='auto'; give a share"),
        ("VAEImputer", {"kinds": "imaginary"}, "'imaginary'; give"),
        ("VAETransformer", {"pair": mean_of_rows}, "no latent site of single rows"),
    ],
)
def test_what_cannot_work_is_refused(kind, options, match):
    with pytest.raises(pv.PyrovaeError, match=match):
        ESTIMATORS[kind](**{**QUICK, **options}).fit(rows()).score(rows())


def test_a_pair_of_single_columns_is_refused_where_rows_are_drawn():
    def model(x):
        loc = pyro.param("loc", torch.zeros(2, dtype=torch.float64))
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(loc[0], 1.0), obs=x[..., 0])
            pyro.sample("b", dist.Normal(loc[1], 1.0), obs=x[..., 1])

    fitted = pv.estimators.VAEDensity(**QUICK, pair=lambda schema: pv.Pair(model, lambda x: None)).fit(rows()[:, :2])
    with pytest.raises(pv.PairError, match="no one is a row of the schema alone"):
        fitted.sample(3)


def test_tables_of_no_rows_or_one_are_refused():
    for count in (0, 1):
        with pytest.raises(pv.DataError, match=f"the table has {count} rows"):
            pv.estimators.VAEDensity().fit(FRAME.iloc[:count])
        with pytest.raises(ValueError, match=f"{count} sample"):
            pv.estimators.VAEDensity().fit(rows()[:count])


def test_before_it_is_fitted():
    for kind in ESTIMATORS.values():
        with pytest.raises(NotFittedError):
            kind().score(rows())
    for ask in (pv.estimators.VAEImputer().transform, pv.estimators.VAETransformer().transform):
        with pytest.raises(NotFittedError):
            ask(rows())
    with pytest.raises(NotFittedError):
        pv.estimators.VAEDensity().sample(3)
