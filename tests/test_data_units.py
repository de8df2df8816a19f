"""Data in another unit than those of the training are told of; data of the same one never are."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae.data.data_units import kept_units, units_of

QUIET = {"progress": False, "staged": False, "seed": 0}
IMAGES = torch.randint(0, 17, (64, 12), generator=torch.Generator().manual_seed(0)).float()


def normal() -> pv.VAE:
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 12), scale=4.0), pv.DiagNormal(pv.MLP(12, [], 4)))


@pytest.fixture(scope="module")
def trained() -> pv.VAE:
    torch.manual_seed(0)
    pair = normal()
    pv.fit(pair, IMAGES, epochs=1, **QUIET)
    return pair


ASKED = {
    "elbo": lambda pair, x: pv.elbo(pair, x, draws=2),
    "encode": pv.encode,
    "log_evidence": lambda pair, x: pv.log_evidence(pair, x, draws=2),
    "posterior_predictive": lambda pair, x: pv.posterior_predictive(pair, x, draws=2),
    "rate_distortion": pv.rate_distortion,
    "reconstruct": pv.reconstruct,
    "uncertainty": lambda pair, x: pv.uncertainty(pair, x, draws=2),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize(("factor", "words"), [(1 / 16, "far smaller"), (255 / 16, "far larger")])
def test_every_question_about_data_in_another_unit_is_told(trained, ask, factor, words):
    with pytest.warns(pv.PyrovaeWarning, match=rf"\[other-unit\] .*argument 'x' are {words}.* at most 16\."):
        ask(trained, IMAGES[:10] * factor)


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_data_in_the_same_unit_are_asked_about_in_silence(trained, ask):
    dark = torch.where(torch.arange(12) == 3, 16.0, 0.0).expand(2, 12)
    one_outlier = torch.cat([IMAGES[:9], torch.full((1, 12), 4000.0)])
    for x in (IMAGES[:1], IMAGES[:10].numpy().astype(np.uint8), dark, one_outlier, IMAGES[:5] + 20, IMAGES[:5] / 2):
        ask(trained, x)


def test_new_data_and_blank_ones_are_asked_for_in_silence(trained):
    pv.generate(trained, 3, seed=0)
    pv.generate(trained, torch.full((9, 12), 1e3))  # for its shape
    pv.generate_with_uncertainty(trained, 3, draws=3)
    pv.reconstruct(trained, torch.zeros(2, 12))


def test_one_number_again_and_again_is_no_unit():
    """A covariate of one row, say, that a traversal repeats."""
    assert units_of({0: torch.full((40,), 3.0)}) == {"0": (3.0, 0.0)}
    assert units_of({0: torch.arange(1.0, 41)})["0"].usual == 20


def test_one_value_far_out_is_no_unit(trained):
    far = torch.zeros(3, 12)
    far[0, 0] = 1e6
    pv.encode(trained, far)


def test_an_untrained_pair_knows_no_unit():
    pv.encode(normal(), IMAGES * 1000)


def test_the_unit_goes_with_the_weights(trained, tmp_path):
    pv.save(trained, tmp_path / "model.safetensors")
    other = pv.load(normal(), tmp_path / "model.safetensors")
    assert kept_units(other) == kept_units(trained) == {"0": (16.0, float(IMAGES[IMAGES > 0].median()))}
    with pytest.warns(pv.PyrovaeWarning, match="other-unit"):
        pv.encode(other, IMAGES / 16)
    pv.load(trained, tmp_path / "model.safetensors")  # a second time: into one that knows


def test_a_checkpoint_holds_it_too(tmp_path):
    pv.fit(normal(), IMAGES, epochs=1, checkpoint=tmp_path / "run", **QUIET)
    (path,) = (tmp_path / "run").glob("*.safetensors")
    assert kept_units(pv.load(normal(), path))["0"].largest == 16


def test_what_a_transform_gives_is_what_counts():
    pair = normal()
    pv.fit(pair, IMAGES * 1000, epochs=1, transform=lambda x: x / 1000, **QUIET)
    assert kept_units(pair)["0"].largest == 16
    pv.encode(pair, IMAGES)


def test_data_that_come_in_a_stream_are_known_by_their_first_batch():
    pair = normal()
    loader = DataLoader(TensorDataset(IMAGES / 16), batch_size=16)
    pv.fit(pair, loader, epochs=1, **QUIET)
    assert kept_units(pair)["0"].largest == 1
    with pytest.warns(pv.PyrovaeWarning, match="far larger"):
        pv.encode(pair, IMAGES * 10)


def test_units_of_what_has_holes_signs_and_no_numbers():
    found = units_of(
        {
            0: torch.tensor([-8.0, torch.inf, torch.nan, 2.0, 0.0]).repeat(1, 8).reshape(1, -1),
            "years": np.array([[1999, 2020] * 8], dtype=np.int16),
            "flags": torch.tensor([[True, False] * 16]),
            "few": torch.ones(5),
            "nothing": torch.full((3,), torch.nan),
            "none": torch.zeros(4),
        }
    )
    assert found == {"0": (8.0, 2.0), "years": (2020.0, 1999.0), "flags": (1.0, 1.0), "few": (1.0, 0.0)}


def test_large_arrays_are_looked_at_in_parts(monkeypatch):
    from pyrovae.data import data_units

    monkeypatch.setattr(data_units, "_TOGETHER", 24)
    monkeypatch.setattr(data_units, "_FEW", 240)
    x = IMAGES.clone()
    x[40, 3] = -900.0
    assert units_of({0: x})["0"].largest == 900
    assert 4 < units_of({0: x})["0"].usual < 13


@pytest.mark.parametrize(
    "ask", [lambda pair, *data: pv.fit(pair, data, epochs=1, **QUIET), pv.log_evidence, pv.check_pair]
)
def test_labels_beside_the_data_are_recognised(ask):
    for pair in (normal(), pv.recipes.count_vae(12, latent=2)):
        with pytest.raises(pv.PyrovaeError, match="looks like labels, and the pair takes none: leave it out"):
            ask(pair, IMAGES, torch.arange(64))


def test_a_share_is_no_validation_data():
    with pytest.raises(pv.ArgumentError, match=r"validation=0\.1: a share is no data"):
        pv.fit(normal(), IMAGES, epochs=1, validation=0.1, **QUIET)


def test_arguments_without_a_value_have_no_unit():
    """As a forecast's covariates are, where there are none."""

    def of() -> pv.Pair:
        def model(x, more):
            with pyro.plate("rows", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample(
                    "x", dist.Normal(z[:, None].expand_as(x) + more.sum(-1, keepdim=True), 1.0).to_event(1), obs=x
                )

        def guide(x, more):
            with pyro.plate("rows", len(x)):
                pyro.sample("z", dist.Normal(pyro.param("shift", torch.zeros(())) + x.mean(-1), 1.0))

        return pv.Pair(model, guide)

    pair, none = of(), torch.zeros(8, 0)
    pv.fit(pair, (IMAGES[:8], none), epochs=1, **QUIET)
    assert units_of({0: none, 1: none.T}) == {}
    assert kept_units(pair).keys() == {"0"}
    assert pv.elbo(pair, IMAGES[:8], none, draws=2).value.mean() < 0
