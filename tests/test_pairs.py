"""What a pair is, found by running it, and the walls around every such run."""

from __future__ import annotations

import copy
import pickle
import random
import threading
from contextlib import contextmanager

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from registry import ROWS, arguments, pairs, rows
from torch import nn

import pyrovae as pv
from pyrovae.errors import ArgumentError
from pyrovae.objectives.temper import temper
from pyrovae.pairs.blank import blank_data, has_blank
from pyrovae.pairs.looks import isolation, state_keeper
from pyrovae.pairs.names import canonical, fresh_name
from pyrovae.pairs.pair import HasPair, Wrapped, bound_modules, owner, unwrapped
from pyrovae.pairs.structure import inspect

SIZE = 16


def look(entry, count=SIZE):
    pair, data = entry.make()
    count = ROWS if entry.traits & {"full_data", "local_autoguide"} else count
    return pair, inspect(pair, *arguments(rows(data, slice(0, count))))


@pytest.mark.parametrize("entry", pairs())
def test_sites_have_their_roles(entry):
    _, structure = look(entry)
    assert set(structure.named("observed")) == set(entry.observed)
    assert set(structure.named("enumerated")) == set(entry.enumerated)
    latent = {*entry.latent, *entry.global_sites} - {*entry.enumerated}
    assert set(structure.named("latent")) == latent
    assert set(structure.named("auxiliary")) == set(entry.auxiliary)
    assert set(structure.named("latent", local=True)) == latent - set(entry.global_sites)


@pytest.mark.parametrize("entry", pairs(having={"auxiliary"}))
def test_auxiliary_sites_are_found_with_the_sites_they_serve(entry):
    _, structure = look(entry)
    assert set(structure.auxiliaries) == set(entry.auxiliary)
    shared = any(len(served) > 1 for served in structure.auxiliaries.values())
    assert shared == ("shared_auxiliary" in entry.traits)
    assert all(structure.auxiliaries.values())


@pytest.mark.parametrize("entry", pairs())
def test_looking_leaves_no_trace(entry):
    pair, data = entry.make()
    modules = bound_modules(pair)
    before = (
        torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(),  # noqa: NPY002
        dict(pyro.get_param_store()._params),
        [(m.training, {k: v.clone() for k, v in m.state_dict().items()}) for m in modules],
    )  # fmt: skip
    inspect(pair, *arguments(data))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]
    store = pyro.get_param_store()._params
    assert store.keys() == before[3].keys()
    assert all(store[name] is tensor for name, tensor in before[3].items())
    for module, (training, state) in zip(modules, before[4], strict=True):
        assert module.training == training
        assert module.state_dict().keys() == state.keys()
        assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in state.items())


def test_shape_alone_cannot_tell_rows_from_columns():
    """8 rows of 8 columns: the plate that follows the batch is the one of the rows."""

    def model(x):
        with pyro.plate("columns", 8, dim=-1), pyro.plate("rows", len(x), dim=-2):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0), obs=x)

    assert inspect(pv.Pair(model, lambda x: None), (torch.zeros(8, 8),), {}).data_plate == "rows"


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_single_row_will_do(count):
    def model(x):
        with pyro.plate("data", len(x)), pyro.plate("other", 3, dim=-2):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0).expand([3, len(x)]))

    assert inspect(pv.Pair(model, lambda x: None), (torch.zeros(count),), {}).data_plate == "data"


def test_several_plates_that_follow_need_a_name():
    def model(x):
        with pyro.plate("one", len(x)):
            pyro.sample("x", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0), obs=x)
        with pyro.plate("two", len(x)):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=x)

    pair = pv.Pair(model, lambda x: None)
    with pytest.raises(ArgumentError, match="data_plate="):
        inspect(pair, (torch.zeros(8),), {})
    assert inspect(pair, (torch.zeros(8),), {}, data_plate="two").data_plate == "two"


# --- pairs around pairs, and pairs that know their data -----------------------------------------------
class Doubled(Wrapped):
    """Notes the sides that run, and scales both."""

    def __init__(self, pair):
        self.pair, self.seen = pair, []

    @contextmanager
    def around(self, side, args, kwargs):
        with poutine.scale(scale=2.0):
            yield
        self.seen.append((side, args, kwargs))


def test_a_wrapper_says_once_what_happens_around_both_sides():
    def model(x, *, y):
        return pyro.sample("z", dist.Normal(x, 1.0)) + y

    wrapped = Doubled(pv.Pair(model, lambda x, *, y: pyro.sample("z", dist.Normal(x, 2.0))))
    assert isinstance(wrapped, HasPair)
    for side in ("model", "guide"):
        trace = poutine.trace(getattr(wrapped, side)).get_trace(torch.zeros(()), y=1.0)
        assert trace.nodes["z"]["scale"] == 2.0
    assert poutine.trace(wrapped.model).get_trace(torch.zeros(()), y=torch.inf).nodes["_RETURN"]["value"] == torch.inf
    assert [side for side, *_ in wrapped.seen] == ["model", "guide", "model"]
    assert wrapped.seen[0][1:] == ((torch.zeros(()),), {"y": 1.0})


def test_a_wrapper_without_around_is_its_pair():
    plain = Wrapped()
    plain.pair = pv.Pair(lambda x: x + 1, lambda x: x + 2)
    assert (plain.model(1), plain.guide(1)) == (2, 3)


class Coins:
    """A pair of one's own that knows its data."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(0.5), obs=x)

    def guide(self, x):
        pass

    def blank(self, count):
        return (torch.zeros(count),)


def test_a_pair_of_ones_own_that_knows_its_data_is_asked_for_a_number(tmp_path):
    wrapped = Wrapped()
    wrapped.pair = Coins()
    for pair in (Coins(), wrapped):
        assert pv.generate(pair, 5, seed=0)["x"].shape == (5,)
        assert pv.generate_with_uncertainty(pair, 5, draws=2, seed=0).values["x"].shape == (5,)
        pv.save(pair, tmp_path / "coins.safetensors")
    assert isinstance(Coins(), pv.HasBlank)
    assert not has_blank(pv.Pair(Coins().model, Coins().guide))


def test_a_pair_that_does_not_know_its_data_says_so():
    with pytest.raises(pv.PairError, match=r"Give data .* method blank\(count\)"):
        blank_data(pv.Pair(Coins().model, Coins().guide), 5)
    with pytest.raises(ArgumentError, match="count=0; give a whole number, 1 at least"):
        blank_data(Coins(), 0)


# --- names --------------------------------------------------------------------------------------------


def test_fresh_names_are_dropped_and_equal_stems_are_counted():
    one, two = fresh_name("vae"), fresh_name("vae")
    assert one != two
    names = [f"{one}$$$a.weight", f"{two}$$$a.weight", f"{one}$$$b", "plain$$$c", "d"]
    assert canonical(names) == ["vae.a.weight", "vae_2.a.weight", "vae.b", "plain.c", "d"]


def test_copies_and_pickles_of_a_vae_have_names_of_their_own():
    vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(nn.Linear(2, 3)), pv.DiagNormal(nn.Linear(3, 4)))
    others = [copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))]
    x = torch.ones(4, 3)
    parameters = [inspect(v, (x,), {}).parameters for v in (vae, *others)]
    assert all(p.keys() == parameters[0].keys() for p in parameters)
    assert len({id(t) for p in parameters for t in p.values()}) == 3 * len(parameters[0])


def test_buffers_are_named_after_the_module_that_holds_them():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    def model(x):
        pyro.module("decoder", net)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(net(x * 0), 1.0).to_event(1), obs=x)

    structure = inspect(pv.Pair(model, lambda x: None), (torch.randn(4, 3),), {})
    assert set(structure.buffers()) == {
        "decoder.1.running_mean",
        "decoder.1.running_var",
        "decoder.1.num_batches_tracked",
    }
    assert net[1].num_batches_tracked == 0


def test_wrappers_are_seen_through():
    vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(nn.Linear(2, 3)), pv.DiagNormal(nn.Linear(3, 4)))
    wrapped = temper(pv.record(vae), 0.5)
    assert unwrapped(wrapped) is vae
    assert owner(wrapped) is vae
    assert bound_modules(wrapped) == [vae]
    assert isinstance(wrapped, HasPair)


# --- walls --------------------------------------------------------------------------------------------


def test_random_numbers_are_given_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), isolation.forked_random(3):
        torch.rand(3) / [1 / 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_means_the_same_numbers():
    drawn = []
    for _ in range(2):
        with isolation.forked_random(3):
            drawn.append((torch.rand(2).tolist(), np.random.rand(), random.random()))  # noqa: NPY002
    assert drawn[0] == drawn[1]


def test_store_entries_made_inside_are_gone_and_others_are_the_same_objects():
    kept = pyro.param("kept", torch.ones(2)).unconstrained()
    with isolation.forked_store():
        pyro.param("gone", torch.ones(2))
        pyro.get_param_store()["kept"] = torch.zeros(2)
    store = pyro.get_param_store()
    assert "gone" not in store
    assert store._params["kept"] is kept
    assert store.param_name(kept) == "kept"


def test_modules_are_in_eval_mode_inside_and_as_they_were_outside():
    inner = nn.Dropout(0.5)
    net = nn.Sequential(inner, nn.Linear(2, 2).eval())
    with state_keeper.eval_mode() as called:
        assert torch.equal(net(torch.ones(1, 2)), net(torch.ones(1, 2)))
        assert not inner.training
    assert called.found[0] is net
    assert [part.training for part in net.modules()] == [True, True, False]


def test_modules_of_other_threads_are_left_alone():
    net, modes = nn.Dropout(0.5), []

    def work():
        net(torch.ones(2))
        modes.append(net.training)

    with state_keeper.eval_mode():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert modes == [True]


def test_an_autoguide_that_never_ran_is_as_new():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("w", dist.Normal(0.0, 1.0).mask(False)), 1.0), obs=x)

    guide = AutoNormal(model)
    before = dict(guide._modules)
    with isolation.isolated():
        guide(torch.zeros(3))
        assert guide.prototype_trace is not None
    assert guide.prototype_trace is None
    assert dict(guide._modules) == before


def test_outer_handlers_see_nothing():
    with pyro.poutine.trace() as outer, isolation.isolated():
        pyro.sample("inside", dist.Normal(0.0, 1.0))
        pyro.param("also", torch.zeros(()))
    assert not outer.trace.nodes
