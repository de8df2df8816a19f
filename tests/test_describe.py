"""What a pair consists of, against what plain Pyro's traces hold."""

from __future__ import annotations

import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import arguments, pairs
from torch import nn

import pyrovae as pv

X = torch.zeros(6, 3)


def own_pair():
    """A global scale, and a code of each row."""
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))

    def model(x):
        pyro.module("decoder", decoder)
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("rows", 60, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    def guide(x):
        where = pyro.param("where", torch.tensor(0.5), constraint=dist.constraints.positive)
        pyro.sample("scale", dist.Delta(where))
        with pyro.plate("rows", 60, subsample_size=len(x)):
            pyro.sample("z", dist.Laplace(x[:, :2], 1.0).to_event(1))

    return pv.Pair(model, guide)


def test_sites_plates_and_parameters_as_they_were_written():
    found = pv.describe(own_pair(), X)
    assert found.sites == (
        ("scale", "latent", False, "LogNormal", "Delta", (), (), ()),
        ("z", "latent", True, "Normal", "Laplace", (6,), (2,), ("rows",)),
        ("x", "observed", True, "Normal", "", (6,), (3,), ("rows",)),
    )
    assert found.plates == {"rows": (6, 60)}
    assert found.data_plate == "rows"
    shapes = {name: shape for name, shape in found.parameters.items() if "decoder" not in name}
    assert shapes == {"where": ()}
    assert found.parameters["decoder.0.weight"] == (4, 2)


def test_the_table_says_it_in_words():
    page = str(pv.describe(own_pair(), X))
    assert page.splitlines()[0].startswith("3 sites, 5 parameters of 28 numbers")
    lines = [line.split() for line in page.splitlines()]
    assert ["scale", "latent,", "one", "for", "all", "LogNormal", "Delta", "()", "|", "()"] in lines
    assert ["z", "latent,", "one", "a", "row", "Normal", "Laplace", "(6)", "|", "(2)", "rows"] in lines
    assert ["rows", "6", "of", "60", "the", "rows"] in lines


def test_many_parameters_are_cut_short():
    wide = nn.Sequential(*(nn.Linear(3, 3) for _ in range(30)))
    pair = pv.VAE(pv.StandardNormal(3), pv.Normal(wide, scale=1.0), pv.DiagNormal(pv.MLP(3, [], 6)))
    assert "and 22 more, in .parameters" in str(pv.describe(pair, X))


@pytest.mark.parametrize("entry", pairs())
def test_every_style_has_its_sites_and_is_left_as_it_was(entry):
    pair, data = entry.make()
    positional, named = arguments(data)
    state, names = torch.get_rng_state(), set(pyro.get_param_store().keys())
    found = pv.describe(pair, *positional, **named)
    assert torch.equal(state, torch.get_rng_state())
    assert set(pyro.get_param_store().keys()) == names

    def of(*roles: str) -> set[str]:
        return {one.name for one in found.sites if one.role in roles}

    assert of("latent", "enumerated") == {*entry.latent, *entry.global_sites}
    assert {one.name for one in found.sites if one.role == "latent" and not one.local} <= {*entry.global_sites}
    assert of("observed") == {*entry.observed}
    assert of("auxiliary") >= {*entry.auxiliary}
    assert all(one.guide for one in found.sites if one.name in entry.guide_sites)
    assert len(str(found).splitlines()) > len(found.sites) + 1


# --- the graph ----------------------------------------------------------------------------------------
def test_the_graph_is_pyros():
    pytest.importorskip("graphviz")
    found = pv.describe(own_pair(), X)
    assert {"scale -> x", "z -> x"} <= {line.strip() for line in found.graph().source.splitlines()}
    assert "z ~ Normal" in found.graph(render_distributions=True).source
    assert "x [" not in found.graph("guide").source


def test_what_cannot_be_drawn_is_refused_in_words(monkeypatch):
    found = pv.describe(own_pair(), X)
    with pytest.raises(pv.ArgumentError, match="it is 'model' or 'guide'"):
        found.graph("both")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(pv.ArgumentError, match=r"pip install 'pyrovae\[graph\]'"):
        found.graph()


def test_what_is_no_pair_and_other_data_are_refused_in_words():
    with pytest.raises(pv.PairError, match="not-a-pair"):
        pv.describe(nn.Linear(2, 2), X)
    with pytest.raises(pv.PairError, match="signature"):
        pv.describe(own_pair(), X, X)
    with pytest.raises(pv.DataError):
        pv.describe(own_pair(), np.array(["a", "b"]))


def test_rows_in_double_precision_are_of_the_type_of_the_weights():
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
    assert pv.describe(vae, torch.randn(3, 5).double()) == pv.describe(vae, torch.randn(3, 5))


def test_of_a_loader_the_first_batch_is_looked_at():
    vae, x = pv.recipes.vector_vae(5, 2), torch.randn(12, 5)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=4)
    assert pv.describe(vae, loader) == pv.describe(vae, x[:4])
