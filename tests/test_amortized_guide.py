"""Guides made from models: the exact posterior where it is known, every style of the registry, refusals in words."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from registry.entries import ROWS, arguments, pairs, plate_of
from torch import nn

import pyrovae as pv

QUIET = {"progress": False}


class Flat(nn.Module):
    """The first argument, as it is."""

    def forward(self, *args, **kwargs):
        x = next(leaf for leaf in (*args, *kwargs.values()) if isinstance(leaf, torch.Tensor))
        flat = torch.nan_to_num(x.reshape(len(x), -1))
        return flat if flat.is_floating_point() else flat.float()


def guided(entry, **options):
    pyro.set_rng_seed(7)
    pair, data = entry.make()
    guide = pv.AmortizedGuide(pair.model, Flat(), data_plate=plate_of(entry), hidden=8, **options)
    return pv.Pair(pair.model, guide), data


# What the guide cannot be made for, by the words with which it says so.
REFUSED = {
    **dict.fromkeys(
        ["enumerated_guide", "enumerated_guide_sequential", "some_labels", "enumerated_guide_beside_a_code",
         "score_function", "score_function_average_baseline", "score_function_neural_baseline"],
        "takes separate values",
    ),
    **dict.fromkeys(
        ["maximum_likelihood", "enumerated_mixture", "enumerated_mixture_map", "categorical_codes", "auto_normal",
         "auto_diagonal_normal", "bounded_global", "flow_of_global_sites", "transformed_likelihood",
         "correlated_features"],
        "AutoNormal",
    ),
    **dict.fromkeys(["structured_guide", "zero_inflated", "masked_mixture"], "no latent site of the model"),
    "ragged_series": "a mask hides another part of 'z'",
}  # fmt: skip

# Their model holds the encoder of their own guide, which nobody trains with this one.
OWN_ENCODER = {"grey_unvalidated", "bound_methods"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", [one for one in pairs() if one.id not in OWN_ENCODER])
def test_every_style_gets_a_guide_or_words(entry):
    pair, data = guided(entry)
    args, kwargs = arguments(data)
    options = {"epochs": 2, "batch_size": ROWS, "loss": entry.loss(), "seed": 0, **QUIET}
    if entry.name in REFUSED:
        with pytest.raises(pv.PyrovaeError, match=REFUSED[entry.name]):
            pv.fit(pair, data, **options)
        return
    pv.fit(pair, data, **options)
    estimate = pv.log_evidence(pair, *args, **kwargs, draws=20, seed=0)
    assert torch.isfinite(estimate.value).all()


# --- the exact posterior ------------------------------------------------------------------------------
def trained(model, guide, x, **options):
    pair = pv.Pair(model, guide)
    options = {"steps": 600, "batch_size": 100, "learning_rate": pv.cosine(1e-2, 1e-4, steps=600), **options}
    pv.fit(pair, x, seed=0, **options, **QUIET)
    return pair


@pytest.mark.slow
@pytest.mark.parametrize("family", ["full", "iaf"])
def test_a_linear_gaussian_gets_its_exact_posterior(linear, family):
    x = linear.sample(1000, seed=0)
    pair = trained(linear.model, pv.AmortizedGuide(linear.model, nn.Identity(), family=family), x)
    gap = linear.log_evidence(x).mean() - pv.elbo(pair, x, draws=50, seed=0).value.mean()
    assert -1e-3 < float(gap) < 0.02


TIMES = 4


def walk(x):
    """A random walk, seen through noise: jointly normal, so that its evidence is known."""
    z = torch.zeros(len(x))
    with pyro.plate("data", len(x)):
        for t in range(x.shape[1]):
            z = pyro.sample(f"z_{t}", dist.Normal(0.9 * z, 1.0))
            pyro.sample(f"x_{t}", dist.Normal(z, 0.5), obs=x[:, t])


def walk_evidence(x):
    passed = torch.tensor([[0.9 ** (t - s) if s <= t else 0.0 for s in range(TIMES)] for t in range(TIMES)])
    covariance = passed @ passed.T + 0.25 * torch.eye(TIMES)
    return dist.MultivariateNormal(torch.zeros(TIMES), covariance).log_prob(x)


class ByTime(nn.Module):
    """Features of each time from the whole series."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(TIMES, TIMES * 3)

    def forward(self, x):
        return {f"z_{t}": part for t, part in enumerate(self.linear(x).chunk(TIMES, -1))}


@pytest.mark.slow
def test_a_chain_shares_a_head_that_sees_the_step_before():
    guide = pv.AmortizedGuide(walk, ByTime())
    x = torch.randn(500, TIMES).cumsum(1)
    pair = trained(walk, guide, x, steps=1000, learning_rate=pv.cosine(1e-2, 1e-4, steps=1000))
    assert len(guide.heads) == 1
    gap = walk_evidence(x).mean() - pv.elbo(pair, x, draws=50, seed=0).value.mean()
    assert -5e-3 < float(gap) < 0.1


# --- how it is made -----------------------------------------------------------------------------------
def levels(x):
    """Three levels, a scale that all rows share, and a site that depends on none of them."""
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.1))
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        middle = pyro.sample("middle", dist.Gamma(2.0, top.exp().sum(-1)))
        alone = pyro.sample("alone", dist.Dirichlet(torch.ones(3)))
        pyro.sample("x", dist.Normal(middle + alone[..., 0], scale), obs=x)


def test_a_head_sees_the_sites_that_its_own_depends_on():
    guide = pv.AmortizedGuide(levels, Column())
    values = guide(torch.randn(6))
    assert list(values) == ["scale", "top", "middle", "alone"]
    inputs = {group.base: dict(group.inputs) for group in guide._groups.groups.values()}
    assert inputs == {"top": {}, "middle": {"top": 2}, "alone": {}}
    assert bool((values["middle"] > 0).all())
    assert torch.allclose(values["alone"].sum(-1), torch.ones(6))


class Column(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x, *others):
        return (self.scale * x.reshape(len(x), -1)).float()


def test_plain_svi_trains_all_of_it():
    guide, x = pv.AmortizedGuide(levels, Column()), torch.rand(32) + 1
    for vectorised in (False, True):
        loss = Trace_ELBO(num_particles=3, vectorize_particles=vectorised, max_plate_nesting=2)
        running = SVI(levels, guide, pyro.optim.Adam({"lr": 1e-2}), loss)
        running.step(x)
        before = {name: value.clone() for name, value in guide.named_parameters()}
        assert all(map(math.isfinite, (running.step(x) for _ in range(3))))
        moved = [name for name, value in guide.named_parameters() if not torch.equal(value, before[name])]
        assert moved == list(before)


def test_batches_and_sequences_of_another_length_get_their_sites():
    guide = pv.AmortizedGuide(walk, Mean())
    assert [*guide(torch.randn(8, 3))] == ["z_0", "z_1", "z_2"]
    assert [*guide(torch.randn(5, 6))] == [f"z_{t}" for t in range(6)]
    assert guide(torch.randn(5, 6))["z_5"].shape == (5,)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1, keepdim=True)


def test_numbered_sites_of_other_shapes_have_heads_of_their_own():
    def ladder(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("z2", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            low = pyro.sample("z1", dist.Normal(top[..., :2], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(low.sum(-1), 1.0), obs=x)

    guide = pv.AmortizedGuide(ladder, Column(), family={"z2": "full", "z1": "iaf"})
    guide(torch.randn(4))
    families = {base: guide.heads[group.place].family for base, group in guide._groups.groups.items()}
    assert families == {"z2": "full", "z1": "iaf"}


def test_cells_of_an_inner_plate_are_drawn_for_each_row():
    def words(x):
        with pyro.plate("documents", len(x), dim=-2):
            theta = pyro.sample("theta", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("words", x.shape[1], dim=-1):
                z = pyro.sample("z", dist.Normal(theta.sum(-1), 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    pair = pv.Pair(words, pv.AmortizedGuide(words, Column()))
    x = torch.randn(20, 5)
    pv.fit(pair, x, epochs=2, batch_size=10, seed=0, **QUIET)
    values = pair.guide(x)
    assert (values["theta"].shape, values["z"].shape) == ((20, 1, 2), (20, 5))
    assert pv.log_evidence(pair, x, draws=30, seed=0).value.shape == (20,)


def test_what_a_look_finds_leaves_the_model_as_it_was():
    net = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))

    def model(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(net(z)[..., 0], 1.0), obs=x)

    guide, x = pv.AmortizedGuide(model, Column()), torch.randn(8)
    guide(x)
    before, random = net[1].running_mean.clone(), torch.get_rng_state()
    values = guide(x)
    after = torch.get_rng_state()
    torch.set_rng_state(random)
    torch.randn(8, 1)  # z, and nothing else
    assert torch.equal(after, torch.get_rng_state())
    assert torch.equal(net[1].running_mean, before)
    assert net.training
    assert values["z"].shape == (8, 1)


@pytest.mark.slow
def test_weights_are_saved_loaded_and_resumed(tmp_path):
    x = torch.rand(64) + 1
    ends = []
    for steps in ([20], [10, 20]):
        for count in steps:
            pyro.clear_param_store()
            torch.manual_seed(3)
            pair = pv.Pair(levels, pv.AmortizedGuide(levels, Column()))
            folder = tmp_path / str(len(steps))
            pv.fit(pair, x, steps=count, batch_size=64, seed=0, checkpoint=folder, resume=True, **QUIET)
        ends.append(pv.elbo(pair, x, seed=0).value)
    assert torch.equal(*ends)
    pv.save(pair, tmp_path / "pair.safetensors")
    pyro.clear_param_store()
    torch.manual_seed(4)
    fresh = pv.Pair(levels, pv.AmortizedGuide(levels, Column()))
    fresh.guide(x)
    pv.load(fresh, tmp_path / "pair.safetensors")
    assert torch.equal(pv.elbo(fresh, x, seed=0).value, ends[0])


# --- refusals -----------------------------------------------------------------------------------------
def local(draw):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(draw(z), 1.0), obs=x)

    return model


def below_another(z):
    return pyro.sample("y", dist.Uniform(z - 1.0, z))


def masked_by_another(z):
    with pyro.poutine.mask(mask=z > 0.5):
        return pyro.sample("y", dist.Normal(z, 1.0))


class Cut(nn.Module):
    def forward(self, x):
        return x[:3, None]


class Named(nn.Module):
    def forward(self, x):
        return {"y": x[:, None]}


class Whole(nn.Module):
    def forward(self, x):
        return x[:, None].long()


@pytest.mark.parametrize(
    ("draw", "encoder", "words"),
    [
        (below_another, Column(), "support of 'y' moves with"),
        (masked_by_another, Column(), "mask of 'y' moves with"),
        (lambda z: z, Cut(), "gives 3 rows of features"),
        (lambda z: z, Named(), "features for 'y', and the model has the site 'z'"),
        (lambda z: z, Whole(), "give floating numbers"),
    ],
)
def test_what_it_cannot_follow_is_refused(draw, encoder, words):
    model = local(draw)
    with pytest.raises(pv.PyrovaeError, match=words):
        pv.AmortizedGuide(model, encoder)(torch.randn(8))


def test_arguments_that_cannot_be_are_refused():
    model = local(lambda z: z)
    with pytest.raises(pv.ArgumentError, match=r"give a torch\.nn\.Module"):
        pv.AmortizedGuide(model, lambda x: x)
    with pytest.raises(pv.ArgumentError, match="family='flow'; there are 'normal'"):
        pv.AmortizedGuide(model, Column(), family="flow")
    with pytest.raises(pv.ArgumentError, match="family has 'y'; the local sites are 'z'"):
        pv.AmortizedGuide(model, Column(), family={"y": "full"})(torch.randn(8))
    with pytest.raises(pv.ArgumentError, match="hidden=0"):
        pv.AmortizedGuide(model, Column(), hidden=0)
    with pytest.raises(pv.ArgumentError, match="'rows' is no plate"):
        pv.AmortizedGuide(model, Column(), data_plate="rows")(torch.randn(8))


def test_a_site_that_comes_later_is_refused():
    def model(x, more=False):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if more:
                z = pyro.sample("y", dist.Normal(z, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = pv.AmortizedGuide(model, Column())
    guide(torch.randn(8))
    with pytest.raises(pv.PairError, match="'y', which it had not at the first batch"):
        guide(torch.randn(8), True)


# --- models that nobody here wrote --------------------------------------------------------------------
def test_a_plate_of_shared_sites_crosses_that_of_the_rows():
    def crossed(x):
        rows, columns = pyro.plate("rows", len(x), dim=-2), pyro.plate("columns", 3, dim=-1)
        with columns:
            v = pyro.sample("v", dist.Normal(0.0, 1.0))
        with rows:
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
        with rows, columns:
            w = pyro.sample("w", dist.Normal(u + v, 1.0))
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    guide, x = pv.AmortizedGuide(crossed, Column()), torch.randn(6, 3)
    assert [tuple(value.shape) for value in guide(x).values()] == [(3,), (6, 1), (6, 3)]
    assert math.isfinite(SVI(crossed, guide, pyro.optim.Adam({}), Trace_ELBO()).step(x))


def test_bounds_may_differ_from_row_to_row():
    def bounded(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(x, x + 1))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = pv.AmortizedGuide(bounded, Column())
    for rows in (6, 4):
        x = torch.arange(float(rows))
        z = guide(x)["z"]
        assert z.shape == (rows,)
        assert bool(((z > x) & (z < x + 1)).all())


def test_an_angle_stays_within_one_round():
    def angle(x):
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.VonMises(0.0, 1.0))
            pyro.sample("x", dist.Normal(v.cos(), 10.0), obs=x)

    guide, x = pv.AmortizedGuide(angle, Column()), torch.zeros(2000)
    guide(x)
    for head in guide.heads:
        nn.init.constant_(head.straight.bias, 2.0)  # as wide as a guide that trains on it would go
    assert float(guide(x)["v"].detach().abs().max()) <= math.pi + 1e-6
    evidence = dist.Normal(0.0, 10.0).log_prob(torch.zeros(()))  # of a cosine that is 0: the most there is
    assert float(pv.elbo(pv.Pair(angle, guide), x, draws=5, seed=0).value.mean()) < evidence


def test_a_latent_delta_is_refused_in_words():
    def still(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            twice = pyro.sample("twice", dist.Delta(2 * z))
            pyro.sample("x", dist.Normal(twice, 1.0), obs=x)

    with pytest.raises(pv.PairError, match=r"pyro\.deterministic\('twice', value\)"):
        pv.AmortizedGuide(still, Column())(torch.randn(4))


def test_weights_before_the_first_call_and_sites_without_draws_are_refused_in_words():
    def model(x, improper=False):
        prior = dist.ImproperUniform(dist.constraints.real, (), ()) if improper else dist.Normal(0.0, 1.0)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", prior), 1.0), obs=x)

    known, fresh = (pv.AmortizedGuide(model, pv.MLP((), [8], 4)) for _ in range(2))
    known(torch.zeros(5))
    with pytest.raises(pv.ArgumentError, match="call it on a batch once"):
        fresh.load_state_dict(known.state_dict())
    fresh(torch.zeros(3))
    fresh.load_state_dict(known.state_dict())
    improper = pv.AmortizedGuide(lambda x: model(x, improper=True), pv.MLP((), [8], 4))
    with pytest.raises(pv.ArgumentError, match="cannot be drawn"):
        improper(torch.zeros(5))
