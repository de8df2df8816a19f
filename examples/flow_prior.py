"""A flow as the prior: codes that form two arcs, which no round cloud covers.

Shows `FlowPrior`. Data come from codes on two moons. Under a standard normal, what is drawn anew falls between the
moons as well; under a flow less of it does, and rows held out cost fewer nats. How far drawn rows lie from data is
printed; more steps bend the flow further.

    python examples/flow_prior.py                # a minute or so
    python examples/flow_prior.py --out FOLDER   # also a picture of data beside what is drawn anew
    python examples/flow_prior.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure

import pyrovae as pv


def moons(count: int) -> torch.Tensor:
    angle, side = math.pi * torch.rand(count), (torch.rand(count) < 0.5).float()
    arcs = torch.stack([angle.cos() + side - 0.5, (1 - 2 * side) * angle.sin() + 0.5 * side - 0.25], -1)
    return 2 * arcs + 0.1 * torch.randn(count, 2)


def build(prior: torch.nn.Module) -> pv.VAE:
    torch.manual_seed(0)  # the same starting weights for every prior
    likelihood = pv.Normal(pv.MLP(2, [], 2), scale=pv.LearnedScale())  # straight: the prior must bend
    return pv.VAE(prior, likelihood, pv.FullNormal(pv.MLP(2, [64], 5)))


def draw(path: Path, clouds: dict[str, torch.Tensor]) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, points) in zip(
        figure.subplots(1, len(clouds), sharex=True, sharey=True), clouds.items(), strict=True
    ):
        axes.plot(*points.T, ".", markersize=2, alpha=0.5)
        axes.set_title(name, fontsize=10)
        axes.set(aspect="equal", xlim=(-4.5, 4.5), ylim=(-3.5, 3.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the picture")
    parser.add_argument("--smoke", action="store_true", help="few steps")
    options = parser.parse_args()

    torch.manual_seed(0)
    train, test = moons(2000), moons(1000)
    steps = 30 if options.smoke else 1500
    clouds = {"data": test}
    for name, prior in (
        ("standard normal", pv.StandardNormal(2)),
        ("flow of splines", pv.FlowPrior.spline(2, layers=3, hidden=[32])),
    ):
        vae = build(prior)
        rate = pv.cosine(4e-3, 0.0, steps=steps)
        pv.fit(vae, train, steps=steps, batch_size=250, learning_rate=rate, clip_norm=10.0, seed=0, progress=False)
        evidence = pv.log_evidence(vae, test, draws=100, seed=0).value.mean()
        clouds[name] = torch.as_tensor(pv.generate(vae, 1000, seed=0)["x"])
        nearest = torch.cdist(clouds[name], train).min(-1).values.mean()
        print(f"{name:16} evidence {float(evidence):7.3f} nats a row; drawn rows lie {float(nearest):.3f} from data")
    if options.out:
        draw(options.out / "flow_prior.png", clouds)


if __name__ == "__main__":
    main()
