"""A density beside a probability has no figures: relaxed classes of a guide, classes of the model."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.checks.check_pair import findings

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
RELAXED = dist.RelaxedOneHotCategorical
SOFT = torch.tensor(0.7)


def classes(prior, posterior, *, local=True):
    decoder, classifier = nn.Linear(3, 3), nn.Linear(3, 3)

    def rows(x):
        return pyro.plate("data", len(x))

    def model(x):
        pyro.module("decoder", decoder)
        if not local:
            k = pyro.sample("k", prior(torch.zeros(3)))
        with rows(x):
            k = pyro.sample("k", prior(torch.zeros(len(x), 3))) if local else k
            pyro.sample("x", dist.Normal(decoder(k), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("classifier", classifier)
        if not local:
            pyro.sample("k", posterior(classifier(x).mean(0)))
            return
        with rows(x):
            pyro.sample("k", posterior(classifier(x)))

    return pv.Pair(model, guide)


def exact(logits):
    return dist.OneHotCategorical(logits=logits)


def soft(logits):
    return RELAXED(SOFT, logits=logits)


def straight_through(logits):
    return dist.RelaxedOneHotCategoricalStraightThrough(SOFT, logits=logits)


QUESTIONS = {
    "elbo": pv.elbo,
    "log_evidence": pv.log_evidence,
    "joint": lambda pair, x: pv.log_evidence(pair, x, joint=True),
    "psis": pv.psis,
    "rate_distortion": pv.rate_distortion,
    "novelty": lambda pair, x: pv.novelty(pair, x, calibration=x),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_figures_of_relaxed_classes_beside_classes_are_refused(name):
    with pytest.raises(pv.PairError, match=r"'k' is drawn from Relaxed.* and has OneHotCategorical in the model"):
        QUESTIONS[name](classes(exact, straight_through), X)


@pytest.mark.parametrize(("prior", "posterior"), [(exact, soft), (soft, exact), (exact, straight_through)])
def test_so_they_are_of_either_side_and_of_what_all_rows_share(prior, posterior):
    for local in (True, False):
        with pytest.raises(pv.PairError, match="a density, the other a probability"):
            pv.elbo(classes(prior, posterior, local=local), X, draws=2)


def test_predictions_stand_and_files_have_no_weights():
    pair = classes(exact, straight_through)
    assert pv.posterior_predictive(pair, X, draws=2)["x"].shape == (2, 12, 3)
    stats = pv.to_arviz(pair, X, draws=2, groups=["sample_stats"])["sample_stats"]
    assert "log_p" in stats
    assert not {"log_weight", "log_q", "elbo", "local_log_weight"} & set(stats)


def test_check_pair_says_so():
    found = [finding for finding in findings(classes(exact, straight_through), (X,), {}) if finding.where == "k"]
    assert [(one.clause, one.severity) for one in found] == [("mixed-measures", "warning")]
    assert "no weight" in found[0].message


@pytest.mark.parametrize(("prior", "posterior"), [(exact, exact), (soft, soft)])
def test_the_same_kind_on_both_sides_has_its_figures(prior, posterior):
    assert bool(pv.log_evidence(classes(prior, posterior), X, draws=5).value.isfinite().all())
    assert not findings(classes(prior, posterior), (X,), {})
