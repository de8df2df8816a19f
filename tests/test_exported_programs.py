"""Every style of pair, component and recipe as programs without Pyro, or refused with the reason.

The programs are those that become ONNX files, run by torch: writing each of them would take ten times as long. Some are
written in `test_deployment`.
"""

from __future__ import annotations

import warnings

import pyro
import pytest
import torch
from components import FAMILIES, PRIORS, components
from registry import REGISTRY, born, pairs, plate_of
from test_staged_components import RECIPES
from torch import nn

import pyrovae as pv
from pyrovae.export.deployment.exported_part import checked, programs
from pyrovae.sampling.sampler import Sampler

PARTS = ("encode", "decode", "elbo")

# What cannot be a program, by the words of the refusal; all else can.
NO_CODE = "the guide draws no latent site"
NO_NOISE = "is no function of noise"
OWN_ROWS = "each belongs to one row of its own data"
POINT = "a Delta"
CODES = ("enumerated_mixture", "categorical_codes", "maximum_likelihood", "categorical_vae")
GUESSED = ("enumerated_guide", "enumerated_guide_sequential", "some_labels", "semi_supervised_vae")
DRAWN = (
    "score_function",
    "score_function_average_baseline",
    "score_function_neural_baseline",
    "enumerated_guide_beside_a_code",
    "constrained_params",
    "own_entries",
)
OF_ROWS = ("reparametrised", "intervened", "conditioned_level", "auto_normal_local")
REFUSED: dict[str, dict[str, str]] = {
    **{name: {"encode": NO_CODE} for name in CODES},
    **{name: {"encode": NO_NOISE, "elbo": NO_NOISE} for name in GUESSED},
    **{name: {"elbo": NO_NOISE} for name in DRAWN},
    **{name: dict.fromkeys(PARTS, OWN_ROWS) for name in OF_ROWS},
    "enumerated_mixture_map": {"elbo": POINT},
    "table_vae-mechanism": {"elbo": NO_NOISE},
    "text_vae": dict.fromkeys(PARTS, "looks at a value"),  # up to which step any line goes
    **{name: {"decode": "neither parameters nor a mean"} for name in ("transformed_likelihood", "masked_mixture")},
}


def refused(sampler: Sampler) -> dict[str, str]:
    """The parts that cannot be programs, and why; the others are held against the pair."""
    found = {}
    for part in PARTS:
        try:
            (one,) = programs(sampler, [part])
        except pv.PairError as error:
            found[part] = str(error)
            continue
        module = one.program.module()
        with torch.no_grad():
            difference, rows = checked(sampler, one, lambda inputs, module=module: module(*inputs.values()))
        assert difference <= 1e-6
        assert len(rows) >= 2
    return found


def sampler_of(pair, args, kwargs, plate=None) -> Sampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Sampler.of(pair, args, kwargs, seed=0, data_plate=plate)


def check(found: dict[str, str], wanted: dict[str, str]) -> None:
    assert {part: words for part, words in wanted.items() if part in found and words in found[part]} == wanted, found
    assert set(found) == set(wanted), found


@pytest.mark.slow
@pytest.mark.parametrize("entry", pairs())
def test_every_style_is_a_program_or_says_why_not(entry):
    pair, args, kwargs = born(entry)
    check(refused(sampler_of(pair, args, kwargs, plate_of(entry))), REFUSED.get(entry.name, {}))


def test_no_refusal_is_of_a_pair_that_is_gone():
    assert set(REFUSED) <= set(REGISTRY) | set(RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_program_or_says_why_not(name):
    make, data = RECIPES[name]
    pyro.clear_param_store()
    torch.manual_seed(0)
    pair = make()
    pv.fit(pair, data, steps=1, batch_size=8, seed=0, progress=False, staged=False)
    args = data if isinstance(data, tuple) else (data,)
    check(refused(sampler_of(pair, args, {})), REFUSED.get(name, {}))


SPLINES = ("FlowPrior-spline", "FlowPrior-spline-one", "FlowPrior-transforms")


class Flat(nn.Module):
    """A guide for data of any shape."""

    def __init__(self, size: int):
        super().__init__()
        self.posterior = pv.DiagNormal(pv.MLP(size, [8], 6))
        self.size = size

    def forward(self, x):
        return self.posterior(x.reshape(len(x), self.size).to(torch.get_default_dtype()))


@pytest.mark.slow
@components([one for one in FAMILIES if not one.id.startswith("IAF")])  # whose draws have neither parameters nor a mean
def test_every_likelihood_is_a_program(entry):
    torch.manual_seed(0)
    likelihood = entry.build()
    size = torch.Size(entry.event).numel()
    with torch.no_grad():
        x = likelihood(torch.randn(9, 3)).sample()
    pair = pv.VAE(pv.StandardNormal(3), likelihood, Flat(size))
    check(refused(sampler_of(pair, (x,), {})), {})


@pytest.mark.slow
@components([one for one in PRIORS if len(one.event) == 1])
def test_every_prior_is_a_program(entry):
    torch.manual_seed(0)
    (size,) = entry.event
    likelihood = pv.Normal(pv.MLP(size, [8], 2 * 5))
    pair = pv.VAE(entry.make(), likelihood, pv.DiagNormal(pv.MLP(5, [8], 2 * size)))
    # Pyro's splines choose by masks which values lie inside.
    wanted = {"elbo": "selects by a mask"} if entry.id in SPLINES else {}
    check(refused(sampler_of(pair, (torch.randn(9, 5),), {})), wanted)


@pytest.mark.slow
@components([one for one in FAMILIES if one.id.split("-")[0] in ("FullNormal", "LowRankNormal", "IAF")])
def test_every_posterior_is_a_program(entry):
    torch.manual_seed(0)
    (size,) = entry.event
    posterior = entry.make(pv.MLP(5, [8], entry.output))
    pair = pv.VAE(pv.StandardNormal(size), pv.Normal(pv.MLP(size, [8], 2 * 5)), posterior)
    check(refused(sampler_of(pair, (torch.randn(9, 5),), {})), {})
