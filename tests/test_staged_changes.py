"""What the user changes between two steps takes effect at once; what a module keeps in place is part of the step."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from staged_pairs import X, asked_to, both_ways, finished, pair_of, pair_with, same, small
from torch import nn

import pyrovae as pv
from pyrovae.staged.routes import step_route


def test_a_pair_that_changes_at_every_step_is_not_staged():
    switch = SimpleNamespace(on=0.0)
    running = pv.steps(pair_of(lambda loc: switch.on), X, steps=60, batch_size=20, seed=0, staged="auto")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(step_route, "worth_tracing", asked_to)
        run = finished(running, lambda step: setattr(switch, "on", 0.01 * step.index))
    assert run.route.startswith("plain")
    assert "goes on changing: SimpleNamespace.on" in run.route


class Averaging(nn.Module):
    """Keeps a moving average in a plain attribute, changed in place, and a buffer of which a part is."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)
        self.mean = torch.zeros(5)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        self.seen[1:].add_(0.01)
        self.rows, self.last = len(x), x  # which nobody reads
        return self.layer(x - self.mean) + self.seen.mean()


class Spectral(nn.Sequential):
    def __init__(self):
        super().__init__(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 8)), nn.Linear(8, 4))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.out(self.two(torch.tanh(self.one(x))))


@pytest.mark.parametrize("kind", [Averaging, Spectral, Tied])
@pytest.mark.slow
def test_what_a_module_keeps_in_place_is_part_of_the_step(kind):
    ends = []

    def make():
        ends.append(kind())
        return pair_with(ends[-1])

    assert both_ways(make).route.startswith("traced")
    same(*({name: value.detach() for name, value in {**end.state_dict(), **tensors(end)}.items()} for end in ends))


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(module).items() if name == "mean"}


def test_modules_may_share_a_part_with_buffers():
    def make():
        scaling = nn.BatchNorm1d(5, affine=False)
        decoder = nn.Sequential(nn.Linear(2, 5), scaling)
        return pv.VAE(
            pv.StandardNormal(2),
            pv.Normal(decoder, scale=1.0),
            pv.DiagNormal(nn.Sequential(scaling, nn.Linear(5, 4))),
        )

    assert both_ways(make).route.startswith("traced")


switch = SimpleNamespace()


def at_rest():
    switch.on, switch.tensor, switch.flag = 0.0, torch.tensor(0.0), torch.tensor(False)
    switch.many, switch.named, switch.chosen = [0.0] * 100, {"low": 0.0, "high": 0.0}, set(range(100))
    switch.parts = [SimpleNamespace(weight=0.0) for _ in range(100)]


class OwnAdam:
    """Keeps the optimiser where its user can reach it."""

    def __init__(self, parameters=None):
        self.adam: torch.optim.Adam

    def __call__(self, parameters):
        self.adam = OwnAdam.last = torch.optim.Adam(parameters, lr=1e-2)
        return self.adam


def pyro_adam():
    OwnAdam.last = pyro.optim.Adam({"lr": 1e-2})
    return OwnAdam.last


def forget_momentum(vae, step):
    OwnAdam.last.state.clear()


def hook_a_clamp(vae, step):
    OwnAdam.last.register_step_post_hook(lambda *_: [p.data.clamp_(-0.3, 0.3) for p in vae.parameters()])


def slow_one_down(vae, step):
    list(OwnAdam.last.optim_objs.values())[-1].param_groups[0]["lr"] = 0.0


def replace_weights(vae, step):
    vae.likelihood.network.layers[0].weight = nn.Parameter(torch.zeros(8, 2))


BETWEEN = {
    "number": (lambda vae, step: setattr(switch, "on", 1.0), {}),
    "tensor": (lambda vae, step: setattr(switch, "tensor", torch.tensor(1.0)), {}),
    "filled": (lambda vae, step: switch.tensor.fill_(1.0), {}),
    "flag": (lambda vae, step: switch.flag.fill_(True), {}),
    "environment": (lambda vae, step: os.environ.__setitem__("PYROVAE_TEST_SHIFT", "0.5"), {}),
    "entry_of_a_long_list": (lambda vae, step: switch.many.__setitem__(70, 0.5), {}),
    "entry_of_a_dictionary": (lambda vae, step: switch.named.__setitem__("high", 0.5), {}),
    "entry_of_a_set": (lambda vae, step: (switch.chosen.remove(50), switch.chosen.add(100)), {}),
    "object_in_a_long_list": (lambda vae, step: setattr(switch.parts[80], "weight", 0.5), {}),
    "dropout": (lambda vae, step: setattr(vae.likelihood.network.layers[2], "p", 0.1), {}),
    "eval": (lambda vae, step: vae.likelihood.eval(), {}),
    "frozen": (lambda vae, step: vae.posterior.requires_grad_(False), {}),
    "layer": (lambda vae, step: vae.likelihood.network.layers.append(nn.Tanh()), {}),
    "hook": (lambda vae, step: vae.likelihood.network.register_forward_hook(lambda m, i, o: 0.1 * o), {}),
    "weights": (replace_weights, {}),
    "adam_state": (forget_momentum, {"optim": OwnAdam}),
    "adam_hook": (hook_a_clamp, {"optim": OwnAdam}),
    "adam_rate": (lambda vae, step: OwnAdam.last.param_groups[0].update(lr=1e-4), {"optim": OwnAdam}),
    "pyro_rate": (slow_one_down, {"optim": pyro_adam}),
}


def changeable() -> pv.VAE:
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 5))

        def forward(self, z):
            shift = switch.on + switch.tensor + (0.3 if switch.flag.item() else 0.0)
            shift += sum(switch.many) + sum(switch.named.values()) + sum(part.weight for part in switch.parts)
            shift += 0.01 * (sum(switch.chosen) - 4950)
            return self.layers(z) + shift + float(os.environ["PYROVAE_TEST_SHIFT"])

    return pv.VAE(pv.StandardNormal(2), pv.Normal(Network(), scale=1.0), pv.DiagNormal(pv.MLP(5, [8], 4)))


@pytest.mark.parametrize("name", BETWEEN)
@pytest.mark.slow
def test_what_the_user_changes_between_steps_takes_effect_at_once(name, monkeypatch):
    monkeypatch.setenv("PYROVAE_TEST_SHIFT", "0.0")
    change, options = BETWEEN[name]

    def make():
        at_rest()
        os.environ["PYROVAE_TEST_SHIFT"] = "0.0"
        return changeable()

    run = both_ways(make, lambda vae, step: change(vae, step) if step.index == 29 else None, **options)
    assert run.route.startswith("traced")


@pytest.mark.parametrize("change", ["clear", "set", "delete"])
@pytest.mark.slow
def test_a_parameter_that_is_replaced_in_the_store_is_trained(change):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).expand([len(x), 5]).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("shift", torch.tensor(1.0)) + x.mean(1), 0.5))

    shifts = []

    def act(pair, step):
        store = pyro.get_param_store()
        if step.index == 29 and change == "clear":
            store.clear()
        if step.index == 29 and change == "set":
            store["shift"] = torch.tensor(3.0)
        if step.index == 29 and change == "delete":
            del store["shift"]
        shifts.append(float(store["shift"].detach()) if "shift" in store else None)

    both_ways(lambda: pv.Pair(model, guide), act, learning_rate=1e-2)
    assert shifts[-1] != shifts[31]
    assert abs(shifts[-1] - shifts[31]) > 0.1


@pytest.mark.slow
def test_a_loop_of_the_users_between_steps_meets_no_gradient():
    def between(vae, step):
        if step.index in (10, 30):
            pyro.infer.SVI(vae.model, vae.guide, pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO()).step(X)

    both_ways(small, between)
