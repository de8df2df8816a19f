"""Pairs of model and guide, trained by Pyro's `SVI` and by pyrovae."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

import pyrovae as pv
from contestants.cases import PIXELS, Case, Epoch, networks, shuffled
from contestants.styles import Style


class Plain(nn.Module):
    """The VAE as Pyro's own example writes it."""

    def __init__(self, case: Case, rows: int):
        super().__init__()
        self.case, self.rows = case, rows
        self.encoder, self.decoder = networks(case)
        self.zero, self.one = nn.Buffer(torch.zeros(case.latent)), nn.Buffer(torch.ones(case.latent))

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.zero, self.one).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Flow(Plain):
    """A guide that bends its normal by two inverse autoregressive flows."""

    def __init__(self, case: Case, rows: int):
        super().__init__(case, rows)
        self.flows = nn.ModuleList([transforms.affine_autoregressive(case.latent, [64]) for _ in range(2)])

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        pyro.module("flows", self.flows)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            base = dist.Normal(loc, log_scale.exp()).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, list(self.flows)))


class Bayesian(Plain):
    """A decoder whose last layer has a posterior of its own."""

    def __init__(self, case: Case, rows: int):
        super().__init__(case, rows)
        self.decoder = self.decoder[:2]
        shape = (case.hidden, PIXELS)
        self.loc = nn.Parameter(0.05 * torch.randn(shape))
        self.log_scale = nn.Parameter(torch.full(shape, -4.0))
        self.weight_scale = nn.Buffer(torch.ones(shape))

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        w = pyro.sample("w", dist.Normal(torch.zeros_like(self.weight_scale), self.weight_scale).to_event(2))
        with pyro.plate("data", self.rows, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(self.zero, self.one).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z) @ w).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        loc, log_scale = pyro.param("w_loc", lambda: self.loc), pyro.param("w_log_scale", lambda: self.log_scale)
        pyro.sample("w", dist.Normal(loc, log_scale.exp()).to_event(2))
        with pyro.plate("data", self.rows, subsample_size=len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


KINDS: dict[str, type[Plain]] = {"dense": Plain, "convolutional": Plain, "flow": Flow, "bayesian": Bayesian}


def build(case: Case, x: Tensor) -> Plain:
    """The pair of a case, under names that no other contestant uses in Pyro's store."""
    torch.manual_seed(0)
    return KINDS[case.kind](case, len(x)).to(x.device)


class _Store:
    """A parameter store of one's own: each contestant's pair uses the same names."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {"_params": {}, "_param_to_name": {}, "_constraints": {}}

    def __enter__(self) -> None:
        store = pyro.get_param_store()
        self.before = {name: getattr(store, name) for name in self.held}
        for name, entries in self.held.items():
            setattr(store, name, entries)

    def __exit__(self, *error: object) -> None:
        for name, entries in self.before.items():
            setattr(pyro.get_param_store(), name, entries)


def svi(case: Case, x: Tensor) -> Epoch:
    """`SVI.step` with Pyro's Adam."""
    pair, store = build(case, x), _Store()
    running = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": case.learning_rate}), Trace_ELBO())

    def epoch() -> float:
        with store:
            return sum(running.step(batch) for batch in shuffled(x, case.batch)) / len(x) / _scale(case, x)

    return epoch


def _scale(case: Case, x: Tensor) -> float:
    """How often an epoch's losses count the data: a subsampled plate scales each batch to the whole."""
    return len(x) / case.batch if case.kind == "bayesian" else 1.0


def by_pyrovae(**options: Any) -> Callable[[Case, Tensor], Epoch]:
    """`pv.steps` with these arguments."""

    def training(case: Case, x: Tensor) -> Epoch:
        pair, store = build(case, x), _Store()
        with store:
            running = pv.steps(
                pair, x, steps=10**9, batch_size=case.batch, learning_rate=case.learning_rate, seed=0,
                device=x.device, **options,
            )  # fmt: skip
        per_epoch = -(-len(x) // case.batch)

        def epoch() -> float:
            with store:
                steps = list(itertools.islice(running, per_epoch))
                return sum(step.loss for step in steps) / per_epoch

        return epoch

    return training


plain = by_pyrovae(staged=False)
traced = by_pyrovae(staged="traced")
compiled = by_pyrovae(staged=True)
half = by_pyrovae(staged=True, precision="bfloat16")


# --- pairs as people write them -----------------------------------------------------------------------
class Running(NamedTuple):
    """A training under way, and what it says of its route."""

    epoch: Epoch
    route: Callable[[], str]


def _made(style: Style, data: tuple[Tensor, ...]) -> Any:
    """The pair of a style, where its data are."""
    torch.manual_seed(0)
    with data[0].device:
        return style.make()


def style_by_svi(style: Style, data: tuple[Tensor, ...]) -> Running:
    """`SVI.step` over shuffled batches."""
    pair, store = _made(style, data), _Store()
    running = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), style.loss())

    def epoch() -> float:
        with store:
            chunks = torch.randperm(len(data[0]), device=data[0].device).split(style.batch)
            return sum(running.step(*(part[rows] for part in data)) for rows in chunks) / len(data[0])

    return Running(epoch, lambda: "")


def style_by_pyrovae(staged: Any) -> Callable[[Style, tuple[Tensor, ...]], Running]:
    """`pv.steps` by one route."""

    def training(style: Style, data: tuple[Tensor, ...]) -> Running:
        pair, store = _made(style, data), _Store()
        with store:
            running = pv.steps(
                pair, data, steps=10**9, batch_size=style.batch, seed=0, staged=staged, loss=style.loss(),
                device=data[0].device,
            )  # fmt: skip
        per_epoch = -(-len(data[0]) // style.batch)

        def epoch() -> float:
            with store:
                return sum(step.loss for step in itertools.islice(running, per_epoch)) / per_epoch

        return Running(epoch, lambda: running.route)

    return training


STYLE_CONTESTANTS: dict[str, Callable[[Style, tuple[Tensor, ...]], Running]] = {
    "SVI": style_by_svi,
    "pyrovae, plain": style_by_pyrovae(False),
    "pyrovae, traced": style_by_pyrovae("traced"),
    "pyrovae, compiled": style_by_pyrovae(True),
}
