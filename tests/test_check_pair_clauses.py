"""Clauses of `check_pair`: what no entry of the list of wrong pairs holds."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from broken import broken_pairs, sound_model
from clauses import empty, look, quick
from hypothesis import given
from hypothesis import strategies as st
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from registry import (
    LATENT,
    REGISTRY,
    ROWS,
    WIDTH,
    Encoder,
    amortised_guide,
    binary,
    counts,
    decoder_net,
    labels,
    real,
    standard_normal,
)
from torch import nn

import pyrovae as pv
from pyrovae.checks.check_pair import findings


@quick
@given(
    event=st.lists(st.integers(2, 4), min_size=1, max_size=3),
    batch=st.integers(2, 6),
    given_dims=st.integers(0, 4),
)
def test_the_right_to_event_is_named(event, batch, given_dims):
    pyro.clear_param_store()
    given_dims = min(given_dims, len(event) + 1)

    def model(x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc.expand(x.shape), 1.0).to_event(given_dims), obs=x)

    found = look(pv.Pair(model, empty), torch.randn(batch, *event))
    if given_dims == len(event):
        assert found == {}
    else:
        assert list(found) == ["to-event"]
        mend = found["to-event"].rpartition(": ")[2] if given_dims <= len(event) else found["to-event"]
        assert f".to_event({len(event)})" in mend


@quick
@given(
    event=st.lists(st.integers(2, 4), max_size=2),
    batch=st.integers(2, 5),
    where=st.integers(0, 10**6),
    bad=st.sampled_from([float("nan"), float("inf"), -float("inf")]),
)
def test_the_first_hole_in_the_data_is_named(event, batch, where, bad):
    pyro.clear_param_store()
    x = torch.zeros(batch, *event)
    x.view(-1)[where % x.numel()] = bad

    def model(x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).expand(x.shape).to_event(len(event)), obs=x)

    message = look(pv.Pair(model, empty), x)["support"]
    row, *column = (~x.isfinite()).nonzero()[0].tolist()
    place = f"column {column[0] if len(column) == 1 else column}" if column else "with the value"
    assert f"in row {row}" in message
    assert place in message
    assert f"{bad:g}" in message


@quick
@given(values=st.lists(st.floats(-3, 30, width=32), min_size=2, max_size=8), validate=st.booleans())
def test_counts_that_are_none_are_found(values, validate):
    pyro.clear_param_store()

    def model(x):
        rate = pyro.param("rate", torch.ones(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(rate, validate_args=validate), obs=x)

    x = torch.tensor(values)
    lawful = bool(((x >= 0) & (x % 1 == 0)).all())
    assert ("support" in look(pv.Pair(model, empty), x)) == (not lawful)


def test_holes_in_covariates_are_laid_to_the_data():
    pair, (x, c) = REGISTRY["covariates"].make()
    c[3, 1] = torch.nan
    message = look(pair, x, c)["data"]
    assert "'c' is nan in row 3, column 1" in message
    with pytest.raises(pv.DataError, match="'c' is nan"):
        pv.check_pair(pair, x, c)


def test_holes_are_laid_to_the_data_where_nothing_validates():
    pair, (x, c) = REGISTRY["covariates"].make()
    c[3, 1] = torch.inf
    with pyro.validation_enabled(False):
        found = findings(pair, (x, c), {})
    assert {(f.clause, f.where) for f in found} <= {("data", "c")}
    assert found


def test_a_mask_of_elements_covers_values_outside_the_support():
    def model(x, seen):
        rate = pyro.param("rate", torch.ones(()))
        with pyro.plate("data", len(x), dim=-2), pyro.plate("features", WIDTH, dim=-1):
            pyro.sample("x", dist.Poisson(rate).mask(seen), obs=x)

    x, seen = counts(), torch.ones(ROWS, WIDTH, dtype=torch.bool)
    x[2, 3] = -1
    seen[2, 3] = False
    assert look(pv.Pair(model, empty), x, seen) == {}
    assert list(look(pv.Pair(model, empty), x, ~seen)) == ["support"]
    assert list(look(pv.Pair(model, empty), x, seen | True)) == ["support"]


def test_masked_rows_may_hold_anything(clauses_hold):
    _, (x, y, known) = REGISTRY["masked_rows"].make()

    def model(x, y, known):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)), poutine.mask(mask=known):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    holes = torch.where(known, y.float(), torch.inf)
    assert look(pv.Pair(model, empty), x, holes, known) == {}
    assert list(look(pv.Pair(model, empty), x, holes, ~known)) == ["support"]


def test_a_loose_dim_beside_a_plate_with_a_dim_of_its_own():
    def model(x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("x", dist.Normal(loc.expand(x.shape), 1.0), obs=x)

    message = look(pv.Pair(model, empty), real())["to-event"]
    assert (
        "Give dims [-1] a plate of their own, or add .to_event(1) and let the plate of the data take dim -1" in message
    )


@pytest.mark.parametrize(("whole", "severity"), [(None, "error"), (32, "warning")])
def test_an_event_of_all_rows_may_be_scaled_by_its_author(whole, severity):
    """As Pyro's `VariationalSparseGP` is, by `num_data=`; without it a batch counts as all data."""

    def model(x):
        loc = pyro.param("loc", torch.zeros(()))
        with poutine.scale(scale=1.0 if whole is None else whole / len(x)):
            pyro.sample("x", dist.Normal(loc.expand(len(x)), 1.0).to_event(1), obs=x)

    (finding,) = findings(pv.Pair(model, empty), (real()[:8, 0],), {}, dataset_size=32)
    assert (finding.clause, finding.severity) == ("to-event", severity)
    assert ("scale counts for 32 rows" in finding.message) == (severity == "warning")


def test_rows_of_another_number_are_no_lack_of_to_event():
    def model(x, y):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(loc.expand(len(y)), 1.0), obs=y)

    found = look(pv.Pair(model, empty), real(), real()[:20, 0])
    assert list(found) == ["shape"]
    assert "(test_check_pair_clauses.py:" in found["shape"]
    assert "unequal lengths: x has 32 rows, y has 20 rows" in found["shape"]


def test_parameters_that_pyro_has_not_seen_yet_are_named_by_type():
    net = nn.Linear(WIDTH, LATENT)

    def guide(x):
        return nn.functional.linear(x, net.weight)

    assert "The parameters are float32 (" in look(pv.Pair(sound_model(decoder_net()), guide), real().double())["dtype"]


def test_an_argument_left_at_none_is_named():
    entry = next(one.values[0] for one in broken_pairs("nothing-observed") if "default" in one.id)
    pair, data = entry.make()
    assert "argument 'x' was left at None" in look(pair, data)["nothing-observed"]


def test_a_buffer_on_another_device_is_seen():
    pair, x = REGISTRY["plain_functions"].make()
    net = decoder_net()
    net.register_buffer("unused", torch.zeros(1, device="meta"))

    def model(x):
        pyro.module("decoder", net)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(logits=net(pyro.sample("z", standard_normal(x)))).to_event(1), obs=x)

    assert "meta ('decoder.unused')" in look(pv.Pair(model, pair.guide), x)["device"]


def test_a_guide_outside_the_support_of_the_prior():
    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Normal(rate, 1.0), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Normal(loc, 1.0))

    (finding,) = findings(pv.Pair(model, guide), (real()[:, 0],), {})
    assert (finding.clause, finding.severity, finding.where) == ("guide-support", "error", "rate")
    assert "Gamma" in finding.message
    with pytest.raises(pv.PairError):
        pv.check_pair(pv.Pair(model, guide), real()[:, 0])


def test_bytes_that_wrap_around():
    def model(x):
        rate = pyro.param("rate", torch.ones(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    found = look(pv.Pair(model, empty), torch.full((4,), 255, dtype=torch.uint8))
    assert list(found) == ["dtype"]
    assert "uint8" in found["dtype"]
    assert look(pv.Pair(model, empty), torch.full((4,), 3, dtype=torch.uint8)) == {}


def test_parameters_of_two_types_that_work_are_a_warning():
    encoder, decoder = Encoder().double(), decoder_net()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x.double())
            pyro.sample("z", dist.Normal(loc.float(), scale.float()).to_event(1))

    (finding,) = findings(pv.Pair(sound_model(decoder), guide), (real(),), {})
    assert (finding.clause, finding.severity) == ("dtype", "warning")
    assert "float64 ('encoder." in finding.message
    assert "float32 ('decoder." in finding.message


def test_a_buffer_of_another_type_is_seen():
    pair, x = REGISTRY["plain_functions"].make()
    net = decoder_net()
    net.register_buffer("shift", torch.zeros(WIDTH, dtype=torch.float64))

    def model(x):
        pyro.module("decoder", net)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=net(z) + net.shift.float()).to_event(1), obs=x)

    assert "shift" in look(pv.Pair(model, pair.guide), x)["dtype"]


def test_a_seed_inside_the_model_and_one_in_a_fork():
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())

    def seeded(x):
        torch.manual_seed(0)
        model(x)

    def forked(x):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            guide(x)

    assert "the model" in look(pv.Pair(seeded, guide), real())["fixed-seed"]
    assert "'z'" in look(pv.Pair(model, forked), real())["fixed-seed"]


def test_plates_of_two_names_are_a_warning_where_no_rows_are_drawn():
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    found = findings(pv.Pair(sound_model(decoder_net()), guide), (real(),), {}, data_plate="data")
    assert [(finding.clause, finding.severity) for finding in found] == [("plate-mismatch", "warning")]


def test_a_scale_by_hand_is_as_good_as_a_plate_of_the_right_size():
    def model(c, y):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1))
        with pyro.plate("data", len(c)), poutine.scale(scale=1000 / len(c)):
            pyro.sample("y", dist.Normal(c @ weight, 1.0), obs=y)

    pair, data = pv.Pair(model, AutoNormal(model)), (real(), real()[:, 0])
    assert look(pair, *data, dataset_size=1000) == {}
    assert list(look(pair, *data, dataset_size=500)) == ["plate-scale"]


def test_two_plates_that_follow_the_batch():
    def model(x):
        loc = pyro.param("loc", torch.zeros(()))
        with pyro.plate("left", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x[:, 0])
        with pyro.plate("right", len(x)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=x[:, 1])

    pair = pv.Pair(model, empty)
    with pytest.raises(pv.ArgumentError, match="data_plate='left'"):
        pv.check_pair(pair, real())
    assert pv.check_pair(pair, real(), data_plate="right") == ()
    with pytest.raises(pv.ArgumentError, match="'middle' is no plate of this pair; its plates are 'left', 'right'"):
        pv.check_pair(pair, real(), data_plate="middle")


def test_an_autoguide_is_not_blamed_for_its_model():
    def model(x):
        pyro.sample("w", dist.Normal(0.0, 1.0))
        raise RuntimeError("shapes cannot be multiplied (8x10 and 12x16)")

    assert look(pv.Pair(model, AutoNormal(model)), real())["shape"].startswith("the model fails")


def test_the_users_own_line_is_named():
    def guide(x):
        return undefined_name  # noqa: F821  # pyright: ignore

    message = look(pv.Pair(sound_model(decoder_net()), guide), real())["raises"]
    assert f"(test_check_pair_clauses.py:{guide.__code__.co_firstlineno + 1})" in message
    assert "NameError: name 'undefined_name' is not defined" in message


# A model that is meant to read what it observes


def autoregressive(decoder):
    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            shifted = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], -1)
            logits = decoder(torch.cat([z, shifted], -1))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    return model


class Reader(PyroModule):
    reads_observed = True

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = decoder_net(LATENT + WIDTH), Encoder()
        self.model, self.guide = autoregressive(self.decoder), amortised_guide(self.encoder)


def on_the_function():
    model = autoregressive(decoder_net(LATENT + WIDTH))
    model.reads_observed = True
    return pv.Pair(model, amortised_guide(Encoder()))


def under_a_handler():
    pair = on_the_function()
    return pv.Pair(poutine.scale(pair.model, scale=0.5), poutine.scale(pair.guide, scale=0.5))


@pytest.mark.parametrize("make", [on_the_function, under_a_handler, Reader, lambda: pv.temper(on_the_function(), 0.5)])
def test_reading_can_be_declared(make):
    assert look(make(), binary()).keys() <= {"author-scale"}


def test_reading_that_is_not_declared_is_found_through_casts_and_names():
    decoder = decoder_net(LATENT + WIDTH)

    def model(*, c, image):
        autoregressive(decoder)(image.float() / 255)

    def guide(*, c, image):
        amortised_guide(encoder)(image.float() / 255)

    encoder = Encoder()
    data = {"c": labels(3), "image": (255 * binary()).to(torch.uint8)}
    (finding,) = findings(pv.Pair(model, guide), (), data)
    assert (finding.clause, finding.where) == ("reads-observed", "image")


def test_a_plate_that_easy_guide_makes_without_a_size_is_as_long_as_the_models():
    def model(x):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("columns", 3):
            weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(level + weight.sum(-1), 1.0), obs=x)

    class Guide(EasyGuide):
        def guide(self, x):
            loc = pyro.param("loc", torch.zeros(4))
            self.group(match="level|weight").sample("both", dist.Normal(loc, 0.3).to_event(1))

    assert findings(pv.Pair(model, Guide(model)), (torch.randn(8),), {}) == ()
