"""Draw rows of a class of which a table has few, from a model that has met them more often.

scikit-learn's breast cancer table, of whose malignant tumours eight are left. Training meets these more often by
`row_weights=pv.balanced(labels, power=0.5)`; `generate_where` then draws malignant rows. Shown is how far the means of
their columns are from those of the malignant rows that were taken out, in standard deviations, beside the means of the
eight.

    python examples/rare_class.py           # a minute
    python examples/rare_class.py --smoke   # fewer steps
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

import pyrovae as pv


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="few steps")
    options = parser.parse_args()

    numbers, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    frame = numbers.iloc[:, :10].assign(tumour=np.where(benign == 1, "benign", "malignant"))
    malignant = frame[frame["tumour"] == "malignant"].sample(frac=1, random_state=0)
    few, others = malignant.iloc[:8], malignant.iloc[8:]
    train = pd.concat([frame[frame["tumour"] == "benign"], few], ignore_index=True)

    pair = pv.recipes.table_vae(pv.tables.schema(train), latent=4, hidden=(64,))
    weights = pv.balanced(train["tumour"], power=0.5)
    steps = 60 if options.smoke else 2000
    rate = pv.cosine(3e-3, 3e-5, steps=steps)
    run = pv.fit(pair, train, steps=steps, learning_rate=rate, row_weights=weights, seed=0, progress=False)
    print(f"ELBO of rows as training met them {run.history[-1].elbo:.1f}, of the table", end=" ")
    print(f"{pv.elbo(pair, train, draws=20).value.mean():.1f} nats a row")

    made = pv.tables.generate_where(pair, 500, {"tumour": "malignant"}, seed=0)
    print(f"500 rare rows, of {made.attrs['effective_size']:.0f} candidates that count")
    columns = frame.columns[:-1]
    spread = others[columns].std()
    for name, rows in (("drawn", made), ("the eight", few), ("benign", frame[frame["tumour"] == "benign"])):
        off = ((rows[columns].mean() - others[columns].mean()) / spread).abs().mean()
        print(f"means of {name}: off by {off:.2f} deviations of the rare rows that were taken out")


if __name__ == "__main__":
    main()
