"""What calls `fit` many times: choices, starts, curves and spreads, against what single trainings give."""

from __future__ import annotations

import json
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from children import Child

import pyrovae as pv
from pyrovae.pairs.looks.isolation import forked_random, forked_store
from pyrovae.pairs.pair import Pair
from pyrovae.training.studies.separate_runs import folds_of, picked

OPTIONS = {"epochs": 20, "batch_size": 50, "learning_rate": 2e-2, "staged": False}


def truth():
    weight = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.5, 1.5], [-1.0, 1.0], [0.5, -2.0]])
    return pv.truth.LinearGaussian(weight, torch.zeros(5), 0.5)


def make(latent=2):
    likelihood = pv.Normal(pv.MLP(latent, [], 5), scale=pv.LearnedScale())
    return pv.VAE(pv.StandardNormal(latent), likelihood, pv.DiagNormal(pv.MLP(5, [], 2 * latent)))


def by_functions():
    """A pair whose parameters have the same names in Pyro's store each time it is made."""

    def model(x):
        mean = pyro.param("mean", lambda: torch.randn(5))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(mean + z.unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), scale))

    return Pair(model, guide)


# --- folds --------------------------------------------------------------------------------------------


def test_folds_hold_out_each_row_once():
    parts = folds_of(11, 3, seed=0)
    assert sorted(torch.cat([outside for _, outside in parts]).tolist()) == list(range(11))
    assert all(sorted(torch.cat(part).tolist()) == list(range(11)) for part in parts)
    assert {len(outside) for _, outside in parts} == {3, 4}


@pytest.mark.parametrize("folds", [1, 12, 2.0, True])
def test_folds_that_cannot_be_made_are_refused(folds):
    with pytest.raises(pv.ArgumentError, match="folds"):
        folds_of(11, folds, seed=0)


def test_rows_are_picked_in_the_form_of_the_data():
    x, rows = torch.arange(6.0), torch.tensor([4, 1])
    assert picked(x, rows).tolist() == [4, 1]
    assert [part.tolist() for part in picked((x, 2 * x), rows)] == [[4, 1], [8, 2]]
    assert picked({"b": x, "a": 2 * x}, rows)["a"].tolist() == [8, 2]


# --- choices ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_latent_size_of_the_truth_is_found():
    x = truth().sample(300, seed=0)
    choice = pv.choose_latent(make, x, [1, 2], folds=2, **{**OPTIONS, "epochs": 120})
    one, two = choice.trials
    assert two.evidence > one.evidence + 5 * two.error
    assert (choice.best, choice.smallest) == (2, 2)
    assert two.evidence < float(truth().log_evidence(x).mean()) + 2 * two.error
    assert len(choice.plot().axes) == 1


def test_settings_do_not_learn_from_each_other():
    """Pairs that share names in Pyro's store: each starts from its own weights."""
    x = truth().sample(60, seed=0)
    pyro.param("mean", torch.full((5,), 7.0))
    both = pv.choose_latent(lambda setting: by_functions(), x, ["a", "b"], folds=2, **OPTIONS)
    assert both.trials[0].evidence == both.trials[1].evidence
    assert bool((pyro.get_param_store()["mean"] == 7).all())
    assert "scale" not in pyro.get_param_store()


def test_a_choice_is_the_held_out_evidence_of_trainings_by_hand():
    x = truth().sample(60, seed=0)
    (trial,) = pv.choose_latent(make, x, [2], folds=2, draws=16, seed=3, **OPTIONS).trials
    values = []
    for number, (inside, outside) in enumerate(folds_of(60, 2, seed=3)):
        with forked_random(3 + number), forked_store():
            pair = make(2)
            pv.fit(pair, x[inside], seed=3 + number, progress=False, **OPTIONS)
            values.append(pv.log_evidence(pair, x[outside], draws=16, seed=3).value.double())
    assert trial.evidence == pytest.approx(float(torch.cat(values).mean()), abs=1e-9)
    assert trial.error == pytest.approx(float(torch.cat(values).std() / 60**0.5), abs=1e-9)


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on(tmp_path):
    x, asked = truth().sample(60, seed=0), []

    def interrupted(latent):
        asked.append(latent)
        if len(asked) == 4:  # the second fold of the second setting
            raise KeyboardInterrupt
        return make(latent)

    file = tmp_path / "search.log"
    settings = {"folds": 2, "study": file, "epochs": 1, "staged": False}
    with pytest.raises(KeyboardInterrupt):
        pv.choose_latent(interrupted, x, [1, 2, 3], **settings)
    done = set(asked[:2])
    asked.clear()
    choice = pv.choose_latent(lambda latent: (asked.append(latent), make(latent))[1], x, [1, 2, 3], **settings)
    assert sorted(trial.setting for trial in choice.trials) == [1, 2, 3]
    assert not done & set(asked)
    plain = pv.choose_latent(make, x, [1, 2, 3], folds=2, epochs=1, staged=False)
    by_setting = {trial.setting: trial.evidence for trial in choice.trials}
    assert by_setting == pytest.approx({trial.setting: trial.evidence for trial in plain.trials})


WORKER = """
import json, sys, torch
sys.path.insert(0, sys.argv[2])
import pyrovae as pv
from test_studies import make, truth
asked = []
def noted(latent):
    asked.append(latent)
    return make(latent)
x, file = truth().sample(60, seed=0), sys.argv[1]
choice = pv.choose_latent(noted, x, [1, 2, 3, 4], folds=2, study=file, epochs=1, staged=False)
print(json.dumps([asked, [t.setting for t in choice.trials]]))
"""


@pytest.mark.slow
def test_two_processes_share_one_file(tmp_path):
    running = [Child(WORKER, str(tmp_path / "search.log"), str(Path(__file__).parent)) for _ in range(2)]
    ended = [process.communicate() for process in running]
    assert all(process.returncode == 0 for process in running), ended
    asked = [set(json.loads(out.splitlines()[-1])[0]) for out, _ in ended]
    assert asked[0] | asked[1] == {1, 2, 3, 4}
    last = [sorted(json.loads(out.splitlines()[-1])[1]) for out, _ in ended]
    assert [1, 2, 3, 4] in last


@pytest.mark.slow
def test_a_function_of_a_trial_suggests_settings(tmp_path):
    x = truth().sample(60, seed=0)
    choice = pv.choose_latent(
        make, x, lambda trial: trial.suggest_int("latent", 1, 3), trials=3, study=tmp_path / "s.log", folds=2, epochs=1
    )
    assert len(choice.trials) == 3
    assert choice.best in (1, 2, 3)


def test_searches_that_cannot_be_made_are_refused_in_words(tmp_path):
    x = truth().sample(60, seed=0)
    with pytest.raises(pv.ArgumentError, match="study="):
        pv.choose_latent(make, x, lambda trial: 1, folds=2, epochs=1)
    with pytest.raises(pv.ArgumentError, match="no setting"):
        pv.choose_latent(make, x, [], folds=2, epochs=1)
    with pytest.raises(pv.ArgumentError, match="trials=50"):
        pv.choose_latent(make, x, lambda trial: 1, study=tmp_path / "a.log", folds=2, epochs=1)
    with pytest.raises(pv.FileError, match="folder that exists"):
        pv.choose_latent(make, x, [1], study=tmp_path / "no" / "a.log", folds=2, epochs=1)
    with pytest.raises(pv.ArgumentError, match="validation= is set"):
        pv.choose_latent(make, x, [1], validation=x)
    with pytest.raises(pv.ArgumentError, match="has to return a pair"):
        pv.choose_latent(lambda latent: None, x, [1], folds=2, epochs=1)
    pv.choose_latent(make, x, [1], study=tmp_path / "b.log", folds=2, epochs=1)
    with pytest.raises(pv.ArgumentError, match="other settings"):
        pv.choose_latent(make, x, [1, 2], study=tmp_path / "b.log", folds=2, epochs=1)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(pv.FileError, match="no search of Optuna's"):
        pv.choose_latent(make, x, [1], study=tmp_path / "mine.txt", folds=2, epochs=1)
    for settings in (3, None):
        with pytest.raises(pv.ArgumentError, match="settings="):
            pv.choose_latent(make, x, settings, folds=2, epochs=1)
    with pytest.raises(pv.ArgumentError, match="seed="):
        pv.choose_latent(make, x, [1], folds=2, epochs=1, seed=2.5)


# --- starts -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_best_start_goes_on_as_if_it_had_been_alone():
    x = truth().sample(100, seed=0)
    options = {"batch_size": 50, "learning_rate": 1e-2, "staged": False, "progress": False}
    run = pv.fit_best(make, x, restarts=3, trial_epochs=2, epochs=5, **options)
    firsts = {}
    for seed in range(3):
        with forked_random(seed):
            pair = make()
        firsts[seed] = pv.fit(pair, x, epochs=5, seed=seed, **options)
    assert run.seed == max(firsts, key=lambda seed: firsts[seed].history[1].elbo)
    alone = firsts[run.seed]
    assert [row.elbo for row in run.history] == [row.elbo for row in alone.history]
    for one, other in zip(run.pair.parameters(), alone.pair.parameters(), strict=True):
        assert torch.equal(one, other)
    assert run.checkpoint is None


def test_the_best_start_keeps_its_checkpoint_where_asked(tmp_path):
    x = truth().sample(60, seed=0)
    folder = tmp_path / "run"
    run = pv.fit_best(make, x, restarts=2, epochs=2, checkpoint=folder, progress=False)
    assert run.checkpoint is not None
    assert folder in run.checkpoint.parents


def test_starts_that_cannot_be_made_are_refused():
    with pytest.raises(pv.ArgumentError, match="restarts=0"):
        pv.fit_best(make, torch.zeros(10, 5), restarts=0, epochs=2)
    with pytest.raises(pv.ArgumentError, match="trial_epochs=3"):
        pv.fit_best(make, torch.zeros(10, 5), trial_epochs=3, epochs=2)
    for epochs in (None, 2.5):
        with pytest.raises(pv.ArgumentError, match="epochs="):
            pv.fit_best(make, torch.zeros(10, 5), epochs=epochs)


# --- curves and spreads -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_curve_falls_and_its_slope_is_minus_the_weight():
    x = truth().sample(400, seed=0)
    curve = pv.rate_distortion_curve(
        lambda: truth().vae(), x, [4.0, 0.25, 1.0], draws=20, epochs=200, batch_size=100, learning_rate=1e-2
    )
    assert curve.weights == (0.25, 1.0, 4.0)
    rates = [point.rate for point in curve.points]
    distortions = [point.distortion for point in curve.points]
    assert rates == sorted(rates, reverse=True)
    assert distortions == sorted(distortions)
    for low, high, i in ((0.25, 1.0, 0), (1.0, 4.0, 1)):
        slope = (distortions[i + 1] - distortions[i]) / (rates[i] - rates[i + 1])
        assert 0.9 * low < slope < 1.1 * high  # between the weights at its two ends, as for any convex curve
    assert len(curve.plot().axes) == 1


def test_weights_that_are_none_are_refused():
    with pytest.raises(pv.ArgumentError, match="weights="):
        pv.rate_distortion_curve(make, torch.zeros(10, 5), [-1.0], epochs=1)
    with pytest.raises(pv.ArgumentError, match="weights="):
        pv.rate_distortion_curve(make, torch.zeros(10, 5), ["a"], epochs=1)


@pytest.mark.slow
def test_a_spread_holds_what_single_trainings_give():
    x = truth().sample(150, seed=0)
    spread = pv.over_seeds(make, x[:100], held_out=x[100:], seeds=2, seed=5, draws=16, **OPTIONS)
    for place, seed in enumerate((5, 6)):
        with forked_random(seed), forked_store():
            pair = make()
            pv.fit(pair, x[:100], seed=seed, progress=False, **OPTIONS)
            alone = pv.log_evidence(pair, x[100:], draws=16, seed=seed).value.double().mean()
        assert float(spread.evidence[place]) == pytest.approx(float(alone), abs=1e-9)
    names = [name for name, _, _ in spread.table()]
    assert "coverage" in names
    assert names[0].startswith("log evidence")
    assert spread.table()[0][2] == pytest.approx(float(spread.evidence.std()))
