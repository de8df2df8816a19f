"""The newcomer: a VAE as Keras' tutorial writes it, brought over from its sentences, and a report to show around.

Run in an empty folder: `python newcomer.py`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from terminal import terminal
from torch import nn

import pyrovae as pv


def main() -> None:
    # "The digits are scaled to 0..1"; the tutorial has one channel, last in Keras and first in torch.
    images, labels = pv.datasets.digits()
    x = torch.as_tensor(images / 16).float().unsqueeze(1)
    train, test = x[:1500], x[1500:]

    # "Conv2D 32, Conv2D 64, Dense 16, z_mean and z_log_var of 2", and the way back; binary cross-entropy plus KL.
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 2 * 2),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(2, 256), nn.ReLU(), nn.Unflatten(1, (64, 2, 2)), nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    )  # fmt: skip
    encoder.input_dims = 3  # of an image, so that others in front are kept, as the refusal says  # type: ignore
    vae = pv.VAE(pv.StandardNormal(2), pv.ContinuousBernoulli(decoder), pv.DiagNormal(encoder))
    print(pv.describe(vae, train[:8]))
    assert not [one for one in pv.check_pair(vae, train[:8]) if one.severity == "error"]
    run = pv.fit(vae, train, validation=test, epochs=6, learning_rate=2e-3, seed=0, progress=False)
    print(run.verdict)
    assert run.history[-1].elbo > run.history[0].elbo + 1

    # "plot_latent_space" and "plot_label_clusters".
    pv.plots.latent(pv.encode(vae, test), labels=labels[1500:]).savefig("clusters.png")
    moved = torch.linspace(-1.5, 1.5, 5).tolist()
    figure = pv.plots.plane(pv.traverse(vae, test[:1], values=moved, together=True), shape=(8, 8), moved=moved)
    figure.savefig("plane.png")
    assert pv.generate(vae, 10)["x"].shape == (10, 1, 8, 8)

    pv.save(vae, "digits.safetensors")
    pv.write_report(run, test, path="report.html")
    # And without Python, from the README.
    terminal("pyrovae train digits --epochs 2 --net mlp --hidden 32 --out runs/digits --quiet")
    terminal("pyrovae sample runs/digits -n 9")
    for page in ("report.html", "runs/digits/report.html"):
        assert "<html" in Path(page).read_text()


if __name__ == "__main__":
    main()
