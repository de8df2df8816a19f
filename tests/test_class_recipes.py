"""Mixtures, classes that are summed out, relaxed or partly known, and conditions: right figures, errors in words."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO

import pyrovae as pv
from pyrovae.objectives.losses import own_loss
from pyrovae.pairs.classes import class_form
from pyrovae.pairs.structure import inspected

CLASSES = torch.arange(60) % 3
MEANS = 0.1 + 0.8 * torch.eye(3).repeat_interleave(4, 1)
X = torch.bernoulli(MEANS[CLASSES], generator=torch.Generator().manual_seed(0))
SOME = torch.where(torch.arange(60) % 4 == 0, CLASSES, -1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def normal(network):
    return pv.Normal(network, scale=0.7)


def widen(vae):
    """A posterior that covers what a prior near 0 allows, so that importance weights are even."""
    layer = vae.posterior.network.layers[0]
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([0.0, 0.0, 0.5, 0.5]))
    return vae


class CategoricalBag(dist.Multinomial):
    """Counts of words by a name that others gave them."""


def test_a_linear_mixture_has_the_evidence_of_its_formula():
    vae = widen(pv.recipes.mixture_vae(4, 2, 3, likelihood=normal, hidden=[]))
    with torch.no_grad():
        vae.prior.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        layer, scale = vae.likelihood.network.layers[0], vae.prior.component(slice(None)).base_dist.scale
        center = vae.prior.loc @ layer.weight.T + layer.bias
        covariance = layer.weight @ torch.diag_embed(scale.square()) @ layer.weight.T + 0.49 * torch.eye(4)
    x = 0.5 * torch.randn(6, 4)
    exact = (
        vae.prior.logits.log_softmax(-1) + dist.MultivariateNormal(center, covariance).log_prob(x.unsqueeze(1))
    ).logsumexp(-1)
    found = pv.log_evidence(vae, x, draws=20_000)
    assert torch.allclose(found.value.float(), exact, atol=0.05)
    assert (pv.elbo(vae, x, draws=200).value < exact).all()


def summed(vae, x):
    """log p(x, code) for each code of a categorical VAE, by hand."""
    sites, classes = vae.logits.shape
    codes = torch.cartesian_prod(*[torch.arange(classes)] * sites).reshape(-1, sites)
    one_hot = torch.nn.functional.one_hot(codes, classes).flatten(1).float()
    prior = sum(vae.logits[j].log_softmax(-1)[codes[:, j]] for j in range(sites))
    return codes, prior + vae.likelihood(one_hot).log_prob(x.unsqueeze(1))


@pytest.mark.parametrize("sites", [1, 2])
@torch.no_grad()
def test_summed_classes_are_exact(sites):
    vae = pv.recipes.categorical_vae(12, 3, sites=sites, hidden=[8])
    vae.logits.normal_()
    codes, joint = summed(vae, X[:8])
    assert torch.allclose(pv.log_evidence(vae, X[:8]).value.float(), joint.logsumexp(-1), atol=1e-4)
    assert pv.rate_distortion(vae, X[:8]).elbo == pytest.approx(float(joint.logsumexp(-1).mean()), abs=1e-4)
    exact = torch.stack([joint.softmax(-1)[:, codes[:, 0] == k].sum(-1) for k in range(3)], -1)
    found = pv.clusters(vae, X[:8], site=vae.names[0], draws=2_000)
    assert torch.allclose(found.probabilities, exact, atol=0.05)
    assert torch.equal(found.labels, found.probabilities.argmax(-1))
    assert float(found.sizes.sum()) == pytest.approx(8, abs=1e-3)


@torch.no_grad()
def test_straight_through_has_the_evidence_of_the_summed_model_and_relaxed_its_own():
    exact = pv.recipes.categorical_vae(12, 3, hidden=[8])
    exact.logits.normal_()
    found = {}
    for hard in (True, False):
        vae = pv.recipes.categorical_vae(12, 3, temperature=0.7, straight_through=hard, hidden=[8])
        vae.prior.network.values.copy_(exact.logits)
        network = vae.likelihood.network[1] if hard else vae.likelihood.network
        network.load_state_dict(exact.likelihood.network.state_dict())
        with torch.no_grad():  # logits this large make the classes matter
            network.layers[-1].weight.mul_(4)
        found[hard] = pv.log_evidence(vae, X[:6], draws=20_000).value.float()
    exact.likelihood.network.layers[-1].weight.mul_(4)
    reference = summed(exact, X[:6])[1].logsumexp(-1)
    assert torch.allclose(found[True], reference, atol=0.06)
    assert (found[False] - reference).abs().max() > 0.06


def test_relaxed_draws_are_in_the_support_and_no_classes():
    logits = torch.randn(5_000, 4) * 30
    site = pv.RelaxedCategorical(torch.nn.Identity(), 0.5)(logits)
    draws = site.sample()
    assert torch.isfinite(site.log_prob(draws)).all()
    assert class_form(site) is None
    assert class_form(CategoricalBag(3, logits=logits)) is None
    assert class_form(dist.RelaxedOneHotCategorical(torch.tensor(0.5), logits=logits)) is None
    wide = pv.RelaxedCategorical(torch.nn.Identity(), 2.0)(torch.tensor([1.0, 0.0, -1.0]).expand(20_000, 3))
    share = torch.nn.functional.one_hot(wide.sample().argmax(-1), 3).float().mean(0)
    expected = 10 * torch.tensor([0.1, 0.0, -0.1])
    assert torch.allclose(share, expected.softmax(-1), atol=0.02)


@pytest.fixture(scope="module")
def labelled():
    torch.manual_seed(0)
    vae = pv.recipes.semi_supervised_vae(12, 2, 3, hidden=[16])
    pv.fit(vae, (X, SOME), epochs=40, batch_size=30, learning_rate=0.02, staged=False, progress=False, seed=0)
    return vae


@pytest.mark.slow
def test_rows_with_a_label_have_the_joint_evidence_and_others_the_marginal_one(labelled):
    x, label = X[:6], SOME[:6]
    each = [pv.log_evidence(labelled.conditional(), x, torch.full((6,), k), draws=5_000).value for k in range(3)]
    joint = torch.stack(each, -1) - math.log(3)
    expected = torch.where(
        label >= 0, joint.gather(-1, label.clamp(min=0).unsqueeze(-1)).squeeze(-1), joint.logsumexp(-1)
    )
    found = pv.log_evidence(labelled, x, label, draws=400).value
    assert torch.allclose(found, expected, atol=0.1)


def test_classes_are_predicted_and_known_labels_kept(labelled):
    assert (pv.clusters(labelled, X).labels == CLASSES).float().mean() > 0.9
    known = pv.encode(labelled, X, SOME)["y"].mean[SOME >= 0]
    assert torch.equal(known.argmax(-1), SOME[SOME >= 0])
    assert torch.equal(known.amax(-1), torch.ones(len(known)))


def test_the_classification_term_is_in_the_loss_and_in_no_figure(labelled):
    losses, figures = [], []
    for alpha in (0.0, 100.0):
        labelled.classification = alpha
        torch.manual_seed(1)
        losses.append(
            SVI(labelled.model, labelled.guide, pyro.optim.Adam({}), TraceEnum_ELBO(max_plate_nesting=1)).evaluate_loss(
                X, SOME
            )
        )
        figures.append(pv.rate_distortion(labelled, X, SOME, seed=0).elbo)
    labelled.classification = 10.0
    known = SOME >= 0
    expected = -100 * labelled.classifier(X[known]).log_prob(SOME[known]).sum().detach()
    assert losses[1] - losses[0] == pytest.approx(float(expected), rel=1e-3)
    assert figures[0] == figures[1]


def test_a_guide_that_enumerates_is_summed_out_by_default():
    vae = pv.recipes.semi_supervised_vae(12, 2, 3, hidden=[8])
    assert isinstance(own_loss(None, inspected(vae, (X,), {})[0]), TraceEnum_ELBO)
    plain = pv.recipes.conditional_vae(12, 2, classes=3, hidden=[8])
    assert type(own_loss(None, inspected(plain, (X, CLASSES), {})[0])) is Trace_ELBO


def test_the_depth_of_plates_is_found_and_not_guessed():
    vae = pv.recipes.semi_supervised_vae(12, 2, 3, hidden=[8])
    structure = inspected(vae, (X,), {})[0]
    assert own_loss(None, structure).max_plate_nesting == 1
    assert own_loss(TraceEnum_ELBO(), structure).max_plate_nesting == 1
    several = own_loss(TraceEnum_ELBO(num_particles=3, vectorize_particles=True), structure)
    assert several.max_plate_nesting == 2
    assert pv.fit(vae, (X, SOME), epochs=1, loss=several, progress=False).history[0].loss > 0


class Double(pv.Conditional):
    """A likelihood in double precision, as that of a table is."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *given):
        return dist.Normal(self.network(*given).double(), 1.0).to_event(1)


@pytest.mark.parametrize("make", [pv.recipes.semi_supervised_vae, pv.recipes.mixture_vae])
def test_sites_of_two_precisions_are_summed_out(make):
    losses = []
    for likelihood in (Double, lambda network: pv.Normal(network, scale=1.0)):
        torch.manual_seed(0)
        vae = make(12, 2, 3, hidden=[8], likelihood=likelihood)
        data = (X, SOME) if make is pv.recipes.semi_supervised_vae else X
        losses.append(pv.fit(vae, data, epochs=1, staged=False, progress=False, seed=0).history[0][:4])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_draws_of_rows_with_a_label_are_made_together(labelled, caplog):
    caplog.set_level("INFO", "pyrovae")
    pv.log_evidence(labelled, X[:6], SOME[:6], draws=3)
    assert "one by one" not in caplog.text
    assert "pyro.factor" not in caplog.text  # the classification term is ours, and no news


def test_generation_under_a_chosen_class(labelled):
    chosen = labelled.conditional()
    for k in range(3):
        draws = pv.generate(chosen.under(k), 200, seed=0)["x"].float().mean(0)
        assert draws.reshape(3, 4).mean(-1).argmax() == k
    together = pv.generate(chosen, torch.zeros(60, 12), CLASSES, seed=0)["x"].float()
    assert (together.reshape(60, 3, 4).mean(-1).argmax(-1) == CLASSES).float().mean() > 0.8


def test_a_covariate_is_what_it_says_and_of_one_component_too():
    vae = widen(pv.recipes.conditional_vae(3, 2, condition=2, likelihood=normal, hidden=[]))
    c, x = torch.randn(5, 2), 0.5 * torch.randn(5, 3)
    alone = [float(pv.log_evidence(vae.under(c[n]), x[n : n + 1], draws=4_000).value) for n in range(5)]
    assert pv.log_evidence(vae, x, c, draws=4_000).value.tolist() == pytest.approx(alone, abs=0.06)
    mixture = pv.recipes.mixture_vae(3, 2, 2, likelihood=normal, hidden=[])
    with torch.no_grad():
        mixture.prior.loc.copy_(torch.tensor([[-50.0, 0.0], [50.0, 0.0]]))
    assert (pv.generate(mixture.under(0), 20, seed=0)["z"][:, 0] < -40).all()
    assert (pv.generate(mixture.under(1), 20, seed=0)["z"][:, 0] > 40).all()


@pytest.mark.slow
def test_the_number_of_clusters_is_chosen_by_held_out_evidence():
    def make(count):
        return pv.recipes.categorical_vae(12, count, hidden=[])

    x = torch.bernoulli(MEANS[torch.arange(240) % 3], generator=torch.Generator().manual_seed(1))
    choice = pv.choose_latent(make, x, [1, 2, 3, 5], folds=2, epochs=60, learning_rate=0.1, staged=False)
    assert choice.smallest == 3


RECIPES = pv.recipes
TINY = {"epochs": 1, "progress": False}


def classified_by(classifier):
    likelihood, posterior = pv.Bernoulli(pv.MLP([2, 3], [4], 12)), pv.DiagNormal(pv.MLP([12, 3], [4], 4))
    return pv.LabelledVAE(pv.StandardNormal(2), likelihood, posterior, classifier, classes=3)


def fit(pair, *data):
    return pv.fit(pair, data if len(data) > 1 else data[0], **TINY)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int32, torch.float64, torch.bfloat16, torch.bool])
def test_labels_of_any_type_are_those_of_whole_numbers(kind):
    known = CLASSES.clamp(max=1)
    found = []
    for labels in (known, known.to(kind)):
        torch.manual_seed(0)
        vae = RECIPES.semi_supervised_vae(12, 2, 2, hidden=[8])
        under = RECIPES.conditional_vae(12, 2, classes=2, hidden=[8])
        found.append([
            fit(vae, X, labels).history[0].loss, float(pv.elbo(vae, X, labels, draws=2).value.sum()),
            fit(under, X, labels).history[0].loss,
        ])  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: fit(RECIPES.semi_supervised_vae(12, 2, 3), X, CLASSES + 1), "label 3 in row 2 is out of range"),
        (lambda: pv.encode(RECIPES.semi_supervised_vae(12, 2, 3), X, CLASSES - 2), "label -2 in row 0"),
        (lambda: fit(RECIPES.semi_supervised_vae(12, 2, 4), X, CLASSES), "no row has a label of class 3"),
        (lambda: fit(RECIPES.semi_supervised_vae(12, 2, 3), X, CLASSES * 0 - 1), "all labels are missing"),
        (lambda: fit(RECIPES.semi_supervised_vae(12, 2, 3), X), "all labels are missing"),
        (lambda: fit(RECIPES.semi_supervised_vae(12, 2, 3), X, CLASSES + 0.5), "out of range"),
        (lambda: pv.elbo(RECIPES.semi_supervised_vae(12, 2, 3), X, torch.eye(60)), "one number a row"),
        (lambda: fit(RECIPES.conditional_vae(12, 2, condition=2), X, torch.zeros(60, 3)), r"\(rows, 2\)"),
        (lambda: fit(RECIPES.conditional_vae(12, 2, classes=2), X, CLASSES), "out of range"),
        (lambda: fit(RECIPES.conditional_vae(12, 2, classes=3), X, SOME), "out of range"),
        (lambda: RECIPES.conditional_vae(12, 2, classes=3).under(3), "out of range"),
        (lambda: RECIPES.conditional_vae(12, 2, condition=2).under([1.0]), r"\(rows, 2\)"),
        (lambda: RECIPES.conditional_vae(12, 2), "one of both"),
        (lambda: fit(RECIPES.semi_supervised_vae(12, 2, 3), X, (CLASSES - 1).to(torch.uint8)), "label 255 in row 0"),
        (lambda: pv.encode(RECIPES.semi_supervised_vae(12, 2, 3), X, CLASSES * math.nan), "label nan in row 0"),
        (lambda: RECIPES.conditional_vae(12, 2, condition=2).under([math.nan, 1.0]), "holds NaN or infinity"),
        (lambda: RECIPES.conditional_vae(12, 2, condition=2).under("ab"), "give 2 numbers"),
        (lambda: fit(RECIPES.conditional_vae(12, 2, condition=2), X), r"give both, \(x, c\)"),
        (lambda: fit(classified_by(pv.Categorical(pv.MLP(12, [], 5))), X, CLASSES), "gave 5 classes, and classes=3"),
        (lambda: pv.elbo(classified_by(pv.Bernoulli(pv.MLP(12, [], 3))), X), "gave .*, and classes=3"),
        (lambda: pv.elbo(classified_by(pv.MLP(12, [], 3)), X), r"classifier=pv.Categorical\(network\)"),
        (lambda: RECIPES.conditional_vae(12, 2, classes=3).under(None), "give a class number, 0 to 2"),
        (
            lambda: pv.elbo(pv.masked(RECIPES.conditional_vae(12, 2, condition=2)), X, torch.full((60, 2), math.nan)),
            "condition of row 0 holds NaN",
        ),
        (lambda: pv.generate(RECIPES.conditional_vae(12, 2, classes=3), 4), "does not say what its data look like"),
        (lambda: fit(RECIPES.mixture_vae(12, 2, 61), X), "61 components cannot be learned from 60 rows"),
        (lambda: RECIPES.mixture_vae(12, 2, 3).under(3), "0 to 2"),
        (lambda: fit(RECIPES.categorical_vae(12, 61), X), "61 classes cannot be learned from 60 rows"),
        (lambda: RECIPES.categorical_vae(12, 10, sites=4), "10000 combinations"),
        (lambda: RECIPES.categorical_vae(12, 3, straight_through=True), "give temperature="),
        (lambda: RECIPES.categorical_vae(12, 3, temperature=0.1), "0.5 to 10"),
        (lambda: RECIPES.semi_supervised_vae(12, 2, 3, classification=-1), "classification=-1"),
        (lambda: pv.clusters(RECIPES.conditional_vae(12, 2, classes=3), X, CLASSES), "no latent class"),
        (lambda: pv.clusters(RECIPES.categorical_vae(12, 3, sites=2), X), "say which by site="),
        (lambda: pv.clusters(RECIPES.mixture_vae(12, 2, 3), X, site="z"), "is none of classes"),
    ],
)
def test_errors_in_words(act, words):
    with pytest.raises(pv.PyrovaeError, match=words):
        act()
