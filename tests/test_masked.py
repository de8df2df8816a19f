"""Pairs for data with holes: what is there counts as the marginal says, in every function and in training."""

from __future__ import annotations

import math
from queue import SimpleQueue

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.pairs.part_observed import PartNormal, completed, observing

ROWS, WIDTH = 60, 5
WEIGHT = torch.randn(WIDTH, 2, generator=torch.Generator().manual_seed(3))
NOISE = 0.25 * torch.eye(WIDTH)
TIED = NOISE + 0.1


def factorised(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ WEIGHT.T, 0.5).to_event(1), obs=x)


def joint(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.MultivariateNormal(z @ WEIGHT.T, TIED), obs=x)


def by_column(x):
    """Each column a site of its own, of values that are cut out and rescaled."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        mean = z @ WEIGHT.T
        for column in range(WIDTH):
            pyro.sample(f"x{column}", dist.Normal(2 * mean[..., column], 1.0), obs=2 * x[..., column])


def wide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.2).to_event(1))


@pytest.fixture(scope="module")
def holed():
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 2, generator=noise) @ WEIGHT.T + 0.5 * torch.randn(ROWS, WIDTH, generator=noise)
    hidden = torch.rand(x.shape, generator=noise) < 0.3
    hidden[0], hidden[1] = True, False
    return x.masked_fill(hidden, math.nan)


def exact(x, noise):
    """log N(x_o; 0, (W W' + noise)_oo) of each row."""
    whole = WEIGHT @ WEIGHT.T + noise
    found = []
    for row in x:
        seen = ~row.isnan()
        block = dist.MultivariateNormal(torch.zeros(int(seen.sum())), whole[seen][:, seen]) if seen.any() else None
        found.append(block.log_prob(row[seen]) if block else torch.zeros(()))
    return torch.stack(found)


def differences(estimate, truth):
    return ((estimate.value - truth) / estimate.error.clamp(min=1e-9)).abs()


@pytest.mark.parametrize(("model", "noise"), [(factorised, NOISE), (joint, TIED)])
def test_the_evidence_is_that_of_what_is_there(model, noise, holed):
    found = pv.log_evidence(pv.masked(pv.Pair(model, wide)), holed, draws=6000)
    assert float(differences(found, exact(holed, noise)).max()) < 4.5


def test_cells_may_be_cut_out_and_rescaled(holed):
    found = pv.log_evidence(pv.masked(pv.Pair(by_column, wide)), holed, draws=6000)
    truth = exact(holed, NOISE) - math.log(2) * (~holed.isnan()).sum(1)
    assert float(differences(found, truth).max()) < 4.5


def test_without_holes_nothing_changes(holed):
    full = holed.nan_to_num(0.3)
    pair = pv.Pair(factorised, wide)
    assert torch.equal(pv.elbo(pv.masked(pair), full, draws=20).value, pv.elbo(pair, full, draws=20).value)


def small(width=4):
    torch.manual_seed(0)
    return pv.VAE(
        pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], WIDTH), scale=1.0), pv.DiagNormal(pv.MLP(WIDTH, [8], 2 * 2))
    )


@pytest.mark.parametrize("loss", [None, pv.objectives.IWAE(4)], ids=["elbo", "miwae"])
@pytest.mark.slow
def test_a_graph_trains_as_the_plain_path(loss, holed):
    ends = {}
    for staged in (False, "traced"):
        pyro.clear_param_store()
        vae = small()
        run = pv.fit(pv.masked(vae), holed, steps=20, batch_size=20, seed=0, loss=loss, staged=staged, progress=False)
        assert (staged is False) or run.route.startswith("traced")
        ends[staged] = torch.cat([one.detach().flatten() for one in vae.parameters()])
    assert torch.allclose(ends[False], ends["traced"], atol=1e-5)


def test_the_loss_is_that_of_the_cells_that_are_there(holed):
    """Against a sum written by hand, and no cell that is missing moves it."""
    vae = small()
    draws = 4000
    found = pv.elbo(pv.masked(vae), holed, draws=draws)
    with torch.no_grad():
        q = vae.posterior(holed.nan_to_num(0.0))
        z = q.sample((draws,))
        location = vae.likelihood(z).base_dist.loc
        cells = torch.where(holed.isnan(), 0.0, dist.Normal(location, 1.0).log_prob(holed.nan_to_num(7.0))).sum(-1)
        prior = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        by_hand = cells + prior.log_prob(z) - q.log_prob(z)
    error = by_hand.std(0) / draws**0.5
    assert float(((found.value - by_hand.mean(0)) / (2**0.5 * error)).abs().max()) < 4.5


def test_a_guide_that_asks_is_given_the_mask(holed):
    seen = SimpleQueue()

    def guide(x, mask):
        seen.put(mask)
        wide(x)

    pv.elbo(pv.masked(pv.Pair(factorised, guide), fill=9.0), holed, draws=2)
    assert torch.equal(seen.get(), ~holed.isnan())


def test_the_fill_is_what_the_guide_sees(holed):
    seen = SimpleQueue()

    def guide(x):
        seen.put(x)
        wide(x)

    columns = torch.arange(float(WIDTH))
    for fill in (columns, {"x": columns}, {0: columns}):
        pv.elbo(pv.masked(pv.Pair(factorised, guide), fill=fill), holed, draws=1)
        asked = [seen.get() for _ in range(seen.qsize())]
        assert not any(bool(rows.isnan().any()) for rows in asked)
        assert all(torch.equal(rows[0], columns) for rows in asked if len(rows) == len(holed))
        assert len(asked[0]) == len(holed)
    words = r"fill has the shape \(3,\), and a row of 'x' \(5,\)"
    with pytest.raises(pv.PyrovaeError, match=words):
        pv.fit(pv.masked(pv.Pair(factorised, guide), fill=torch.zeros(3)), holed, steps=1, progress=False)


def test_labels_may_be_missing():
    """Whole numbers have their lowest one for what is missing, which is what NaN becomes where it is cast."""
    labels = torch.tensor([0.0, 1.0, math.nan, 1.0])

    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Categorical(logits=torch.stack([z, -z], -1)), obs=y.long())

    def guide(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    pair = pv.masked(pv.Pair(model, guide))
    found = pv.log_evidence(pair, labels, draws=4000)
    assert float(differences(found, torch.tensor([0.5, 0.5, 1.0, 0.5]).log())[[0, 1, 3]].max()) < 4
    assert found.value[2] == pytest.approx(0.0, abs=1e-6)  # its guide is the prior


def refused(model, match, data=None):
    x = torch.randn(20, WIDTH) if data is None else data
    x[3, 1] = math.nan
    with pytest.raises(pv.PyrovaeError, match=match):
        pv.elbo(pv.masked(pv.Pair(model, wide)), x, draws=2)


def test_what_hides_the_holes_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z @ WEIGHT.T).to_event(1), obs=(x > 0).float())

    refused(model, "what the model observes has none")


def test_a_model_that_reads_the_holes_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ WEIGHT.T + 0.1 * x.roll(1, -1), 0.5).to_event(1), obs=x)

    refused(model, "computes with what is missing")


def test_a_joint_event_in_part_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            flow = dist.transforms.AffineTransform(0.0, 2.0)
            base = dist.MultivariateNormal(z @ WEIGHT.T, TIED)
            pyro.sample("x", dist.TransformedDistribution(base, [flow]), obs=x)

    refused(model, "'x' is observed in part, and its TransformedDistribution is a joint distribution")


@pytest.mark.parametrize("seen", [[True, True, False], [False, True, False], [True, True, True], [False, False, False]])
def test_a_normal_vector_has_its_marginal_and_its_conditional(seen):
    seen = torch.tensor(seen)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.6, 0.0], [-0.4, 0.5, 0.3]])
    mean, value = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0.2, 0.1, -0.3])
    whole = dist.MultivariateNormal(mean, scale_tril=root)
    part = observing(whole, seen, "x")
    assert isinstance(part, PartNormal)
    block = whole.covariance_matrix
    marginal = dist.MultivariateNormal(mean[seen], block[seen][:, seen]).log_prob(value[seen]) if seen.any() else 0.0
    assert float(part.log_prob(value)) == pytest.approx(float(marginal), abs=1e-5)
    torch.manual_seed(0)
    count = 20_000
    drawn = completed(part.expand([count]), value.expand(count, 3), seen.expand(count, 3))
    assert torch.equal(drawn[:, seen], value[seen].expand(count, -1))
    gain = block[~seen][:, seen] @ torch.linalg.inv(block[seen][:, seen])
    expected = mean[~seen] + gain @ (value[seen] - mean[seen])
    spread = block[~seen][:, ~seen] - gain @ block[seen][:, ~seen]
    assert torch.allclose(drawn[:, ~seen].mean(0), expected, atol=0.03)
    assert torch.allclose(torch.cov(drawn[:, ~seen].T).reshape(spread.shape), spread, atol=0.04)


def test_a_network_of_torch_is_no_hindrance(holed):
    encoder = nn.Linear(2 * WIDTH, 4)

    def guide(x, mask):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(torch.cat([x, mask.to(x)], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    run = pv.fit(pv.masked(pv.Pair(factorised, guide)), holed, epochs=60, learning_rate=0.02, seed=0, progress=False)
    bound = float(exact(holed, NOISE).mean())
    assert run.history[0].elbo < run.history[-1].elbo < bound + 0.2
    assert run.history[-1].elbo > bound - 1.5


def test_a_model_that_goes_on_with_what_it_observed_is_refused():
    """Half-observed classes, a chain: what stands in the place of holes must not be used as data."""

    def classes(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            label = pyro.sample("y", dist.Categorical(torch.ones(2) / 2), obs=y.long())
            pyro.sample("x", dist.Normal(torch.tensor([-3.0, 3.0])[label], 1.0), obs=x)

    def chain(x):
        with pyro.plate("data", len(x)):
            before = pyro.sample("z", dist.Normal(0.0, 1.0))
            for place in range(3):
                before = pyro.sample(f"x{place}", dist.Normal(0.9 * before, 0.5), obs=x[:, place])

    def guide(x, *more):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    x, y = torch.tensor([3.0, 3.0, -3.0]), torch.tensor([1.0, math.nan, math.nan])
    with pytest.raises(pv.PairError, match="computes with what is missing"):
        pv.log_evidence(pv.masked(pv.Pair(classes, guide)), x, y, draws=5)
    with pytest.raises(pv.PairError, match="computes with what is missing"):
        pv.log_evidence(pv.masked(pv.Pair(chain, guide)), torch.tensor([[1.0, math.nan, 2.5]]), draws=5)
    last = pv.log_evidence(pv.masked(pv.Pair(chain, guide)), torch.tensor([[1.0, 2.0, math.nan]]), draws=4000)
    first, second = dist.Normal(0.0, 1.06**0.5), dist.Normal(0.9, 0.5)
    truth = first.log_prob(torch.tensor(1.0)) + second.log_prob(torch.tensor(2.0))
    assert abs(float(last.value) - float(truth)) < 4 * float(last.error)


def test_holes_of_one_argument_do_not_hide_those_of_another():
    def model(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
            pyro.sample("y", dist.Bernoulli(0.9), obs=(y > 0).float())

    x, y = torch.tensor([0.0, math.nan, 0.0]), torch.tensor([1.0, 1.0, math.nan])
    pair = pv.masked(pv.Pair(model, lambda x, y: None))
    with pytest.raises(pv.PairError, match="what the model observes has none"):
        pv.log_evidence(pair, x, y, draws=2)
    assert pv.log_evidence(pair, x, torch.ones(3), draws=2).value.isfinite().all()


def test_which_mask_is_meant_is_asked():
    def model(dose, counts):
        with pyro.plate("data", len(counts)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("counts", dist.Poisson(3.0), obs=counts)

    def guide(dose, counts, mask):
        with pyro.plate("data", len(counts)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(pv.PyrovaeError, match="name the one that is meant"):
        pv.elbo(pv.masked(pv.Pair(model, guide)), torch.ones(3), torch.tensor([1.0, math.nan, 2.0]), draws=2)


def test_what_is_no_pair_and_a_fill_of_no_argument():
    with pytest.raises(pv.ArgumentError, match="int is not a pair"):
        pv.masked(3)
    with pytest.raises(pv.PyrovaeError, match="fill has 'typo'"):
        pv.elbo(pv.masked(pv.Pair(factorised, wide), fill={"typo": 3.0}), torch.zeros(4, WIDTH), draws=1)
    pair = pv.masked(pv.Pair(factorised, wide))
    assert pv.masked(pair) is pair
    assert pv.masked(pair, fill=7.0).fill == 7.0


def test_a_file_for_arviz_has_the_holes_of_later_rows():
    def counts(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(torch.ones(2)).to_event(1), obs=x)

    x = torch.ones(5000, 2)
    x[4999, 0] = math.nan
    groups = ("observed_data", "constant_data")
    found = pv.to_arviz(pv.masked(pv.Pair(counts, lambda x: None)), x, draws=1, groups=groups)
    observed, mask = found["observed_data"]["x"].values, found["constant_data"]["x_mask"].values
    assert math.isnan(observed[4999, 0])
    assert (observed[:4999] == 1).all()
    assert (mask == ~x.isnan().numpy()).all()
