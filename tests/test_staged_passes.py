"""A graph computes what Pyro's own pass computes, for every pair and objective."""

from __future__ import annotations

import itertools
import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from registry import ROWS, Entry, on_device, pairs
from staged_pairs import BATCH, QUIET, STEPS, X, fitted, fitted_plainly, same, small, weights_of
from torch import nn

import pyrovae as pv
from pyrovae.staged.outcome_difference import Outcome

LOSSES = {
    "own": lambda entry: entry.loss(),
    "particles": lambda entry: Trace_ELBO(num_particles=3),
    "vectorised": lambda entry: Trace_ELBO(num_particles=3, vectorize_particles=True),
    "mean_field": lambda entry: TraceMeanField_ELBO(),
    "graph": lambda entry: TraceGraph_ELBO(),
    "renyi": lambda entry: RenyiELBO(alpha=0.5, num_particles=3),
    "iwae": lambda entry: pv.objectives.IWAE(3),
    "dreg": lambda entry: pv.objectives.DReG(3),
}


def allowed(entry: Entry, loss: str) -> bool:
    """Whether an objective is right for a pair, by its traits."""
    needs = {"vectorised": "broadcasts", "mean_field": "mean_field", "renyi": "renyi_ok"}
    if loss == "own":
        return True
    if "enumerates" in entry.traits or (loss in needs and needs[loss] not in entry.traits):
        return False
    if loss == "dreg" and ("score_function" in entry.traits or entry.name == "autoregressive_flow_guide"):
        return False  # no pathwise gradient; an inverse that reads its order of columns from a tensor
    return loss != "graph" or not entry.traits & {"full_data", "auxiliary", "factor", "no_latent"}


def combinations():
    """Every other objective with each pair that it is right for; two slow ones with one pair of each set of traits."""
    seen = set()
    for entry, loss in itertools.product(pairs(), LOSSES):
        one = entry.values[0]
        kind = (loss, one.traits) if loss in ("iwae", "dreg") else (loss, one.name)
        if loss != "own" and allowed(one, loss) and kind not in seen:
            seen.add(kind)
            yield pytest.param(one, loss, id=f"{one.name}-{loss}")


@pytest.mark.parametrize("entry", pairs())
@pytest.mark.slow
def test_fifty_steps_give_the_gradients_and_the_weights_of_the_plain_path(entry, monkeypatch):
    is_the_plain_path(entry, "own", monkeypatch, *fitted_plainly(entry), steps=STEPS)


FEW = 12  # two are looked at, three compared, and seven made by the graph: its faults add up at each


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "loss"), list(combinations()))
def test_any_objective_gives_the_gradients_and_the_weights_of_the_plain_path(entry, loss, monkeypatch):
    _, losses, _, weights = fitted(entry, False, steps=FEW, loss=LOSSES[loss](entry))
    is_the_plain_path(entry, loss, monkeypatch, losses, weights, steps=FEW)


def is_the_plain_path(entry, loss, monkeypatch, plain_losses, plain, *, steps):
    seen = []
    monkeypatch.setattr("pyrovae.staged.graph_step.difference", lambda *both, **_: seen.append(both))
    _, losses, run, staged = fitted(entry, "traced", steps=steps, loss=LOSSES[loss](entry))
    assert run.route.startswith("traced")
    assert losses == pytest.approx(plain_losses, rel=1e-5, abs=1e-5)
    same(plain, staged)
    assert len(seen) >= 3
    assert any(gradient.any() for one, _ in seen for gradient in one.gradients.values())
    for one, other in seen:
        is_the_same_pass(one, other, of_all=1e-6 if loss in WEIGHING else 0.0)


# By them draws are weighed. The logarithm of a weight, a hundred nats, is known in single precision to 4e-6, and so is
# the weight; what the weights multiply may cancel in the gradient of one number, and does not in all of them.
WEIGHING = ("renyi", "iwae", "dreg")


def is_the_same_pass(plain: Outcome, staged: Outcome, *, of_all: float = 0.0) -> None:
    """Tensor by tensor, to 1e-5 of each gradient's norm, and so much of the norm of all of them."""
    assert plain.gradients.keys() == staged.gradients.keys()
    norms = {name: float(gradient.double().norm()) for name, gradient in plain.gradients.items()}
    for name, gradient in plain.gradients.items():
        distance = float((gradient - staged.gradients[name]).double().norm())
        assert distance <= 1e-5 * norms[name] + of_all * math.hypot(*norms.values()) + 1e-12, name
    assert torch.allclose(plain.figures, staged.figures, rtol=1e-5, atol=1e-5)
    for one, other in ((plain.buffers, staged.buffers), (plain.state, staged.state)):
        assert list(one) == list(other)
        for name in one:
            assert torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(plain.random, staged.random)


COMPILED = ("built_in", "batch_norm_and_dropout", "score_function_average_baseline", "bayesian_decoder")


@pytest.mark.parametrize("entry", [one for one in pairs() if one.id in COMPILED])
@pytest.mark.slow
def test_compiled_code_gives_the_weights_of_the_plain_path(entry):
    plain_losses, plain = fitted_plainly(entry)
    _, losses, run, staged = fitted(entry, True)
    assert run.route.startswith("compiled")
    assert losses == pytest.approx(plain_losses, rel=1e-5, abs=1e-5)
    # Batch norm takes out a bias before it: its gradient is 0 but for rounding, whose sign Adam follows.
    ineffective = [name for name in plain if entry.name == "batch_norm_and_dropout" and name.endswith("0.bias")]
    same(*({name: value for name, value in x.items() if name not in ineffective} for x in (plain, staged)))
    assert pyro.distributions.is_validation_enabled()
    assert torch.distributions.Distribution._validate_args
    assert pyro.infer.util.is_validation_enabled()


def splined() -> pv.Pair:
    """A flow that is the identity outside an interval, as Pyro writes it: `y[outside] = x[outside]`."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(5, 4), nn.Linear(2, 5)
    spline = dist.transforms.spline_coupling(2, count_bins=3, hidden_dims=[4], bound=1.0)

    def model(x):
        pyro.module("decoder", decoder)
        pyro.module("spline", spline)
        base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.TransformedDistribution(base, [spline]))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


@pytest.mark.slow
def test_a_spline_flow_is_staged():
    ends = {}
    for staged in (False, "traced"):
        pyro.clear_param_store()
        run = pv.fit(splined(), X, steps=50, batch_size=20, seed=0, staged=staged, **QUIET)
        ends[staged] = weights_of(run)
    assert run.route.startswith("traced")
    same(ends[False], ends["traced"])


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@cuda
@pytest.mark.filterwarnings("ignore:.author-scale")
@pytest.mark.parametrize("entry", pairs())
def test_fifty_steps_on_cuda_give_the_weights_of_the_plain_path(entry):
    ends = {}
    for staged in (False, "traced"):
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        pair, data = on_device(*entry.make())
        size = ROWS if entry.traits & {"full_data", "local_autoguide"} else BATCH
        run = pv.fit(
            pair, data, steps=STEPS, batch_size=size, seed=0, loss=entry.loss(), device="cuda", staged=staged,
            progress=False,
        )  # fmt: skip
        ends[staged] = (weights_of(run), run.history[-1].loss)
    same(ends[False][0], ends["traced"][0])
    assert ends["traced"][1] == pytest.approx(ends[False][1], rel=1e-4)


@cuda
def test_an_epoch_on_cuda_does_not_wait_for_the_device():
    x = X.repeat(20, 1).cuda()
    running = pv.steps(small(), x, steps=400, batch_size=20, seed=0, device="cuda", staged="traced")
    for _ in range(30):
        next(running)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls the mode a prototype
            torch.cuda.set_sync_debug_mode("error")
        for _ in range(5):
            next(running)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert math.isfinite(next(running).loss)
