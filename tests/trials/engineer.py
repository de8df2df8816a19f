"""The engineer: a folder of Parquet, trained by two processes, one of which is killed; resumed, exported, served.

Run in an empty folder: `python engineer.py write`, then twice
`torchrun --nproc-per-node=2 engineer.py train` (the first time with KILLED_AT=30), then `python engineer.py ship`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch

import pyrovae as pv

SERVICE = """
import sys, numpy as np, onnxruntime
rows = np.load("new.npy")
session = onnxruntime.InferenceSession("served/encode.onnx")
given = {one.name: np.zeros([len(rows), *one.shape[1:]], np.float32) for one in session.get_inputs()} | {"x": rows}
names = [one.name for one in session.get_outputs()]
np.save("codes.npy", session.run(None, given)[names.index("z.mean")])
assert "torch" not in sys.modules
"""


def made() -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [16], 6), scale=0.5), pv.DiagNormal(pv.MLP(6, [16], 4)))


def write() -> None:
    """Sensors' rows, in files and row groups as a pipeline leaves them."""
    os.makedirs("rows")
    noise = np.random.default_rng(0)
    for part in range(3):
        x = noise.normal(size=(800, 2)) @ noise.normal(size=(2, 6)) + 0.5 * noise.normal(size=(800, 6))
        table = pa.table({f"sensor_{one}": x[:, one].astype("float32") for one in range(6)})
        parquet.write_table(table, f"rows/part-{part}.parquet", row_group_size=200, write_page_checksum=True)


def train() -> None:
    """Goes on from the newest checkpoint, wherever the run before was ended."""
    vae, killed_at = made(), int(os.environ.get("KILLED_AT", "0"))
    steps = pv.steps(
        vae, pv.on_disk("rows"), epochs=4, batch_size=100, learning_rate=3e-3, seed=0, checkpoint="run", resume=True
    )
    first = None
    for step in steps:
        first = step.index if first is None else first
        if step.index == killed_at and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
    if os.environ["RANK"] == "0":
        pv.save(vae, "model.safetensors")
        with open("run.json", "w") as stream:
            json.dump({"first": first, "elbo": [row.elbo for row in steps.history]}, stream)


def ship() -> None:
    """Graphs without torch, and another process that serves them."""
    vae = pv.load(made(), "model.safetensors")
    new = pv.on_disk("rows").take(slice(0, 50))[0]
    parts = pv.to_onnx(vae, new, folder="served")
    assert all(part.difference <= 1e-5 for part in parts.values())
    pv.model_card(vae, new, path="card", license="apache-2.0", description="Codes of six sensors.")
    np.save("new.npy", new.numpy())
    subprocess.run([sys.executable, "-c", SERVICE], check=True)
    assert np.allclose(np.load("codes.npy"), pv.encode(vae, new)["z"].mean, atol=1e-5)


if __name__ == "__main__":
    {"write": write, "train": train, "ship": ship}[sys.argv[1]]()
