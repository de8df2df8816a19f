"""Values outside supports, in words: of one batch, and of all rows before training."""

from __future__ import annotations

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyrovae as pv
from pyrovae.checks.supports import check_supports, not_finite, outside_support, validates
from pyrovae.data.batches import as_batches
from pyrovae.data.placement import find_placement
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.trace import run

ones = torch.ones(3)


@pytest.mark.parametrize(
    ("fn", "value", "words"),
    [
        (dist.Bernoulli(0.5 * ones).to_event(1), 0.25, ("Bernoulli", "transform=torch.bernoulli", "0.25")),
        (dist.Bernoulli(0.5 * ones).to_event(1), 255.0, ("Divide by 255",)),
        (dist.ContinuousBernoulli(0.5 * ones).to_event(1), 128.0, ("Divide by 255",)),
        (dist.ContinuousBernoulli(0.5 * ones).to_event(1), -1.0, ("rescale", "-1")),
        (dist.Beta(ones, ones).to_event(1), 300.0, ("rescale", "300")),
        (dist.Poisson(ones).to_event(1), 1.5, ("whole numbers", "round")),
        (dist.Gamma(ones, ones).to_event(1), -2.0, ("rescale", "-2")),
        (dist.Normal(ones, ones).to_event(1), float("nan"), ("NaN", "mask")),
    ],
)
def test_words_and_mend(fn, value, words):
    x = torch.ones(4, 3)
    x[2, 1] = value
    message = outside_support("x", fn.expand([4]), x)
    assert message is not None
    assert "1 of 4 rows, the first in row 2, column 1," in message
    assert all(word in message for word in words)


def test_class_numbers_beyond_the_last():
    message = outside_support("y", dist.Categorical(torch.ones(3) / 3).expand([4]), torch.tensor([0, 1, 2, 3]))
    assert message is not None
    assert "class numbers go from 0 to 2" in message
    assert "in row 3 with the value 3" in message


def test_an_event_that_is_one_thing_is_found_as_a_whole():
    x = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.6, 0.0]])
    message = outside_support("x", dist.Dirichlet(ones).expand([2]), x)
    assert message is not None
    assert "Dirichlet: 1 of 2 rows, the first in row 1" in message


def test_values_inside_and_values_that_cannot_be_judged():
    assert outside_support("x", dist.Normal(ones, 1.0).to_event(1).expand([4]), torch.zeros(4, 3)) is None
    assert outside_support("x", dist.Bernoulli(0.5 * ones).expand([4, 3]), torch.zeros(4, 7)) is None


@settings(max_examples=30)
@given(seen=st.lists(st.booleans(), min_size=4, max_size=4), kind=st.sampled_from(["poutine", "distribution", "both"]))
def test_masked_rows_are_not_looked_at(seen, kind):
    mask = torch.tensor(seen)
    fn = dist.Bernoulli(0.5 * ones).to_event(1).expand([4])
    fn = fn.mask(mask) if kind != "poutine" else fn
    found = outside_support("x", fn, torch.full((4, 3), 0.5), mask if kind != "distribution" else None)
    assert (found is None) == (not any(seen))
    assert found is None or f"{sum(seen)} of 4 rows, the first in row {seen.index(True)}" in found


def test_a_mask_of_false_hides_all():
    fn = dist.Bernoulli(0.5 * ones).to_event(1).expand([4])
    assert outside_support("x", fn, torch.full((4, 3), 0.5), False) is None
    assert outside_support("x", fn.mask(False), torch.full((4, 3), 0.5)) is None


@pytest.mark.parametrize(
    ("fn", "value", "mend"),
    [
        (dist.Beta(2 * ones, 2 * ones), 0.0, "x.clamp(1e-4, 1 - 1e-4)"),
        (dist.Beta(0.5 * ones, ones), 0.0, "x.clamp(1e-4, 1 - 1e-4)"),
        (dist.Gamma(2 * ones, ones), 0.0, "x.clamp(min=1e-4)"),
        (dist.Normal(ones, ones), torch.inf, "drop these rows"),
    ],
)
def test_ends_of_a_support_without_a_finite_density(fn, value, mend):
    x = torch.full((4, 3), 0.5)
    x[1, 2] = value
    fn = fn.to_event(1).expand([4])
    message = not_finite("x", fn, x)
    assert message is not None
    assert "1 of 4 rows, the first in row 1, column 2," in message
    assert mend in message
    assert not_finite("x", fn, x, torch.tensor([True, False, True, True])) is None
    assert not_finite("x", fn.mask(torch.tensor([True, False, True, True])), x) is None


def test_finite_values_and_parameters_at_fault():
    x = torch.full((4, 3), 0.5)
    assert not_finite("x", dist.Beta(2 * ones, 2 * ones).to_event(1).expand([4]), x) is None
    broken = dist.Normal(ones, torch.zeros(3), validate_args=False).to_event(1).expand([4])
    assert not_finite("x", broken, x) is None


def test_wrappers_are_looked_through():
    bare = dist.Bernoulli(0.5 * ones, validate_args=False)
    assert base_of(bare.to_event(1).mask(True)) is bare
    assert not validates(bare)
    assert validates(dist.Bernoulli(0.5 * ones, validate_args=True).to_event(1))


# All rows, before training


def model_of(make):
    def model(x):
        rate = pyro.param("rate", torch.ones(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", make(rate).expand([3]).to_event(1), obs=x)

    return pv.Pair(model, lambda x: None)


def check(pair, data, **options):
    batches = as_batches(data, batch_size=4, seed=0, **options)
    first = batches.first()
    placement = find_placement(pair, first, "cpu")
    batch = placement.place(first)
    with isolated():
        traces = run(pair, *batch[:2])
    check_supports(pair, batches, batch, traces, placement)


def far(value, kind=np.float32):
    """An array with one bad row, far from the first batch."""
    x = np.ones((20_000, 3), dtype=kind)
    x[17_000, 2] = value
    return x


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_a_bad_row_far_away_is_found(kind):
    with pytest.raises(pv.DataError, match=r"outside the support of Poisson.*in row 17000, column 2.*value -1"):
        check(model_of(dist.Poisson), far(-1, kind))


def test_where_nothing_validates_a_bad_row_far_away_is_told_of():
    pair = model_of(lambda rate: dist.Poisson(rate, validate_args=False))
    with pytest.warns(pv.PyrovaeWarning, match=r"support of Poisson.*in row 17000, column 2.*validation is off"):
        check(pair, far(-1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(pair, far(3))
        check(pair, -np.ones((20, 3), dtype=np.float32))  # a finding of the first batch, which may be meant


@pytest.mark.parametrize("hole", [np.float32("nan"), np.iinfo(np.int64).min])
def test_a_hole_behind_a_first_batch_without_any_is_one_for_a_pair_that_takes_holes(hole):
    data = far(hole, np.float32 if isinstance(hole, np.floating) else np.int64)
    check(pv.masked(model_of(dist.Poisson)), data)
    data[18_000, 0] = -1
    found = r"1 of 20000 rows, the first in row 18000, column 0, with the value -1\. The values run from -1 to 1:"
    with pytest.raises(pv.DataError, match=found):
        check(pv.masked(model_of(dist.Poisson)), data)
    with pytest.raises(pv.DataError, match=r"Poisson: 2 of 20000 rows, the first in row 17000"):
        check(model_of(dist.Poisson), data)


def test_rows_that_are_sound_pass():
    check(model_of(dist.Poisson), far(3))


def test_an_end_without_density_far_away_is_found():
    pair = model_of(lambda rate: dist.Gamma(2.0, rate))
    with pytest.raises(pv.DataError, match=r"Gamma.*in row 17000, column 2.*value 0.*clamp"):
        check(pair, far(0))
    check(model_of(lambda rate: dist.Exponential(rate)), far(0))  # its density at 0 is finite


def test_what_a_transform_will_change_is_not_checked():
    check(model_of(dist.Poisson), far(-1), transform=torch.abs)


# What is asked of a pair afterwards


def latent(likelihood, *, loops=False):
    """A pair with a latent of each row, and one that takes a draw at a time."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            rows = torch.stack([z.reshape(len(x)) if loops else z] * 3, -1)
            pyro.sample("x", likelihood(rows).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    return pv.Pair(model, guide)


ASKED = {
    "elbo": lambda pair, x: pv.elbo(pair, x, draws=3),
    "log_evidence": lambda pair, x: pv.log_evidence(pair, x, draws=3),
    "joint": lambda pair, x: pv.log_evidence(pair, x, draws=3, joint=True),
    "psis": lambda pair, x: pv.psis(pair, x, draws=30),
    "rate_distortion": lambda pair, x: pv.rate_distortion(pair, x),
    "impute": lambda pair, x: pv.impute(pair, x, draws=2, candidates=30),
    "to_arviz": lambda pair, x: pv.to_arviz(pair, x, draws=3),
    "log_likelihood": lambda pair, x: pv.log_likelihood(pair, x, draws=3),
    "ais": lambda pair, x: pv.ais(pair, x, chains=1, steps=2),
}


def POISSON(z):
    return dist.Poisson(z.exp())


OUTSIDE = {
    "Poisson": (POISSON, -1.0, "round them, or choose a continuous likelihood"),
    "Bernoulli": (lambda z: dist.Bernoulli(logits=z), 0.5, "binarise them afresh"),
    "Normal": (lambda z: dist.Normal(z, 1.0), float("nan"), r"count nowhere \(pv\.masked\(pair\)\)"),
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("asked", ASKED)
def test_every_question_says_which_value_is_outside_and_what_to_do(asked, name):
    likelihood, value, mend = OUTSIDE[name]
    if (asked, name) == ("impute", "Normal"):
        pytest.skip("what is NaN is what it draws")
    x = torch.ones(6, 3)
    x[4, 1] = value
    words = rf"'x' are outside the support of {name}: 1 of 6 rows, the first in row 4, column 1, with the value.*{mend}"
    if (asked, name) == ("rate_distortion", "Normal"):  # as the training says it
        words = rf"argument 'x' has NaN or infinity in 1 of 6 rows, first at row 4, column 1\. .*{mend}"
    with pytest.raises(pv.DataError, match=words):
        ASKED[asked](latent(likelihood), x)


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("asked", ["log_evidence", "rate_distortion"])
def test_a_row_far_away_is_named_by_its_place_in_the_data(asked, loops):
    x = torch.ones(9_000, 3)
    x[8_500, 2] = -1.0
    with pytest.raises(pv.DataError, match=r"outside the support of Poisson: .* in row 8500, column 2, with the v"):
        ASKED[asked](latent(POISSON, loops=loops), x)


def test_figures_that_are_not_finite_say_why():
    def unchecked(z):
        return dist.Poisson(z.exp(), validate_args=False)

    for likelihood, value in ((unchecked, -1.0), (lambda z: dist.Gamma(z.exp(), 1.0), 0.0)):
        x = torch.ones(6, 3)
        x[4, 1] = value
        with pytest.raises(pv.DataError, match="in row 4, column 1, with the value"):
            pv.rate_distortion(latent(likelihood), x)


def test_class_numbers_beyond_the_last_have_no_calibration():
    def classes(z):
        return dist.Categorical(logits=torch.stack([z, -z], -1))

    with pytest.raises(pv.DataError, match="class numbers run from 0 to 2, and go from 0 to 1 here"):
        pv.calibration(latent(classes), torch.tensor([[0, 1, 2]] * 4), draws=30)
