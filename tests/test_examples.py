"""Every example runs by itself, in a fresh process, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from children import Child

ROOT = Path(__file__).parents[1]

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What each one is there to show, in what it prints.
SAYS = {
    "adversarial.py": "area of draws told from held-out data",
    "amortized_guide.py": "heads: 1",
    "a_table.py": "pooled, 100 imputations",
    "arviz_analysis.py": "better by leave-one-out",
    "beta_vae.py": "steered to 8 nats",
    "clusters.py": "rows in a cluster of their own cloud",
    "compress.py": "came back to the last bit: 497 images",
    "conditional.py": "drew 5 images of class 3",
    "discriminator.py": "area before",
    "disentangle.py": "x            is told best by dimension",
    "explain.py": "the inverted patch has the greatest share in",
    "custom_pair.py": "saved and loaded: cells.safetensors",
    "explorer.py": "opens without a network",
    "flow_prior.py": "flow of splines  evidence",
    "hierarchical.py": "two levels   evidence",
    "impute_table.py": "holes before: 525, after: 0",
    "mixed_table.py": "images; 0 are left",
    "outliers.py": "cells are mistyped; AUROC of their probabilities",
    "linear_vae.py": "highest evidence",
    "out_of_distribution.py": "rate of false alarms of 0.05",
    "own_loop.py": "pyro.infer.SVI",
    "posterior_predictive.py": "ink per image",
    "rare_class.py": "rare rows, of",
    "reweighted.py": "ELBO of held-out digits",
    "semi_supervised.py": "error with 100 labels",
    "sequences.py": "forecasts of 5 steps",
    "ship.py": "onnxruntime alone: 297 images of their codes",
    "selective_prediction.py": "to a person, so that the rest",
    "text_vae.py": "from one line to another",
    "uncertainty.py": "8 generated digits",
    "vae_mnist.py": "drew 10 images",
    "parallel.py": "steps, ELBO",
    "vamp_prior.py": "VampPrior of 30",
    "vector_vae.py": "made 1,000 rows of 128 columns",
}
PICTURES = (
    "adversarial.py",
    "amortized_guide.py",
    "a_table.py",
    "arviz_analysis.py",
    "beta_vae.py",
    "clusters.py",
    "compress.py",
    "conditional.py",
    "discriminator.py",
    "disentangle.py",
    "explain.py",
    "flow_prior.py",
    "hierarchical.py",
    "out_of_distribution.py",
    "posterior_predictive.py",
    "reweighted.py",
    "selective_prediction.py",
    "semi_supervised.py",
    "sequences.py",
    "uncertainty.py",
    "vae_mnist.py",
)


@pytest.mark.trial
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_runs_with_the_smoke_option(path: Path, tmp_path: Path):
    options = ["--out", str(tmp_path / "out")] if path.name in PICTURES else []
    example = Child(path, "--smoke", *options, folder=tmp_path, strict=True)
    out, err = example.communicate()
    assert example.returncode == 0, err
    assert SAYS[path.name] in out
    assert "nan" not in out.lower()
    assert bool(list(tmp_path.glob("out/*.png"))) == bool(options)
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in (tmp_path / "out").glob("*.png"))


def test_every_example_is_named_here():
    assert [path.name for path in EXAMPLES] == sorted(SAYS)


def test_the_gallery_shows_every_example():
    shown = re.findall(r"^### `(\S+)`$", (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(SAYS)
