"""A table beside images of the same rows in one model: each part with its likelihood, and holes in the table.

scikit-learn's digits (8 x 8 pixels), and beside each image a table of what somebody noted of it: how much ink it has,
whether the digit is even, and what it is; a third of the cells were not noted. One latent explains both, so that holes
of the table are filled from the image. Model and guide are plain Pyro; the data are a dict of a frame and a tensor.

    python examples/mixed_table.py           # half a minute
    python examples/mixed_table.py --smoke   # few steps
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import pyro
import torch
from sklearn.datasets import load_digits

import pyrovae as pv

LATENT, WIDTH = 8, 64


class TableAndImage(torch.nn.Module):
    """A pair of the arguments `table`, rows of a schema with NaN for holes, and `image`, pixels between 0 and 1."""

    def __init__(self, schema: pv.tables.Schema):
        super().__init__()
        self.prior = pv.StandardNormal(LATENT)
        numbers = pv.ByColumn.outputs(schema.columns)
        self.table = pv.ByColumn(pv.MLP(LATENT, [WIDTH], numbers), schema.columns)
        self.image = pv.Normal(pv.MLP(LATENT, [WIDTH], 64), scale=pv.LearnedScale(initial=0.3))
        self.posterior = pv.DiagNormal(pv.MLP(64 + 2 * len(schema.columns), [WIDTH], 2 * LATENT))

    def model(self, table: torch.Tensor, image: torch.Tensor) -> None:
        """Site `z`, and `table` and `image` given it."""
        pyro.module("mixed", self)
        with pyro.plate("data", len(image)):
            z = pyro.sample("z", self.prior())
            pyro.sample("table", self.table(z), obs=table)
            pyro.sample("image", self.image(z), obs=image)

    def guide(self, table: torch.Tensor, image: torch.Tensor, table_mask: torch.Tensor) -> None:
        """Site `z` by both, as far as they are there."""
        pyro.module("mixed", self)
        with pyro.plate("data", len(image)):
            seen = torch.cat([image, table.to(image), table_mask.to(image)], -1)  # holes are 0, and said to be holes
            pyro.sample("z", self.posterior(seen))


def noted() -> tuple[pd.DataFrame, torch.Tensor]:
    digits = load_digits()
    pixels = digits.data.astype(np.float32) / 16
    frame = pd.DataFrame({
        "ink": (pixels.mean(1) - 0.3) * 10,
        "parity": np.where(digits.target % 2 == 0, "even", "odd"),
        "digit": [f"a {digit}" for digit in digits.target],
    })  # fmt: skip
    return frame, torch.from_numpy(pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few steps")
    options = parser.parse_args()

    full, image = noted()
    holes = np.random.default_rng(0).random(full.shape) < 1 / 3
    frame = full.mask(holes)
    schema = pv.tables.schema(frame, kinds={"ink": "real"})
    torch.manual_seed(0)
    pair = pv.tables.with_schema(pv.masked(TableAndImage(schema)), schema)
    data = {"table": frame, "image": image}
    steps = 60 if options.smoke else 3000
    rate = pv.cosine(3e-3, 3e-5, steps=steps)
    pv.fit(pair, data, steps=steps, learning_rate=rate, seed=0, progress=False)

    found = pv.impute(pair, **data, draws=20)
    first, filled = found.frames()[0], found.filled()
    print(f"{frame.isna().sum().sum()} holes in the table of {len(frame)} images; {first.isna().sum().sum()} are left")
    for place, name in enumerate(frame.columns[1:], start=1):
        right = (filled[name].astype(str) == full[name])[holes[:, place]].mean()
        most = full[name].value_counts(normalize=True).max()
        print(f"{name}: {right:.0%} of the holes filled as it was, {most:.0%} by chance")
    off = (filled["ink"] - full["ink"])[holes[:, 0]].std() / full["ink"].std()
    print(f"ink: off by {off:.2f} deviations")
    evidence = pv.log_evidence(pair, **data, draws=20).value
    print(f"evidence of a row, table and image together: {evidence.mean():.1f} nats")


if __name__ == "__main__":
    main()
