"""One check of counts, one of seeds: every public function by its signature, in the same words."""

from __future__ import annotations

import inspect
import itertools
import re
import tempfile

import numpy as np
import pyarrow
import pyarrow.dataset as arrow
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import TensorDataset

import pyrovae as pv
from pyrovae.pairs.numbers import as_whole, check_positive, check_share

# What each argument is given here: small, so that every function can really run.
COUNTS = {
    "draws": 4, "shared_draws": 2, "epochs": 1, "steps": 2, "batch_size": 8, "patience": 1, "members": 2, "rank": 1,
    "restarts": 1, "trial_epochs": 1, "folds": 2, "trials": 1, "seeds": 1, "queries": 3, "chains": 2, "leapfrogs": 1,
    "warmup": 3, "simulations": 2, "components": 2, "every": 1, "size": 16, "levels": 8, "classes": 3, "cycles": 1,
    "k": 2, "repeats": 2, "latent": 2, "memory": 2**20, "rows": 16, "chunk": 8, "noise": 3,
}  # fmt: skip
LEAST = {"members": 2, "repeats": 2, "folds": 2, "levels": 2}
X = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
MLP = pv.MLP(2, [], 6)


def vae(latent: int = 2):
    return pv.VAE(
        pv.StandardNormal(latent), pv.Normal(pv.MLP(latent, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4))
    )


def truth():
    return pv.truth.LinearGaussian(torch.ones(3, 2), torch.zeros(3), 0.5)


def classes():
    return pv.truth.DiscreteMixture(torch.tensor([0.5, 0.5]), torch.tensor([[0.9] * 3, [0.1] * 3]))


def weighted():
    return pv.epistemic.bayesian_weights(vae(), X)


def labelled():
    """A pair whose guide does not look at y."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * torch.ones(3), 1.0).to_event(1), obs=x)
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), 0.7))

    return pv.Pair(model, guide)


def compressed(**given):
    with tempfile.TemporaryDirectory() as folder:
        return pv.compress(classes(), X.gt(0).float(), file=f"{folder}/rows.pv", **given)


def explored(**given):
    with tempfile.TemporaryDirectory() as folder:
        return pv.explore(vae(), X, path=f"{folder}/page.html", **given)


def carded(**given):
    with tempfile.TemporaryDirectory() as folder:
        return pv.model_card(truth(), X, path=folder, **{"draws": 4, **given})


def asking(function, *extra, **fixed):
    return lambda **given: function(truth(), X, *extra, **{**fixed, **given})


QUIET = {"progress": False}
CALLS = {
    "ais": asking(pv.ais, chains=2, steps=2),
    "calibration": asking(pv.calibration, draws=9),
    "check_guide": asking(pv.check_guide, draws=4, warmup=3),
    "explore": explored,
    "choose_latent": lambda **given: pv.choose_latent(
        lambda latent: vae(), X, given.pop("settings", [1, 2]), **{"epochs": 1, "draws": 2, "folds": 2, **given}
    ),
    "clusters": lambda **given: pv.clusters(classes(), torch.ones(16, 3), **given),
    "compare": lambda **given: pv.compare({"one": truth(), "two": truth()}, X, **{"draws": 4, **given}),
    "compress": lambda **given: compressed(**given),
    "total_correlation": lambda **given: pv.total_correlation(vae(), 1.0, **given),
    "reweighted": asking(pv.reweighted),
    "discriminator": asking(pv.discriminator, classifier=LogisticRegression()),
    "elbo": asking(pv.elbo),
    "on_disk": lambda **given: pv.on_disk(arrow.dataset(pyarrow.table({"a": [1.0]})), **given),
    "impute": asking(pv.impute, candidates=30),
    "recipes.table_vae": lambda **given: pv.recipes.table_vae([pv.Column("x", "real")], **{"latent": 2, **given}),
    "counterfactual": asking(pv.counterfactual, calibration=X, alpha=0.2, steps=2, draws=2),
    "encode": asking(pv.encode),
    "explain": asking(pv.explain, draws=2, repeats=2),
    "fit": lambda **given: pv.fit(vae(), X, **{"epochs": 1, "validation": X, **QUIET, **given}),
    "steps": lambda **given: list(pv.steps(vae(), X, **{"epochs": 1, "validation": X, **given})),
    "fit_best": lambda **given: pv.fit_best(
        lambda: vae(), X, **{"epochs": 1, "trial_epochs": 1, "restarts": 1, **QUIET, **given}
    ),
    "generate": lambda **given: pv.generate(vae(), 4, **given),
    "generate_with_uncertainty": lambda **given: pv.generate_with_uncertainty(vae(), 4, **{"draws": 3, **given}),
    "inference_gap": asking(pv.inference_gap, draws=4, steps=2),
    "linear_probe": asking(pv.linear_probe, labels=torch.arange(16) % 2, folds=2),
    "log_evidence": asking(pv.log_evidence),
    "loo_pit": asking(pv.loo_pit, draws=3),
    "log_likelihood": asking(pv.log_likelihood, draws=3),
    "model_card": lambda **given: carded(**given),
    "mutual_information": asking(pv.mutual_information, queries=3),
    "novelty": asking(pv.novelty, calibration=X, scores=("evidence",)),
    "over_seeds": lambda **given: pv.over_seeds(
        lambda: vae(), X, held_out=X, **{"epochs": 1, "seeds": 1, "draws": 2, **given}
    ),
    "posterior": asking(pv.posterior, draws=3),
    "posterior_predictive": asking(pv.posterior_predictive, draws=3),
    "prior": asking(pv.prior, draws=3),
    "prior_predictive": asking(pv.prior_predictive, draws=3),
    "psis": asking(pv.psis),
    "rate_distortion": asking(pv.rate_distortion),
    "rate_distortion_curve": lambda **given: pv.rate_distortion_curve(
        lambda: vae(), X, [1.0], held_out=X, **{"epochs": 1, **given}
    ),
    "reconstruct": asking(pv.reconstruct),
    "resemblance": asking(pv.resemblance),
    "selective": lambda **given: pv.selective(labelled(), X, X[:, 0], site="y", **{"draws": 4, **given}),
    "predictive_check": asking(pv.predictive_check, draws=3),
    "simulation_based_calibration": asking(pv.simulation_based_calibration, simulations=2, draws=4),
    "to_arviz": asking(pv.to_arviz, draws=4),
    "uncertainty": lambda **given: pv.uncertainty(vae(), X, **{"draws": 4, **given}),
    "variations": asking(pv.variations),
    "update": lambda **given: pv.update(weighted(), X, **{"epochs": 1, **QUIET, **given}),
    "epistemic.bayesian_weights": lambda **given: pv.epistemic.bayesian_weights(vae(), X, **given),
    "epistemic.carry_over": lambda **given: pv.epistemic.carry_over(
        pv.epistemic.bayesian_weights(vae(), X), X, **given
    ),
    "epistemic.ensemble": lambda **given: pv.epistemic.ensemble(
        lambda: vae(), X, **{"epochs": 1, "members": 2, **QUIET, **given}
    ),
    "epistemic.swag": lambda **given: pv.epistemic.swag(vae(), X, **{"epochs": 3, "every": 1, **given}),
    "linear": lambda **given: pv.linear(0, 1, **given),
    "cosine": lambda **given: pv.cosine(0, 1, **given),
    "sigmoid": lambda **given: pv.sigmoid(0, 1, **given),
    "cyclic": lambda **given: pv.cyclic(0, 1, **{"steps": 8, "cycles": 1, **given}),
    "objectives.IWAE": lambda **given: pv.objectives.IWAE(**given),
    "objectives.DReG": lambda **given: pv.objectives.DReG(**given),
    "Categorical": lambda **given: pv.Categorical(MLP, **given),
    "DiscretizedLogistic": lambda **given: pv.DiscretizedLogistic(MLP, **given),
    "Implicit": lambda **given: pv.Implicit(MLP, **{"noise": 3, **given}),
    "LowRankNormal": lambda **given: pv.LowRankNormal(MLP, **given),
    "Mixture": lambda **given: pv.Mixture(shape=2, **given),
    "recipes.count_vae": lambda **given: pv.recipes.count_vae(**{"size": 3, "latent": 2, **given}),
    "interpolate": lambda **given: pv.interpolate(vae(), X[:2], **given),
    "recipes.text_vae": lambda **given: pv.recipes.text_vae(pv.text.vocabulary(["ab"]), **{"hidden": 3, **given}),
    "recipes.sequence_vae": lambda **given: pv.recipes.sequence_vae(3, **{"latent": 2, "steps": 3, **given}),
    "recipes.vector_vae": lambda **given: pv.recipes.vector_vae(**{"size": 3, "latent": 2, **given}),
    "recipes.image_vae": lambda **given: pv.recipes.image_vae((1, 8, 8), **given),
    "recipes.bayesian_mixture": lambda **given: pv.recipes.bayesian_mixture(
        pv.VAE(pv.StickBreakingMixture(3, 2), vae().likelihood, vae().posterior), **{"rows": 16, **given}
    ),
    "recipes.categorical_vae": lambda **given: pv.recipes.categorical_vae(3, **{"classes": 2, **given}),
    "recipes.conditional_vae": lambda **given: pv.recipes.conditional_vae(3, **{"latent": 2, "classes": 2, **given}),
    "recipes.mixture_vae": lambda **given: pv.recipes.mixture_vae(3, **{"latent": 2, "components": 2, **given}),
    "recipes.semi_supervised_vae": lambda **given: pv.recipes.semi_supervised_vae(
        3, **{"latent": 2, "classes": 2, **given}
    ),
    "recipes.bayesian_decoder": lambda **given: pv.recipes.bayesian_decoder(vae(), **{"rows": 16, **given}),
}


def public(name: str):
    found = pv
    for part in name.split("."):
        found = getattr(found, part)
    return found


def arguments(name: str) -> list[str]:
    """The counts that a function takes; `update` is `epistemic.update`, and levels of calibration are no count."""
    kinds = inspect.signature(public(name)).parameters
    counts = (one for one in kinds if one in COUNTS and "int" in str(kinds[one].annotation) and one != "trials")
    return [one for one in counts if "Iterable" not in str(kinds[one].annotation)]


POINTS = [(name, one) for name in CALLS for one in arguments(name)]
SEEDED = [name for name in CALLS if "seed" in inspect.signature(public(name)).parameters] + ["epistemic.swag", "update"]
# A list: of the arguments that `fit` passes on, all are checked by `fit`.
points = pytest.mark.parametrize(("name", "count"), POINTS, ids=map(".".join, POINTS))


def test_every_public_function_is_here():
    names = [name for name in dir(pv) if not name.startswith("_") and inspect.isfunction(getattr(pv, name))]
    names += [f"{room}.{one}" for room in ("epistemic", "recipes") for one in public(room).__all__]
    known = [one for name in names for one in arguments(name) if name not in CALLS and name != "epistemic.update"]
    assert known == []
    assert len(POINTS) > 70


def refusal(count: str, value) -> str:
    return rf"\b{count}={re.escape(repr(value))}; give a whole number, {LEAST.get(count, r'[01]')} at least"


@points
@pytest.mark.parametrize("value", [True, 2.0, "3", 0, -1, 2**63], ids=repr)
def test_what_is_no_count_is_refused_in_the_same_words(name, count, value):
    if count == "rank" and value == 0 and type(value) is int and name != "LowRankNormal":
        pytest.skip("a rank of 0 is one")
    if (name, count, repr(value)) == ("explore", "rows", "0"):
        pytest.skip("a page without rows is one")
    with pytest.raises(pv.ArgumentError, match=refusal(count, value)):
        CALLS[name](**{count: value})


@pytest.mark.parametrize("size", [10**12, 2**63 - 1])
def test_a_batch_of_more_rows_than_there_are_is_all_of_them(size):
    x = TensorDataset(X)
    losses = [
        pv.fit(vae(), data, batch_size=one, steps=2, seed=0, progress=False, staged=False).history[-1].loss
        for data, one in ((X, 16), (X, size), (x, size))
        for _ in [torch.manual_seed(0)]
    ]
    assert losses[0] == losses[1] == losses[2]
    assert pv.rate_distortion(truth(), X, batch_size=size)[:3] == pv.rate_distortion(truth(), X, batch_size=16)[:3]


@pytest.mark.parametrize("name", ["posterior", "posterior_predictive", "psis", "loo_pit", "impute", "generate"])
@pytest.mark.parametrize("number", [10**14, 2**62])
def test_more_than_memory_holds_is_refused_before_it_is_drawn(name, number):
    asked = (
        (lambda: pv.generate(vae(), number)) if name == "generate" else lambda: asking(getattr(pv, name))(draws=number)
    )
    with pytest.raises(pv.ArgumentError, match="GiB, more than this machine's memory"):
        asked()


@points
@pytest.mark.filterwarnings("ignore")
def test_whole_numbers_of_numpy_and_of_torch_pass(name, count):
    CALLS[name](**{count: np.int64(COUNTS[count])})


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("seed", [-1, 2**63, True, 1.0, "1"], ids=repr)
def test_what_is_no_seed_is_refused_in_the_same_words(name, seed):
    words = rf"seed={re.escape(repr(seed))}; give a whole number from 0 to 2\*\*63 - 1, or leave it out"
    with pytest.raises(pv.ArgumentError, match=words):
        CALLS[name](seed=seed)


@pytest.mark.parametrize("name", ["fit", "posterior", "fit_best", "epistemic.ensemble", "rate_distortion", "elbo"])
def test_a_seed_of_numpy_is_that_number(name):
    found = []
    for seed in (7, np.int64(7), torch.tensor(7)):
        torch.manual_seed(3)
        made = CALLS[name](seed=seed)
        found.append(repr(made.history[-1].elbo) if hasattr(made, "history") else figures(made))
    assert found[0] == found[1] == found[2]


def figures(made) -> str:
    pair = isinstance(made, pv.HasPair)
    return repr(pv.posterior_predictive(made, X, draws=2, seed=0) if pair else made)


def test_what_is_whole():
    for value in (3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)):
        assert as_whole(value) == 3
        assert type(as_whole(value)) is int
    for value in (
        True,
        np.bool_(1),
        torch.tensor(True),
        3.0,
        torch.tensor(3.0),
        torch.tensor([3]),
        np.array([3]),
        "3",
        None,
    ):
        assert as_whole(value) is None


@pytest.mark.parametrize("name", ["clip_norm", "checkpoint_every"])
@pytest.mark.parametrize("value", [0, -1.0, True, "1", float("nan")], ids=repr)
def test_what_is_not_above_0_is_refused_in_the_same_words(name, value):
    words = rf"\b{name}={re.escape(repr(value))}; give a number above 0"
    with pytest.raises(pv.ArgumentError, match=words):
        CALLS["fit"](**{name: value})
    with pytest.raises(pv.ArgumentError, match=words):
        check_positive(name, value)
    for given, scale in itertools.product([np.float32(0.5), 1, torch.tensor(2.0)], ["scale", "prior_scale"]):
        assert check_positive(scale, given) == float(given)


@pytest.mark.parametrize("value", [0, 1, 1.5, -0.5, True, "0.9", None, float("nan"), torch.ones(2) / 2], ids=repr)
def test_what_is_no_share_is_refused_in_the_same_words(value):
    ranks, scores = torch.rand(20), torch.tensor([0.0, 1.0])
    for name, asked in (
        ("level", lambda: pv.Ranks.of(ranks, level=value)),
        ("risk", lambda: pv.SelectivePrediction.of(scores, scores).hand_over(value)),
        ("level", lambda: pv.tables.pooled([1.0, 2.0], lambda one: (one, 1.0), level=value)),
        ("share", lambda: check_share("share", value)),
    ):
        with pytest.raises(
            pv.ArgumentError, match=rf"\b{name}={re.escape(repr(value))}; give a number between 0 and 1"
        ):
            asked()


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5)], ids=repr)
def test_a_share_of_numpy_or_torch_is_that_number(value):
    found = pv.tables.pooled([1.0, 2.0], lambda one: (one, 1.0), level=value)
    assert check_share("share", value) == 0.5
    assert found.low == pv.tables.pooled([1.0, 2.0], lambda one: (one, 1.0), level=0.5).low
    assert pv.Ranks.of(torch.rand(20), level=value).level == 0.5
