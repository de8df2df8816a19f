"""`fit` and `steps` on every pair: the same losses as a plain SVI loop, and what surrounds the loop."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import random
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam
from registry import ROWS, Entry, arguments, on_device, pairs, rows
from torch import nn

import pyrovae as pv
from pyrovae.data.batches import as_batches
from pyrovae.data.move_batch import move_batch
from pyrovae.pairs.fixed_plate import FixedPlate
from pyrovae.pairs.structure import inspect
from pyrovae.training.verdict import VerdictKind, curve_verdict

BATCH = 16
QUIET = {"progress": False, "device": "cpu"}


def batch_size(entry: Entry) -> int:
    return ROWS if entry.traits & {"full_data", "local_autoguide"} else BATCH


@contextlib.contextmanager
def tolerated(entry: Entry):
    """Pairs whose data are outside the support, by their author's wish, are warned of."""
    with warnings.catch_warnings():
        if "unvalidated" in entry.traits:
            warnings.simplefilter("ignore", pv.PyrovaeWarning)
        yield


def plain_losses(entry: Entry, *, epochs: int, seed: int) -> list[float]:
    """The losses of an ordinary SVI loop over the same batches."""
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    pair, data = entry.make()
    structure = inspect(pair, *arguments(rows(data, slice(0, batch_size(entry)))))
    batches = as_batches(data, batch_size=batch_size(entry), seed=seed)
    pyro.set_rng_seed(seed)
    fixed = FixedPlate(pair, structure.data_plate)
    svi = SVI(fixed.model, fixed.guide, Adam({"lr": 1e-3}), entry.loss())
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in range(epochs):
            for batch in batches.epoch(epoch):
                fixed.index = batch.positions
                losses.append(svi.step(*to_float(batch, structure).args, **to_float(batch, structure).kwargs))
    return losses


def to_float(batch, structure):
    kinds = [p.dtype for p in structure.parameters.values()] or [torch.float32]
    return move_batch(batch, "cpu", kinds[0])


@pytest.mark.parametrize("entry", pairs())
@pytest.mark.filterwarnings("ignore:.author-scale")
def test_fit_makes_the_losses_of_a_plain_loop(entry):
    expected = plain_losses(entry, epochs=3, seed=3)
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    pair, data = entry.make()
    with tolerated(entry):
        run = list(
            pv.steps(
                pair, data, epochs=3, batch_size=batch_size(entry), loss=entry.loss(), seed=3,
                optim=Adam({"lr": 1e-3}), device="cpu",
            )
        )  # fmt: skip
    assert len(run) == len(expected)
    scale = [step.loss for step in run]
    ratio = np.array(expected) / np.array(scale)
    assert np.allclose(ratio, ratio[0], rtol=2e-4)  # per datum against per data set: one factor for all
    assert ratio[0] == pytest.approx(round(ratio[0]), rel=1e-3)


@pytest.mark.parametrize("entry", pairs(without={"buffers"}))
@pytest.mark.filterwarnings("ignore:.author-scale")
def test_fused_adam_trains_like_pyros(entry):
    results = []
    for options in ({"optim": Adam({"lr": 1e-3})}, {}):
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        pair, data = entry.make()
        with tolerated(entry):
            run = pv.fit(
                pair, data, epochs=2, batch_size=batch_size(entry), loss=entry.loss(), seed=3, **QUIET, **options
            )
        results.append(run.history[-1].loss)
    assert results[0] == pytest.approx(results[1], rel=1e-4)


def small_vae() -> pv.VAE:
    return pv.VAE(
        pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], 5), scale=0.5), pv.DiagNormal(pv.MLP(5, [8], 4))
    )  # fmt: skip


@pytest.fixture
def data() -> torch.Tensor:
    z = torch.randn(64, 2)
    return z @ torch.randn(2, 5) + 0.3 * torch.randn(64, 5)


def weights(vae: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in vae.parameters()]


def same(one, two) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


# --- the caller's state -------------------------------------------------------------------------------


def global_state():
    return (
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
        str(random.getstate()),
        torch.get_default_dtype(),
        torch.distributions.Distribution._validate_args,
        pyro.infer.util.is_validation_enabled(),
        pyro.poutine.util.is_validation_enabled(),
    )


def test_the_callers_state_is_as_before(data):
    vae = small_vae()
    other = pyro.param("somebody_elses", torch.ones(3))
    before = global_state()
    pv.fit(vae, data, epochs=2, seed=0, validation=data, patience=1, **QUIET)
    assert global_state() == before
    store = pyro.get_param_store()
    assert torch.equal(store["somebody_elses"], other)
    assert all(name == "somebody_elses" or name.startswith("vae@") for name in store.keys())  # noqa: SIM118


def test_a_seed_is_drawn_from_the_callers_generator(data):
    seeds = []
    for _ in range(2):
        torch.manual_seed(5)
        seeds += [pv.fit(small_vae(), data, steps=1, **QUIET).seed for _ in range(2)]
    assert seeds[:2] == seeds[2:]
    assert seeds[0] != seeds[1]


def test_the_callers_random_numbers_flow_on_between_steps(data):
    torch.manual_seed(11)
    expected = torch.rand(6)
    vae = small_vae()
    torch.manual_seed(11)
    drawn = [torch.rand(1) for _ in pv.steps(vae, data, steps=6, seed=0)]
    assert torch.equal(torch.cat(drawn), expected)


def test_steps_and_fit_are_the_same_training(data):
    one, two = small_vae(), small_vae()
    two.load_state_dict(one.state_dict())
    pv.fit(one, data, epochs=3, batch_size=16, seed=4, **QUIET)
    for _ in pv.steps(two, data, epochs=3, batch_size=16, seed=4, device="cpu"):
        torch.rand(3)  # what the caller draws meanwhile changes nothing
    assert same(weights(one), weights(two))


def test_the_value_of_steps_is_the_fit(data):
    running = pv.steps(small_vae(), data, steps=2, seed=0, device="cpu")
    next(running), next(running)
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert isinstance(stop.value.value, pv.Fit)
    assert stop.value.value.step == 2


def test_modules_are_in_train_mode_during_fit_and_in_eval_mode_for_validation(data):
    modes, decoder = [], nn.Linear(2, 5)

    def note(module, inputs):  # of all modules: what a pair's own code notes is put back after a validation
        if module is decoder:
            modes.append((module.training, torch.is_grad_enabled()))

    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(decoder, scale=1.0), pv.DiagNormal(nn.Linear(5, 4)))
    with nn.modules.module.register_module_forward_pre_hook(note):
        for _ in pv.steps(vae, data, epochs=2, batch_size=64, validation=data, seed=0, device="cpu"):
            modes += ["step"]
    training = [mode for mode in modes if mode != "step" and mode[1] and mode[0]]
    assert len(training) == 2
    assert (False, False) in modes
    assert (True, False) not in modes
    assert vae.training


# --- the history --------------------------------------------------------------------------------------


def test_the_history_is_unweighted_and_the_loss_is_weighted(data):
    run = pv.fit(small_vae(), data, epochs=2, batch_size=64, temper=0.25, seed=0, **QUIET)
    for row in run.history:
        assert row.elbo == pytest.approx(-(row.rate + row.distortion), abs=1e-5)
        assert row.loss == pytest.approx(row.distortion + 0.25 * row.rate, rel=1e-5)
        assert row.weight == 0.25


def test_schedules_count_steps(data):
    run = list(
        pv.steps(
            small_vae(), data, steps=5, batch_size=16, seed=0, device="cpu",
            temper=pv.linear(0, 1, steps=4), learning_rate=pv.linear(1e-2, 0, steps=4),
        )
    )  # fmt: skip
    assert [step.weight for step in run] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [step.learning_rate for step in run] == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0.0])


def test_the_epoch_is_the_average_over_its_rows(data):
    steps = list(pv.steps(small_vae(), data, epochs=1, batch_size=48, seed=0, device="cpu"))
    run = pv.fit(small_vae(), data, epochs=1, batch_size=48, seed=0, **QUIET)
    assert len(steps) == 2  # 48 rows, then 16
    torch.manual_seed(0)
    vae = small_vae()
    torch.manual_seed(0)
    other = small_vae()
    steps = list(pv.steps(vae, data, epochs=1, batch_size=48, seed=0, device="cpu"))
    run = pv.fit(other, data, epochs=1, batch_size=48, seed=0, **QUIET)
    assert run.history[0].elbo == pytest.approx((48 * steps[0].elbo + 16 * steps[1].elbo) / 64, rel=1e-6)


def test_steps_that_end_within_an_epoch_are_shown(data):
    run = pv.fit(small_vae(), data, steps=6, batch_size=16, seed=0, **QUIET)
    assert [row.step for row in run.history] == [4, 6]
    assert run.reason == "finished"


def test_epochs_and_steps_whichever_is_first(data):
    assert pv.fit(small_vae(), data, epochs=1, steps=100, batch_size=16, seed=0, **QUIET).step == 4
    assert pv.fit(small_vae(), data, epochs=100, steps=3, batch_size=16, seed=0, **QUIET).step == 3


def test_a_collapsed_posterior_is_said_in_words(data):
    vae = small_vae()
    run = pv.fit(vae, data, epochs=1, seed=0, **QUIET)
    assert "latent dimensions of 'z'" in run.verdict
    assert [verdict.kind for verdict in run.verdicts] == [VerdictKind.TOO_SHORT, VerdictKind.ACTIVE]
    assert not run.troubled
    with torch.no_grad():
        for parameter in vae.posterior.parameters():
            parameter.zero_()
    run = pv.fit(vae, data, steps=1, learning_rate=1e-12, seed=0, **QUIET)
    assert run.active["z"].count == 0
    assert "Collapsed: none of the 2" in run.verdict
    assert run.troubled


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, 0.1, 0.55, 1.0, 0.1, 1.0], "weighted (between 0.1 and 1)"),
        ([0.5] * 6, "weighted (by 0.5)"),
        ([{"z": 0.0, "w": 2.0}, {"z": 0.5, "w": 2.0}] * 3, "weighted ('z' between 0 and 0.5; 'w' by 2)"),
    ],
)
def test_the_verdict_says_between_which_weights_it_was(weights, words, data):
    row = pv.fit(small_vae(), data, epochs=1, seed=0, **QUIET).history[0]
    verdict = curve_verdict(tuple(row._replace(weight=weight) for weight in weights))
    assert verdict.kind is VerdictKind.WEIGHTED
    assert words in verdict.words


@pytest.mark.parametrize(
    ("training", "validation", "kind"),
    [
        ([-9.0, -7, -5, -3, -1], None, VerdictKind.STILL_IMPROVING),
        ([-9.0, -2, -1, -1, -1], None, VerdictKind.LEVELLED_OFF),
        ([-0.66, -0.71, -0.64, -0.7, -0.65, -0.69, -0.63, -0.71], None, VerdictKind.LEVELLED_OFF),  # noise
        ([-0.66, -0.71, -0.64, -0.7, -0.65, -0.69, -0.7, -0.63], None, VerdictKind.LEVELLED_OFF),
        ([-5.24, -5.25, -5.26, -5.29], None, VerdictKind.LEVELLED_OFF),
        ([-90.0, -40, -20, -10, -9, -9, -9, -30, -40, -60], None, VerdictKind.DIVERGED),
        ([-9.0, -5, -3, -2, -1], [-9.0, -8, math.nan, -6, -5], VerdictKind.DIVERGED),
        ([-9.0, -5, -3, -2, -1], [-9.0, -4, -5, -6, -7], VerdictKind.OVERFITTING),
        ([-1.0, -2, -3, -4, -5], None, VerdictKind.DIVERGED),
        ([-9.0, -7, math.nan, math.nan], None, VerdictKind.DIVERGED),
        ([-9.0, -8], None, VerdictKind.TOO_SHORT),
        ([], None, VerdictKind.TOO_SHORT),
    ],
)
def test_each_curve_has_its_kind_of_verdict(training, validation, kind, data):
    run = pv.fit(small_vae(), data, epochs=1, seed=0, **QUIET)
    curves = zip(training, validation or [None] * len(training), strict=True)
    history = tuple(
        run.history[0]._replace(loss=-elbo, elbo=elbo, validation_elbo=held_out) for elbo, held_out in curves
    )
    assert curve_verdict(history).kind is kind
    assert dataclasses.replace(run, history=history).troubled is (kind is VerdictKind.DIVERGED)


@pytest.mark.parametrize(
    ("elbos", "first", "weight", "kind"),
    [
        ([-2e14, -2e12, -3e11, -2e11], -38.0, 1.0, VerdictKind.DIVERGED),  # though it rises
        ([-2e16, -8e13, -3e14, -7e14, -1e13, -2e9], -38.0, 1.0, VerdictKind.DIVERGED),  # in leaps
        ([-2e14, -2e12, -3e11, -2e11], -38.0, 0.5, VerdictKind.DIVERGED),
        ([-2e14, -2e12, -3e11, -2e11], -2.5e14, 1.0, VerdictKind.STILL_IMPROVING),  # of large numbers
        ([-90.0, -70, -60, -55], -120.0, 1.0, VerdictKind.STILL_IMPROVING),
        ([-40.2, -40.1, -40.0, -40.15, -40.05, -40.1], -39.8, 1.0, VerdictKind.LEVELLED_OFF),  # of one batch
        ([-300.0, -500, -800, -900], -38.0, 0.0, VerdictKind.WEIGHTED),
    ],
)
def test_what_ends_far_below_its_first_step_has_diverged(elbos, first, weight, kind, data):
    row = pv.fit(small_vae(), data, epochs=1, seed=0, **QUIET).history[0]
    history = tuple(row._replace(loss=-elbo, elbo=elbo, step=9 * n, weight=weight) for n, elbo in enumerate(elbos, 1))
    assert curve_verdict(history, [first]).kind is kind


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        ([-1.4, -2.9, -2.2, -4.0, -2.0, -3.1, -2.5, -3.6, -2.3], VerdictKind.LEVELLED_OFF),  # a lucky draw
        ([-1.4, -2.3, -2.4, -2.4, -2.4, -2.4, -2.4, -2.4, -2.4], VerdictKind.DIVERGED),
    ],
)
def test_a_lucky_draw_at_first_is_no_divergence(first, kind, data):
    """Where the guide does not fit yet one draw says little, however little those of the end vary."""
    row = pv.fit(small_vae(), data, epochs=1, seed=0, **QUIET).history[0]
    curve = [*first, *[-2.4] * 60]
    history = tuple(row._replace(loss=-elbo, elbo=elbo, step=n, weight=1.0) for n, elbo in enumerate(curve, 1))
    assert curve_verdict(history, first).kind is kind
    assert curve_verdict(history).kind is kind


def test_the_first_steps_are_known_after_a_resume_too(data, tmp_path):
    options = {"batch_size": 16, "seed": 0, "checkpoint": tmp_path, **QUIET}
    pair = small_vae()
    made = [one.elbo for one in pv.steps(copy.deepcopy(pair), data, epochs=4, batch_size=16, seed=0)][:9]
    first = pv.fit(pair, data, epochs=1, **options).first_elbos
    assert len(first) < 9
    assert first == pytest.approx(made[: len(first)])
    assert pv.fit(pair, data, epochs=4, resume=True, **options).first_elbos == pytest.approx(made)


@pytest.mark.parametrize(("losses", "kind"), [([9.0, 7, 5, 3], "STILL_IMPROVING"), ([3.0, 5, 7, 9], "DIVERGED")])
def test_another_objective_than_the_elbo_is_judged_by_itself(losses, kind, data):
    """A bound of several draws rises while the ELBO of the same guide falls."""
    row = pv.fit(small_vae(), data, epochs=1, seed=0, **QUIET).history[0]
    history = tuple(
        row._replace(loss=loss, elbo=loss - 20, validation_elbo=loss - 20, validation_bound=None) for loss in losses
    )
    verdict = curve_verdict(history)
    assert verdict.kind is VerdictKind[kind]
    assert "the objective (minus the loss)" in verdict.words
    rising = [row._replace(loss=-n, validation_elbo=0.0, validation_bound=-abs(4.0 - n)) for n in range(12)]
    assert curve_verdict(tuple(rising)).kind is VerdictKind.OVERFITTING


def test_the_plot_shows_three_curves(data):
    run = pv.fit(small_vae(), data, epochs=3, validation=data, seed=0, **QUIET)
    titles = [axes.get_title() for axes in run.plot().axes]
    assert titles == ["ELBO", "rate", "distortion"]
    assert all(len(axes.lines) == 2 for axes in run.plot().axes)


# --- truth --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fit_reaches_the_exact_maximum_of_the_evidence():
    """Probabilistic PCA: the best mean evidence is known, and the family holds its posterior."""
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(400, 2, generator=generator)
    x = z @ torch.randn(2, 6, generator=generator) + 0.5 * torch.randn(400, 6, generator=generator)
    best = float(pv.truth.LinearGaussian.maximum_likelihood(x, latent=2).log_evidence(x).mean())
    scale = pv.LearnedScale(())
    vae = pv.VAE(
        pv.StandardNormal(2),
        pv.Normal(pv.MLP(2, [], 6), scale=scale),
        pv.FullNormal(pv.MLP(6, [], 2 + 2 + 1)),
    )
    pv.fit(vae, x, steps=3000, batch_size=400, learning_rate=pv.cosine(0.03, 1e-4, steps=3000), seed=0, **QUIET)
    figures = pv.rate_distortion(vae, x, draws=200)
    assert best - 0.02 < figures.elbo < best + 0.01


# --- optimisers ---------------------------------------------------------------------------------------


def test_any_torch_optimiser(data):
    vae = small_vae()
    before = weights(vae)
    run = pv.fit(vae, data, epochs=1, optim=lambda p: torch.optim.SGD(p, lr=1e-4), seed=0, **QUIET)
    assert run.history[0].learning_rate == 1e-4
    assert not same(before, weights(vae))


def test_pyros_schedulers_are_stepped_once_an_epoch(data):
    optim = pyro.optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "gamma": 0.5})
    run = pv.fit(small_vae(), data, epochs=3, batch_size=16, optim=optim, seed=0, **QUIET)
    assert [row.learning_rate for row in run.history] == pytest.approx([0.01, 0.005, 0.0025])


def test_learning_rates_by_name_and_frozen_parameters(data):
    vae = small_vae()
    before = {name: p.detach().clone() for name, p in vae.named_parameters()}
    pv.fit(
        vae, data, epochs=1, seed=0, **QUIET,
        learning_rate={"*likelihood*": 0, "*posterior*bias": pv.constant(1e-6), "*": 1e-2},
    )  # fmt: skip
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in vae.named_parameters()}
    assert all(size == 0 for name, size in moved.items() if "likelihood" in name)
    assert all(0 < size < 1e-5 for name, size in moved.items() if "posterior" in name and "bias" in name)
    assert all(size > 1e-4 for name, size in moved.items() if "posterior" in name and "weight" in name)


def test_a_name_that_fits_no_parameter_is_refused(data):
    with pytest.raises(pv.ArgumentError, match=r"'encoder\.\*'.*vae\.posterior"):
        pv.fit(small_vae(), data, epochs=1, learning_rate={"encoder.*": 0.1}, **QUIET)


def test_frozen_modules_stay_and_nothing_is_warned_of(data):
    vae = small_vae()
    for parameter in vae.likelihood.parameters():
        parameter.requires_grad_(False)
    before = weights(vae.likelihood)
    pv.fit(vae, data, epochs=2, seed=0, **QUIET)
    assert same(before, weights(vae.likelihood))


def test_clipping_bounds_the_gradient(data):
    vae = small_vae()
    before = weights(vae)
    pv.fit(vae, data, steps=1, clip_norm=1e-3, optim=lambda p: torch.optim.SGD(p, lr=1.0), seed=0, **QUIET)
    moved = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(weights(vae), before, strict=True)))
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_a_learning_rate_beside_pyros_optimiser_is_refused(data):
    with pytest.raises(pv.ArgumentError, match="holds its own"):
        pv.fit(small_vae(), data, epochs=1, optim=Adam({"lr": 1e-3}), learning_rate=1e-2, **QUIET)


# --- validation, patience, averages -------------------------------------------------------------------


def test_patience_restores_the_best_weights(data):
    vae = small_vae()
    run = pv.fit(
        vae, data[:8], epochs=400, batch_size=8, validation=data[8:], patience=3, learning_rate=0.05, seed=0, **QUIET
    )
    elbos = [row.validation_elbo for row in run.history]
    assert run.reason == "patience"
    assert run.weights == "best"
    assert len(elbos) - 1 - int(np.argmax(elbos)) == 3
    figures = pv.rate_distortion(vae, data[8:], seed=0, batch_size=8)
    assert figures.elbo == pytest.approx(max(elbos), abs=0.2 * abs(max(elbos)))


@pytest.mark.slow
@pytest.mark.parametrize("loss", [pv.objectives.IWAE(20), RenyiELBO(0.5, num_particles=20)])
def test_the_bound_of_held_out_rows_is_that_of_several_draws(data, loss):
    vae = small_vae()
    row = pv.fit(vae, data, epochs=1, validation=data[:9], batch_size=4, loss=loss, seed=0, **QUIET).history[-1]
    plain = [float(loss.loss(vae.eval().model, vae.guide, data[:9])) / 9 for _ in range(40)]
    assert row.validation_bound == pytest.approx(-np.mean(plain), abs=4 * np.std(plain))
    assert row.validation_bound > row.validation_elbo + 4 * np.std(plain)


@pytest.mark.slow
def test_patience_is_of_the_bound_that_is_trained():
    """Where the guide is the prior, the ELBO wants a noise of 1.4, where training begins, and the bound a small one."""
    log_noise = nn.Parameter(torch.tensor(2.0).sqrt().log())

    def model(x):
        pyro.param("log_noise", log_noise)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, log_noise.exp()), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    x = torch.randn(200)
    run = pv.fit(
        pv.Pair(model, guide), x[:100], validation=x[100:], loss=pv.objectives.IWAE(30), epochs=25, batch_size=100,
        learning_rate=0.03, patience=2, seed=0, **QUIET,
    )  # fmt: skip
    elbos, bounds = ([getattr(row, name) for row in run.history] for name in ("validation_elbo", "validation_bound"))
    assert run.reason == "finished"
    assert elbos[-1] < elbos[0]
    assert bounds[-1] > bounds[0] + 0.1


def test_the_moving_average_is_what_the_pair_holds(data):
    vae = small_vae()
    seen = []
    for step in pv.steps(vae, data, steps=40, batch_size=16, average=0.9, seed=0, device="cpu"):
        seen.append(weights(vae))
        assert step.index == len(seen) - 1
    expected = [torch.zeros_like(w) for w in seen[0]]
    for index, now in enumerate(seen):
        decay = min(0.9, (1 + index) / (10 + index)) if index else 0.0
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, now, strict=True)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(vae), expected, strict=True))


# --- losses -------------------------------------------------------------------------------------------


def test_every_loss_is_left_as_the_user_made_it(data):
    loss = Trace_ELBO(num_particles=3, vectorize_particles=True)
    before = dict(vars(loss))
    pv.fit(small_vae(), data, epochs=1, loss=loss, seed=0, **QUIET)
    assert vars(loss) == before


def test_a_closed_kl_has_less_noise_and_the_same_figures(data):
    torch.manual_seed(3)
    vae = small_vae()
    runs = [list(pv.steps(vae, data, steps=1, learning_rate=1e-12, batch_size=64, loss=loss, seed=1, device="cpu"))
            for loss in (Trace_ELBO(), TraceMeanField_ELBO())]  # fmt: skip
    assert runs[0][0].rate == pytest.approx(runs[1][0].rate, rel=1e-6)
    assert runs[0][0].loss != runs[1][0].loss


def test_renyi_beside_temper_is_refused(data):
    with pytest.raises(pv.ArgumentError, match="Renyi"):
        pv.fit(small_vae(), data, epochs=1, loss=RenyiELBO(num_particles=2), temper=0.5, **QUIET)


# --- a loss that goes bad -----------------------------------------------------------------------------


def test_a_bad_loss_stops_before_the_step_and_names_the_site(data, tmp_path):
    class Breaks(nn.Linear):
        calls = 0

        def forward(self, z):
            self.calls += self.training
            return super().forward(z) * (math.nan if self.calls > 3 else 1.0)

    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(Breaks(2, 5), scale=1.0), pv.DiagNormal(nn.Linear(5, 4)))
    seen = []
    training = pv.steps(vae, data, epochs=50, batch_size=16, seed=0, device="cpu", checkpoint=tmp_path)
    with pytest.raises(pv.DivergedError) as caught:
        seen.extend(weights(vae) for _ in training)
    assert caught.value.step == 3
    assert "step 3" in str(caught.value)
    assert same(seen[-1], weights(vae))
    assert caught.value.checkpoint is not None
    assert caught.value.checkpoint in str(caught.value)
    other = small_vae_like(vae)
    pv.load(other, caught.value.checkpoint)
    assert same(weights(other), seen[-1])


def small_vae_like(vae):
    return pv.VAE(pv.StandardNormal(2), pv.Normal(nn.Linear(2, 5), scale=1.0), pv.DiagNormal(nn.Linear(5, 4)))


def test_weights_that_overflow_are_caught_in_validation(data, tmp_path):
    options = {"learning_rate": 1e30, "checkpoint": tmp_path, "epochs": 5, "batch_size": 64, "seed": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(pv.DivergedError, match="step"):
            pv.fit(small_vae(), data, validation=data, **options, **QUIET)


def test_the_site_that_went_bad_is_named():
    calls = []

    def model(x):
        weight = pyro.param("weight", torch.ones(()))
        with pyro.plate("data", len(x)):
            z = pyro.sample("fine", dist.Normal(0.0, 1.0))
            calls.append(1)
            pyro.factor("culprit", weight * (-math.inf if len(calls) > 12 else 1.0) * torch.ones(len(x)))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("fine", dist.Normal(x * pyro.param("slope", torch.tensor(0.1)), 1.0))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(pv.DivergedError, match="'culprit'") as caught:
            pv.fit(pv.Pair(model, guide), torch.randn(8), epochs=50, seed=0, **QUIET)
    assert caught.value.site == "culprit"


def test_a_bad_gradient_behind_a_good_loss_is_caught():
    def model(x):
        with pyro.plate("data", len(x)):
            scale = pyro.param("scale", torch.zeros(()))
            # |0| has a gradient; sqrt(0) has an infinite one, and inf * 0 is nan.
            loc = (scale * scale).sqrt()
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    with pytest.raises(pv.DivergedError, match="gradient of 'scale'"):
        pv.fit(pv.Pair(model, lambda x: None), torch.randn(8), epochs=1, seed=0, **QUIET)
    assert float(pyro.param("scale").detach()) == 0


# --- two models in one process ------------------------------------------------------------------------


def test_two_models_and_a_deep_copy_train_apart(data):
    import copy

    one = small_vae()
    two = copy.deepcopy(one)
    start = weights(one)
    pv.fit(one, data, epochs=1, seed=0, **QUIET)
    assert same(start, weights(two))
    pv.fit(two, data, epochs=1, seed=0, **QUIET)
    assert same(weights(one), weights(two))
    three = copy.deepcopy(one)
    pv.fit(three, data, epochs=1, seed=1, **QUIET)
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(three))


def test_data_stay_as_they_are(data):
    images = (data.abs() * 50).clamp(max=255).to(torch.uint8)
    seen = []

    def model(x):
        seen.append(x.dtype)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(pyro.param("rate", torch.ones(5)).exp()).to_event(1), obs=x)

    pv.fit(pv.Pair(model, lambda x: None), images, epochs=1, seed=0, **QUIET)
    assert images.dtype == torch.uint8
    assert seen[-1] == torch.float32  # a Poisson likelihood would overflow on bytes


def test_doubles_are_cast_to_the_parameters_type(data):
    run = pv.fit(small_vae(), data.double().numpy(), epochs=1, seed=0, **QUIET)
    assert math.isfinite(run.history[0].elbo)


def test_a_transform_is_drawn_afresh_and_reproduced(data):
    grey = torch.sigmoid(data)
    seen = []

    def binarise(x):
        seen.append(torch.bernoulli(x))
        return seen[-1]

    def vae():
        torch.manual_seed(0)
        return pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))

    options = {"epochs": 2, "batch_size": 64, "seed": 0}
    drawn, losses = [], []
    for step in pv.steps(vae(), grey, transform=binarise, device="cpu", **options):
        drawn.append(seen[-1])
        losses.append(step.elbo)
    assert not torch.equal(*drawn)
    again = pv.fit(vae(), grey, transform=torch.bernoulli, **options, **QUIET)
    assert [row.elbo for row in again.history] == losses


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.filterwarnings("ignore:.author-scale")
@pytest.mark.parametrize("entry", pairs(without={"full_data", "local_autoguide"}))
def test_cuda_trains_in_place(entry):
    pair, data = on_device(*entry.make())
    with tolerated(entry):
        run = pv.fit(pair, data, epochs=2, batch_size=BATCH, loss=entry.loss(), seed=0, device="cuda", progress=False)
    assert math.isfinite(run.history[-1].elbo)
    stored = pyro.get_param_store().values()
    assert {value.device.type for value in stored} <= {"cuda"}
