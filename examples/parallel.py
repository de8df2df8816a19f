"""Train one model in several processes: the same script, started by torchrun.

    python examples/parallel.py
    torchrun --nproc-per-node=2 examples/parallel.py

Each process takes its rows of every batch; the first one writes and prints.
"""

from __future__ import annotations

import argparse
import os

import torch

import pyrovae as pv


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--checkpoint", help="folder to go on from, if a process is lost")
    parser.add_argument("--smoke", action="store_true", help="as short as it can be")
    options = parser.parse_args()

    x = torch.as_tensor(pv.datasets.digits().images).flatten(1) / 16
    torch.manual_seed(0)
    vae = pv.VAE(
        prior=pv.StandardNormal(8),
        likelihood=pv.Bernoulli(pv.MLP(8, [128], x.shape[1])),
        posterior=pv.DiagNormal(pv.MLP(x.shape[1], [128], 16)),
    )
    # The whole step has 128 rows, however many processes share them.
    epochs = 1 if options.smoke else options.epochs
    run = pv.fit(
        vae, x, epochs=epochs, batch_size=128, transform=torch.bernoulli, seed=0,
        checkpoint=options.checkpoint, resume=options.checkpoint is not None,
    )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":
        print(f"{run.step} steps, ELBO {run.history[-1].elbo:.2f} nats an image; {run.route}")


if __name__ == "__main__":
    main()
