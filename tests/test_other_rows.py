"""A pair whose rows move with the rows beside them is told of wherever it is asked; no other one is."""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from registry import born, pairs, plate_of
from torch import nn
from torch.nn import functional

import pyrovae as pv
from pyrovae.sampling.sampler import Sampler

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


def attention(rows):
    return torch.softmax(rows @ rows.transpose(-1, -2), -1) @ rows


class PairOfNetworks:
    """A VAE; what a style changes in it are the functions that it is given."""

    def __init__(
        self, *, encoded=lambda x: x, decoded=lambda x: x, plate=lambda x: pyro.plate("data", len(x)), shared=False
    ):
        self.networks = nn.ModuleDict({"encoder": nn.Linear(5, 4), "decoder": nn.Linear(2, 5)})
        self.encoded, self.decoded, self.plate, self.shared = encoded, decoded, plate, shared

    def common(self):
        return pyro.sample("shift", dist.Normal(torch.zeros(5), 1.0).to_event(1)) if self.shared else 0.0

    def model(self, x):
        pyro.module("networks", self.networks)
        shift = self.common()
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            mean = self.decoded(self.networks["decoder"](z)) + shift
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("networks", self.networks)
        self.common()
        loc, scale = self.networks["encoder"](self.encoded(x)).chunk(2, -1)
        with self.plate(x):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def mixture(decoded):
    """Classes that the model sums out."""

    @config_enumerate
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=torch.zeros(2)))
            mean = torch.tensor([[-1.0] * 5, [1.0] * 5])[k] + decoded(x)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    return pv.Pair(model, lambda x: None)


FAULTY = {
    "mean in the guide": lambda: PairOfNetworks(encoded=lambda x: x - x.mean(0)),
    "largest in the guide": lambda: PairOfNetworks(encoded=lambda x: x / x.amax(0)),
    "batch statistics in the likelihood": lambda: PairOfNetworks(decoded=nn.BatchNorm1d(5, track_running_stats=False)),
    "training for good": lambda: PairOfNetworks(encoded=lambda x: functional.batch_norm(x, None, None, training=True)),
    "softmax over rows": lambda: PairOfNetworks(decoded=lambda y: torch.softmax(y, -2)),
    "attention in the guide": lambda: PairOfNetworks(encoded=attention),
    "attention, all rows in a plate of their size": lambda: PairOfNetworks(
        encoded=attention, plate=lambda x: pyro.plate("data", 40, subsample_size=len(x))
    ),
    "a plate that says no size": lambda: PairOfNetworks(encoded=attention, plate=lambda x: pyro.plate("data")),
    "beside a global site": lambda: PairOfNetworks(encoded=attention, shared=True),
    "summed out": lambda: mixture(lambda x: x.mean(0)),
}
QUESTIONS = {
    "elbo": pv.elbo,
    "log_evidence": pv.log_evidence,
    "psis": pv.psis,
    "rate_distortion": pv.rate_distortion,
    "uncertainty": pv.uncertainty,
    "posterior_predictive": pv.posterior_predictive,
    "novelty": lambda pair, x, draws: pv.novelty(pair, x, calibration=x, draws=draws),
    "encode": lambda pair, x, draws: pv.encode(pair, x),
    "to_arviz": pv.to_arviz,
}


@pytest.mark.parametrize("name", FAULTY)
def test_rows_that_move_with_others_are_told_of(name):
    pair = FAULTY[name]()
    with pytest.warns(pv.PyrovaeWarning, match=r"\[reads-other-rows\] the distribution of '[xz]'"):
        pv.elbo(pair, X, draws=2)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_tells_of_them(name):
    pair = FAULTY["attention in the guide"]()
    with pytest.warns(pv.PyrovaeWarning, match="reads-other-rows"):
        QUESTIONS[name](pair, X[:8], draws=25)


def test_rows_that_look_at_the_draws_of_each_other_have_no_evidence_of_their_own():
    with pytest.warns(pv.PyrovaeWarning, match="reads-other-rows"), pytest.raises(pv.PairError, match="several rows"):
        pv.log_evidence(FAULTY["softmax over rows"](), X)


@pytest.mark.parametrize("entry", pairs())
def test_of_other_styles_nothing_is_said(entry):
    pair, args, kwargs = born(entry)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*reads-other-rows")
        use = Sampler.of(pair, args, kwargs, seed=0, data_plate=plate_of(entry)).use
    assert use.moving_with_others.found == []


def trained_batch_norm():
    norm = nn.BatchNorm1d(5)
    norm(3 * X + 1)
    return PairOfNetworks(encoded=norm)


def with_a_deterministic_site(y):
    return pyro.deterministic("mean", y)


SOUND = {
    "a deterministic site": lambda: PairOfNetworks(decoded=with_a_deterministic_site),
    "a trained BatchNorm": trained_batch_norm,
    "noise beside the sites": lambda: PairOfNetworks(encoded=lambda x: x + torch.randn(len(x), 5)),
    "an order of its own": lambda: PairOfNetworks(decoded=lambda y: y + X[: y.shape[-2]]),
    "the mean of a row": lambda: PairOfNetworks(encoded=lambda x: x - x.mean(1, keepdim=True)),
    "dropout": lambda: PairOfNetworks(encoded=nn.Dropout(0.5)),
    "a global site": lambda: PairOfNetworks(shared=True),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_goes_along_with_its_row_is_none_of_them(name):
    moving = Sampler.of(SOUND[name](), (X,), {}, seed=0).use.moving_with_others
    assert moving.ordered or not moving.found


def topics():
    """Counts of words, whose number only draws of them need."""

    class Topics(PairOfNetworks):
        def model(self, x):
            pyro.module("networks", self.networks)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
                total = int(x.sum(-1).max())
                pyro.sample("x", dist.Multinomial(total, logits=self.networks["decoder"](z)), obs=x)

    return Topics()


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "to_arviz"])
def test_a_mean_that_moves_where_no_density_does_is_told_of_by_what_predicts_alone(name):
    pair, x, predicts = topics(), X.abs().round(), name in ("uncertainty", "posterior_predictive")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        QUESTIONS[name](pair, x[:16], draws=25)
    assert any("reads-other-rows" in str(one.message) for one in said) == predicts


@pytest.mark.parametrize("size", [100, 1000])
def test_what_moves_with_the_last_digit_alone_is_none_of_them(size):
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [8], 4)))
    pv.elbo(vae, 10 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) + size, seed=0)


def test_rows_that_move_with_others_are_told_of_at_any_size_of_the_data():
    with pytest.warns(pv.PyrovaeWarning, match="reads-other-rows"):
        pv.elbo(PairOfNetworks(encoded=lambda x: (x - x.mean(0)) / x.std(0)), 100 + 10 * X, seed=0)
