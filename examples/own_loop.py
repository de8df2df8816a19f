"""The loop is yours: `pv.steps` gives back control after every step, and `pv.temper` works in a plain SVI loop.

Shows both ways on the same data. Neither needs a callback: what you want to happen in the loop, you write into it.

    python examples/own_loop.py           # seconds
    python examples/own_loop.py --smoke   # fewer of them
"""

from __future__ import annotations

import argparse

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO

import pyrovae as pv


def build() -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(
        prior=pv.StandardNormal(8),
        likelihood=pv.Bernoulli(pv.MLP(8, [128], (8, 8))),
        posterior=pv.DiagNormal(pv.MLP((8, 8), [128], 2 * 8)),
    )


def by_steps(x: torch.Tensor, epochs: int) -> pv.VAE:
    """The loop of `fit`, opened: stop when it is good enough."""
    vae = build()
    for step in pv.steps(vae, x, epochs=epochs, temper=pv.linear(0, 1, steps=150), seed=0):
        if step.index % 150 == 0:
            print(f"  step {step.index:4}  weight {step.weight:.2f}  rate {step.rate:5.2f}  ELBO {step.elbo:7.2f}")
        if step.elbo > -20:
            print(f"  good enough at step {step.index}")
            break
    return vae


def by_svi(x: torch.Tensor, epochs: int) -> pv.VAE:
    """Pyro's own loop around the same pair: tempered and recorded from outside."""
    vae = build()
    annealed = pv.temper(vae, pv.linear(0, 1, steps=150))
    recorded = pv.record(annealed)
    svi = SVI(recorded.model, recorded.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    pyro.set_rng_seed(0)
    for _ in range(epochs):
        for batch in x[torch.randperm(len(x))].split(128):
            svi.step(batch)
            figures = recorded.figures()  # per image, and without the weight
            if annealed.step % 150 == 0:
                weight, rate, elbo = annealed.weight, float(figures.rate), float(figures.elbo)
                print(f"  step {annealed.step:4}  weight {weight:.2f}  rate {rate:5.2f}  ELBO {elbo:7.2f}")
            annealed.step += 1
    return vae


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()
    epochs = 2 if options.smoke else 40

    images = pv.datasets.digits().images
    x = torch.as_tensor(images > 8).float()
    for name, train in {"pv.steps": by_steps, "pyro.infer.SVI": by_svi}.items():
        print(name)
        vae = train(x, epochs)
        print(f"  ELBO on all data: {pv.rate_distortion(vae, x, draws=5).elbo:.2f} nats an image")


if __name__ == "__main__":
    main()
