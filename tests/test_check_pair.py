"""`check_pair`: every wrong pair is found in words, every sound one passes, and nothing is left behind."""

from __future__ import annotations

import copy
import logging
import random
from contextlib import contextmanager, nullcontext

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from broken import broken_pairs, sound_model, vae
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from registry import (
    LATENT,
    REGISTRY,
    ROWS,
    WIDTH,
    Encoder,
    TutorialVAE,
    amortised_guide,
    arguments,
    binary,
    counts,
    decoder_net,
    grey,
    labels,
    pairs,
    real,
    rows,
    standard_normal,
)
from torch import nn
from torch.distributions import Distribution

import pyrovae as pv
from pyrovae.checks import check_pair as check_pair_module
from pyrovae.checks.check_pair import CLAUSES, findings

every_pair = pytest.mark.parametrize("entry", pairs())
quick = settings(max_examples=25)


@pytest.fixture
def clauses_hold(caplog):
    """No clause itself may fail: that is logged, and would be found nowhere else."""
    caplog.set_level(logging.DEBUG, logger="pyrovae")
    yield
    messages = [record.getMessage() for record in caplog.get_records("call")]
    assert [message for message in messages if "could not be checked" in message] == []


def look(pair, *batch, **options):
    """The findings by clause: {clause: message}."""
    return {finding.clause: finding.message for finding in findings(pair, batch, {}, **options)}


def empty(*batch, **named):
    """A guide without sites."""


# Wrong pairs


@pytest.mark.parametrize("entry", broken_pairs())
def test_a_wrong_pair_is_found_and_nothing_else(entry, clauses_hold):
    pair, data = entry.make()
    args, kwargs = arguments(data)
    found = findings(pair, args, kwargs, **entry.options)
    assert {(finding.clause, finding.severity) for finding in found} == {(entry.clause, entry.expect)}
    texts = [finding.message.lower() for finding in found]
    assert any(all(word.lower() in text for word in entry.words) for text in texts), texts
    assert len({(finding.clause, finding.where) for finding in found}) == len(found)


@pytest.mark.parametrize("entry", broken_pairs())
def test_a_message_is_short_and_ends_in_a_mend(entry):
    pair, data = entry.make()
    for finding in findings(pair, *arguments(data), **entry.options):
        assert finding.message.endswith((".", ")"))
        assert "Trace Shapes" not in finding.message
        assert "\n" not in finding.message
        assert 80 < len(finding.message) < 700


@pytest.mark.parametrize("entry", broken_pairs())
def test_check_pair_raises_errors_and_warns_of_the_rest(entry):
    pair, data = entry.make()
    args, kwargs = arguments(data)
    if entry.expect == "warning":
        with pytest.warns(pv.PyrovaeWarning, match=rf"^\[{entry.clause}\]"):
            assert pv.check_pair(pair, *args, **kwargs, **entry.options)
        return
    kind = pv.DataError if entry.clause == "support" else pv.PairError
    with pytest.raises(kind, match=rf"^\[{entry.clause}\]"):
        pv.check_pair(pair, *args, **kwargs, **entry.options)


def test_all_errors_stand_in_one_message():
    encoder = Encoder()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.5):
                z = pyro.sample("z", standard_normal(x))
            pyro.sample("w", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    decoder = decoder_net()
    with pytest.raises(pv.PairError) as caught:
        pv.check_pair(pv.Pair(model, amortised_guide(encoder)), grey())
    lines = str(caught.value).splitlines()
    assert [line.split("]")[0] for line in lines] == ["[site-missing-in-guide", "[one-sided-scale", "[support"]


def test_a_data_error_only_where_nothing_but_data_is_wrong():
    pair, _ = vae(lambda out: dist.Bernoulli(logits=out).to_event(1), grey())
    with pytest.raises(pv.DataError):
        pv.check_pair(pair, grey())
    forgetful = pv.Pair(pair.model, empty)
    with pytest.raises(pv.PairError, match=r"site-missing(.|\n)*support"):
        pv.check_pair(forgetful, grey())


# Sound pairs


@every_pair
def test_a_sound_pair_passes_on_any_number_of_rows(entry, clauses_hold):
    whole = {"full_data", "local_autoguide"} & entry.traits
    for count in (ROWS,) if whole else (ROWS, 8, 1):
        pyro.clear_param_store()
        pair, data = entry.make()
        found = findings(pair, *arguments(rows(data, slice(count))), dataset_size=ROWS)
        expected = [("support", "warning")] if "unvalidated" in entry.traits else []
        assert [(finding.clause, finding.severity) for finding in found] == expected


@pytest.mark.parametrize("name", ["plain_functions", "pyro_modules", "auto_normal", "batch_norm_and_dropout"])
def test_a_sound_pair_passes_after_training(name, clauses_hold):
    pair, data = REGISTRY[name].make()
    args, kwargs = arguments(data)
    train(pair, *args, **kwargs)
    assert findings(pair, args, kwargs, dataset_size=ROWS) == ()


@pytest.mark.parametrize("wrap", [lambda p: pv.temper(p, 0.3), lambda p: pv.free_bits(p, {"z": 1.0}), pv.record])
def test_a_wrapped_pair_passes(wrap):
    pair, x = REGISTRY["plain_functions"].make()
    assert look(wrap(pair), x) == {}


def test_a_gaussian_process_observes_all_rows_as_one_event():
    def model(c, y):
        length = pyro.param("length", torch.tensor(1.0))
        kernel = torch.exp(-torch.cdist(c, c) / length) + 0.1 * torch.eye(len(c))
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(c)), kernel), obs=y)

    assert look(pv.Pair(model, empty), real(), real()[:, 0]) == {}


def test_a_flow_without_an_inverse_passes(clauses_hold):
    flow, encoder, decoder = transforms.planar(LATENT), Encoder(), decoder_net()

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(*encoder(x)).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    assert look(pv.Pair(sound_model(decoder), guide), real()) == {}


def test_noise_outside_of_sites_is_no_reading_of_data():
    pair, x = REGISTRY["plain_functions"].make()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            noisy = nn.functional.dropout(z, 0.3, training=True) + 0.1 * torch.randn_like(z)
            pyro.sample("x", dist.Bernoulli(logits=decoder(noisy)).to_event(1), obs=x)

    decoder = decoder_net()
    assert look(pv.Pair(model, pair.guide), x) == {}


# What no entry of the list of wrong pairs holds


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
    assert "(test_check_pair.py:" in found["shape"]
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
    assert f"(test_check_pair.py:{guide.__code__.co_firstlineno + 1})" in message
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
    assert look(make(), binary()) == {}


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


# What is given in place of a pair or of data


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (print, "no .model"),
        (None, "NoneType"),
        (pv.Pair(None, empty), ".model is None"),  # pyright: ignore[reportArgumentType]
        (TutorialVAE, "make an object of it first"),
    ],
)
def test_what_is_no_pair(pair, words):
    with pytest.raises(pv.PairError, match="not-a-pair") as caught:
        pv.check_pair(pair, binary())
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint8, ">f8", np.int64])
def test_arrays_are_converted_as_fit_does_it(kind):
    pair, x = REGISTRY["plain_functions"].make()
    array = x.numpy().astype(kind)
    if kind is np.int64:  # whole numbers stay what they are
        assert "int64" in look(pair, array)["dtype"]
    else:
        assert look(pair, array) == {}
        assert look(pair, array[::-1]) == {}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.array([None, "a"], dtype=object), "'x' holds Python objects"),
        (torch.zeros(0, WIDTH), "'x' is empty"),
        (np.zeros((0, WIDTH)), "'x' is empty"),
        (None, "'x' is None"),
        ([1.0, 2.0], "'x' is a list"),
        ((torch.zeros(2, WIDTH),), r"check_pair(pair, *batch)"),
        (torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(2))), "next(iter(loader))"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_data(data, words):
    pair, _ = REGISTRY["plain_functions"].make()
    with pytest.raises(pv.DataError) as caught:
        pv.check_pair(pair, data)
    assert words in str(caught.value)


def test_no_data_at_all():
    pair, x = REGISTRY["plain_functions"].make()
    with pytest.raises(pv.PairError, match=r"neither side takes these data(.|\n)*check_pair\(pair, x\[:8\]\)"):
        pv.check_pair(pair)
    held = pv.Pair(lambda: pair.model(x), lambda: pair.guide(x))
    assert pv.check_pair(held) == ()


def test_shared_names_must_stand_in_one_order_where_data_go():
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())

    def check(model_side, guide_side):
        return look(pv.Pair(model_side, guide_side), real(), real().flip(0))

    assert check(lambda x, _: model(x), lambda y, _: guide(y)) == {}
    assert check(lambda x, c: model(x), lambda *args: guide(args[0])) == {}
    assert "order" in check(lambda x, c: model(x), lambda c, y: guide(c))["signature"]


# Nothing is left behind


def train(pair, *args, **kwargs):
    SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(*args, **kwargs)


def outside():
    """Everything global that a check might touch."""
    store = pyro.get_param_store()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "python": random.getstate(),
        "store": {name: id(tensor) for name, tensor in store._params.items()},
        "names": {id(tensor): name for tensor, name in store._param_to_name.items()},
        "constraints": {name: id(one) for name, one in store._constraints.items()},
        "values": {name: tensor.tolist() for name, tensor in store._params.items()},
        "validation": (pyro.infer.util.is_validation_enabled(), pyro.poutine.util.is_validation_enabled()),
        "arguments": Distribution._validate_args,
        "dtype": torch.get_default_dtype(),
        "stack": list(pyro.poutine.runtime._PYRO_STACK),
        "grad": torch.is_grad_enabled(),
    }


@contextmanager
def seen():
    """The modules that are called inside."""
    found: list[nn.Module] = []
    handle = nn.modules.module.register_module_forward_pre_hook(lambda module, inputs: found.append(module))
    try:
        yield found
    finally:
        handle.remove()


def inside(modules):
    """Everything that a module holds."""
    return [
        (
            module.training,
            list(module._parameters),
            list(module._modules),
            {name: buffer.tolist() for name, buffer in module.named_buffers()},
            {name: None if p.grad is None else p.grad.tolist() for name, p in module.named_parameters()},
            {name: id(p) for name, p in module.named_parameters()},
        )
        for module in modules
    ]


@every_pair
@pytest.mark.parametrize("validate", [True, False])
def test_nothing_is_left_behind(entry, validate):
    pair, data = entry.make()
    args, kwargs = arguments(data)
    modules = [one for one in pair if isinstance(one, nn.Module)] if isinstance(pair, tuple) else [pair]
    before = copy.deepcopy((args, kwargs))
    with pyro.validation_enabled(validate):
        for _ in range(2):
            state = outside(), inside(modules)
            findings(pair, args, kwargs, dataset_size=ROWS)
            assert (outside(), inside(modules)) == state
            if entry.loss is not Trace_ELBO:
                break
            with seen() as called:  # the second time with parameters, gradients and changed buffers
                train(pair, *args, **kwargs)
            modules = list({id(one): one for one in called}.values())
            for module in modules[::2]:
                module.training = not module.training
            for parameter in (p for module in modules for p in module.parameters()):
                parameter.grad = torch.ones_like(parameter)
    for given_leaf, kept in zip([*args, *kwargs.values()], [*before[0], *before[1].values()], strict=True):
        assert torch.equal(given_leaf, kept)


def test_data_are_not_written_into():
    pair, x = REGISTRY["plain_functions"].make()

    def guide(x):
        x.mul_(0.5)
        return pair.guide(x)

    kept = x.clone()
    findings(pv.Pair(pair.model, guide), (x,), {})
    assert torch.equal(x, kept)


def test_a_flow_keeps_no_stale_graph_of_the_data():
    flow = transforms.affine_autoregressive(WIDTH, hidden_dims=[16])

    def model(x):
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1)
            pyro.sample("x", dist.TransformedDistribution(base, [flow]), obs=x)

    pair, x = pv.Pair(model, empty), real()[:4]
    assert look(pair, x) == {}
    train(pair, x)  # a graph kept by the flow's cache would be walked a second time


def test_a_trained_flow_is_asked_afresh(clauses_hold):
    flow, x = transforms.affine_autoregressive(WIDTH, hidden_dims=[16]), real()[:4]

    def model():
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1)
            pyro.sample("x", dist.TransformedDistribution(base, [flow]), obs=x)

    train(pv.Pair(model, empty))  # what the flow remembers of x now hangs on a graph that is gone
    assert look(pv.Pair(model, empty)) == {}


@pytest.mark.parametrize("validate", [True, False, None])
def test_distributions_that_the_caller_keeps_validate_as_before(validate):
    prior = dist.Independent(dist.Normal(torch.zeros(2), 1.0, validate_args=validate), 1)
    before = dict(vars(prior.base_dist))

    def model(x):
        w = pyro.sample("w", prior)
        with pyro.plate("data", ROWS):
            pyro.sample("x", dist.Normal(w.sum(), 1.0), obs=x)

    look(pv.Pair(model, AutoNormal(model)), real()[:, 0])
    assert vars(prior.base_dist) == before


def test_draws_that_a_message_counts_are_the_same_each_time():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("rate", dist.Gamma(2.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    messages = {look(pv.Pair(model, guide), real()[:, 0])["guide-support"] for _ in range(2) if len(torch.rand(3))}
    assert len(messages) == 1
    assert "of 32 draws" in messages.pop()


@pytest.mark.parametrize("name", ["score_function", "auto_normal", "time_steps", "subsample_by_index"])
def test_it_says_the_same_each_time(name):
    entry = REGISTRY[name]
    pair, data = entry.make()
    wrong = pv.Pair(poutine.scale(pair.model, scale=0.5), pair.guide)
    first = findings(wrong, *arguments(data))
    pyro.set_rng_seed(99)
    assert findings(wrong, *arguments(data)) == first
    assert first


@pytest.mark.parametrize(
    "around",
    [
        nullcontext,
        lambda: pyro.plate("outer", 3),
        lambda: poutine.scale(scale=0.1),
        lambda: poutine.mask(mask=torch.tensor(False)),
        lambda: poutine.block(hide_all=True),
        lambda: poutine.condition(data={"z": torch.zeros(ROWS, LATENT)}),
        torch.no_grad,
        torch.inference_mode,
    ],
    ids=["nothing", "plate", "scale", "mask", "block", "condition", "no_grad", "inference_mode"],
)
def test_it_works_inside_whatever_the_caller_is_in(around):
    pair, x = REGISTRY["plain_functions"].make()
    with poutine.trace() as outer, around():
        before = len(outer.trace.nodes)
        assert look(pair, x) == {}
        assert list(look(pv.Pair(pair.model, empty), x)) == ["site-missing-in-guide"]
        assert len(outer.trace.nodes) == before


# Exceptions


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), pv.DataError("mine"), pv.DivergedError("mine", step=3, site=None)]
)
@pytest.mark.parametrize("side", ["model", "guide"])
def test_an_interrupt_and_errors_in_words_pass_unchanged(error, side):
    def stop(x):
        raise error

    pair, x = REGISTRY["plain_functions"].make()
    with pytest.raises(type(error)) as caught:
        pv.check_pair(pv.Pair(**{**pair._asdict(), side: stop}), x)
    assert caught.value is error


@pytest.mark.parametrize("place", range(0, len(CLAUSES) + 1, 5))
def test_a_clause_that_fails_hides_nothing(place, monkeypatch, caplog):
    def failing(look):
        yield pv.Finding("first", "warning", "found before it failed")
        raise RuntimeError("a clause that fails")

    clauses = [*CLAUSES[:place], failing, *CLAUSES[place:]]
    monkeypatch.setattr(check_pair_module, "CLAUSES", tuple(clauses))
    pair, x = REGISTRY["plain_functions"].make()
    with caplog.at_level(logging.DEBUG, logger="pyrovae"):
        assert list(look(pv.Pair(pair.model, empty), x)) == ["site-missing-in-guide", "first"]
    assert "failing could not be checked" in caplog.text


def test_a_clause_lets_errors_in_words_pass(monkeypatch):
    def failing(look):
        raise pv.ArgumentError("in words")
        yield

    monkeypatch.setattr(check_pair_module, "CLAUSES", (failing,))
    pair, x = REGISTRY["plain_functions"].make()
    with pytest.raises(pv.ArgumentError, match="in words"):
        pv.check_pair(pair, x)


def test_fit_says_the_same():
    pair, x = vae(lambda out: dist.Normal(out, 0.5).to_event(1), real())
    with pytest.raises(pv.PairError, match=r"^\[site-missing-in-guide\]"):
        pv.fit(pv.Pair(pair.model, empty), x, epochs=1, progress=False)


def test_the_contract_is_among_those_for_users_own_tests():
    assert pv.testing.check_pair is pv.check_pair
