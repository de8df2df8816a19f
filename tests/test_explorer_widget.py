"""The explorer in a notebook: its module in a browser, as a front end calls it, and the widget that holds it."""

from __future__ import annotations

import json
import re
import sys
from html import unescape

import pytest
import torch
from browser import chromium, needs_chromium
from test_explore import X

import pyrovae as pv
from pyrovae.report.explorer.explorer_widget import explorer_widget, module

WEIGHT = torch.tensor([[1.0, 0.5], [0.0, 2.0], [-1.0, 0.0], [0.3, 0.3]])

# A front end of a notebook, in so far as a widget sees it: it imports the module and calls `render`.
FRONT_END = """<!doctype html><meta charset="utf-8"><body><p id="outside">text</p><div id="cell"></div>
<script type="application/json" id="esm">{esm}</script><script type="application/json" id="found">{found}</script>
<script type="module">
const text = (id) => JSON.parse(document.getElementById(id).textContent);
const url = URL.createObjectURL(new Blob([text("esm")], {{ type: "text/javascript" }}));
const widget = (await import(url)).default, el = document.getElementById("cell");
widget.render({{ model: {{ get: (name) => ({{ found: text("found") }})[name] }}, el }});
const {{ explorer, shadowRoot }} = el.firstChild;
const slider = shadowRoot.querySelector("input[type=range]"), before = Array.from(explorer.outputs[0]);
slider.value = slider.max;
slider.dispatchEvent(new Event("input"));
await new Promise((done) => setTimeout(done, 300));
const pre = document.createElement("pre");
pre.id = "answer";
pre.textContent = JSON.stringify({{
  before, after: Array.from(explorer.outputs[0]), at: Array.from(explorer.place.values), far: explorer.answers.far,
  ink: getComputedStyle(explorer.root).getPropertyValue("--p0").trim(),
  outside: getComputedStyle(document.body).getPropertyValue("--p0"),
  sections: shadowRoot.querySelectorAll("section").length,
}});
document.body.append(pre);
</script></body>"""


@needs_chromium
@pytest.mark.slow
def test_in_a_cell_it_answers_as_the_model_does_and_its_style_stays_inside(tmp_path, monkeypatch):
    pair, kept = pv.truth.LinearGaussian(WEIGHT, torch.arange(4.0), 0.5), []
    monkeypatch.setattr("pyrovae.report.explorer.explore.explorer_widget", kept.append)
    pv.explore(pair, X, rows=6)

    def harmless(text: str) -> str:
        return json.dumps(text).replace("<", "\\u003c")

    page = tmp_path / "cell.html"
    page.write_text(FRONT_END.format(esm=harmless(module()), found=harmless(json.dumps(kept[0]))))
    dumped = chromium("--dump-dom", "--virtual-time-budget=4000", page=page, folder=tmp_path)
    found = json.loads(unescape(re.search('<pre id="answer">(.*?)</pre>', dumped, re.DOTALL)[1]))
    mean = WEIGHT @ torch.tensor(found["at"]) + torch.arange(4.0)
    assert torch.allclose(torch.tensor(found["after"]), mean, atol=1e-4)
    assert not torch.allclose(torch.tensor(found["before"]), mean, atol=1e-2)
    assert found["far"] < 1e-6
    assert found["ink"].startswith("#")
    assert (found["outside"], found["sections"]) == ("", 3)


def test_the_widget_holds_the_module_and_what_it_shows():
    pytest.importorskip("anywidget")
    pair = pv.truth.LinearGaussian(WEIGHT, torch.arange(4.0), 0.5)
    widget = pv.explore(pair, X)
    assert json.loads(widget.found)["count"] == len(X)
    assert "export default" in widget._esm
    assert any("widget" in kind for kind in widget._repr_mimebundle_()[0])


def test_without_anywidget_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(pv.ArgumentError, match=r"pyrovae\[notebook\].*path='explorer\.html'"):
        explorer_widget({})
