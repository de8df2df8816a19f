"""A trained pair leaves Python's world of torch and Pyro: ONNX files, checked, and a folder for the Hub.

Shows `to_onnx` and `model_card`, and how onnxruntime alone makes codes and images of the files.

    python examples/ship.py           # half a minute
    python examples/ship.py --smoke   # seconds
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import pyrovae as pv


def trained(epochs: int) -> tuple[pv.VAE, torch.Tensor]:
    torch.manual_seed(0)
    x = (torch.as_tensor(pv.datasets.digits().images).reshape(-1, 64) > 7).float()
    vae = pv.VAE(pv.StandardNormal(8), pv.Bernoulli(pv.MLP(8, [128], 64)), pv.DiagNormal(pv.MLP(64, [128], 16)))
    pv.fit(vae, x[:1500], epochs=epochs, seed=0, progress=False)
    return vae, x[1500:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="train for an epoch")
    smoke = parser.parse_args().smoke
    vae, held_out = trained(1 if smoke else 40)
    with tempfile.TemporaryDirectory() as folder:
        parts = pv.to_onnx(vae, held_out, folder=folder, parts=["encode", "decode"])
        for name, part in parts.items():
            inputs = ", ".join(one.name for one in part.inputs)
            print(f"{name}: {inputs} -> {', '.join(part.outputs)}; file and pair differ by {part.difference:.0e}")
        encode, decode = (onnxruntime.InferenceSession(part.file) for part in parts.values())
        noise = np.random.default_rng(0).standard_normal((len(held_out), 8)).astype(np.float32)
        (z,) = encode.run(["z"], {"x": held_out.numpy(), "noise.z": noise})
        (image,) = decode.run(["x.mean"], {"z": z})
        right = ((image > 0.5) == (held_out.numpy() > 0.5)).mean()
        print(f"onnxruntime alone: {len(image)} images of their codes, {right:.0%} of the pixels as they were")
        card = pv.model_card(vae, held_out, path=Path(folder) / "digits-vae", draws=50 if smoke else 200)
        print("card:", ", ".join(sorted(path.name for path in card.iterdir())))


if __name__ == "__main__":
    main()
