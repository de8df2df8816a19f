"""VAE, plain autoencoder and PCA with the same latent size on MNIST: what each is good for, in figures.

All see the same grey images x / 255 and compress them to 20 numbers. The autoencoder and the two VAEs have the same
networks, 784-400-20 and back, and the same number of steps. One VAE has normal noise of one learned scale, as PCA has
in its probabilistic form: its ELBO and PCA's evidence are of the same kind of density and compare. The other has
Bernoulli pixels, binarised afresh in each batch; it is given the greys when it encodes, as all others are.

    python benchmarks/autoencoders.py                      # downloads MNIST; five minutes of one core
    python benchmarks/autoencoders.py --data-root FOLDER   # the folder of the four IDX files
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import pyrovae as pv

LATENT, HIDDEN, BATCH = 20, 400, 128


class Model(NamedTuple):
    """A way to codes and back, and a way to codes of images that never were."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    draw: Callable[[int], Tensor]
    rate: str  # nats that a code carries, where that means something
    bound: str  # log density of a test image, where the model has one


def network(first: int, last: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(first, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, last))


def fitted_normal(codes: Tensor) -> Callable[[int], Tensor]:
    """What a model without a prior has to be given: a full normal around the codes of the training data."""
    normal = torch.distributions.MultivariateNormal(codes.mean(0), codes.T.cov() + 1e-6 * torch.eye(codes.shape[1]))
    return lambda count: normal.sample((count,))


def pca(train: Tensor, test: Tensor) -> Model:
    best = pv.truth.LinearGaussian.maximum_likelihood(train.double(), latent=LATENT)
    bound = f"{best.log_evidence(test.double()).mean():.0f}, exactly"
    axes = torch.linalg.qr(best.weight)[0].float()
    mean = best.mean.float()

    def encode(x: Tensor) -> Tensor:
        return (x - mean) @ axes

    return Model(encode, lambda z: z @ axes.T + mean, fitted_normal(encode(train)), "", bound)


def autoencoder(train: Tensor, epochs: int) -> Model:
    encoder, decoder = network(784, LATENT), network(LATENT, 784)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(BATCH):
            optimiser.zero_grad()
            (decoder(encoder(batch)) - batch).square().sum(-1).mean().backward()
            optimiser.step()
    encode = torch.no_grad()(encoder.forward)
    return Model(encode, torch.no_grad()(decoder.forward), fitted_normal(encode(train)), "", "none")


def vae(train: Tensor, test: Tensor, epochs: int, likelihood: pv.Conditional, transform=None) -> Model:
    pair = pv.VAE(pv.StandardNormal(LATENT), likelihood, pv.DiagNormal(pv.MLP(784, [HIDDEN], 2 * LATENT)))
    pv.fit(pair, train, epochs=epochs, batch_size=BATCH, transform=transform, seed=0, progress=False)
    figures = pv.rate_distortion(pair, transform(test) if transform else test, draws=5)
    return Model(
        encode=torch.no_grad()(lambda x: pair.posterior(x).mean),
        decode=torch.no_grad()(lambda z: pair.likelihood(z).mean),
        draw=lambda count: torch.randn(count, LATENT),  # the prior
        rate=f"{figures.rate:.0f}",
        bound=f"{figures.elbo:.0f}, at least" + (" (of bits)" if transform else ""),
    )


def normal_pixels() -> pv.Conditional:
    return pv.Normal(pv.MLP(LATENT, [HIDDEN], 784), scale=pv.LearnedScale(initial=0.3))


def binary_pixels() -> pv.Conditional:
    return pv.Bernoulli(pv.MLP(LATENT, [HIDDEN], 784))


def classifier(x: Tensor, labels: Tensor) -> nn.Module:
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 10))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(5):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
            optimiser.step()
    return net.eval()


@torch.no_grad()
def certainty(net: nn.Module, x: Tensor) -> float:
    """How sure a classifier is of what it sees: the mean of its highest probability."""
    return float(net(x).softmax(-1).amax(-1).mean())


def nearest(x: Tensor, among: Tensor) -> float:
    """Median distance from images to the nearest of others."""
    return float(torch.cat([torch.cdist(part, among).amin(1) for part in x.split(500)]).median())


def measure(model: Model, train: Tensor, test: Tensor, net: nn.Module) -> dict[str, str]:
    def error(seen: Tensor) -> float:
        return float((model.decode(model.encode(seen)) - test).square().sum(-1).mean())

    codes = model.encode(test)
    half_way = model.decode((codes + codes[torch.randperm(len(codes))]) / 2)
    made = model.decode(model.draw(10_000)).clamp(0, 1)
    return {
        "reconstruction: squared error of a test image": f"{error(test):.1f}",
        "denoising: the same, noise of 0.5 added to the input": f"{error(test + 0.5 * torch.randn_like(test)):.1f}",
        "half way between two codes: classifier is sure by": f"{certainty(net, half_way.clamp(0, 1)):.2f}",
        "drawn images: classifier is sure by": f"{certainty(net, made):.2f}",
        "drawn images: distance to the nearest real one": f"{nearest(made[:2000], train[:10_000]):.2f}",
        "real images: distance to the nearest drawn one": f"{nearest(test[:2000], made):.2f}",
        "nats that a code carries": model.rate,
        "log density of a test image, nats": model.bound,
    }


def reference(train: Tensor, test: Tensor, net: nn.Module) -> dict[str, str]:
    """The same figures of real images, as far as they have them."""
    blank = dict.fromkeys(["reconstruction", "denoising", "half way"], "")
    between = f"{nearest(test[:2000], train[:10_000]):.2f}"
    return {
        **blank,
        "sure": f"{certainty(net, test):.2f}",
        "there": between,
        "back": between,
        "rate": "",
        "density": "",
    }


def picture(path: Path, models: dict[str, Model]) -> None:
    figure = Figure(figsize=(10, 1.05 * len(models)), layout="constrained")
    for axes, (name, model) in zip(figure.subplots(len(models), 10), models.items(), strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, image in zip(axes, model.decode(model.draw(10)), strict=True):
            axis.imshow(image.reshape(28, 28).numpy(), cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", help="the folder of the four IDX files; left out, they are downloaded")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a folder for a picture of drawn images")
    options = parser.parse_args()
    torch.manual_seed(0)

    parts = [pv.datasets.mnist(options.data_root, train=part) for part in (True, False)]
    train, test = (torch.as_tensor(part.images).flatten(1).float() / 255 for part in parts)
    net = classifier(train, torch.as_tensor(parts[0].labels).long())

    makers = {
        "PCA": lambda: pca(train, test),
        "autoencoder": lambda: autoencoder(train, options.epochs),
        "VAE, normal": lambda: vae(train, test, options.epochs, normal_pixels()),
        "VAE, Bernoulli": lambda: vae(train, test, options.epochs, binary_pixels(), torch.bernoulli),
    }
    models, columns = {}, {}
    for name, make in makers.items():
        start = time.process_time()
        models[name] = make()
        seconds = time.process_time() - start
        columns[name] = {**measure(models[name], train, test, net), "CPU seconds of training": f"{seconds:.0f}"}
    real = [*reference(train, test, net).values(), ""]

    print(f"| MNIST, {LATENT} numbers an image, {options.epochs} epochs | " + " | ".join(columns) + " | real images |")
    print("|---|" + "---:|" * (len(columns) + 1))
    for row, blank in zip(columns["PCA"], real, strict=True):
        print(f"| {row} | " + " | ".join(column[row] for column in columns.values()) + f" | {blank} |")
    if options.out:
        picture(options.out / "autoencoders.png", models)


if __name__ == "__main__":
    main()
