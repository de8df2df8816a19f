"""Pairs as people write them, each with its data and its loss: what `SVI` and pyrovae take for a step of theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import Tensor, nn

import pyrovae as pv
from contestants.cases import PIXELS


class Style(NamedTuple):
    """One pair: `make()` builds it, `data(rows)` its arguments."""

    make: Callable[[], Any]
    data: Callable[[int], tuple[Tensor, ...]]
    batch: int
    rows: int
    loss: Callable[[], ELBO] = Trace_ELBO
    compiles: bool = True  # whether its graph is small enough to be compiled in a minute


def _normal(width: int, hidden: int, latent: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))


class Conditional(nn.Module):
    """Pyro's conditional VAE: the part of an image that is hidden, given the part that is seen (-1 elsewhere)."""

    def __init__(self) -> None:
        super().__init__()
        self.baseline = nn.Sequential(nn.Linear(PIXELS, 400), nn.ReLU(), nn.Linear(400, PIXELS))
        self.prior, self.encoder = _normal(PIXELS, 400, 20), _normal(PIXELS, 400, 20)
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, PIXELS))

    def model(self, seen: Tensor, whole: Tensor) -> None:
        pyro.module("conditional", self)
        with pyro.plate("data", len(seen)):
            with torch.no_grad():
                guess = self.baseline(seen)
            loc, scale = self.prior(guess).chunk(2, -1)
            z = pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))
            hidden = seen == -1
            logits = self.decoder(z)[hidden].view(len(seen), -1)
            obs = whole[hidden].view(len(seen), -1)
            pyro.sample("y", dist.Bernoulli(logits=logits).to_event(1), obs=obs)

    def guide(self, seen: Tensor, whole: Tensor) -> None:
        pyro.module("conditional", self)
        with pyro.plate("data", len(seen)):
            loc, scale = self.encoder(whole).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


class Table(nn.Module):
    """A table with holes, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _normal(2 * 40, 128, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 40))

    def model(self, x: Tensor, seen: Tensor) -> None:
        pyro.module("table", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(8), 1.0).to_event(1))
            likelihood = dist.Normal(self.decoder(z), 1.0)
            if not seen.all():
                likelihood = likelihood.mask(seen)
            pyro.sample("x", likelihood.to_event(1), obs=torch.where(seen, x, 0.0))

    def guide(self, x: Tensor, seen: Tensor) -> None:
        pyro.module("table", self)
        with pyro.plate("data", len(x)):
            loc, scale = self.encoder(torch.cat([torch.where(seen, x, 0.0), seen.float()], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


class ProdLDA(nn.Module):
    """As Pyro's tutorial writes it, 500 words and 20 topics; the total count is read of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.beta, self.norm, self.drop = (
            nn.Linear(20, 500, bias=False),
            nn.BatchNorm1d(500, affine=False),
            nn.Dropout(0.2),
        )
        self.encoder = nn.Sequential(
            nn.Linear(500, 100), nn.Softplus(), nn.Linear(100, 100), nn.Softplus(), nn.Dropout(0.2)
        )
        self.heads = nn.Linear(100, 40)

    def model(self, docs: Tensor) -> None:
        pyro.module("decoder", self)
        with pyro.plate("documents", docs.shape[0]):
            theta = pyro.sample("logtheta", dist.Normal(docs.new_zeros(docs.shape[0], 20), 1.0).to_event(1))
            words = torch.softmax(self.norm(self.beta(self.drop(torch.softmax(theta, -1)))), -1)
            pyro.sample("obs", dist.Multinomial(int(docs.sum(-1).max()), words), obs=docs)

    def guide(self, docs: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        pyro.module("heads", self.heads)
        with pyro.plate("documents", docs.shape[0]):
            loc, scale = self.heads(self.encoder(docs)).chunk(2, -1)
            pyro.sample("logtheta", dist.Normal(loc, scale.exp()).to_event(1))


class Markov(nn.Module):
    """Pyro's deep Markov model, by masks in place of packed sequences; the loop goes to the longest of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.emission = nn.Sequential(
            nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 88)
        )
        self.gate = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 100), nn.Sigmoid())
        self.proposed = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 100))
        self.loc, self.scale = nn.Linear(100, 100), nn.Linear(100, 100)
        self.rnn, self.combine, self.heads = nn.RNN(88, 600, batch_first=True), nn.Linear(100, 600), nn.Linear(600, 200)

    def model(self, x: Tensor, lengths: Tensor) -> None:
        pyro.module("markov", self)
        z = x.new_zeros(len(x), 100)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(int(lengths.max()))):
                with pyro.poutine.mask(mask=t < lengths):
                    gate, proposed = self.gate(z), self.proposed(z)
                    loc = (1 - gate) * self.loc(z) + gate * proposed
                    scale = nn.functional.softplus(self.scale(torch.relu(proposed)))
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, scale).to_event(1))
                    pyro.sample(f"x_{t}", dist.Bernoulli(logits=self.emission(z)).to_event(1), obs=x[:, t])

    def guide(self, x: Tensor, lengths: Tensor) -> None:
        pyro.module("markov", self)
        hidden, z = self.rnn(x.flip(1))[0].flip(1), x.new_zeros(len(x), 100)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(int(lengths.max()))):
                with pyro.poutine.mask(mask=t < lengths):
                    loc, scale = self.heads((torch.tanh(self.combine(z)) + hidden[:, t]) / 2).chunk(2, -1)
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, nn.functional.softplus(scale)).to_event(1))


@config_enumerate
def hidden_markov(x: Tensor, lengths: Tensor) -> None:
    """HMM 1 of Pyro's example, 16 states, its parameters as points."""
    start = pyro.param("start", lambda: torch.eye(16, device=x.device) + 0.1, constraint=dist.constraints.simplex)
    shown = pyro.param("shown", lambda: torch.rand(16, 51, device=x.device), constraint=dist.constraints.unit_interval)
    with pyro.plate("sequences", len(x), dim=-2):
        state: Any = 0
        for t in pyro.markov(range(int(lengths.max()))):
            with pyro.poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                state = pyro.sample(f"s_{t}", dist.Categorical(start[state]))
                with pyro.plate(f"tones_{t}", 51, dim=-1):
                    pyro.sample(f"y_{t}", dist.Bernoulli(shown[state.squeeze(-1)]), obs=x[:, t])


def _grey(rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(10, 28, 28, generator=generator) ** 3
    chosen = patterns[torch.randint(10, (rows,), generator=generator)]
    return ((255 * chosen * torch.rand(rows, 28, 28, generator=generator).sqrt()).to(torch.uint8),)


def _counts(rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    rates = torch.rand(10, 500, generator=generator) ** 4
    return (torch.poisson(4 * rates[torch.randint(10, (rows,), generator=generator)], generator=generator),)


def _halves(rows: int) -> tuple[Tensor, ...]:
    whole = (_grey(rows)[0].flatten(1) > 60).float()
    return torch.where(torch.arange(PIXELS) < PIXELS // 4, whole, -1.0), whole


def _holed(rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 40, generator=generator), torch.rand(rows, 40, generator=generator) > 0.3


def _ragged(times: int, width: int) -> Callable[[int], tuple[Tensor, ...]]:
    def data(rows: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        x = (torch.rand(rows, times, width, generator=generator) > 0.9).float()
        return x, torch.randint(times - 9, times + 1, (rows,), generator=generator)

    return data


STYLES = {
    "image_vae": Style(lambda: pv.recipes.image_vae((28, 28), latent=20), _grey, 256, 5_120),
    "count_vae": Style(lambda: pv.recipes.count_vae(500, latent=20), _counts, 256, 5_120),
    "conditional VAE": Style(Conditional, _halves, 128, 2_560),
    "masked table": Style(Table, _holed, 64, 2_560),
    "ProdLDA": Style(ProdLDA, _counts, 32, 2_048),
    "HMM 1": Style(
        lambda: pv.Pair(hidden_markov, lambda x, lengths: None), _ragged(20, 51), 20, 200,
        lambda: TraceEnum_ELBO(max_plate_nesting=2), compiles=False,
    ),
    "deep Markov model": Style(Markov, _ragged(30, 88), 20, 200, compiles=False),
}  # fmt: skip
