"""Three models of the same counts, in ArviZ: predictive checks, leave-one-out densities, and where these mislead.

Shows `to_arviz`, `check_guide` and `log_evidence`. Counts that vary more than a Poisson's are fitted by a Poisson
regression, a negative-binomial one, and a Poisson one with a latent variable for each count. ArviZ's `loo` compares
the first two rightly. For the third it cannot: each count is scored there given its own latent, which has seen it.

    python examples/arviz_analysis.py                # a minute
    python examples/arviz_analysis.py --out FOLDER   # also pictures
    python examples/arviz_analysis.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

import pyrovae as pv

warnings.filterwarnings("ignore")  # ArviZ 0.x is not kept in step with pandas and matplotlib

import arviz as az  # noqa: E402

COUNT = 300


def simulated() -> tuple[torch.Tensor, torch.Tensor]:
    """A covariate, and counts that vary twice as much as a Poisson's at its mean."""
    torch.manual_seed(1)
    dose = torch.randn(COUNT)
    rate = torch.exp(1.0 + 0.6 * dose) * dist.Gamma(2.5, 2.5).sample((COUNT,))
    return dose, torch.poisson(rate)


def coefficients() -> tuple[torch.Tensor, torch.Tensor]:
    return pyro.sample("intercept", dist.Normal(0.0, 2.0)), pyro.sample("slope", dist.Normal(0.0, 1.0))


def poisson() -> pv.Pair:
    def model(dose, count):
        intercept, slope = coefficients()
        with pyro.plate("patients", COUNT, subsample_size=len(dose)):
            pyro.sample("count", dist.Poisson((intercept + slope * dose).exp()), obs=count)

    return pv.Pair(model, AutoNormal(model))


def negative_binomial() -> pv.Pair:
    def model(dose, count):
        intercept, slope = coefficients()
        size = pyro.sample("size", dist.LogNormal(1.0, 1.0))
        with pyro.plate("patients", COUNT, subsample_size=len(dose)):
            logits = intercept + slope * dose - size.log()
            pyro.sample("count", dist.NegativeBinomial(size, logits=logits), obs=count)

    return pv.Pair(model, AutoNormal(model))


def poisson_with_latents() -> pv.Pair:
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def model(dose, count):
        intercept, slope = coefficients()
        spread = pyro.param("spread", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("patients", COUNT, subsample_size=len(dose)):
            z = pyro.sample("z", dist.Normal(0.0, spread))
            pyro.sample("count", dist.Poisson((intercept + slope * dose + z).exp()), obs=count)

    weights = AutoNormal(pyro.poutine.block(model, expose=["intercept", "slope"]))

    def guide(dose, count):
        pyro.module("net", net)
        weights(dose, count)
        loc, raw = net(torch.stack([dose, count.log1p()], -1)).unbind(-1)
        with pyro.plate("patients", COUNT, subsample_size=len(dose)):
            pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw)))

    return pv.Pair(model, guide)


def check_predictions(data, name: str, folder: Path) -> None:
    """ArviZ's own picture for counts, whichever of its generations is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"arviz_{name.replace(' ', '_')}.png"
    if hasattr(az, "plot_ppc_rootogram"):
        az.plot_ppc_rootogram(data).savefig(path)
    else:
        az.plot_ppc(data, num_pp_samples=100, random_seed=0).figure.savefig(path)
    print("picture:", path)


def elpd(data) -> tuple[float, int]:
    """The expected log density of new counts by leave-one-out, and for how many counts it cannot be trusted."""
    found = az.loo(data, pointwise=True)
    return float(getattr(found, "elpd_loo", None) or found.elpd), int((found.pareto_k > found.good_k).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the pictures")
    parser.add_argument("--smoke", action="store_true", help="few steps and draws")
    options = parser.parse_args()

    given = simulated()
    steps, draws = (30, 100) if options.smoke else (1500, 1000)
    found = {}
    print(f"{'':32}{'loo':>9}{'not to be trusted':>20}{'evidence':>11}")
    for make in (poisson, negative_binomial, poisson_with_latents):
        name = make.__name__.replace("_", " ")
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        pair = make()
        pv.fit(
            pair,
            given,
            steps=steps,
            batch_size=COUNT,
            learning_rate=pv.cosine(0.03, 0.0003, steps=steps),
            seed=0,
            progress=False,
        )
        found[name] = pv.to_arviz(pair, *given, draws=draws)
        total, doubtful = elpd(found[name])
        evidence = float(pv.log_evidence(pair, *given, draws=draws).value.sum())
        print(f"{name:32}{total:9.1f}{doubtful:9} of {COUNT} counts{evidence:11.1f}")
        if options.out:
            check_predictions(found[name], name, options.out)
        if make is negative_binomial:
            for site, one in pv.check_guide(pair, *given, draws=draws // 4, warmup=draws // 4).items():
                print(f"    {site}: {float(one.shift):+.2f} scales off NUTS' mean, {float(one.ratio):.2f} as wide")
    best = az.compare({name: found[name] for name in ("poisson", "negative binomial")}).index[0]
    print(f"better by leave-one-out: {best}")


if __name__ == "__main__":
    main()
