"""The arguments of `fit`, in every place that lists them, and in the functions that hand them on."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import get_args, get_type_hints

import pytest
import torch

import pyrovae as pv
from pyrovae.training import fit_options
from pyrovae.training.fit_options import FitOptions

ARGUMENTS = {name: p for name, p in inspect.signature(pv.fit).parameters.items() if p.kind is p.KEYWORD_ONLY}

# Functions that hand arguments on to `fit`, and those that they refuse because they set them themselves.
FORWARDING = {
    pv.steps: set(),
    pv.update: set(),
    pv.epistemic.swag: set(),
    pv.epistemic.ensemble: {"tracker"},
    pv.fit_best: {"resume", "tracker"},
    pv.over_seeds: {"checkpoint", "resume", "progress", "tracker"},
    pv.choose_latent: {"checkpoint", "resume", "progress", "tracker"},
    pv.rate_distortion_curve: {"checkpoint", "resume", "progress", "tracker"},
}


def vae() -> pv.VAE:
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))


def test_options_are_the_arguments_of_fit_with_its_defaults():
    listed = {field.name: (field.type, field.default) for field in fields(FitOptions)}
    assert listed == {name: (p.annotation, p.default) for name, p in ARGUMENTS.items()}
    with pytest.raises(FrozenInstanceError):
        FitOptions().epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_every_argument_arrives(monkeypatch):
    given = {name: object() for name in ARGUMENTS}
    arrived = []

    class Caught(Exception):
        pass

    def session(pair, data, options):
        arrived.append(options)
        raise Caught

    monkeypatch.setattr("pyrovae.training.fit.Session", session)
    monkeypatch.setattr("pyrovae.training.steps.Session", session)
    for train in (pv.fit, pv.steps):
        with pytest.raises(Caught):
            train(vae(), torch.randn(8, 5), **given)
    assert arrived[0] == FitOptions(**given)
    assert arrived[1] == FitOptions(**{**given, "progress": False})


@pytest.mark.parametrize("function", FORWARDING, ids=lambda function: function.__name__)
def test_type_checkers_see_the_arguments_of_fit(function):
    """What a function names itself, what it hands on and what it refuses are together the arguments of `fit`."""
    parameters = inspect.signature(function).parameters
    (handed,) = get_args(get_type_hints(function, include_extras=True)["options"])
    types = get_type_hints(handed)
    own = set(parameters) & set(ARGUMENTS)
    assert own | set(types) | FORWARDING[function] == set(ARGUMENTS)
    assert not (own & set(types)), "a name cannot be both"
    expected = get_type_hints(FitOptions)
    assert types == {name: expected[name] for name in types}


def test_no_other_list_of_them_is_about():
    lists = {kind for kind in vars(fit_options).values() if hasattr(kind, "__total__")}
    used = {get_args(get_type_hints(function, include_extras=True)["options"])[0] for function in FORWARDING}
    assert lists - used == {fit_options.CommonKeywords}


@pytest.mark.parametrize("train", [pv.fit, pv.steps, pv.epistemic.swag, pv.update], ids=lambda f: f.__name__)
def test_a_wrong_name_is_a_type_error(train):
    with pytest.raises(TypeError, match="epoch_count"):
        train(pv.truth.GammaPoisson(2.0, 1.0).trainable(), torch.tensor([3.0, 5.0]), epoch_count=1)


@pytest.mark.parametrize(
    ("study", "more"),
    [
        (pv.fit_best, {"epochs": 1}),
        (pv.over_seeds, {"held_out": torch.randn(8, 5)}),
        (pv.rate_distortion_curve, {}),
        (pv.epistemic.ensemble, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_name_is_a_type_error_in_a_study_too(study, more):
    with pytest.raises(TypeError, match="epoch_count"):
        study(vae, torch.randn(8, 5), epoch_count=1, **more)
