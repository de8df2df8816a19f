"""A guide's site that the model has nothing to set against: with its density in log q, evidence came out too high."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from test_held_objects import model
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.checks.check_pair import findings
from pyrovae.cli.commands import app

X = torch.tensor([2.5, 0.7, -1.2, 1.6, 0.0])


def guide_with(noise):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + noise(x), 0.8))

    return guide


def drawn(x):
    return pyro.sample("u", dist.Normal(torch.zeros(len(x)), 1.0), infer={"is_auxiliary": True})


def unused(x):
    drawn(x)
    return 0.0


QUESTIONS = {
    "elbo": lambda pair: pv.elbo(pair, X, draws=5),
    "rate": lambda pair: pv.rate_distortion(pair, X, draws=5),
    "evidence": lambda pair: pv.log_evidence(pair, X, draws=5),
    "joint": lambda pair: pv.log_evidence(pair, X, draws=5, joint=True),
    "psis": lambda pair: pv.psis(pair, X, draws=50),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("noise", [unused, drawn])
def test_no_figure_is_made_of_it(question, noise):
    with pytest.raises(pv.PairError, match="the guide draws 'u', which the model does not, and of which no site"):
        QUESTIONS[question](pv.Pair(model, guide_with(noise)))


def test_the_check_says_so_and_predictions_stand():
    pair = pv.Pair(model, guide_with(drawn))
    found = [finding for finding in findings(pair, (X,), {}) if finding.clause == "surplus-density"]
    assert [(finding.severity, finding.where) for finding in found] == [("warning", "u")]
    scale = pv.encode(pair, X, draws=4000)["z"].scale
    torch.testing.assert_close(scale, torch.full((5,), 1.64**0.5), atol=0.06, rtol=0)
    stats = pv.to_arviz(pair, X, draws=3, groups=["sample_stats"])
    assert not any("weight" in name for group in _groups(stats) for name in _names(stats, group))


def _groups(stats):
    return stats.groups() if callable(stats.groups) else stats.groups  # of both generations of ArviZ


def _names(stats, group):
    return getattr(stats, group.strip("/"), {}) if group.strip("/") else {}


@pytest.mark.slow
def test_the_same_noise_without_a_site_has_the_exact_evidence():
    """The mend that the refusal names."""
    pair = pv.Pair(model, guide_with(lambda x: 0.4 * torch.randn_like(x)))
    found = pv.log_evidence(pair, X, draws=4000)
    exact = dist.Normal(0.0, 2**0.5).log_prob(X).double()
    assert float(((found.value - exact) / found.error).abs().max()) < 4.5


def test_what_a_latent_site_is_made_of_counts_once():
    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(x, 2**0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u / 2, log_density=torch.full_like(u, 2.0).log()))

    found = pv.log_evidence(pv.Pair(model, guide), X, draws=3).value.float()
    torch.testing.assert_close(found, dist.Normal(0.0, 2**0.5).log_prob(X), atol=1e-5, rtol=0)


def trained(noise):
    """A training of three epochs; a guide whose noise is a site is warned of."""

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x + noise(x), 0.8))

    pyro.clear_param_store()
    return pv.fit(pv.Pair(model, guide), X, epochs=3, seed=0, staged=False, progress=False)


def test_a_training_does_not_call_it_an_elbo():
    """Its history holds minus the loss, and the result says before all else that this is no bound."""
    with pytest.warns(pv.PyrovaeWarning, match="surplus-density"):
        run = trained(drawn)
    assert run.verdicts[0].words == f"What the history calls ELBO is none: {run.no_elbo}"
    assert "What the history calls ELBO is none: the guide draws 'u'" in run.verdict
    assert "  ELBO  " not in repr(run)
    assert run.plot().axes[0].get_title() == "log p - log q (no ELBO)"
    other = trained(torch.zeros_like)
    assert "  ELBO  " in repr(other)
    assert other.plot().axes[0].get_title() == "ELBO"


def verdict_of(page):
    return page.split('class="verdict')[1].split("</div>")[0]


@pytest.mark.parametrize("form", ["a Fit", "a pair with its history", "a pair alone"])
def test_no_report_calls_it_an_elbo(form, tmp_path):
    """Whoever hands over what: the pair itself shows it."""
    with pytest.warns(pv.PyrovaeWarning, match="surplus-density"):
        run = trained(drawn)
    asked = run if form == "a Fit" else run.pair
    history = run.history if "history" in form else None
    page = pv.write_report(asked, X.repeat(10), path=tmp_path / "x.html", history=history).read_text()
    assert ">No ELBO<" in verdict_of(page)
    assert "the guide draws &#x27;u&#x27;, which the model does not" in verdict_of(page)
    assert "<dt>ELBO" not in page
    if form != "a pair alone":
        assert "log p - log q (no ELBO)" in page
        assert "None of these curves is an ELBO" in page
        assert ">ELBO<" not in page
    sound = trained(torch.zeros_like)
    page = pv.write_report(sound, X.repeat(10), path=tmp_path / "x.html").read_text()
    assert "none:" not in verdict_of(page)
    assert "<dt>ELBO" in page
    assert ">ELBO<" in page


OWN = """
import pyro, pyro.distributions as dist, torch
import pyrovae as pv

def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z[:, None].expand_as(x), 1.0).to_event(1), obs=x)

def guide(x):
    slope = pyro.param("slope", torch.tensor(0.5))
    with pyro.plate("data", len(x)):
        u = pyro.sample("u", dist.Normal(torch.zeros(len(x)), 1.0), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Normal(slope * x.mean(1) + u, 0.8))

def make():
    return pv.Pair(model, guide)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pyrovae.PyrovaeWarning")
def test_nor_does_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    np.save("x.npy", np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32))
    words = ["--pair", "own.py:make"]
    assert run("train", "x.npy", "--out", "run", "--epochs", "5", "--quiet", *words).exit_code == 0
    page = Path("run/report.html").read_text()
    assert ">No ELBO<" in verdict_of(page)
    assert ">ELBO<" not in page
    assert "the guide draws 'u'" in run("evaluate", "run", *words).output
    found = json.loads(run("evaluate", "run", "--json", *words).stdout)
    assert "elbo" not in found
    assert "the guide draws 'u'" in found["left_out"]["elbo"]
    assert found["active_units"]["z"]["total"] == 1
    card = run("report", "run/model.safetensors", "x.npy", "-o", "x.html", *words)
    assert card.exit_code == 0, card.output
    assert ">No ELBO<" in verdict_of(Path("x.html").read_text())


def run(*words):
    return CliRunner().invoke(app, words)
