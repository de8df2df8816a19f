"""The explorer in a browser: what it answers to sliders, keys and menus, how quickly, and to whom it can be read."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from browser import asked, chromium, needs_chromium
from test_explore import HOSTILE, X, linear_pair

import pyrovae as pv
from pyrovae.report.explorer.explorer_page import style

WEIGHT = torch.tensor([[1.0, 0.5], [0.0, 2.0], [-1.0, 0.0], [0.3, 0.3]])

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def pair():
    """One whose answers are known: the mean is a line, and so is what uncertainty of the code makes of it."""
    return pv.truth.LinearGaussian(WEIGHT, torch.arange(4.0), 0.5)


@pytest.fixture(scope="module")
def page(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    return pv.explore(
        pair, X, path=folder / "page.html", rows=6, labels=["a", "b", "c"] * 4, names=["one", "two", "three", "four"]
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A model of the size of the demonstration's, on images."""
    torch.manual_seed(0)
    likelihood = pv.Bernoulli(pv.MLP(8, [256, 256], (1, 28, 28)))
    vae = pv.VAE(pv.StandardNormal(8), likelihood, pv.DiagNormal(pv.MLP((1, 28, 28), [64], 16)))
    x = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0)).round()
    return pv.explore(vae, x, path=tmp_path_factory.mktemp("pictures") / "pictures.html", rows=10)


def test_under_its_own_policy_it_runs_and_is_as_near_to_torch_as_numbers_are(page, tmp_path):
    dumped = chromium("--dump-dom", "--virtual-time-budget=4000", page=page, folder=tmp_path)
    (tag,) = re.findall(r'<div id="explorer"[^>]*>', dumped)
    assert float(re.search(r'data-far="([^"]*)"', tag)[1]) < 1e-6
    assert 'data-spread="done"' in tag
    assert '<p class="verdict" role="alert" hidden="">' in dumped


def test_a_slider_moves_the_answer_as_the_model_has_it(page, pair, tmp_path):
    found = asked(page, tmp_path, waiting=True, code="""
        const slider = explorer.root.querySelector("input[type=range]");
        slider.value = slider.max;
        slider.dispatchEvent(new Event("input"));
        await new Promise(requestAnimationFrame);
        await new Promise((done) => setTimeout(done, 1200));
        const draws = Array.from({ length: 16 }, (_, number) => Array.from(explorer.place.drawn(number)));
        const rows = [...explorer.root.querySelectorAll("tbody tr")];
        const cells = rows.map((row) => [...row.cells].map((cell) => cell.textContent));
        const outputs = explorer.outputs.map((one) => Array.from(one));
        return { at: Array.from(explorer.place.values), outputs, draws, cells, said: explorer.said.textContent };
    """)  # fmt: skip
    weight = WEIGHT.double().numpy()
    np.testing.assert_allclose(found["outputs"][0], weight @ found["at"] + np.arange(4), atol=1e-6)
    np.testing.assert_allclose(found["outputs"][1], 0.5, atol=1e-6)
    spread = (np.array(found["draws"]) @ weight.T).std(0)
    shown = [float(row[3].removeprefix("± ")) for row in found["cells"]]
    np.testing.assert_allclose(shown, spread, rtol=6e-3)
    assert {row[2] for row in found["cells"]} == {"± 0.5"}
    assert [row[0] for row in found["cells"]] == ["one", "two", "three", "four"]
    assert found["said"].startswith("z[")
    assert "Nearest: row" in found["said"]


def test_what_is_linear_is_as_uncertain_as_the_posterior_makes_it(page, pair, tmp_path):
    found = asked(page, tmp_path, """
        explorer.place.toRow(0);
        const job = explorer.answers.spread(explorer.place);
        return { at: Array.from(explorer.place.values), spread: Array.from(job.more(Infinity)[0]) };
    """)  # fmt: skip
    code = pv.encode(pair, X)["z"]
    np.testing.assert_allclose(found["at"], code.mean[0].numpy(), rtol=1e-5, atol=1e-6)
    exact = np.sqrt((WEIGHT.double().square() @ code.scale[0].double().square()).numpy())
    np.testing.assert_allclose(found["spread"], exact, rtol=1e-5)


def test_keys_move_the_pad_and_rows_are_started_from(page, tmp_path):
    found = asked(page, tmp_path, waiting=True, code="""
        const pad = explorer.controls.pad.canvas, before = Array.from(explorer.place.values);
        const [across] = explorer.controls.pad.axes;
        pad.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true, cancelable: true }));
        await new Promise(requestAnimationFrame);
        const moved = explorer.place.values[across.dim] - before[across.dim], label = pad.getAttribute("aria-label");
        const start = explorer.controls.start.select;
        start.selectedIndex = 3;
        start.dispatchEvent(new Event("change"));
        await new Promise(requestAnimationFrame);
        const buttons = [...explorer.root.querySelectorAll(".neighbours button")];
        const near = buttons.map((one) => one.getAttribute("aria-label"));
        const rows = [...explorer.root.querySelectorAll("tbody tr")], row = rows.map((one) => one.cells[4].textContent);
        return { moved, spread: across.spread, label, near, hidden: explorer.views[0].row.hidden, row };
    """)  # fmt: skip
    assert found["moved"] == pytest.approx(0.1 * found["spread"])
    assert "Arrow keys" in found["label"]
    assert found["near"][0] == "Start from row 2, c, at a distance of 0"
    assert not found["hidden"]
    assert [float(one.replace("−", "-")) for one in found["row"]] == pytest.approx(X[2].tolist(), rel=6e-3)


def test_a_frame_takes_less_than_the_screen_gives_it(pictures, tmp_path):
    found = asked(pictures, tmp_path, """
        const axis = explorer.place.axes[0], times = [];
        for (let i = 0; i < 60; i++) {
          explorer.place.move(axis, axis.low + (axis.high - axis.low) * i / 60);
          const began = performance.now();
          explorer.frame();
          times.push(performance.now() - began);
        }
        return times.slice(20).sort((a, b) => a - b)[20];
    """)  # fmt: skip
    assert found <= 16
    assert pictures.stat().st_size < 3e6


def test_names_run_nothing_and_stand_there_as_they_are(tmp_path):
    path = pv.explore(
        linear_pair(), X, path=tmp_path / "page.html", rows=2, title=HOSTILE, names=[HOSTILE] * 4, labels=[HOSTILE] * 12
    )
    found = asked(path, tmp_path, """
        return { attacked: self.attacked ?? null, name: explorer.root.querySelector("tbody th").textContent,
          title: document.querySelector("h1").textContent, images: document.querySelectorAll("img").length };
    """)  # fmt: skip
    assert found == {"attacked": None, "name": HOSTILE, "title": HOSTILE, "images": 0}


@pytest.mark.parametrize("which", ["page", "pictures"])
def test_everything_has_a_name_and_its_turn(which, request, tmp_path):
    found = asked(request.getfixturevalue(which), tmp_path, """
        const inside = (one) => (one.matches("select") ? "" : one.textContent);  // options are no name
        const named = (one) => one.getAttribute("aria-label") || one.labels?.[0]?.textContent || inside(one);
        const all = [...document.querySelectorAll("button, input, select, canvas:not([aria-hidden]), [tabindex]")];
        const turns = [...document.querySelectorAll("[tabindex]")].map((one) => one.tabIndex);
        const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
        const live = document.querySelectorAll("[aria-live=polite]").length;
        return { nameless: all.filter((one) => !named(one)?.trim()).map((one) => one.outerHTML), turns, live,
          twice: ids.filter((id, at) => ids.indexOf(id) !== at),
          wide: document.documentElement.scrollWidth - innerWidth };
    """)  # fmt: skip
    assert found["nameless"] == []
    assert set(found["turns"]) <= {0}
    assert (found["twice"], found["live"]) == ([], 1)
    assert found["wide"] <= 0


def test_words_can_be_read_in_light_and_dark():
    light, dark = (
        dict(re.findall(r"--([\w]+): (#\w{6})", part)) for part in style().split("prefers-color-scheme: dark")[:2]
    )
    for colours in (light, dark):
        for ink in ("ink", "soft"):
            for paper in ("paper", "card"):
                assert contrast(colours[ink], colours[paper]) >= 4.5


def contrast(one: str, other: str) -> float:
    """As the Web Content Accessibility Guidelines have it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
