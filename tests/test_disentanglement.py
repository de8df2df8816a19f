"""MIG, DCI and SAP of pairs whose latents are the factors, a rotation of them, or a toy counted by hand; traversals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import REGISTRY, born, pairs
from test_penalties import vae

import pyrovae as pv

ROWS = 2_000
FACTORS = torch.stack(
    [torch.randint(n, (ROWS,), generator=torch.Generator().manual_seed(n)) for n in (3, 6, 16)], 1
).float()
STANDARD = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0)


def pair_of(codes, scale=0.01):
    """A pair whose guide is told the codes: z ~ N(codes(x), scale)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(codes(x).shape[-1]), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(x.shape), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(codes(x), torch.as_tensor(scale)).to_event(1))

    return pv.Pair(model, guide)


def rotated(x):
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    return x @ turn


def test_latents_that_are_the_factors_score_one_and_rotated_ones_do_not():
    own = pv.disentanglement(pair_of(lambda x: x), STANDARD, factors=FACTORS, classes=[0])
    assert own.mig > 0.95
    assert min(own.dci) > 0.98
    assert own.sap > 0.8
    assert own.dims == ("z[0]", "z[1]", "z[2]")
    assert np.argmax(own.information, 0).tolist() == [0, 1, 2]
    turned = pv.disentanglement(pair_of(rotated), STANDARD, factors=FACTORS, classes=[0])
    assert turned.mig < 0.3
    assert turned.dci.disentanglement < 0.6
    assert turned.dci.completeness < 0.6
    assert turned.sap < 0.5


def test_information_is_the_one_counted_by_hand():
    """z0 is v, of two values, and z1 is v three times of four: I = ln 2 and ln 2 - H(1/4)."""
    v = torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]).repeat(250)
    noisy = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0]).repeat(250)
    x = torch.stack([v, noisy], 1)
    point = pair_of(lambda x: x, scale=1e-30)  # whose draws are the means, in single precision
    found = pv.disentanglement(point, x, factors=v)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found.information[:, 0] == pytest.approx([math.log(2), math.log(2) - entropy], abs=1e-9)
    assert found.mig == pytest.approx(entropy / math.log(2))
    assert found.sap == pytest.approx(1 - 0.25, abs=0.1)  # R2 is the square of a correlation, 1 / 2


def test_a_collapsed_dimension_says_nothing_though_its_mean_moves():
    codes = pair_of(lambda x: torch.cat([x, 1e-3 * x], 1), scale=[0.01, 0.01, 0.01, 1.0, 1.0, 1.0])
    found = pv.disentanglement(codes, STANDARD, factors=FACTORS, classes=[0])
    assert found.mig > 0.9
    assert found.information[3:].max() < 0.1


def test_two_sites_and_frames_of_factors():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.cat([a.unsqueeze(-1), b], -1), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(x[:, 0], 0.01))
            pyro.sample("b", dist.Normal(x[:, 1:], 0.01).to_event(1))

    frame = pd.DataFrame(FACTORS.numpy(), columns=["shape", "size", "place"])
    found = pv.disentanglement(pv.Pair(model, guide), STANDARD, factors=frame, classes=[0])
    assert found.dims == ("a[0]", "b[0]", "b[1]")
    assert found.mig > 0.95
    again = pv.disentanglement(pv.Pair(model, guide), STANDARD, factors=FACTORS, classes=[0])
    assert (again.mig, again.dci, again.sap) == (found.mig, found.dci, found.sap)


@pytest.mark.parametrize("entry", pairs(having={"mean_field"}, without={"full_data", "no_latent", "local_autoguide"}))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_style_is_scored(entry):
    pair, args, named = born(entry)
    data = (*args, *named.values())
    found = pv.disentanglement(pair, *args, factors=torch.arange(len(data[0])) % 4, **named)
    assert found.information.shape == (len(found.dims), 1)
    assert all(name.split("[")[0] in entry.latent for name in found.dims)
    assert np.isfinite([found.mig, *found.dci, found.sap]).all()


@pytest.mark.parametrize("name", ["maximum_likelihood", "enumerated_mixture"])
def test_a_pair_without_a_continuous_latent_site_is_refused(name):
    pair, args, named = born(REGISTRY[name])
    rows = len([*args, *named.values()][0])
    with pytest.raises(pv.ArgumentError, match="no continuous latent site"):
        pv.disentanglement(pair, *args, factors=torch.arange(rows) % 4, **named)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"factors": FACTORS[:50]}, pv.DataError, "factors of 50 rows for 2,000 rows"),
        ({"factors": torch.zeros(ROWS)}, pv.DataError, "factor 0 has one value alone"),
        ({"factors": torch.full((ROWS,), math.nan)}, pv.DataError, "not finite"),
        ({"factors": FACTORS, "classes": [3]}, pv.ArgumentError, "by number, 0 to 2"),
        ({"factors": FACTORS, "bins": 1}, pv.ArgumentError, "bins=1"),
    ],
)
def test_factors_that_cannot_be_are_refused(options, kind, words):
    with pytest.raises(kind, match=words):
        pv.disentanglement(pair_of(lambda x: x), STANDARD, **options)


def test_a_traversal_moves_one_dimension_at_the_means_of_the_others():
    pair, x = vae(latent=3), torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    means = pv.encode(pair, x)["z"].mean
    found = pv.traverse(pair, x, dims=[2, 0], values=[-1.5, 0.5, 2.0])["x"]
    assert found.shape == (2, 3, 4, 5)
    for place, dim in enumerate((2, 0)):
        for number, value in enumerate((-1.5, 0.5, 2.0)):
            z = means.clone()
            z[:, dim] = value
            expected = pair.likelihood(z).mean.detach()
            torch.testing.assert_close(found[place, number], expected, rtol=1e-4, atol=1e-5)


def test_traversals_that_cannot_be_are_refused():
    pair, x = vae(), torch.zeros(2, 5)
    for options, words in (
        ({"site": "w"}, "site='w'.*of 'z'"),
        ({"dims": [2]}, "dimensions 0 to 1"),
        ({"dims": []}, "one dimension"),
        ({"values": ["a"]}, "give a finite number"),
    ):
        with pytest.raises(pv.ArgumentError, match=words):
            pv.traverse(pair, x, **options)
