"""The report of any trained pair from Python: one argument or several, by position or by name, arrays or a frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro.distributions import Normal
from test_report import check_alone

import pyrovae as pv

HEADINGS = (
    "What the model is sure of",
    "What is strange to it",
    "Whether its intervals hold",
    "Latent space",
    "Traversal",
)


def with_covariate():
    """Rows `y` that follow a dose: the dose comes first, and is not what is looked at."""
    networks = torch.nn.ModuleDict({"encoder": torch.nn.Linear(4, 2), "decoder": torch.nn.Linear(2, 3)})

    def model(dose, y):
        pyro.module("networks", networks)
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", Normal(torch.zeros(len(y)), 1.0))
            given = torch.stack([z, dose.expand_as(z)], -1)
            pyro.sample("y", Normal(networks["decoder"](given), 0.5).to_event(1), obs=y)

    def guide(dose, y):
        loc, raw = networks["encoder"](torch.cat([dose[:, None], y], -1)).unbind(-1)
        with pyro.plate("data", len(y)):
            pyro.sample("z", Normal(loc, raw.exp()))

    return pv.Pair(model, guide)


def drawn(rows: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    dose = torch.linspace(0, 1, rows)
    return dose, torch.randn(rows, 3) + 3 * dose[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("by_name", [False, True], ids=["by position", "by name"])
def test_a_pair_of_several_arguments_is_looked_at_by_what_it_observes(tmp_path, by_name):
    pair, (dose, y) = with_covariate(), drawn()
    data = {"dose": dose, "y": y} if by_name else (dose, y)
    run = pv.fit(pair, data, epochs=4, seed=0, progress=False)
    before = torch.get_rng_state()
    if by_name:
        path = pv.write_report(run, path=tmp_path / "doses.html", names=["a", "b", "c"], dose=dose, y=y)
    else:
        path = pv.write_report(run, dose, y, path=tmp_path / "doses.html", names=["a", "b", "c"])
    assert torch.equal(before, torch.get_rng_state())
    page = check_alone(path.read_text())
    for heading in (*HEADINGS, "Learning curves"):
        assert heading in page.text
    assert "Not for this pair" not in page.text
    assert "Looked at with 60 rows." in page.text
    assert "<h1>doses</h1>" in path.read_text()


def test_without_a_fit_the_page_speaks_of_no_training(tmp_path):
    pair = pv.truth.LinearGaussian(torch.randn(4, 2), torch.zeros(4), 0.5)
    path = pv.write_report(pair, pair.sample(80, seed=0), path=str(tmp_path / "truth.html"), labels=np.arange(80) % 3)
    page = check_alone(path.read_text())
    assert "2 of 2 latent dimensions" in page.text
    assert "Learning curves" not in page.text
    assert "epoch" not in page.text
    assert "the 3 classes" in page.text


@pytest.mark.slow
def test_images_are_shown_as_pictures_and_a_frame_by_its_columns(tmp_path):
    vae = pv.recipes.image_vae((6, 6), latent=2, hidden=[8])
    images = torch.randint(0, 256, (60, 6, 6), dtype=torch.uint8)
    page = pv.write_report(pv.fit(vae, images, epochs=1, seed=0, progress=False), images, path=tmp_path / "a.html")
    assert page.read_text().count("<img") > 60
    frame = pd.DataFrame({"size": np.random.default_rng(0).normal(size=80), "kind": ["a", "b"] * 40})
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=2, hidden=[8])
    run = pv.fit(pair, frame, epochs=1, seed=0, progress=False)
    text = check_alone(pv.write_report(run, frame, path=tmp_path / "b.html").read_text()).text
    assert "Column by column" in text
    assert "size" in text


def test_a_model_that_flattens_images_has_them_shown_as_pictures(tmp_path):
    truth = pv.truth.LinearGaussian(torch.randn(16, 2), torch.zeros(16), 0.5)
    pair = pv.Pair(lambda x: truth.model(x.flatten(1)), lambda x: truth.guide(x.flatten(1)))
    page = pv.write_report(pair, truth.sample(60, seed=0).reshape(60, 4, 4), path=tmp_path / "flat.html").read_text()
    assert page.count("<img") > 100
    assert "Not for this pair" not in page


def test_what_cannot_be_shown_is_refused_in_words(tmp_path):
    pair = pv.truth.LinearGaussian(torch.randn(4, 2), torch.zeros(4), 0.5)
    x = pair.sample(30, seed=0)
    with pytest.raises(pv.ArgumentError, match=r"call it page\.html"):
        pv.write_report(pair, x, path=tmp_path / "page.pdf")
    with pytest.raises(pv.ArgumentError, match="give a class for each of 30 rows"):
        pv.write_report(pair, x, path=tmp_path / "page.html", labels=[1, 2])
    assert not list(tmp_path.iterdir())

    def halved(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", Normal(0.0, 1.0))
            pyro.sample("y", Normal(z, 1.0), obs=x.square().mean(-1))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", Normal(x[:, 0], 1.0))

    with pytest.raises(pv.PairError, match="it computes that from them"):
        pv.write_report(pv.Pair(halved, guide), x, path=tmp_path / "page.html")
