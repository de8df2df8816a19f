"""A run resumed from any checkpoint that it ever wrote ends as it would have: weights, history, verdict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyro
import pytest
import torch
from histories import untimed
from pyarrow import parquet
from pyro.infer import TraceMeanField_ELBO
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae.training.saved.resumption import Resumption

X = torch.randn(44, 3, generator=torch.Generator().manual_seed(0))  # three batches, the last one smaller
HELD_OUT = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))


def vae():
    pyro.clear_param_store()
    torch.manual_seed(0)
    posterior = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 4))
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], 3), scale=1.0), pv.DiagNormal(posterior))


def loader():
    own = torch.Generator().manual_seed(3)
    return DataLoader(TensorDataset(X), batch_size=16, shuffle=True, generator=own)


def scheduler():
    return pyro.optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "gamma": 0.5})


def on_disk(place):
    """The rows in blocks of ten, in windows of two blocks."""
    columns = {name: X[:, column].numpy() for column, name in enumerate("abc")}
    parquet.write_table(pa.table(columns), place / "x.parquet", row_group_size=10)
    return pv.on_disk(place / "x.parquet", memory=12 * 40)


RUNS = {
    "annealed": lambda: {"temper": pv.linear(0, 1, steps=9), "learning_rate": pv.cosine(0.01, 0.0, steps=9)},
    "plain": lambda: {"average": 0.9, "validation": HELD_OUT},
    "patience": lambda: {"validation": HELD_OUT, "patience": 1, "learning_rate": 0.3},
    "target": lambda: {"temper": pv.TargetRate(0.5), "transform": torch.sin},
    "by_site": lambda: {"temper": {"z": pv.linear(0, 1, steps=9)}, "clip_norm": 0.5},
    "scheduler": lambda: {"optim": scheduler(), "temper": pv.linear(1, 0, steps=9)},
    "loader": lambda: {"data": loader(), "temper": pv.linear(0, 1, steps=9), "batch_size": None},
    "on disk": lambda: {"data": on_disk(Path(tempfile.mkdtemp())), "validation": HELD_OUT},
    "nested": lambda: {"pair": pv.temper(vae(), pv.linear(0, 1, steps=9)), "loss": TraceMeanField_ELBO()},
    "steps": lambda: {"epochs": None, "steps": 8, "temper": pv.linear(0, 1, steps=9)},
}


def run(folder, make, **more):
    options = {"pair": vae(), "data": X, "epochs": 3, "batch_size": 16, "seed": 5, **make(), **more}
    options |= {"device": "cpu", "staged": False, "progress": False, "checkpoint": folder, "checkpoint_every": 1e-9}
    return pv.fit(**options)


def outcome(ended):
    weights = {name: tensor.tolist() for name, tensor in getattr(ended.pair, "pair", ended.pair).state_dict().items()}
    return untimed(ended.history), ended.verdict, ended.verdicts, ended.weights, ended.reason, ended.step, weights


@pytest.mark.parametrize("name", [
    "annealed", *(pytest.param(name, marks=pytest.mark.trial) for name in RUNS if name != "annealed")
])  # fmt: skip
@pytest.mark.slow
def test_gone_on_with_from_every_checkpoint(name, tmp_path, monkeypatch):
    moments = []

    def noting(self, trainer, random):
        write(self, trainer, random)
        moments.append(tmp_path / f"moment{len(moments)}")
        shutil.copytree(self.folder, moments[-1])

    write = Resumption._write
    with monkeypatch.context() as patched:
        patched.setattr(Resumption, "_write", noting)
        whole = outcome(run(tmp_path / "whole", RUNS[name]))
    assert len(moments) >= 3 + 1
    for moment in moments:
        assert outcome(run(moment, RUNS[name], resume=True)) == whole, moment
    assert len({row.weight if isinstance(row.weight, float) else row.weight["z"] for row in whole[0]}) > 1 or name in (
        "plain", "patience", "nested", "on disk"
    )  # fmt: skip
