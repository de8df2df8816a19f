"""The page on styles says what the styles declare; one of them is tried here, the others in the trial."""

from __future__ import annotations

import dataclasses

import pyrovae as pv
from styles import FUNCTIONS, STYLES
from styles.figures import FIGURES
from styles.trial import asked
from styles.write_page import PAGE, page


def test_the_page_holds_the_styles_and_their_refusals():
    assert PAGE.read_text(encoding="utf-8") == page(STYLES.values()), "python tests/styles/write_page.py"


def test_refusals_are_of_functions_that_are_tried():
    assert tuple(FIGURES) == FUNCTIONS
    assert {name for style in STYLES.values() for name in style.refused} <= {"fit", *FUNCTIONS}


def test_most_of_it_is_right():
    cells = [name not in style.refused for style in STYLES.values() for name in FUNCTIONS]
    trained = ["fit" not in style.refused for style in STYLES.values()]
    assert sum(trained) >= 0.95 * len(trained)
    assert sum(cells) >= 0.85 * len(cells)


def test_one_style_is_right_and_what_is_wrong_is_found(tmp_path, monkeypatch):
    """A number that is not the pair's, and a refusal that no longer happens; the other figures are right."""
    right = pv.rate_distortion
    monkeypatch.setattr(pv, "rate_distortion", lambda *asked, **options: right(*asked, **options)._replace(elbo=0.0))
    vae = dataclasses.replace(STYLES["vae"], draws=30, steps=3, refused={"posterior": ("no such words", "")})
    assert [words.split(":")[0] for words in asked(vae, tmp_path)] == ["rate_distortion", "posterior"]


def test_readme_and_site_say_what_the_page_says():
    root = PAGE.parents[1]
    trained = sum("fit" not in style.refused for style in STYLES.values())
    cells = [name not in style.refused for style in STYLES.values() for name in FUNCTIONS]
    readme = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    assert f"[{len(STYLES)} styles](docs/styles.md) of pair after Pyro's documentation {trained} train" in readme
    assert f"and {100 * sum(cells) / len(cells):.0f} % of their figures equal plain Pyro's" in readme
    assert f"[{len(STYLES)} styles](styles.md)" in (root / "docs" / "index.md").read_text(encoding="utf-8")
