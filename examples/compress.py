"""Images as a file that is as long as a model's bound: bits-back coding, beside gzip and PNG.

Shows `compress` and `decompress`. The better a pair explains its data, the shorter the file; what an image costs is
its negative ELBO, so that unusual images cost most.

    python examples/compress.py                # half a minute
    python examples/compress.py --out FOLDER   # also the file, and a picture of lengths and of dear and cheap images
    python examples/compress.py --smoke        # seconds
"""

from __future__ import annotations

import argparse
import gzip
import io
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import pyrovae as pv

LEVELS = 17  # of the bundled digits, 0 to 16


def build() -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(
        prior=pv.StandardNormal(8),
        likelihood=pv.DiscretizedLogistic(pv.MLP(8, [128], 2 * 64), levels=LEVELS, highest=16),
        posterior=pv.DiagNormal(pv.MLP(64, [128], 2 * 8)),
    )


def lengths(x: np.ndarray, file: Path) -> dict[str, float]:
    """Bits a pixel, by what wrote them."""
    stream = io.BytesIO()
    Image.fromarray(x.reshape(-1, 8) * np.uint8(15)).save(stream, "PNG", optimize=True)
    packed = gzip.compress(x.tobytes(), 9)
    sizes = {"as bytes": x.nbytes, "PNG, one sheet": stream.tell(), "gzip": len(packed), "pair": file.stat().st_size}
    return {name: 8 * size / x.size for name, size in sizes.items()}


def draw(path: Path, found: dict[str, float], x: np.ndarray, bits: np.ndarray) -> None:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    bars = left.barh(list(found), list(found.values()), color=["C7"] * (len(found) - 1) + ["C0"])
    left.bar_label(bars, fmt="%.2f", padding=3)
    left.set(xlabel="bits a pixel, held-out images", xlim=(0, 9.5))
    left.spines[["top", "right"]].set_visible(False)
    order = np.argsort(bits)
    shown = [*order[:6], *order[-6:]]
    sheet = np.zeros((2 * 13, 6 * 10))
    for number, image in enumerate(shown):
        row, column = divmod(number, 6)
        sheet[13 * row + 4 : 13 * row + 12, 10 * column + 1 : 10 * column + 9] = x[image].reshape(8, 8)
        place = (10 * column + 4.5, 13 * row + 1.5)
        right.annotate(f"{bits[image]:.0f}", place, ha="center", va="center", color="white", fontsize=8)
    right.imshow(sheet, cmap="gray", vmin=0, vmax=16)
    right.set(xticks=[], yticks=[7, 20], yticklabels=["cheap", "dear"], xlabel="bits that each image costs")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print("picture:", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the file and the picture")
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    options = parser.parse_args()

    images = torch.as_tensor(pv.datasets.digits().images).reshape(-1, 64)
    train, held_out = images[:1300].float(), images[1300:].to(torch.uint8)
    vae = build()
    pv.fit(vae, train, epochs=2 if options.smoke else 250, learning_rate=2e-3, seed=0, progress=False)

    with tempfile.TemporaryDirectory() as spare:
        folder = options.out or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "digits.pv"
        file.unlink(missing_ok=True)
        done = pv.compress(vae, held_out, file=file)
        assert torch.equal(pv.decompress(vae, file), held_out)
        found = lengths(held_out.numpy(), file)
    bits = -pv.elbo(vae, held_out, draws=20).value.numpy() / math.log(2)
    for name, value in found.items():
        print(f"{name:16}{value:6.2f} bits a pixel")
    print(f"bound {bits.mean():.1f} bits an image, file {done.bits:.1f}, of them {done.first_bits} first bits in all")
    print(f"came back to the last bit: {done.rows} images from {done.size:,} bytes")
    if options.out:
        draw(options.out / "compress.png", found, held_out.numpy(), bits)


if __name__ == "__main__":
    main()
