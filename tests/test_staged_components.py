"""Everything of our own is staged: every recipe, and every prior and likelihood in a pair."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from components import EVERY_KIND, FAMILIES, PRIORS, Component, components
from staged_pairs import steps_alone

import pyrovae as pv

STEPS = 7  # three plain ones, two of them looked at, then three that are compared, and one by the graph alone
COUNTS = torch.poisson(torch.full((24, 5), 4.0), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randint(0, 256, (24, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
COLUMNS = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))
BITS = (COLUMNS > 0).float()
with torch.random.fork_rng():
    torch.manual_seed(0)
    TABLE = (
        Component("", lambda net: pv.ByColumn(net, EVERY_KIND), pv.ByColumn.outputs(EVERY_KIND), ())
        .build()(torch.randn(24, 3))
        .sample()
    )
    HOLED = TABLE.masked_fill(torch.rand(TABLE.shape, generator=torch.Generator().manual_seed(2)) < 0.2, torch.nan)

SERIES = torch.randn(24, 3, 2, generator=torch.Generator().manual_seed(0))

LINES = ["ab", "ba", "a"] * 8

RECIPES = {
    "image_vae": (lambda: pv.recipes.image_vae((1, 6, 6), latent=2, hidden=[8]), IMAGES),
    "image_vae-divided": (lambda: pv.recipes.image_vae((1, 6, 6), latent=2, hidden=[8]), IMAGES / 255),
    "image_vae-channels": (lambda: pv.recipes.image_vae((1, 6, 6), latent=2, channels=(4,)), IMAGES),
    "vector_vae": (lambda: pv.recipes.vector_vae(5, latent=2, hidden=[8]), COLUMNS),
    "count_vae": (lambda: pv.recipes.count_vae(5, latent=2, hidden=[8]), COUNTS),
    "mixture_vae": (lambda: pv.recipes.mixture_vae(5, 2, 3, hidden=[8]), BITS),
    "categorical_vae": (lambda: pv.recipes.categorical_vae(5, 3, hidden=[8]), BITS),
    "categorical_vae-relaxed": (lambda: pv.recipes.categorical_vae(5, 3, sites=2, temperature=0.7, hidden=[8]), BITS),
    "conditional_vae": (lambda: pv.recipes.conditional_vae(5, 2, condition=5, hidden=[8]), (BITS, COLUMNS)),
    "semi_supervised_vae": (
        lambda: pv.recipes.semi_supervised_vae(5, 2, 3, hidden=[8]),
        (BITS, torch.arange(24) % 4 - 1),
    ),
    "sequence_vae": (lambda: pv.recipes.sequence_vae(2, 2, 3, hidden=8), (SERIES, torch.arange(24) % 3 + 1)),
    "text_vae": (
        lambda: pv.recipes.text_vae(pv.text.vocabulary(LINES), 2, hidden=8, embedding=4, word_dropout=0.3),
        pv.text.vocabulary(LINES).encode(LINES),
    ),
    "table_vae": (lambda: pv.recipes.table_vae(EVERY_KIND, latent=2, hidden=[8]), TABLE),
    "table_vae-holes": (lambda: pv.recipes.table_vae(EVERY_KIND, latent=2, hidden=[8]), HOLED),
    "table_vae-mechanism": (
        lambda: pv.recipes.table_vae(EVERY_KIND, latent=2, hidden=[8], mechanism=pv.SelfMasking(EVERY_KIND)),
        HOLED,
    ),
    "bayesian_decoder": (
        lambda: pv.recipes.bayesian_decoder(pv.recipes.count_vae(5, latent=2, hidden=[8]), rows=24, rank=1),
        COUNTS,
    ),
    "bayesian_mixture": (
        lambda: pv.recipes.bayesian_mixture(
            pv.VAE(
                pv.StickBreakingMixture(4, 2),
                pv.Normal(network((2,), 5), scale=1.0),
                pv.DiagNormal(network((5,), 4)),
            ),
            rows=24,
        ),
        COLUMNS,
    ),
}


def losses(make, data, staged, **options) -> tuple[list[float], str]:
    """The losses of some steps, and the route that they took; an error where the pair cannot be staged."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    found = []
    with steps_alone():
        running = pv.steps(make(), data, steps=STEPS, batch_size=8, seed=0, staged=staged, device="cpu", **options)
        while True:
            try:
                found.append(next(running).loss)
            except StopIteration as end:
                return found, end.value.route


def staged_alike(make, data, staged: str = "traced") -> None:
    plain, _ = losses(make, data, False)
    found, route = losses(make, data, staged)
    assert route.startswith(staged)
    assert found == pytest.approx(plain, rel=1e-4, abs=1e-5)


def network(event: tuple[int, ...], output: int | tuple[int, ...]) -> pv.MLP:
    return pv.MLP(event, [8], output)


def drawn(likelihood) -> torch.Tensor:
    with torch.no_grad():
        return likelihood(torch.randn(24, 3)).sample()


def named(entry: Component) -> str:
    return entry.id.replace("-", "_")


class Everything(torch.nn.Module):
    """A pair that observes one site of every component, so that one graph holds all of them."""

    def __init__(self):
        super().__init__()
        self.families = torch.nn.ModuleDict({named(entry): entry.build(()) for entry in FAMILIES})
        self.priors = torch.nn.ModuleDict({named(entry): entry.make() for entry in PRIORS})
        self.posterior = pv.DiagNormal(network((4,), 6))

    def model(self, **data):
        pyro.module("everything", self)
        with pyro.plate("data", len(data["DiagNormal"])):
            z = pyro.sample("z", pv.StandardNormal(3)())
            for name, value in data.items():
                part = self.families[name](z) if name in self.families else self.priors[name]()
                pyro.sample(name, part, obs=value)

    def guide(self, **data):
        with pyro.plate("data", len(data["DiagNormal"])):
            pyro.sample("z", self.posterior(data["DiagNormal"]))

    @torch.no_grad()
    def drawn(self):
        families = {name: part(torch.randn(24, 3)).sample() for name, part in self.families.items()}
        return {**families, **{name: part().sample(torch.Size([24])) for name, part in self.priors.items()}}


@pytest.mark.slow
def test_all_components_are_staged():
    torch.manual_seed(0)
    staged_alike(Everything, Everything().drawn())


@pytest.mark.slow
@components(FAMILIES)
def test_every_likelihood_is_staged(entry: Component):
    def make():
        return pv.VAE(pv.StandardNormal(3), entry.build(), pv.DiagNormal(network(entry.event, 6)))

    staged_alike(make, drawn(entry.build()))


@pytest.mark.slow
@components(PRIORS)
def test_every_prior_is_staged(entry: Component):
    def make():
        encoder = network((5,), (2 * entry.event[0], *entry.event[1:]))
        return pv.VAE(entry.make(), pv.Normal(network(entry.event, 5), scale=1.0), pv.DiagNormal(encoder))

    staged_alike(make, COLUMNS)


POSTERIORS = {
    "FullNormal": lambda: pv.FullNormal(network((5,), 9)),
    "LowRankNormal": lambda: pv.LowRankNormal(network((5,), 9), rank=1),
    "IAF": lambda: pv.IAF(network((5,), 2 * 3 + 4), 3, context=4, hidden=[8]),
    "MixtureNormal": lambda: pv.MixtureNormal(network((5,), 2 * 2 * 3), 2),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_every_posterior_is_staged(name):
    staged_alike(
        lambda: pv.VAE(pv.StandardNormal(3), pv.Normal(network((3,), 5), scale=1.0), POSTERIORS[name]()), COLUMNS
    )


def test_the_list_of_recipes_is_whole():
    assert {name.partition("-")[0] for name in RECIPES} == set(pv.recipes.__all__)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.slow
def test_every_recipe_is_staged(name):
    staged_alike(*RECIPES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_compiled(name):
    """As code without vector instructions, which torch makes in half the time; `test_staged_passes` has those with."""
    make, data = RECIPES[name]
    with torch._inductor.config.patch({"cpp.simdlen": 1}):
        staged_alike(make, data, "compiled")


# --- data are looked at where they come in ------------------------------------------------------------
QUESTIONS = {
    "fit": lambda pair, x: pv.fit(pair, x, steps=2, batch_size=8, progress=False),
    "elbo": lambda pair, x: pv.elbo(pair, x, draws=2),
    "log_evidence": lambda pair, x: pv.log_evidence(pair, x, draws=2),
    "encode": lambda pair, x: pv.encode(pair, x),
    "posterior_predictive": lambda pair, x: pv.posterior_predictive(pair, x, draws=2),
    "reconstruct": lambda pair, x: pv.reconstruct(pair, x),
    "uncertainty": lambda pair, x: pv.uncertainty(pair, x, draws=2),
    "rate_distortion": lambda pair, x: pv.rate_distortion(pair, x),
}
BAD = {
    "count_vae": (COUNTS - 5 * (torch.arange(24) == 20)[:, None], "count_vae takes counts"),
    "image_vae": (IMAGES.float() - 300.0 * (torch.arange(24) == 20)[:, None, None, None], "image_vae takes raw images"),
    "image_vae-divided": (IMAGES.float(), "in the unit of the first"),
    "bayesian_decoder": (COUNTS - 5, "count_vae takes counts"),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_an_error_in_words_wherever_they_come_in(name, question):
    make, good = RECIPES[name]
    bad, words = BAD[name]
    pair = make()
    with steps_alone():
        pv.fit(pair, good, steps=1, batch_size=8, seed=0, progress=False)
        # Where all rows are looked at first, words name the row.
        with pytest.raises(pv.DataError, match=f"{words}|outside the support"):
            QUESTIONS[question](pair, bad)


def test_a_part_of_ones_own_declares_a_check():
    class Positive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.looked = torch.nn.Linear(5, 4), 0

        def check_data(self, x, offset):
            self.looked += 1
            if not bool((x > offset).all()):
                raise pv.DataError("below the offset")

        def forward(self, x, offset):
            return self.layer(x - offset)

    encoder, decoder = Positive(), torch.nn.Linear(2, 5)

    def model(x, offset):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x, offset):
        pyro.module("encoder", encoder)
        loc, scale = encoder(x, offset).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    pair, data = pv.Pair(model, guide), (COLUMNS.exp(), torch.zeros(24, 1))
    with steps_alone():
        end = pv.fit(pair, data, steps=STEPS, batch_size=8, staged="traced", progress=False, device="cpu")
    assert end.route.startswith("traced")
    assert encoder.looked >= STEPS  # by graphs, too
    with pytest.raises(pv.DataError, match="below the offset"):
        pv.encode(pair, *(-part for part in data))
    late = COLUMNS.exp() - 1e3 * (torch.arange(24) == 23)[:, None]
    with steps_alone(), pytest.raises(pv.DataError, match="below the offset"):
        pv.fit(pair, (late, torch.zeros(24, 1)), steps=4, batch_size=8, staged=False, progress=False)


def test_a_check_of_other_arguments_is_refused_in_words():
    vae = pv.recipes.vector_vae(5, latent=2, hidden=[8])
    vae.posterior.check_data = lambda x, mask: math.nan
    with pytest.raises(pv.ArgumentError, match=r"check_data is called with the pair's data.*'mask'"):
        pv.fit(vae, COLUMNS, steps=1, progress=False)
