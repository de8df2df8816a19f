"""`check_pair`: every wrong pair of the list is found in words, every sound one passes."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from broken import broken_pairs, sound_model, vae
from clauses import empty, every_pair, look, train
from pyro import poutine
from registry import (
    LATENT,
    REGISTRY,
    ROWS,
    Encoder,
    amortised_guide,
    arguments,
    decoder_net,
    grey,
    real,
    rows,
    standard_normal,
)
from torch import nn

import pyrovae as pv
from pyrovae.checks.check_pair import findings

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
        expected += [("author-scale", "warning")] if "scaled" in entry.traits else []
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
