"""The sampler: shapes, routes, seeds and densities, over all styles of pair and against exact answers."""

from __future__ import annotations

import logging
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from registry import REGISTRY, ROWS, arguments, born, pairs, real, unweighted
from torch import nn

import pyrovae as pv
from pyrovae.data.batches import as_batches
from pyrovae.pairs.pair import Pair
from pyrovae.pairs.trace import run
from pyrovae.sampling import sampler as sampler_module
from pyrovae.sampling.densities import densities_of, scored, scored_grid
from pyrovae.sampling.observed_arguments import observed_arguments
from pyrovae.sampling.programs import WholePlate
from pyrovae.sampling.routes import LOOP
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import Use


def sampler_of(pair, *args, seed=0, **kwargs) -> Sampler:
    return Sampler.of(pair, args, kwargs, seed=seed)


# --- every style of pair ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["posterior", "predictive", "generative", "prior"])
@pytest.mark.parametrize("entry", pairs())
def test_draws_stand_in_front_of_what_one_run_gives(entry, kind):
    pair, args, kwargs = born(entry)
    sampler = sampler_of(pair, *args, **kwargs)
    (tile,) = sampler.tiles(3, kind)
    with sampler.use.quietly(0):
        single = sampler.run(sampler.use.first(sampler.tile_rows))
    for name in tile.names():
        role = sampler.structure.sites[name].role
        if role != "factor":
            assert tile.value(name).shape == (3, *single.model.nodes[name]["value"].shape)
    latent = [n for n in (*entry.latent, *entry.global_sites) if n in tile.names()]
    for name in set(latent) - {"y", *entry.enumerated}:
        one, other = tile.value(name)[:2]
        same = torch.equal(one, other)
        point = "Delta" in type(single.guide.nodes[name]["fn"]).__name__ and not entry.auxiliary
        assert same == (point and kind != "prior" and not (kind == "generative" and name in entry.latent))


@pytest.mark.parametrize("entry", pairs(without={"loss_state"}))
def test_densities_average_to_the_elbo_of_pyro(entry):
    """Independent of the sampler: the mean of log p - log q is what Pyro's own loss estimates."""
    pair, args, kwargs = born(entry)
    draws = []
    sampler = sampler_of(pair, *args, **kwargs)
    for part in scored(sampler, 120):
        d = part.densities
        draws.append(d.log_weights.sum(1) + d.global_model - d.global_guide)
    ours = torch.cat(draws)
    loss = TraceEnum_ELBO() if "enumerates" in entry.traits else Trace_ELBO()
    whole = WholePlate(unweighted(entry, pair), sampler.structure.data_plate, follows=sampler.found.pair.follows)
    with sampler.use.quietly(1):
        whole.turn_to(sampler.use.first(sampler.tile_rows))
        theirs = torch.tensor([-loss.loss(whole.model, whole.guide, *args, **kwargs) for _ in range(120)]).double()
    error = math.hypot(float(ours.std()), float(theirs.std())) / math.sqrt(120)
    assert abs(float(ours.mean() - theirs.mean())) < 4.5 * error + 1e-4 * abs(float(theirs.mean()))


@pytest.mark.parametrize("entry", pairs())
def test_the_same_seed_gives_the_same_bits_and_leaves_everything_as_it_was(entry):
    pair, args, kwargs = born(entry)
    store, state = set(pyro.get_param_store().keys()), torch.get_rng_state()

    def values():
        return {n: t.value(n) for t in sampler_of(pair, *args, **kwargs).tiles(2, "predictive") for n in t.names()}

    one, two = values(), values()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert set(pyro.get_param_store().keys()) == store
    assert torch.equal(torch.get_rng_state(), state)


# --- exact answers ------------------------------------------------------------------------------------


def test_under_the_exact_posterior_every_weight_is_the_evidence(linear):
    x = linear.sample(700, seed=0)  # three tiles of rows, the last a smaller one
    exact, seen = linear.log_evidence(x), []
    for part in scored(sampler_of(linear, x), 4):
        torch.testing.assert_close(
            part.densities.log_weights.float(), exact[part.rows.start : part.rows.stop].expand(4, -1), atol=2e-5, rtol=0
        )
        seen += list(part.rows)
    assert seen == list(range(700))


def test_sites_that_the_model_enumerates_are_summed_out_for_each_datum(classes):
    x = classes.sample(300, seed=0)
    pair = Pair(config_enumerate(classes.model), lambda x: None)
    for part in scored(sampler_of(pair, x), 2):
        exact = classes.log_evidence(x)[part.rows.start : part.rows.stop]
        torch.testing.assert_close(part.densities.log_weights.float(), exact.expand(2, -1), atol=1e-5, rtol=0)


def test_a_guide_that_looks_at_all_rows_is_given_all_of_them():
    truth = pv.truth.BetaBernoulli(1.0, 2.0)
    x = truth.sample(300)
    total = torch.zeros(4, dtype=torch.float64)
    for part in scored(sampler_of(truth, x), 4):
        d = part.densities
        total += d.log_weights.sum(1) + d.global_model - d.global_guide
    torch.testing.assert_close(total, truth.log_evidence(x).double().expand(4), atol=1e-3, rtol=0)


def test_rows_that_no_plate_holds_stay_together():
    def model(c, y):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(w * c, 1.0).to_event(1), obs=y)

    def guide(c, y):
        pyro.sample("w", dist.Normal((c * y).sum() / (1 + c.square().sum()), (1 + c.square().sum()).rsqrt()))

    c, y = torch.linspace(-1, 1, 300), torch.linspace(2, 0, 300)
    (part,) = scored(sampler_of(Pair(model, guide), c, y), 3)
    d, covariance = part.densities, torch.eye(300) + torch.outer(c, c)
    evidence = dist.MultivariateNormal(torch.zeros(300), covariance).log_prob(y).double()
    torch.testing.assert_close(d.global_model - d.global_guide, evidence.expand(3), atol=1e-3, rtol=0)


def test_posterior_draws_have_the_posteriors_moments(linear):
    x = linear.sample(40, seed=1)
    z = torch.cat([tile.value("z") for tile in sampler_of(linear, x).tiles(4_000)])
    posterior = linear.posterior(x)
    error = (posterior.variance / 4_000).sqrt()
    assert bool(((z.mean(0) - posterior.mean).abs() < 4.5 * error).all())
    torch.testing.assert_close(z.var(0), posterior.variance.expand_as(z[0]), rtol=0.12, atol=0)


def test_enumerated_sites_are_drawn_from_their_posterior(classes):
    x = classes.sample(30, seed=2)
    sampler = sampler_of(Pair(config_enumerate(classes.model), lambda x: None), x)
    z = torch.cat([tile.value("z") for tile in sampler.tiles(2_000)])
    share = torch.nn.functional.one_hot(z, 3).double().mean(0)
    exact = classes.posterior(x).probs.double()
    assert bool(((share - exact).abs() < 4.5 * (exact * (1 - exact) / 2_000).sqrt() + 1e-3).all())


def test_predictive_draws_have_the_moments_of_the_predictive(linear):
    x = linear.sample(20, seed=3)
    drawn = torch.cat([tile.value("x") for tile in sampler_of(linear, x).tiles(4_000, "predictive")])
    posterior = linear.posterior(x)
    mean = posterior.mean @ linear.weight.T + linear.mean
    variance = (linear.weight @ posterior.covariance_matrix @ linear.weight.T).diagonal(dim1=-2, dim2=-1)
    variance = variance + linear.noise**2
    assert bool(((drawn.mean(0) - mean).abs() < 4.5 * (variance / 4_000).sqrt()).all())
    torch.testing.assert_close(drawn.var(0), variance.expand_as(mean), rtol=0.12, atol=0)


# --- routes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs(without={"global", "local_autoguide"}))
def test_pairs_without_global_sites_draw_by_rows_whatever_their_shapes(entry):
    pair, args, kwargs = born(entry)
    assert sampler_of(pair, *args, **kwargs).route == "rows"


@pytest.mark.parametrize("entry", pairs(having={"global"}))
def test_pairs_with_global_sites_draw_in_a_plate_or_one_by_one(entry):
    pair, args, kwargs = born(entry)
    assert sampler_of(pair, *args, **kwargs).route in ("plate", "loop")


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
def test_rows_that_look_at_each_other_are_not_repeated():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z - z.mean(-1, keepdim=True), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    assert sampler_of(Pair(model, guide), torch.randn(10)).route == "plate"


def test_code_that_broadcasts_to_something_else_is_looped():
    """In an outer plate `w.sum(0)` is a sum over draws: shapes agree, values do not."""

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w.sum(0) if w.ndim == 1 else w.sum((0, -1)), 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    assert sampler_of(Pair(model, guide), torch.randn(10)).route == "loop"


def test_routes_agree_in_distribution(monkeypatch, linear):
    x = linear.sample(12, seed=4)
    by_rows = torch.cat([t.value("z") for t in sampler_of(linear, x).tiles(3_000)])
    looped = sampler_of(linear, x)
    looped._outer = LOOP
    by_loop = torch.cat([t.value("z") for t in looped.tiles(3_000)])
    error = by_rows.std(0) * math.sqrt(2 / 3_000)
    assert bool(((by_rows.mean(0) - by_loop.mean(0)).abs() < 4.5 * error).all())


# --- tiles --------------------------------------------------------------------------------------------


def test_tiles_cover_draws_and_rows_once(monkeypatch, linear):
    monkeypatch.setattr(sampler_module, "_TILE_NUMBERS", 256 * 4 * 5)  # five draws a tile
    x = linear.sample(300, seed=0)
    tiles = [(t.rows, t.draws) for t in sampler_of(linear, x).tiles(12)]
    assert tiles == [
        (range(start, stop), part)
        for start, stop in ((0, 256), (256, 300))
        for part in (range(5), range(5, 10), range(10, 12))
    ]


def test_no_two_tiles_draw_alike(monkeypatch, linear):
    monkeypatch.setattr(sampler_module, "_TILE_NUMBERS", 256 * 4)
    x = linear.sample(1, seed=0).repeat(512, 1)
    z = [t.value("z") for t in sampler_of(linear, x).tiles(2)]
    assert len(z) == 4
    assert not any(torch.equal(z[i], z[j]) for i in range(4) for j in range(i))


def test_a_single_run_takes_any_batch_and_other_draws_on_demand(linear):
    truth, x = linear, linear.sample(10)
    sampler = sampler_of(truth, x)
    batch = next(sampler.tiles(1)).batch
    one, same, other = (sampler.single(batch, draw=draw).value("z") for draw in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    drawn = sampler.single(batch, "predictive")
    assert drawn.value("x").shape == (1, *x.shape)
    assert not torch.equal(drawn.value("x")[0], x)


def test_a_reseeded_sampler_draws_anew_and_leaves_the_first_as_it_was():
    pair, *data = regression()
    sampler = sampler_of(pair, *data)
    values = [next(one.tiles(2)).value("w") for one in (sampler, sampler.reseeded(1), sampler)]
    assert torch.equal(values[0], values[2])
    assert not torch.equal(values[0], values[1])


def regression(rows=600):
    def model(x, y):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", 5_000, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            pyro.sample("y", dist.Normal((x * w.unsqueeze(-2)).sum(-1) + z, 1.0), obs=y)

    def guide(x, y):
        pyro.sample("w", dist.Normal(torch.zeros(2), 0.3).to_event(1))
        with pyro.plate("data", 5_000, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))

    return Pair(model, guide), torch.randn(rows, 2), torch.randn(rows)


def test_a_draw_of_a_global_site_is_the_same_for_all_rows():
    pair, x, y = regression()
    tiles = list(sampler_of(pair, x, y).tiles(3))
    assert len(tiles) == 3
    assert all(torch.equal(t.value("w"), tiles[0].value("w")) for t in tiles)
    assert not torch.equal(tiles[0].value("w")[0], tiles[0].value("w")[1])


def test_a_grid_holds_a_global_draw_while_local_sites_move():
    pair, x, y = regression()
    tiles = list(sampler_of(pair, x, y).grid(2, 4))
    assert [(t.rows.start, t.part) for t in tiles] == [(s, p) for s in (0, 256, 512) for p in (0, 1)]
    first = {t.part: t.value("w") for t in tiles[:2]}
    assert all(torch.equal(w, w[:1].expand_as(w)) for w in first.values())
    assert not torch.equal(first[0][0], first[1][0])
    assert all(torch.equal(t.value("w"), first[t.part]) for t in tiles)
    assert not torch.equal(tiles[0].value("z")[0], tiles[0].value("z")[1])
    parts = [s.part for s in scored_grid(sampler_of(pair, x, y), 2, 4)]
    assert parts == [0, 1] * 3


def test_the_scale_of_a_subsample_is_not_in_the_densities():
    pair, x, y = regression(rows=20)
    (part,) = scored(sampler_of(pair, x, y), 2)
    assert float(part.densities.model.abs().max()) < 100  # scaled by 5000 / 20 it would be in the hundreds


@pytest.mark.parametrize("size", [4, 50])
def test_rows_may_be_more_or_fewer_than_the_size_written_into_the_plate(size):
    def model(x):
        with pyro.plate("data", size, subsample_size=min(size, 4)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", size, subsample_size=min(size, 4)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    x = torch.randn(10)
    sampler = Sampler.of(Pair(model, guide), (x,), {}, seed=0, data_plate="data")
    (part,) = scored(sampler, 3)
    exact = dist.Normal(0.0, math.sqrt(2)).log_prob(x)
    torch.testing.assert_close(part.densities.log_weights.float(), exact.expand(3, -1), atol=1e-5, rtol=0)


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs(having={"autoguide"}))
def test_a_pair_that_was_never_run_is_refused_in_words(entry):
    pair, data = entry.make()
    args, kwargs = arguments(data)
    with pytest.raises(pv.PairError, match="do not exist yet"):
        sampler_of(pair, *args, **kwargs)


def test_more_rows_than_a_pair_has_parameters_for_are_refused_in_words():
    pair, x = REGISTRY["auto_normal_local"].make()
    run(pair, (x,), {})
    with pytest.raises(pv.PairError, match=r"its own 32 rows only, and these have 64"):
        sampler_of(pair, torch.cat([x, x]))


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, "3"])
def test_draws_are_a_whole_number_of_one_or_more(linear, draws):
    with pytest.raises(pv.ArgumentError, match="draws"):
        next(sampler_of(linear, linear.sample(5)).tiles(draws))


def test_a_pair_that_does_not_run_says_so():
    def broken(x):
        raise RuntimeError("no such column")

    with pytest.raises(pv.PairError, match="no such column"):
        sampler_of(Pair(broken, broken), torch.zeros(3))


def test_a_pair_of_the_users_own_loop_is_as_good_as_any(linear):
    pair = linear.trainable()
    x = linear.sample(ROWS, seed=0)
    svi = pyro.infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    svi.step(x)
    assert next(sampler_of(pair, x).tiles(2)).value("z").shape == (2, ROWS, 2)


def test_a_pair_without_parameters_and_latent_sites_is_as_good_as_any():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([x.shape[-1]]).to_event(1), obs=x)

    x = real()
    (tile,) = sampler_of(Pair(model, lambda x: None), x).tiles(5, "predictive")
    assert tile.value("x").shape == (5, *x.shape)
    assert not torch.equal(tile.value("x")[0], tile.value("x")[1])


def test_a_guide_sees_every_datum_once_however_many_draws_there_are(caplog):
    encoder, decoder = nn.Linear(4, 2), nn.Linear(2, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z.view(-1, 2)), 1.0).to_event(1), obs=x)  # takes no outer plate

    def guide(x):
        pyro.module("encoder", encoder)
        logging.getLogger("rows").info(len(x))  # a list of the guide's would be as before after the question
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 0.1).to_event(1))

    x = torch.randn(30, 4)
    sampler = sampler_of(Pair(model, guide), x)
    caplog.set_level("INFO", "rows")
    (tile,) = sampler.tiles(50)
    assert sampler.route == "rows"
    assert [record.msg for record in caplog.records if record.name == "rows"] == [30]
    assert tile.value("z").shape == (50, 30, 2)
    assert torch.equal(tile.value("z"), tile.value("z", "guide"))
    assert torch.allclose(tile.value("z").mean(0), encoder(x), atol=0.1)


def test_global_draws_that_are_too_large_to_keep_are_made_anew_and_are_the_same(monkeypatch):
    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(50), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w.sum(), 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(torch.zeros(50), 0.1).to_event(1))

    x = torch.randn(600)  # more rows than a tile holds
    whole = pv.posterior_predictive(pv.Pair(model, guide), x, draws=8)["x"]
    monkeypatch.setattr("pyrovae.sampling.sampler._KEPT_NUMBERS", 150)
    sampler = Sampler.of(pv.Pair(model, guide), (x,), {}, seed=0)
    list(sampler.tiles(8))
    assert len(sampler._global) == 3
    assert torch.equal(pv.posterior_predictive(pv.Pair(model, guide), x, draws=8)["x"], whole)


# --- what the model alone draws for all rows ----------------------------------------------------------


def shared_switch(x):
    """A mixture whose class is one for all data, and not in the guide."""
    k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
    with pyro.plate("data", len(x)):
        shift = pyro.deterministic("shift", torch.tensor([-1.0, 2.0])[k] + torch.zeros(len(x)))
        pyro.sample("x", dist.Normal(shift, 1.0), obs=x)


@pytest.mark.parametrize("kind", ["posterior", "prior"])
@pytest.mark.parametrize("around", [lambda model: model, config_enumerate], ids=["drawn", "summed"])
def test_what_the_model_alone_draws_for_all_rows_is_one_for_all_tiles(around, kind):
    sampler = sampler_of(Pair(around(shared_switch), lambda x: None), 2 * torch.randn(600))
    (tile,) = sampler.tiles(5, kind)
    shift, k = tile.value("shift"), tile.value("k")
    assert len(tile.rows) == 600
    torch.testing.assert_close(shift, torch.tensor([-1.0, 2.0])[k].reshape(5, 1).expand(5, 600))


def test_sites_that_the_model_alone_draws_have_no_weight():
    """Their distribution is the one that draws are weighed by: p(u) cancels."""

    def model(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(u, 1.0), obs=x)

    x = torch.tensor([0.3, -1.0])
    (tile,) = sampler_of(Pair(model, lambda x: None), x).tiles(4, "scored")
    expected = dist.Normal(tile.value("u"), 1.0).log_prob(x).double()
    torch.testing.assert_close(densities_of(tile).log_weights, expected)


# --- data and plates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["columns", "", 3])
def test_a_plate_that_is_not_there_is_refused(linear, name):
    x = linear.sample(5)
    for call in (pv.posterior, pv.elbo, pv.rate_distortion):
        with pytest.raises(pv.ArgumentError, match=r"data_plate=.* no site .* its plates are 'data'"):
            call(linear, x, data_plate=name)
    torch.testing.assert_close(pv.elbo(linear, x, data_plate="data"), pv.elbo(linear, x))


def test_rows_in_a_loop_are_refused_in_words():
    def model(x):
        for row in pyro.plate("rows", len(x)):
            pyro.sample(f"x_{row}", dist.Normal(0.0, 1.0), obs=x[row])

    with pytest.raises(pv.PairError, match="'rows' of the rows is a loop"):
        sampler_of(Pair(model, lambda x: None), torch.zeros(9))


@pytest.mark.parametrize("thing", [None, 3, nn.Linear(2, 2)], ids=["none", "number", "module"])
def test_what_is_no_pair_is_refused(thing):
    for call in (pv.posterior, pv.log_evidence, pv.rate_distortion):
        with pytest.raises(pv.ArgumentError, match="is not a pair"):
            call(thing, torch.zeros(4, 2))


@pytest.mark.parametrize("seed", [2.5, True, "a"])
def test_seeds_are_whole_numbers(linear, seed):
    with pytest.raises(pv.ArgumentError, match="seed="):
        pv.posterior(linear, linear.sample(3), draws=2, seed=seed)
    numbers = [pv.posterior(linear, linear.sample(3), draws=2, seed=s)["z"] for s in (7, np.int64(7))]
    assert torch.equal(*numbers)


def test_a_model_that_fails_on_given_draws_says_why():
    broken = []

    def model(x):
        if broken:
            raise RuntimeError("not today")
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    use = Use.of(Pair(model, lambda x: None), as_batches(torch.zeros(4)))
    broken.append(True)
    with pytest.raises(pv.PairError, match=r"given draws.*not today"):
        Sampler(use, seed=0, tile_rows=256)


def test_data_in_double_precision_keep_it_where_no_parameter_says_otherwise():
    """At 1e8 neighbours in single precision are 8 apart."""

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.tensor(1e8, dtype=torch.float64), 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal((1e8 + x.sum()) / (len(x) + 1), (1 / (len(x) + 1)) ** 0.5))

    x = 1e8 + torch.randn(10, dtype=torch.float64)
    exact = dist.MultivariateNormal(torch.zeros(10).double(), torch.eye(10).double() + 1).log_prob(x - 1e8)
    found = pv.log_evidence(Pair(model, guide), x, draws=3, joint=True)
    assert float(found.value) == pytest.approx(float(exact), abs=1e-5)


@pytest.mark.parametrize("likelihood", [dist.Poisson, lambda rate: dist.Bernoulli(logits=rate / 99)])
def test_bytes_are_counted_as_numbers(likelihood):
    """255 + 1 is 0 in bytes, so that a Poisson's normaliser would be infinite."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", likelihood(torch.full((2,), 99.0)).to_event(1), obs=x)

    pair, top = Pair(model, lambda x: None), 255 if likelihood is dist.Poisson else 1
    x = torch.tensor([[top, 0], [1, 1]], dtype=torch.uint8)
    found = [pv.log_likelihood(pair, one, draws=2)["x"] for one in (x, x.float())]
    torch.testing.assert_close(*found)


def test_an_argument_is_observed_where_a_site_holds_a_part_of_it_or_a_cast():
    def model(x, counts, dose):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(dose, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 1])
            pyro.sample("n", dist.Poisson(z.exp()), obs=counts.float())

    def guide(x, counts, dose):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(dose, 1.0))

    data = (torch.randn(4, 2), torch.tensor([1, 2, 3, 4]), torch.randn(4))
    assert observed_arguments(Sampler.of(pv.Pair(model, guide), data, {}, seed=0)) == {0, 1}


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
def test_a_total_that_is_the_largest_of_all_rows_is_the_same_in_every_tile():
    def model(docs):
        with pyro.plate("data", len(docs)):
            logits = pyro.sample("logits", dist.Normal(torch.zeros(len(docs), 3), 1.0).to_event(1))
            pyro.sample("docs", dist.Multinomial(int(docs.sum(-1).max()), logits=logits), obs=docs)

    def guide(docs):
        with pyro.plate("data", len(docs)):
            pyro.sample("logits", dist.Normal((docs + 1).log(), 0.3).to_event(1))

    docs = torch.arange(300.0)[:, None] + torch.arange(3.0)
    pair = pv.Pair(model, guide)
    assert set(pv.posterior_predictive(pair, docs, draws=2)["docs"].sum(-1).unique().tolist()) == {900.0}
    with pytest.warns(pv.PyrovaeWarning, match="reads-other-rows.*'docs'.*total_count"):
        pv.check_pair(pair, docs[:8])
