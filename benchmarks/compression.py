"""Bits a pixel of MNIST's test images as a file, beside the bound, gzip, zstd and PNG; images a second there and back.

Two pairs are trained, one on the images binarised at half, one on their 256 levels; the first writes the 10,000 test
images, the second the first thousand of them, of which the compressors beside it have the same.
Every byte of a file counts: header, checksums, first bits. The weights do not, as a decompressor's code does not.

    python benchmarks/compression.py                      # downloads MNIST; an hour
    python benchmarks/compression.py --data-root FOLDER   # the folder of the four IDX files
"""

from __future__ import annotations

import argparse
import gzip
import io
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyro
import pyro.distributions as dist
import torch
from PIL import Image
from torch import nn

import pyrovae as pv
from pyrovae.models.conditionals.conditional import bounded

PIXELS = 784
BATCH = 256


def binary_vae() -> pv.VAE:
    return pv.VAE(
        pv.StandardNormal(40), pv.Bernoulli(pv.MLP(40, [500], PIXELS)), pv.DiagNormal(pv.MLP(PIXELS, [500], 80))
    )


class Grey(nn.Module):
    """A pair in Pyro's words: levels of a beta-binomial, whose two shapes a network gives (BB-ANS's own family)."""

    def __init__(self, latent: int = 50, hidden: int = 500):
        super().__init__()
        self.latent = latent
        self.encoder = pv.DiagNormal(pv.MLP(PIXELS, [hidden], 2 * latent))
        self.decoder = pv.MLP(latent, [hidden], 2 * PIXELS)

    def model(self, x: torch.Tensor) -> None:
        pyro.module("grey", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            shapes = (bounded(one).exp() for one in self.decoder(z).chunk(2, -1))
            pyro.sample("x", dist.BetaBinomial(*shapes, 255).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        pyro.module("grey", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x / 255))


# --- what one has otherwise -----------------------------------------------------------------------------


def others(levels: np.ndarray, *, binary: bool) -> dict[str, float]:
    """Bits a pixel of general compressors; black and white with eight pixels to a byte."""
    raw = (np.packbits(levels > 127, axis=-1) if binary else levels).tobytes()
    images = [_png(image.reshape(28, 28), binary=binary) for image in levels]
    sheet = _png(levels.reshape(-1, 28), binary=binary)
    zstd = pa.Codec("zstd", compression_level=19).compress(raw, asbytes=True)
    sizes = {"gzip -9": len(gzip.compress(raw, 9)), "zstd -19": len(zstd), "PNG, one an image": sum(images)}
    return {name: 8 * size / levels.size for name, size in {**sizes, "PNG, one for all": sheet}.items()}


def _png(levels: np.ndarray, *, binary: bool) -> int:
    stream = io.BytesIO()
    image = Image.fromarray(levels)
    (image.point(lambda level: 255 * (level > 127), mode="1") if binary else image).save(stream, "PNG", optimize=True)
    return stream.tell()


# --- what a pair gives ----------------------------------------------------------------------------------


def measured(pair: pv.VAE, x: torch.Tensor, *, portable: bool) -> list[str]:
    bound = -float(pv.elbo(pair, x, draws=10).value.mean()) / math.log(2) / PIXELS
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "images.pv")
        start = time.perf_counter()
        done = pv.compress(pair, x, file=file, portable=portable, verify=False)
        middle = time.perf_counter()
        back = pv.decompress(pair, file)
        end = time.perf_counter()
    assert torch.equal(back, x)
    speeds = (f"{len(x) / seconds:,.0f}" for seconds in (middle - start, end - middle))
    bits = done.bits / PIXELS
    return [f"{bits:.4f}", f"{bound:.4f}", f"{100 * (bits / bound - 1):.2f} %", f"{done.first_bits}", *speeds]


def trained(name: str, make: Callable[[], pv.HasPair], rows: torch.Tensor, asked: argparse.Namespace) -> pv.HasPair:
    torch.manual_seed(0)
    pair, start = make(), time.perf_counter()
    kept = asked.kept / f"{name}.safetensors" if asked.kept else None
    if kept is not None and kept.exists():
        pv.load(pair, kept)
        return pair
    rate = pv.cosine(2e-3, 1e-5, steps=-(-len(rows) // BATCH) * asked.epochs)
    pv.fit(pair, rows, epochs=asked.epochs, batch_size=BATCH, learning_rate=rate, seed=0, progress=False)
    print(f"\ntrained {asked.epochs} epochs in {time.perf_counter() - start:.0f} s", flush=True)
    if kept is not None:
        pv.save(pair, kept)
    return pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument(
        "--grey-rows", type=int, default=1_000, help="of the test images, as levels: 256 masses a pixel"
    )
    parser.add_argument("--kept", type=Path, help="a folder in which trained pairs are kept, and found again")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    train, test = (pv.datasets.mnist(asked.data_root, train=part).images.reshape(-1, PIXELS) for part in (True, False))
    print("| data | by | bits a pixel | -ELBO | above it | first bits | images/s | decoded/s |")
    for name, make in {"binarised": binary_vae, "grey": Grey}.items():
        binary = name == "binarised"
        rows, held_out = ((torch.as_tensor(part > 127 if binary else part)).float() for part in (train, test))
        if not binary:
            test, held_out = test[: asked.grey_rows], held_out[: asked.grey_rows]
        pair = trained(name, make, rows, asked)
        for portable in (True, False):
            print(
                f"| {name} | portable={portable} |",
                " | ".join(measured(pair, held_out, portable=portable)),
                "|",
                flush=True,
            )
        for other, bits in others(np.asarray(test), binary=binary).items():
            print(f"| {name} | {other} | {bits:.4f} | | | | | |")


if __name__ == "__main__":
    main()
