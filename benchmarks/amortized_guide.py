"""A guide made from the model beside one written by hand, of the same size: what each leaves of the same evidence.

A deep Markov model and a hierarchical one of three levels, each trained with both guides from the same weights, on the
same rows in the same order. The guide by hand is what its field writes: a combiner of the last latent and an RNN that
has read the rest (Krishnan et al.), and a net for each level that sees the data and the level above. The one that is
made gets the same encoder, and heads of as many weights. ELBOs are of rows that were held out.

    python benchmarks/amortized_guide.py            # some minutes of one core
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv

TIMES, NOTES, WIDTH = 20, 12, 4
COLUMNS, FEATURES = 16, 32


def ring(rows: int, seed: int) -> Tensor:
    """Series of zeros and ones from a point that goes round in a circle with some noise."""
    chance = torch.Generator().manual_seed(seed)
    angle = 6.3 * torch.rand(rows, 1, generator=chance) + 0.5 * torch.arange(TIMES)
    angle = angle + 0.2 * torch.randn(rows, TIMES, generator=chance).cumsum(1)
    places = torch.arange(NOTES) * (6.3 / NOTES)
    logits = 3.0 * torch.cos(angle.unsqueeze(-1) - places) - 0.5
    return torch.bernoulli(logits.sigmoid(), generator=chance)


def tree(rows: int, seed: int) -> Tensor:
    """Columns that depend on three levels of hidden numbers, each bent from the one above."""
    chance = torch.Generator().manual_seed(seed)
    maps = torch.Generator().manual_seed(0)  # the same for all rows, held-out ones too
    value = torch.randn(rows, 2, generator=chance)
    for width in (4, 8):
        value = torch.tanh(value @ torch.randn(len(value[0]), width, generator=maps)) * 1.5
        value = value + 0.5 * torch.randn(rows, width, generator=chance)
    weights = torch.randn(8, COLUMNS, generator=maps) / 8**0.5
    return torch.tanh(value) @ weights + 0.3 * torch.randn(rows, COLUMNS, generator=chance)


# --- a deep Markov model ------------------------------------------------------------------------------
class Chain(nn.Module):
    """p(z_1) p(x_1 | z_1) p(z_2 | z_1) ..."""

    def __init__(self):
        super().__init__()
        self.step, self.emit = pv.MLP(WIDTH, [32], 2 * WIDTH), pv.MLP(WIDTH, [32], NOTES)

    def forward(self, x: Tensor) -> None:
        pyro.module("chain", self)
        with pyro.plate("data", len(x)):
            z = x.new_zeros(len(x), WIDTH)
            for time_step in range(x.shape[1]):
                move, scale = self.step(z).chunk(2, -1)
                z = pyro.sample(f"z_{time_step}", normal(z + move, scale))
                pyro.sample(f"x_{time_step}", dist.Bernoulli(logits=self.emit(z)).to_event(1), obs=x[:, time_step])


class Backward(nn.Module):
    """What an RNN says of each time that has read it and all after it."""

    def __init__(self):
        super().__init__()
        self.reader = nn.GRU(NOTES, FEATURES, batch_first=True)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        read = self.reader(x.flip(1))[0].flip(1)
        return {f"z_{time_step}": read[:, time_step] for time_step in range(x.shape[1])}


class Combined(nn.Module):
    """q(z_t | z_{t-1}, x_t, ..., x_T), by hand."""

    def __init__(self, hidden: int):
        super().__init__()
        self.encoder, self.combine = Backward(), pv.MLP(WIDTH + FEATURES, [hidden], 2 * WIDTH)

    def forward(self, x: Tensor) -> None:
        pyro.module("guide", self)
        features, z = self.encoder(x), x.new_zeros(len(x), WIDTH)
        with pyro.plate("data", len(x)):
            for name, read in features.items():
                z = pyro.sample(name, normal(*self.combine(torch.cat([z, read], -1)).chunk(2, -1)))


# --- three levels -------------------------------------------------------------------------------------
SIZES = {"top": 2, "middle": 4, "low": 8}


class Levels(nn.Module):
    """p(top) p(middle | top) p(low | middle) p(x | low)."""

    def __init__(self):
        super().__init__()
        self.middle, self.low, self.x = pv.MLP(2, [32], 8), pv.MLP(4, [32], 16), pv.MLP(8, [32], COLUMNS)
        self.noise = pv.LearnedScale(COLUMNS)

    def forward(self, x: Tensor) -> None:
        pyro.module("levels", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("top", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            z = pyro.sample("middle", normal(*self.middle(z).chunk(2, -1)))
            z = pyro.sample("low", normal(*self.low(z).chunk(2, -1)))
            pyro.sample("x", dist.Normal(self.x(z), self.noise()).to_event(1), obs=x)


class Read(nn.Module):
    """Features of a row."""

    def __init__(self):
        super().__init__()
        self.net = pv.MLP(COLUMNS, [64], FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TopDown(nn.Module):
    """q(top | x) q(middle | top, x) q(low | middle, x), by hand."""

    def __init__(self, hidden: int):
        super().__init__()
        self.encoder = Read()
        above = dict(zip(SIZES, (0, *SIZES.values()), strict=False))
        self.heads = nn.ModuleDict(
            {name: pv.MLP(FEATURES + above[name], [hidden], 2 * size) for name, size in SIZES.items()}
        )

    def forward(self, x: Tensor) -> None:
        pyro.module("guide", self)
        features = self.encoder(x)
        with pyro.plate("data", len(x)):
            z = features[:, :0]
            for name in SIZES:
                z = pyro.sample(name, normal(*self.heads[name](torch.cat([features, z], -1)).chunk(2, -1)))


def normal(loc: Tensor, scale: Tensor) -> dist.Distribution:
    """With a scale that begins below one."""
    return dist.Normal(loc, nn.functional.softplus(scale - 1.0) + 1e-3).to_event(1)


# --- both, side by side -------------------------------------------------------------------------------
CASES = {"deep Markov model": (Chain, Combined, Backward, ring), "three levels": (Levels, TopDown, Read, tree)}


def by_hand(case: str, x: Tensor, seed: int, hidden: int) -> pv.Pair:
    """The model with the guide that is written by hand."""
    make, guide, _, _ = CASES[case]
    torch.manual_seed(seed)
    return pv.Pair(make(), guide(hidden))


def made(case: str, x: Tensor, seed: int, hidden: int) -> pv.Pair:
    """The model with the guide made from it; its own weights and the encoder's are those of the other pair."""
    other = by_hand(case, x, seed, hidden)
    encoder = CASES[case][2]()
    encoder.load_state_dict(other.guide.encoder.state_dict())
    guide = pv.AmortizedGuide(other.model, encoder, hidden=hidden, data_plate="data")
    guide(x[:10])  # its heads are made at the first call
    return pv.Pair(other.model, guide)


def weights(guide: nn.Module) -> int:
    """How many numbers of it are trained."""
    return sum(parameter.numel() for parameter in guide.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--hidden", type=int, default=32)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for case in options.cases:
        draw = CASES[case][-1]
        x, held_out = draw(options.rows, 1), draw(1000, 2)
        print(f"\n| {case} | seed | weights of the guide | held-out ELBO | evidence, 200 draws | s |")
        print("|---|---:|---:|---:|---:|---:|", flush=True)
        apart = []
        for seed in options.seeds:
            found = {}
            for name, make in {"by hand": by_hand, "made": made}.items():
                pyro.clear_param_store()
                pair = make(case, x, seed, options.hidden)
                start = time.perf_counter()
                rate = pv.cosine(3e-3, 1e-5, steps=options.steps)
                pv.fit(
                    pair, x, steps=options.steps, batch_size=100, learning_rate=rate, seed=seed, progress=False
                )  # fmt: skip
                took = time.perf_counter() - start
                found[name] = float(pv.elbo(pair, held_out, draws=50, seed=0).value.mean())
                evidence = float(pv.log_evidence(pair, held_out, draws=200, seed=0).value.mean())
                print(
                    f"| {name} | {seed} | {weights(pair.guide):,} | {found[name]:.3f} | {evidence:.3f} | {took:.0f} |",
                    flush=True,
                )
            apart.append(found["made"] - found["by hand"])
        print(f"\n{case}: made less by hand {statistics.fmean(apart):+.3f} nats a datum, {apart}")


if __name__ == "__main__":
    main()
