"""Novel images told from digits: false alarms at a chosen rate, and AUROC of each score for each kind of novelty.

A VAE is trained on MNIST (pixels above half are ones), 5,000 test digits calibrate, the other 5,000 are judged, and so
are images of other kinds. At alpha = 0.05 the rate of false alarms should lie within 0.05 +- 0.01. For the
disagreement of weights the training goes on a while, and the moments of its path are taken for a posterior (SWAG).

    python benchmarks/novelty.py                      # downloads MNIST; twenty minutes of one core
    python benchmarks/novelty.py --data-root FOLDER   # the folder of the four IDX files
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score

import pyrovae as pv

ALPHA, LATENT, HIDDEN = 0.05, 20, 400


def binarised(levels: np.ndarray) -> torch.Tensor:
    return (torch.as_tensor(levels) > 127).float()


def build() -> pv.VAE:
    return pv.VAE(
        prior=pv.StandardNormal(LATENT),
        likelihood=pv.Bernoulli(pv.MLP(LATENT, [HIDDEN], (28, 28))),
        posterior=pv.DiagNormal(pv.MLP((28, 28), [HIDDEN], 2 * LATENT)),
    )


# --- images that are no MNIST digits --------------------------------------------------------------------


def letters(count: int) -> torch.Tensor:
    """Letters of the fonts that come with matplotlib, as large and as thick as digits, moved and turned a little."""
    from matplotlib import get_data_path

    random = np.random.default_rng(0)
    names = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono-Oblique", "STIXGeneral")
    fonts = [ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}.ttf", 22) for name in names]
    images = []
    for letter in random.choice(list("ABCDEFGHKMNPRTUVWXYabdefhkmnr"), count):
        image = Image.new("L", (28, 28))
        place = tuple(14 + random.uniform(-1.5, 1.5, 2))
        ImageDraw.Draw(image).text(place, letter, fill=255, font=fonts[random.integers(len(fonts))], anchor="mm")
        images.append(np.asarray(image.rotate(random.uniform(-12, 12), Image.Resampling.BILINEAR)))
    return binarised(np.stack(images))


def small_digits(count: int) -> torch.Tensor:
    """The digits that come with the package, from 8x8 pixels to 20x20 in the middle of 28x28, as in MNIST."""
    images = pv.datasets.digits().images[:count].astype(np.uint8) * 15
    enlarged = [np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC)) for image in images]
    return binarised(np.pad(np.stack(enlarged), ((0, 0), (4, 4), (4, 4))))


def textures(count: int) -> torch.Tensor:
    """Stripes of any direction and width."""
    generator = torch.Generator().manual_seed(0)
    angle, width, phase = torch.rand(3, count, 1, 1, generator=generator)
    down, across = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    turned = across * (3.1416 * angle).cos() + down * (3.1416 * angle).sin()
    return ((turned / (2 + 6 * width) + phase).remainder(1.0) < 0.3).float()


def kinds(test: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is to be told from digits; made of `test` where that says how."""
    noise = torch.rand(test.shape, generator=torch.Generator().manual_seed(1))
    scrambled = test.flatten(1)[:, torch.randperm(784, generator=torch.Generator().manual_seed(2))]
    count = len(test)
    return {
        "upside down": test.flip(1),
        "mirrored": test.flip(2),
        "inverted": 1 - test,
        "pixels scrambled": scrambled.reshape(test.shape),
        "noise, as many ones": (noise < test.mean((1, 2), keepdim=True)).float(),
        "one pixel in 20 flipped": torch.where(noise < 0.05, 1 - test, test),
        "blank": torch.zeros(count, 28, 28),
        "stripes": textures(count),
        "letters": letters(count),
        "digits of other writers": small_digits(count),
    }


# --- the measurement ----------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", help="the folder of the four IDX files; left out, they are downloaded")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--novel", type=int, default=1_000, help="images of each novel kind")
    options = parser.parse_args()

    train, test = (binarised(pv.datasets.mnist(options.data_root, train=part).images) for part in (True, False))
    # The halves of the test set are by other writers: only mixed are they exchangeable.
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
    usual, judged = test[:5_000], test[5_000:]

    torch.manual_seed(0)
    vae = build()
    run = pv.fit(vae, train, epochs=options.epochs, validation=usual, seed=0, progress=False)
    print(f"trained {run.seconds:.0f} s, ELBO of held-out digits {run.history[-1].validation_elbo:.1f} nats\n")

    novel = kinds(judged[: options.novel])
    everything = torch.cat([judged, *novel.values()])
    start = time.perf_counter()
    result = pv.novelty(vae, everything, calibration=usual, draws=options.draws)
    print(f"{len(everything) + len(usual):,} images scored in {time.perf_counter() - start:.0f} s")
    start = time.perf_counter()
    path = pv.epistemic.swag(vae, train, epochs=5, learning_rate=1e-3, seed=1, progress=False)
    unsure = pv.novelty(path, everything, calibration=usual, scores=("disagreement",), draws=10, shared_draws=10)
    print(f"disagreement in {time.perf_counter() - start:.0f} s, its training included\n")
    surprises = {name: result.by(name) for name in ("combined", "evidence", "typicality", "complexity")}
    report({**surprises, "disagreement": unsure.disagreement}, len(judged), novel)


def report(surprises: dict[str, pv.NoveltyScore], usual: int, novel: dict[str, torch.Tensor]) -> None:
    """Rates of false alarms among the first data, and how well the others are told from them."""
    columns = f"{' | '.join(surprises)} |\n|---|{'---:|' * len(surprises)}"
    print(f"| false alarms at alpha | {columns}")
    for alpha in (0.01, ALPHA, 0.1):
        rates = [(one.p_value[:usual] <= alpha).double().mean() for one in surprises.values()]
        print(f"| {alpha} | {' | '.join(f'{rate:.4f}' for rate in rates)} |")
    print(f"\n| AUROC (share found at alpha = {ALPHA}) | {columns}")
    place = usual
    for kind, images in novel.items():
        here = slice(place, place := place + len(images))
        cells = []
        for one in surprises.values():
            score = torch.cat([one.score[:usual], one.score[here]]).nan_to_num(posinf=1e30)
            area = roc_auc_score(torch.arange(len(score)) >= usual, score)
            cells.append(f"{area:.3f} ({(one.p_value[here] <= ALPHA).double().mean():.2f})")
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
