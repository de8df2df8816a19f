"""Evidence of MNIST under richer and richer models, beside the published figures, each certified.

Training sees the 60,000 training images alone, binarised afresh in each batch. The 10,000 test images are binarised
once, by a fixed seed, and a figure is the mean over them: -log p(x) in nats by importance sampling from the guide.
Beside it stand what certifies it: the share of rows whose k-hat exceeds 0.7, the same images in parts of another
size, and on images that the model itself has drawn, between which two bounds annealed importance sampling lays their
evidence. Fresh and fixed binarisation are 0.2 to 2 nats apart; all figures here are of the fixed one.

    python benchmarks/models.py --rows elbo --epochs 500 --out runs/      # an hour; cut off, it goes on where it was
    python benchmarks/models.py --data-root FOLDER                        # the folder of the four IDX files
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import pyrovae as pv

PIXELS, BATCH, RATE = 784, 128, 1e-3
AVERAGE = 0.999  # of the weights, over the last thousand steps


class Row(NamedTuple):
    """A line of the table: how its pair is made, what it minimises, and what others have published."""

    build: Callable[[torch.Tensor], pv.VAE]  # from the training images
    loss: Callable[[], pv.objectives.Loss | None]
    published: str
    wanted: float


def burda(prior: nn.Module | None = None) -> pv.VAE:
    """784-200-200-50 with tanh, as in Burda et al., and another prior where one is given."""
    return pv.VAE(
        prior=prior or pv.StandardNormal(50),
        likelihood=pv.Bernoulli(pv.MLP(50, [200, 200], PIXELS, activation=nn.Tanh)),
        posterior=pv.DiagNormal(pv.MLP(PIXELS, [200, 200], 2 * 50, activation=nn.Tanh)),
    )


def two_levels(images: torch.Tensor) -> pv.VAE:
    """Two levels of 40 with a VampPrior of 500 images at the top, MLPs of 300-300, as in Tomczak and Welling."""
    posterior = pv.TopDown(
        [pv.DiagNormal(pv.MLP([PIXELS, 40], [300, 300], 2 * 40)), pv.DiagNormal(pv.MLP(PIXELS, [300, 300], 2 * 40))]
    )
    return pv.HierarchicalVAE(
        prior=pv.VampPrior(images[:500], posterior.top, activation=nn.Hardtanh(0, 1)),
        levels=[pv.DiagNormal(pv.MLP(40, [300, 300], 2 * 40))],
        likelihood=pv.Bernoulli(pv.MLP([40, 40], [300, 300], PIXELS)),
        posterior=posterior,
        dense=True,
    )


ROWS = {
    "elbo": Row(lambda _: burda(), lambda: None, "86.76 (Burda et al.)", 86.5),
    "iwae": Row(lambda _: burda(), lambda: pv.objectives.IWAE(50), "84.78 (Burda et al.)", 85.2),
    "flow": Row(
        lambda _: burda(pv.FlowPrior.coupling(50, layers=6, hidden=[128])),
        lambda: None,
        "82.09 (Exemplar VAE), 82.43 (its Vamp, 300-300-40)",
        83.5,
    ),
    "vamp": Row(two_levels, lambda: None, "81.24 (Tomczak and Welling)", 82.3),
}


class Certified(NamedTuple):
    """A figure and what vouches for it, in nats."""

    elbo: pv.Estimate
    evidence: pv.Estimate
    unreliable: float  # the share of rows with k-hat above 0.7
    apart: pv.Estimate  # how much the evidence changes where the rows come in other parts
    lower: float  # of the evidence of the model's own draws, by annealing
    upper: float
    importance: float  # of the same draws


def train(row: Row, images: torch.Tensor, options: argparse.Namespace, folder: Path) -> pv.Fit:
    torch.manual_seed(options.seed)
    pair = row.build(images)
    first_bias(pair, images)
    steps = -(-len(images) // BATCH) * options.epochs
    return pv.fit(
        pair, images, epochs=options.epochs, batch_size=BATCH, learning_rate=pv.cosine(RATE, RATE / 100, steps=steps),
        loss=row.loss(), average=AVERAGE, transform=torch.bernoulli, seed=options.seed, precision=options.precision,
        checkpoint=folder, resume=True, progress=False,
    )  # fmt: skip


def first_bias(pair: pv.VAE, images: torch.Tensor) -> None:
    """Let the decoder start at the mean image, as Burda et al. do."""
    last = [module for module in pair.likelihood.modules() if isinstance(module, nn.Linear)][-1]
    mean = images.mean(0).clamp(1e-3, 1 - 1e-3)
    with torch.no_grad():
        last.bias.copy_(mean.logit())


def certified(pair: pv.VAE, test: torch.Tensor, draws: int, own: int, anneal: int) -> Certified:
    smoothed = pv.psis(pair, test[:1000], draws=draws)
    drawn = pv.generate(pair, own, seed=1)
    latents = {site: value for site, value in drawn.items() if site != "x"}
    between = pv.ais(pair, drawn["x"], reverse=latents, chains=16, steps=anneal)
    assert between.upper is not None  # draws of the model are exact draws of its posterior
    few = test[:64]
    alone = torch.cat([pv.log_evidence(pair, part, draws=draws).value for part in few.split(7)])
    return Certified(
        elbo=mean_of(pv.elbo(pair, test, draws=100)),
        evidence=mean_of(pv.log_evidence(pair, test, draws=draws)),
        unreliable=float((smoothed.khat > 0.7).double().mean()),
        apart=mean_of(pv.Estimate(alone - pv.log_evidence(pair, few, draws=draws).value, alone)),
        lower=float(between.lower.value.mean()),
        upper=float(between.upper.value.mean()),
        importance=float(pv.log_evidence(pair, drawn["x"], draws=draws).value.mean()),
    )


def mean_of(estimate: pv.Estimate) -> pv.Estimate:
    return pv.Estimate(estimate.value.mean(), estimate.value.std() / len(estimate.value) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="the folder of the four IDX files; left out, they are downloaded")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--draws", type=int, default=5000, help="importance draws of each test image")
    parser.add_argument("--test", type=int, default=10_000, help="how many test images are judged")
    parser.add_argument("--own", type=int, default=100, help="how many of the model's own draws are annealed")
    parser.add_argument("--anneal", type=int, default=500, help="steps from the guide to the posterior")
    parser.add_argument("--precision", choices=("bfloat16",), help="of the networks' products in training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("model-runs"), help="the folder of the checkpoints")
    parser.add_argument("--smoke", action="store_true", help="one epoch of few images: does it run?")
    options = parser.parse_args()
    parts = [pv.datasets.mnist(options.data_root, train=part).images for part in (True, False)]
    images, test = (torch.as_tensor(part).reshape(-1, PIXELS).float() / 255 for part in parts)
    if options.smoke:
        images, test, options.epochs, options.draws = images[:512], test[:64], 1, 20
        options.own, options.anneal = 4, 5
    torch.manual_seed(1234)
    test = torch.bernoulli(test[: options.test])
    titles = (
        "model",
        "published",
        "to reach",
        "-evidence",
        "-ELBO",
        "k-hat > 0.7",
        "in other parts",
        "own draws",
        "hours",
    )
    print("| " + " | ".join(titles) + " |")
    print("|---" * len(titles) + "|", flush=True)
    for name in options.rows:
        run = train(ROWS[name], images, options, options.out / f"{name}-{options.seed}-{options.epochs}")
        began = time.monotonic()
        found = certified(run.pair, test, options.draws, options.own, options.anneal)
        hours = f"{run.seconds / 3600:.2f} + {(time.monotonic() - began) / 3600:.2f}"
        title = f"{name}, {len(run.history)} epochs"
        print(
            "| " + " | ".join((title, ROWS[name].published, f"{ROWS[name].wanted}", *cells(found), hours)) + " |",
            flush=True,
        )


def cells(found: Certified) -> tuple[str, ...]:
    return (
        f"{-found.evidence.value:.2f} ± {found.evidence.error:.2f}",
        f"{-found.elbo.value:.2f}",
        f"{found.unreliable:.1%}",
        f"{found.apart.value:+.3f} ± {found.apart.error:.3f}",
        f"{found.lower:.2f} to {found.upper:.2f} by AIS, {found.importance:.2f}",
    )


if __name__ == "__main__":
    main()
