"""Rate, distortion and ELBO: what they are, and that reading them costs and changes nothing."""

from __future__ import annotations

import gc
import math
import warnings
import weakref

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    SVI,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
)
from registry import (
    LATENT,
    REGISTRY,
    ROWS,
    amortised_guide,
    arguments,
    binary,
    decoder_net,
    pairs,
    plate_of,
    real,
    rows,
    takes_all_rows,
    unweighted,
)
from registry import Encoder as encoder_net

import pyrovae as pv
from pyrovae.objectives.figures import data_size
from pyrovae.pairs.names import canonical

BATCH = 8
every_pair = pytest.mark.parametrize("entry", pairs())


def batch_of(entry, data):
    return data if takes_all_rows(entry) else rows(data, slice(BATCH))


def size_of(entry) -> int:
    return ROWS if "subsampled" in entry.traits or takes_all_rows(entry) else BATCH


def make(entry, seed=3):
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    return entry.make()


def train(pair, data, loss, steps=3, after=lambda: None):
    """Losses, gradients' traces in the weights, and the random state after some steps of plain SVI."""
    pyro.set_rng_seed(11)
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), loss)
    positional, named = arguments(data)
    losses = []
    for _ in range(steps):
        losses.append(svi.step(*positional, **named))
        after()
    store = dict(pyro.get_param_store().items())
    weights = dict(zip(canonical(store), (value.detach().clone() for value in store.values()), strict=True))
    return losses, weights, torch.get_rng_state()


def one_pass(pair, data, loss, seed=11):
    pyro.set_rng_seed(seed)
    positional, named = arguments(data)
    return loss.loss(pair.model, pair.guide, *positional, **named)


def agrees(figures, loss, size, tolerance=1e-5):
    assert float(figures.elbo) == -(float(figures.rate) + float(figures.distortion))
    assert -float(figures.elbo) * size == pytest.approx(loss, rel=tolerance)


# --- against the loss ---------------------------------------------------------------------------------


@every_pair
def test_recording_changes_no_bit_and_agrees_with_the_loss(entry):
    pair, data = make(entry)
    batch = batch_of(entry, data)
    plain = train(pair, batch, entry.loss())
    pair, data = make(entry)
    recorded, seen = pv.record(pair, data_plate=plate_of(entry)), []
    losses, weights, state = train(recorded, batch, entry.loss(), after=lambda: seen.append(recorded.figures()))
    assert losses == plain[0]
    assert all(torch.equal(weights[name], value) for name, value in plain[1].items())
    assert weights.keys() == plain[1].keys()
    assert torch.equal(state, plain[2])
    for figures, loss in zip(seen, losses, strict=True):
        if isinstance(entry.loss(), RenyiELBO | TraceMeanField_ELBO) or "scaled" in entry.traits:
            assert float(figures.elbo) == -(float(figures.rate) + float(figures.distortion))
        else:
            agrees(figures, loss, size_of(entry))


@pytest.mark.parametrize("particles", ["looped", "vectorised"])
@every_pair
def test_with_several_particles(entry, particles):
    vectorised = particles == "vectorised"
    if vectorised and "broadcasts" not in entry.traits:
        pytest.skip("this pair does not broadcast")
    kind = TraceEnum_ELBO if "enumerates" in entry.traits else Trace_ELBO
    loss, again = (kind(num_particles=3, vectorize_particles=vectorised) for _ in range(2))
    pair, data = make(entry)
    recorded = pv.record(pair, data_plate=plate_of(entry))
    value = one_pass(recorded, batch_of(entry, data), loss)
    figures = recorded.figures()
    if "scaled" in entry.traits:
        value = one_pass(unweighted(entry, pair), batch_of(entry, data), again)
    agrees(figures, value, size_of(entry))


@pytest.mark.parametrize("loss", [TraceMeanField_ELBO(), RenyiELBO(num_particles=3), RenyiELBO(num_particles=2)])
@pytest.mark.parametrize("entry", pairs(having={"mean_field", "renyi_ok"}, without={"building", "dropout"}))
def test_other_objectives_show_the_one_sample_elbo_of_the_same_traces(entry, loss):
    pair, data = make(entry)
    recorded = pv.record(pair, data_plate=plate_of(entry))
    batch = batch_of(entry, data)
    same = Trace_ELBO(num_particles=loss.num_particles)
    for one in (loss, same):  # an ELBO that guesses the depth of plates draws numbers to do so
        one._guess_max_plate_nesting(pair.model, pair.guide, *arguments(batch))
    one_pass(recorded, batch, loss)
    figures = recorded.figures()
    agrees(figures, one_pass(unweighted(entry, pair), batch, same), size_of(entry))


@pytest.mark.parametrize("vectorised", [False, True])
def test_wake_sleep_shows_the_elbo_of_its_wake_phase(vectorised):
    pair, data = make(REGISTRY["score_function"])
    recorded = pv.record(pair)
    loss = ReweightedWakeSleep(num_particles=4, vectorize_particles=vectorised, max_plate_nesting=1)
    pyro.set_rng_seed(11)
    loss.loss_and_grads(recorded.model, recorded.guide, data)
    figures = recorded.figures()
    same = Trace_ELBO(num_particles=4, vectorize_particles=vectorised, max_plate_nesting=1)
    agrees(figures, one_pass(pair, data, same), ROWS)


def test_a_loss_of_the_user_who_computes_everything_by_hand():
    pair, data = make(REGISTRY["plain_functions"])
    recorded = pv.record(pair)

    def loss(model, guide, x):
        q = poutine.trace(guide).get_trace(x)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x)
        total = q.nodes["z"]["fn"].log_prob(q.nodes["z"]["value"]).sum()
        return total - sum(p.nodes[name]["fn"].log_prob(p.nodes[name]["value"]).sum() for name in "zx")

    value = loss(recorded.model, recorded.guide, data)
    agrees(recorded.figures(), float(value.detach()), ROWS)


# --- which part is which ------------------------------------------------------------------------------


def by_hand(pair, data, loss=None):
    """Rate and distortion of one pass, from log-probabilities written out here."""
    positional, named = arguments(data)
    pyro.set_rng_seed(11)
    q = poutine.trace(pair.guide).get_trace(*positional, **named)
    p = poutine.trace(poutine.replay(pair.model, trace=q)).get_trace(*positional, **named)
    return q, p


def scaled_sum(node) -> float:
    value = (node["fn"].log_prob(node["value"]) * node["scale"]).detach()
    return float(value.sum() if node["mask"] is None else torch.where(node["mask"], value, 0.0).sum())


@pytest.mark.parametrize("entry", pairs(without={"enumerates"}))
def test_the_rate_is_that_of_latent_sites_and_the_distortion_that_of_observed_ones(entry):
    pair, data = make(entry)
    batch = batch_of(entry, data)
    pyro.set_rng_seed(1)
    arguments_ = arguments(batch)
    poutine.trace(pair.guide).get_trace(*arguments_[0], **arguments_[1])  # autoguides set themselves up
    q, p = by_hand(unweighted(entry, pair), batch)
    rate = sum(scaled_sum(q.nodes[name]) for name in entry.guide_sites)
    rate -= sum(scaled_sum(p.nodes[name]) for name in (*entry.latent, *entry.global_sites))
    distortion = -sum(scaled_sum(p.nodes[name]) for name in entry.observed)
    if "factor" in entry.traits:
        distortion -= float(p.nodes["smoothness"]["fn"].log_factor.detach().sum())
    recorded = pv.record(pair, data_plate=plate_of(entry))
    one_pass(recorded, batch, Trace_ELBO(max_plate_nesting=2))
    figures = recorded.figures()
    size = size_of(entry)
    assert float(figures.rate) * size == pytest.approx(rate, rel=1e-4, abs=1e-3)
    assert float(figures.distortion) * size == pytest.approx(distortion, rel=1e-4, abs=1e-3)


def test_factors_of_the_guide_and_deterministic_sites_belong_to_nothing():
    encoder, decoder = encoder_net(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        pyro.deterministic("constant", torch.ones(5))  # outside the plate, observed after a fashion
        pyro.factor("weight_decay", torch.tensor(-7.0))
        with pyro.plate("data", 100, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.factor("penalty", torch.tensor(3.0), has_rsample=True)
        with pyro.plate("data", 100, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    def bare(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", 100, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    figures = []
    for pair in (pv.Pair(model, guide), pv.Pair(bare, poutine.block(guide, hide=["penalty"]))):
        recorded = pv.record(pair)
        loss = one_pass(recorded, binary()[:BATCH], Trace_ELBO(max_plate_nesting=1))
        figures.append(recorded.figures())
        agrees(figures[-1], loss - (3 if pair.guide is guide else 0), 100)
    assert float(figures[0].rate - figures[1].rate) == pytest.approx(0, abs=1e-5)
    assert float(figures[0].distortion - figures[1].distortion) == pytest.approx(7 / 100, abs=1e-5)


@pytest.mark.parametrize("particles", [1, 3])
def test_what_the_model_sums_out_over_latent_sites_is_rate(particles):
    pair, data = make(REGISTRY["enumerated_prior"])
    recorded = pv.record(pair)
    loss = TraceEnum_ELBO(max_plate_nesting=1, num_particles=particles, vectorize_particles=particles > 1)
    one_pass(recorded, data, loss)
    figures = recorded.figures()
    weights, centres = pyro.param("weights"), pyro.param("centres")
    pyro.set_rng_seed(11)
    outer = pyro.plate("outer", particles, dim=-2)
    q = poutine.trace(outer(pair.guide)).get_trace(data)
    z = q.nodes["z"]["value"]
    prior = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(centres, 1.0).to_event(1))
    rate = (q.nodes["z"]["fn"].log_prob(z) - prior.log_prob(z)).sum(-1).mean()
    p = poutine.trace(poutine.condition(outer(pair.model), data={"z": z})).get_trace(data)
    distortion = -p.nodes["x"]["fn"].log_prob(data).sum(-1).mean()
    assert float(figures.rate) * ROWS == pytest.approx(float(rate.detach()), rel=1e-5)
    assert float(figures.distortion) * ROWS == pytest.approx(float(distortion.detach()), rel=1e-5)


def test_what_the_model_sums_out_with_data_is_distortion():
    pair, data = make(REGISTRY["enumerated_mixture"])
    recorded = pv.record(pair)
    loss = one_pass(recorded, data, TraceEnum_ELBO(max_plate_nesting=1))
    figures = recorded.figures()
    assert float(figures.rate) == 0.0
    agrees(figures, loss, ROWS)
    pair, data = make(REGISTRY["enumerated_likelihood"])
    recorded = pv.record(pair)
    one_pass(recorded, data, TraceEnum_ELBO(max_plate_nesting=1))
    q, p = by_hand(pair, data)
    assert float(recorded.figures().rate) * ROWS == pytest.approx(
        scaled_sum(q.nodes["z"]) - scaled_sum(p.nodes["z"]), rel=1e-5
    )


def test_two_sums_of_the_model_are_told_apart():
    """One over latent sites (rate) and one that holds the data (distortion), in one model."""
    encoder, decoder = encoder_net(), decoder_net()
    centres, shifts = torch.randn(3, LATENT), torch.randn(2, 12)

    @config_enumerate
    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(torch.ones(3) / 3))
            z = pyro.sample("z", dist.Normal(centres[y], 1.0).to_event(1))
            w = pyro.sample("w", dist.Bernoulli(0.3)).long()
            pyro.sample("x", dist.Normal(decoder(z) + shifts[w], 0.5).to_event(1), obs=x)

    pair = pv.Pair(model, amortised_guide(encoder))
    recorded = pv.record(pair)
    x = real()
    loss = one_pass(recorded, x, TraceEnum_ELBO(max_plate_nesting=1))
    figures = recorded.figures()
    agrees(figures, loss, ROWS)
    pyro.set_rng_seed(11)
    q = poutine.trace(pair.guide).get_trace(x)
    z = q.nodes["z"]["value"]
    prior = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), dist.Normal(centres, 1.0).to_event(1))
    assert float(figures.rate) * ROWS == pytest.approx(
        float((q.nodes["z"]["fn"].log_prob(z) - prior.log_prob(z)).sum().detach()), rel=1e-5
    )


@pytest.mark.parametrize("strategy", ["parallel", "sequential"])
def test_what_the_guide_sums_out_is_an_expectation(strategy):
    name = "enumerated_guide" if strategy == "parallel" else "enumerated_guide_sequential"
    pair, data = make(REGISTRY[name])
    recorded = pv.record(pair)
    loss = one_pass(recorded, data, TraceEnum_ELBO(max_plate_nesting=1))
    figures = recorded.figures()
    agrees(figures, loss, ROWS)
    # KL of q(y | x) from the uniform prior is closed; that of z given y is its own expectation over draws.
    guide = poutine.trace(pair.guide).get_trace(data)
    closed = (torch.log(torch.tensor(3.0)) - guide.nodes["y"]["fn"].entropy()).mean()
    rates = []
    for seed in range(60):
        one_pass(recorded, data, TraceEnum_ELBO(max_plate_nesting=1), seed=seed)
        rates.append(float(recorded.figures().rate))
    q, inner = guide.nodes["y"]["fn"].probs, []
    for label in range(3):
        y = torch.nn.functional.one_hot(torch.full((ROWS,), label), 3).float()
        one = poutine.trace(poutine.condition(pair.guide, data={"y": y})).get_trace(data).nodes["z"]["fn"]
        inner.append(torch.distributions.kl_divergence(one, dist.Normal(torch.zeros(LATENT), 1.0).to_event(1)))
    exact = float((closed + (q * torch.stack(inner, -1)).sum(-1).mean()).detach())
    rates = torch.tensor(rates)
    assert abs(float(rates.mean()) - exact) < 4 * float(rates.std()) / 60**0.5


def test_local_samples_of_an_enumerating_loss():
    pair, data = make(REGISTRY["plain_functions"])
    several = pv.Pair(pair.model, config_enumerate(pair.guide, default="parallel", num_samples=5))
    recorded = pv.record(several)
    loss = one_pass(recorded, data, TraceEnum_ELBO(max_plate_nesting=1))
    agrees(recorded.figures(), loss, ROWS)


# --- the number of data -------------------------------------------------------------------------------


def test_a_global_site_costs_its_kl_divided_by_the_size_of_the_data_plate():
    pair, data = make(REGISTRY["local_and_global"])
    recorded = pv.record(pair)
    pair.guide(data)  # makes its parameters
    one_pass(recorded, data[:BATCH], Trace_ELBO(max_plate_nesting=1))
    figures = recorded.figures()
    q, p = by_hand(pair, data[:BATCH])
    kl = [scaled_sum(q.nodes[name]) - scaled_sum(p.nodes[name]) for name in "wz"]
    assert q.nodes["z"]["scale"] == ROWS / BATCH
    assert float(figures.rate) == pytest.approx(kl[0] / ROWS + kl[1] / ROWS, rel=1e-5)


def test_a_global_site_is_charged_once_where_the_plate_is_as_long_as_each_batch():
    """loc ~ N(0, 1), x ~ N(loc, 1), the guide N(1, 0.5): a rate of 0.807 nats, for all rows together."""
    x = torch.randn(600, generator=torch.Generator().manual_seed(0)) + 1

    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    pair = pv.Pair(model, lambda x: pyro.sample("loc", dist.Normal(1.0, 0.5)))
    kl = float(torch.distributions.kl_divergence(dist.Normal(1.0, 0.5), dist.Normal(0.0, 1.0)))
    found = pv.rate_distortion(pair, x, draws=2_000)
    assert found.rate == pytest.approx(kl / 600, rel=0.1)
    with pytest.raises(pv.PairError, match=r"'loc' belongs to all rows.*would count once in each batch"):
        pv.rate_distortion(pair, torch.utils.data.DataLoader(x, batch_size=100))


def frame(name, size, full=None):
    return type("Frame", (), {"name": name, "size": size, "full_size": full})()


def test_the_number_of_data():
    data, features = frame("data", 8, 100), frame("features", 12)
    assert data_size([[data]], 8) == 100
    assert data_size([[data, features], [data]], 8) == 100
    assert data_size([[data, features]], 8) == 100  # the plate that has the length of the batch
    assert data_size([[data, features]], 100) == 100  # or, where all rows go in, its full size
    assert data_size([[frame("num_particles_vectorized", 8), data]], 8) == 100
    assert data_size([[frame("data", -1)]], 8) == 8
    assert data_size([[]], 8) == 8
    assert data_size([], None) == 1
    assert data_size([[data, features]], 8, "features") == 12
    with pytest.raises(pv.PairError, match="data_plate='data'"):
        data_size([[frame("data", 8, 100), frame("columns", 8)]], 8)


def test_one_plate_entry_after_another_is_one_plate():
    """`for i in pyro.plate(...)`: each row has a frame of its own, of one plate."""

    def model(x):
        for i in pyro.plate("data", 100, subsample_size=len(x)):
            pyro.sample(f"x_{i}", dist.Normal(0.0, 1.0), obs=x[0])

    recorded = pv.record(pv.Pair(model, lambda x: None))
    loss = one_pass(recorded, torch.zeros(4), Trace_ELBO())
    agrees(recorded.figures(), loss, 100)


# --- a pass costs nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain_functions", "enumerated_guide", "local_and_global", "score_function"])
def test_no_pass_is_added(name):
    counts = {}
    for wrap in (lambda pair: pair, pv.record):
        pair, data = make(REGISTRY[name])
        calls = []

        def counted(function, calls=calls):
            def call(*args):
                calls.append(function)
                return function(*args)

            return call

        around = wrap(pv.Pair(counted(pair.model), counted(pair.guide)))
        train(around, data, REGISTRY[name].loss(), steps=2, after=getattr(around, "figures", lambda: None))
        counts[wrap] = len(calls)
    assert len(set(counts.values())) == 1


def watched(pair):
    """A pair, and weak references to every latent value that it drew."""
    drawn = []

    def guide(*args):
        with poutine.trace() as trace:
            result = pair.guide(*args)
        drawn.extend(weakref.ref(n["value"]) for name, n in trace.trace.nodes.items() if name == "z")
        return result

    return pv.Pair(pair.model, guide), drawn


@pytest.mark.parametrize("name", ["plain_functions", "enumerated_prior"])
@pytest.mark.parametrize("particles", [1, 4])
def test_nothing_is_kept_between_calls(name, particles):
    pair, data = make(REGISTRY[name])
    pair, drawn = watched(pair)
    recorded = pv.record(pair)
    loss = type(REGISTRY[name].loss())(max_plate_nesting=1, num_particles=particles)
    train(recorded, data, loss, steps=3, after=lambda: recorded.figures())
    gc.collect()
    assert sum(one() is not None for one in drawn) == 0
    assert len(drawn) >= 3 * particles


def test_a_recorder_that_nobody_reads_does_not_grow():
    pair, data = make(REGISTRY["plain_functions"])
    pair, drawn = watched(pair)
    recorded, losses = pv.record(pair), []
    svi = SVI(recorded.model, recorded.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO(num_particles=2))
    for _ in range(5):
        losses.append(svi.step(data))
        gc.collect()
        assert sum(one() is not None for one in drawn) <= 1
    agrees(recorded.figures(), sum(losses) / len(losses), ROWS)  # the mean since the last call
    with pytest.raises(pv.PairError, match="no pass was recorded"):
        recorded.figures()


def test_a_step_that_raised_is_forgotten():
    pair, data = make(REGISTRY["plain_functions"])
    recorded = pv.record(pair)
    loss = Trace_ELBO(max_plate_nesting=1)
    with pytest.raises(ValueError, match="support"):
        loss.loss(recorded.model, recorded.guide, data + 0.5)
    with pytest.raises(pv.PairError, match="no pass was recorded"):
        recorded.figures()
    with pytest.raises(ValueError, match="support"):
        loss.loss(recorded.model, recorded.guide, data + 0.5)
    value = one_pass(recorded, data, loss)
    agrees(recorded.figures(), value, ROWS)


def test_looking_for_the_depth_of_plates_is_not_a_pass():
    pair, data = make(REGISTRY["plain_functions"])
    recorded = pv.record(pair)
    Trace_ELBO()._guess_max_plate_nesting(recorded.model, recorded.guide, (data,), {})
    with pytest.raises(pv.PairError, match="no pass was recorded"):
        recorded.figures()


def test_the_site_that_went_bad_is_known():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0, validate_args=False))
            pyro.sample("x", dist.Normal(z, 1.0, validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    for last, site in ((float("nan"), "x"), (float("inf"), "x"), (0.0, None)):
        recorded = pv.record(pv.Pair(model, guide))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Trace_ELBO().loss(recorded.model, recorded.guide, torch.tensor([0.0, last]))
        assert recorded.tally().worst_site() == site


def test_graph_losses_leave_no_provenance():
    pair, data = make(REGISTRY["score_function_neural_baseline"])
    recorded = pv.record(pair)
    TraceGraph_ELBO().loss_and_grads(recorded.model, recorded.guide, data)
    assert all(type(figure) is torch.Tensor and not figure.requires_grad for figure in recorded.figures())


@pytest.mark.parametrize("name", ["plain_functions", "local_and_global", "enumerated_likelihood"])
@pytest.mark.slow
def test_fit_and_rate_distortion_hold_the_identity_exactly(name):
    pair, data = make(REGISTRY[name])
    run = pv.fit(pair, data, epochs=12, batch_size=7, seed=0, progress=False, temper=0.3 if name[0] != "e" else 1.0)
    for row in run.history:
        assert row.elbo == -(row.rate + row.distortion)
    for size in range(3, 24, 2):
        figures = pv.rate_distortion(pair, data, batch_size=size, draws=2)
        assert figures.elbo == -(figures.rate + figures.distortion)


def test_the_error_is_that_of_the_batches_mean():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros(()), 1.0), obs=x)

    x = torch.tensor([0.0, 2.0, 3.0])
    found = pv.rate_distortion(pv.Pair(model, lambda x: None), x, batch_size=1)
    assert found.error == pytest.approx(float((x**2 / 2).std()) / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize("count", [16, 100])
def test_few_rows_that_have_nothing_in_common_have_an_error_and_the_same_average(count):
    truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)  # whose guide is the posterior
    x = truth.sample(count, seed=0)
    found, whole = pv.rate_distortion(truth, x), pv.rate_distortion(truth, x, batch_size=count)
    exact = truth.log_evidence(x).double()
    assert found.elbo == pytest.approx(float(exact.mean()), abs=1e-4)
    assert whole.elbo == pytest.approx(found.elbo, abs=1e-4)
    # Eight means tell their spread to a quarter.
    assert found.error == pytest.approx(float(exact.std()) / math.sqrt(count), rel=0.6)
    assert math.isnan(whole.error)


def test_rows_that_share_a_site_stay_together():
    """A batch alone would be charged for all of what the rows share."""

    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    found = pv.rate_distortion(pv.Pair(model, lambda x: pyro.sample("w", dist.Normal(2.0, 0.1))), x, draws=200)
    divergence = torch.distributions.kl_divergence(dist.Normal(2.0, 0.1), dist.Normal(0.0, 1.0))
    assert found.rate == pytest.approx(float(divergence) / 64, rel=0.1)
    assert math.isnan(found.error)
