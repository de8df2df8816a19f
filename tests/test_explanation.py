"""Shares of cells in figures, against games whose Shapley values are added up over all coalitions."""

from __future__ import annotations

import itertools
import math
import sys

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.trust.explanation.own_imputation import OwnImputation

pytest.importorskip("captum")

CELLS = 4
torch.manual_seed(3)
WEIGHT, MEAN = torch.randn(CELLS, 2, dtype=torch.float64), torch.randn(CELLS, dtype=torch.float64)
TRUTH = pv.truth.LinearGaussian(WEIGHT, MEAN, 0.5)
X = TRUTH.sample(5, seed=1)
COALITIONS = [frozenset(s) for size in range(CELLS + 1) for s in itertools.combinations(range(CELLS), size)]


def known(coalition) -> torch.Tensor:
    return torch.tensor([cell in coalition for cell in range(CELLS)])


def shapley(value) -> torch.Tensor:
    """By the definition, over all coalitions; `value` gives (rows,) for which cells are known."""
    game = {coalition: value(known(coalition)) for coalition in COALITIONS}
    found = torch.zeros(len(X), CELLS, dtype=torch.float64)
    for cell, others in itertools.product(range(CELLS), COALITIONS):
        if cell not in others:
            share = math.factorial(len(others)) * math.factorial(CELLS - len(others) - 1) / math.factorial(CELLS)
            found[:, cell] += share * (game[others | {cell}] - game[others])
    return found


def latent(x: torch.Tensor) -> torch.Tensor:
    return TRUTH.posterior(x).mean[:, 1]


FIGURES = {"evidence": TRUTH.log_evidence, ("z", 1): latent, "novelty": lambda x: -TRUTH.log_evidence(x)}


def within_error(found: pv.Explanation, exact: torch.Tensor) -> bool:
    """No share further off than chance allows, and not all of them nearer than chance has it."""
    off = ((found.contribution - exact) / found.error).abs()
    return bool(off.max() < 4) and bool(off.square().mean().sqrt() < 1.6)


# --- a baseline -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["shapley", "integrated_gradients"])
@pytest.mark.parametrize("of", FIGURES, ids=str)
def test_shares_of_a_quadratic_figure_are_the_exact_ones(of, method):
    """Orders come in pairs, and a path of 32 steps is exact for polynomials: both give the same values here."""
    exact = shapley(lambda cells: FIGURES[of](torch.where(cells, X, 0.3)))
    found = pv.explain(TRUTH, X, of=of, method=method, absent=0.3, draws=2, repeats=2)
    assert torch.allclose(found.contribution, exact, atol=2e-6)
    assert torch.allclose(found.value, FIGURES[of](X), atol=1e-6)
    assert found.completeness.abs().max() < 1e-5
    assert found.error.max() < 1e-5


def test_values_are_those_of_the_functions_that_they_are_called_after():
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 4), scale=1.0), pv.DiagNormal(pv.MLP(4, [], 4)))
    x = X.float()
    found = pv.explain(vae, x, of="elbo", absent="mean", draws=200, repeats=2)
    there = pv.elbo(vae, x, draws=2000)
    assert ((found.value - there.value).abs() < 5 * there.error * math.sqrt(10)).all()
    parts = {part: pv.explain(vae, x, of=("uncertainty", part), draws=1000, repeats=2) for part in ("total", "latent")}
    exact = pv.uncertainty(vae, x, draws=2000)["x"]
    for part, one in parts.items():
        assert torch.allclose(one.value.float(), getattr(exact, part).sum(1), rtol=0.1)
    assert torch.allclose(parts["total"].base, parts["total"].value - parts["total"].contribution.sum(1), atol=1e-5)


@pytest.mark.slow
def test_of_a_linear_figure_lime_finds_its_slopes():
    exact = shapley(lambda cells: latent(torch.where(cells, X, MEAN)))
    found = pv.explain(TRUTH, X, of=("z", 1), method="lime", absent=MEAN, draws=2, repeats=2)
    assert torch.allclose(found.contribution, exact, atol=1e-5)


# --- the marginal ---------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_marginal_is_that_of_the_reference():
    reference = TRUTH.sample(6, seed=9)

    def value(cells):
        return torch.stack([TRUTH.log_evidence(torch.where(cells, X, row)) for row in reference]).mean(0)

    found = pv.explain(TRUTH, X, absent="marginal", reference=reference, draws=2, repeats=60)
    assert within_error(found, shapley(value))
    assert found.error.min() > 1e-3


# --- the pair's own imputation --------------------------------------------------------------------------
COVARIANCE = WEIGHT @ WEIGHT.T + 0.25 * torch.eye(CELLS, dtype=torch.float64)


def given(cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of whole rows given what is known, and the covariance of all cells then."""
    there = cells.nonzero().flatten()
    lift = torch.linalg.solve(COVARIANCE[there][:, there], COVARIANCE[there]).T
    return MEAN + (X - MEAN)[:, there] @ lift.T, COVARIANCE - lift @ COVARIANCE[there]


def expected_evidence(cells: torch.Tensor) -> torch.Tensor:
    mean, covariance = given(cells)
    return TRUTH.log_evidence(mean) - torch.linalg.solve(COVARIANCE, covariance).trace() / 2


EXPECTED = {("z", 1): lambda cells: latent(given(cells)[0]), "evidence": expected_evidence}


@pytest.mark.slow
@pytest.mark.parametrize("of", EXPECTED, ids=str)
def test_conditional_shapley_values_are_the_exact_ones(of):
    found = pv.explain(TRUTH, X, of=of, absent="imputed", draws=2, repeats=20)
    exact = shapley(EXPECTED[of])
    assert within_error(found, exact)
    assert found.error.mean() < 0.25 * exact.std()  # so near that another game would be seen
    assert not within_error(found, shapley(lambda cells: FIGURES[of](torch.where(cells, X, MEAN))))


@pytest.mark.slow
def test_completed_cells_have_the_mean_and_the_variance_of_the_exact_ones():
    """Where the guide knows little, and where it knows nothing: there the prior's candidates have to bear the tails."""
    own = OwnImputation(TRUTH, {0: X}, 0, X, seed=0, data_plate=None)
    for cells in ([True, False, False, False], [False] * CELLS):
        seen = torch.tensor(cells)
        mean, covariance = given(seen)
        drawn = torch.stack([one for seed in range(40) for one in own.filled(seen, seed)])
        off = ((drawn - mean) / covariance.diagonal().sqrt())[..., ~seen]
        assert off.mean((0, 1)).abs().max() < 4 / math.sqrt(len(drawn) * len(X) / 2)
        assert (off.square().mean((0, 1)) - 1).abs().max() < 4 * math.sqrt(2 / (len(drawn) * len(X) / 2))


def test_each_completion_has_cells_of_its_own():
    """Also where one candidate is taken by all of them: the model draws for those that were chosen, not for each."""
    sharp = pv.truth.LinearGaussian(torch.ones(CELLS, 1), torch.zeros(CELLS), 0.01)
    x = sharp.sample(6, seed=0)
    own = OwnImputation(sharp, {0: x}, 0, x, seed=0, data_plate=None)
    seen = torch.tensor([True, True, False, False])
    drawn = torch.stack(list(own.filled(seen, 0)))
    assert own.few > 0  # of latents that fit
    assert torch.equal(drawn[:, :, seen], x[:, seen].expand(len(drawn), 6, 2))
    assert all(len(cell.unique()) == len(drawn) for row in drawn.unbind(1) for cell in row[:, ~seen].T)


# --- noise ----------------------------------------------------------------------------------------------
def noisy():
    """A guide far from the posterior, so that few draws give a noisy evidence; its last cell does nothing."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., :1] * torch.tensor([1.0, 1.0, 0.0]), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.2 * x[:, :2], 1.5).to_event(1))

    return pv.Pair(model, guide)


def test_noise_is_not_taken_for_importance():
    """What moves with the cell alone is the same for all draws; without common random numbers it would not be."""
    x = torch.tensor([[1.0, -1.0, 2.0]])
    found = pv.explain(noisy(), x, of="elbo", absent=0.0, draws=1, repeats=12)
    assert found.contribution[0, 2] == pytest.approx(-2.0, abs=1e-5)
    assert found.error[0, 2] < 1e-5
    assert found.error[0, 0] > 0.05  # the draws matter to this one


# --- cells together, other arguments, holes -----------------------------------------------------------
def test_groups_are_explained_together():
    groups = torch.tensor([7, 2, 2, 7])
    found = pv.explain(TRUTH, X, groups=groups, absent=0.0, draws=2, repeats=2)
    one, other = (TRUTH.log_evidence(torch.where(groups == label, X, 0.0)) for label in (2, 7))
    none, every = TRUTH.log_evidence(0 * X), TRUTH.log_evidence(X)
    assert torch.allclose(found.contribution[:, 0], (one - none + every - other) / 2, atol=1e-5)
    with pytest.raises(pv.ArgumentError, match=r"groups is int64 of shape \(3,\)"):
        pv.explain(TRUTH, X, groups=torch.arange(3))


def regression():
    """An argument that nothing observes, and one that stands by name."""

    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(c.sum(-1), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + c.sum(-1)) / 2, math.sqrt(0.5)))

    return pv.Pair(model, guide)


def test_the_cells_of_a_covariate_are_explained_by_name():
    x, c = torch.zeros(3), torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, -1.0]])
    found = pv.explain(regression(), x=x, c=c, cells_of="c", of=("z", 0), absent=0.0, draws=2, repeats=2)
    assert torch.allclose(found.contribution, c.double() / 2, atol=1e-5)
    with pytest.raises(pv.PairError, match="no observed site of the pair holds argument 'c'"):
        pv.explain(regression(), x=x, c=c, cells_of="c", of=("z", 0), absent="imputed")
    with pytest.raises(pv.DataError, match="'x' are single numbers"):
        pv.explain(regression(), x=x, c=c)
    with pytest.raises(pv.ArgumentError, match="cells_of='y'; the data are 'x', 'c'"):
        pv.explain(regression(), x=x, c=c, cells_of="y")


def test_a_cell_that_is_missing_has_no_share():
    x = X.clone()
    x[0, 2] = math.nan
    pair = pv.masked(TRUTH)
    found = pv.explain(pair, x, absent=0.0, draws=300, repeats=2)
    assert found.contribution[0, 2] == 0
    assert torch.allclose(found.contribution[1:], pv.explain(TRUTH, X, absent=0.0, draws=2, repeats=2).contribution[1:])


# --- words ----------------------------------------------------------------------------------------------
def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(pv.ArgumentError, match=r"pip install 'pyrovae\[explain\]'"):
        pv.explain(TRUTH, X)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"of": "sharpness"}, "of='sharpness'; give 'elbo', 'evidence'"),
        ({"of": ("z", 2)}, r"of=\('z', 2\); latent sites .* are 'z' \(0 to 1\)"),
        ({"of": ("y", 0)}, "are 'z'"),
        ({"of": ("uncertainty", "all")}, "the parts are 'total'"),
        ({"of": ("uncertainty", "epistemic")}, "no epistemic uncertainty to explain"),
        ({"of": lambda found: found["z"].mean}, r"of= gave \(5, 2\)"),
        ({"method": "guess"}, "method='guess'; give 'shapley'"),
        ({"method": "integrated_gradients", "of": ("uncertainty", "latent")}, "no gradient is taken"),
        ({"method": "lime", "steps": 4}, "steps=4; lime fits 5 numbers"),
        ({"absent": "nothing"}, "absent='nothing'; give 'imputed'"),
        ({"absent": [1.0, 2.0]}, r"absent=\[1.0, 2.0\]"),
        ({"reference": torch.zeros(4, 3)}, r"reference has rows of shape \(3,\)"),
        ({"method": "integrated_gradients", "absent": "imputed"}, "is none: it is another one for each set"),
        ({"repeats": 1}, "repeats=1; give a whole number, 2 at least"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_asked_is_refused_in_words(asked, words):
    with pytest.raises((pv.ArgumentError, pv.DataError), match=words):
        pv.explain(TRUTH, X, **asked)


def test_data_that_a_likelihood_does_not_take_are_refused_with_the_way_out():
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 4)), pv.DiagNormal(pv.MLP(4, [], 4)))
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    with pytest.raises(pv.ArgumentError, match=r"does not take rows in which absent cells are filled so.*'marginal'"):
        pv.explain(vae, x, absent="mean")
    assert pv.explain(vae, x, method="integrated_gradients", draws=4, repeats=2).completeness.abs().max() < 1e-3


def test_ranked_names_the_greatest_first():
    found = pv.explain(TRUTH, X, absent=0.0, draws=2, repeats=2)
    ranked = found.ranked(1)
    assert [abs(share) for _, share, _ in ranked] == sorted(found.contribution[1].abs().tolist(), reverse=True)
    assert found.ranked(1, largest=True)[0][0] == int(found.contribution[1].argmax())
    with pytest.raises(pv.ArgumentError, match="row=9; there are 5 rows"):
        found.ranked(9)


def test_columns_of_a_frame_are_named():
    frame = pd.DataFrame(X.float().numpy(), columns=list("abcd"))
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 4), scale=1.0), pv.DiagNormal(pv.MLP(4, [], 4)))
    pair = pv.tables.with_schema(vae, pv.tables.schema(frame))
    found = pv.explain(pair, frame, of="elbo", draws=2, repeats=2)
    assert found.names == tuple("abcd")
    assert found.ranked(0)[0][0] == "abcd"[int(found.contribution[0].abs().argmax())]


def test_nothing_of_the_caller_is_moved():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other = (pv.explain(TRUTH, X, draws=2, repeats=2, seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.contribution, other.contribution)
    assert torch.is_grad_enabled()


# --- seeds and figures ----------------------------------------------------------------------------------
def of_shares(shares) -> pv.Explanation:
    shares = torch.tensor(shares)
    nothing = torch.zeros(len(shares))
    return pv.Explanation(shares, 0 * shares, nothing, nothing, nothing, "evidence", "shapley", "mean")


def test_stability_is_that_of_the_shares_of_each_row():
    one, other = of_shares([[1.0, 2.0, 3.0], [1.0, 0.0, 0.0]]), of_shares([[3.0, 5.0, 7.0], [0.0, 1.0, 0.0]])
    found = pv.explanation_stability([one, other])
    assert torch.allclose(found.correlation, torch.tensor([1.0, -0.5]).double())
    assert found.first.tolist() == [1.0, 0.0]
    assert torch.allclose(found.spread[0], torch.tensor([2.0, 3.0, 4.0]).double() / math.sqrt(2))
    with pytest.raises(pv.ArgumentError, match=r"shapes \[\(2, 3\)\]; give two explanations or more"):
        pv.explanation_stability([one])
    with pytest.raises(pv.ArgumentError, match=r"different figures .*evidence by shapley, absent mean; novelty"):
        pv.explanation_stability([one, other._replace(of="novelty")])


def test_figures_hold_shares_of_groups_and_names():
    groups = torch.tensor([7, 2, 2, 7])
    found = pv.explain(TRUTH, X, groups=groups, absent=0.0, draws=2, repeats=2)
    maps = pv.plots.cell_shares(X, found, shape=(2, 2)).axes
    shown = torch.as_tensor(maps[5].images[0].get_array())
    assert torch.allclose(shown.double().flatten(), found.contribution[0][[1, 0, 0, 1]])
    bars = pv.plots.cell_shares(X, found._replace(names=("a", "b"))).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()][-1] == ("a", "b")[
        int(found.contribution[0].abs().argmax())
    ]
    with pytest.raises(pv.ArgumentError, match="2 data and shares of 5"):
        pv.plots.cell_shares(X[:2], found)
    with pytest.raises(pv.ArgumentError, match="Tensor has no shares"):
        pv.plots.cell_shares(X, X)


def test_the_rows_of_a_loader_are_explained_as_they_are_in_memory():
    truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
    x = truth.sample(6, seed=0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=4)
    one, other = (pv.explain(truth, data, absent=0.0, draws=2, repeats=2).contribution for data in (loader, x))
    assert one.equal(other)


@pytest.mark.parametrize("options", [{}, {"of": "novelty"}, {"method": "integrated_gradients"}])
def test_a_row_alone_has_no_others_in_its_place(options):
    with pytest.raises(pv.ArgumentError, match="there is this row alone"):
        pv.explain(TRUTH, X[:1], **options)
    assert pv.explain(TRUTH, X[:1], reference=X, draws=2, repeats=2, **options).contribution.abs().sum() > 0
    assert pv.explain(TRUTH, X[:1], absent=0.0, draws=2, repeats=2, **options).contribution.abs().sum() > 0
