"""A model of tumours that says "ask a doctor": risk against coverage on the breast-cancer table of scikit-learn.

One latent site explains 30 measurements x and the diagnosis. The guide takes both, as the model does, and uses x alone:
so the same pair that was trained predicts the diagnosis of a patient who has none yet. Shown are whether its
probabilities are to be believed, how the share of errors falls as the unsure cases are left to a person, and how many
these are if the risk of the others shall be 2 per cent at most, with 95 per cent certainty.

    python examples/selective_prediction.py           # seconds
    python examples/selective_prediction.py --smoke   # fewer
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

import pyrovae as pv

LATENT = 6


def build(columns: int) -> pv.Pair:
    encoder = nn.Sequential(nn.Linear(columns, 32), nn.Tanh(), nn.Linear(32, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, 32), nn.Tanh(), nn.Linear(32, columns))
    head = nn.Linear(LATENT, 1)

    def model(x, malignant):
        pyro.module("decoder", decoder)
        pyro.module("head", head)
        noise = pyro.param("noise", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("patients", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), noise).to_event(1), obs=x)
            pyro.sample("malignant", dist.Bernoulli(logits=head(z).squeeze(-1)), obs=malignant)

    def guide(x, malignant):
        pyro.module("encoder", encoder)
        with pyro.plate("patients", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)  # never of `malignant`: nobody knows it yet
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return pv.Pair(model, guide)


def table() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    measured, benign = load_breast_cancer(return_X_y=True)
    x, malignant = torch.tensor(measured, dtype=torch.float), 1 - torch.tensor(benign, dtype=torch.float)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:250], order[250:]
    x = (x - x[train].mean(0)) / x[train].std(0)
    return (x[train], malignant[train]), (x[test], malignant[test])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the pictures")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    torch.manual_seed(0)
    train, test = table()
    pair = build(train[0].shape[1])
    pv.fit(pair, train, epochs=5 if options.smoke else 400, batch_size=50, learning_rate=5e-3, seed=0, progress=False)

    reliability = pv.calibration(pair, *test, draws=100)["malignant"]
    print(
        f"calibration error of the diagnosis: {reliability.reliability.expected_error:.3f} "
        f"({reliability.reliability.by_chance:.3f} would be chance)"
    )
    curve = pv.selective(pair, *test, site="malignant")
    print(f"errors among all {len(curve.risk)} patients: {curve.risk[-1]:.1%}; among the surer half: ", end="")
    print(f"{curve.risk[len(curve.risk) // 2]:.1%}")
    kept = curve.hand_over(risk=0.02)
    print(f"to a person, so that the rest has a risk of 2% at most: {kept.share:.0%}, all below {kept.threshold:.3f}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, figure in (("calibration", reliability.plot()), ("risk_coverage", curve.plot())):
            figure.savefig(options.out / f"{name}.png", dpi=110)
            print("picture:", options.out / f"{name}.png")


if __name__ == "__main__":
    main()
