"""What a graph gives is compared with what Pyro's pass gives, and anything that differs is found."""

from __future__ import annotations

import logging
import math
from array import array

import pyro
import pytest
import torch
from staged_pairs import QUIET, X, both_ways, pair_of, small

import pyrovae as pv
from pyrovae.staged.outcome_difference import Outcome, difference
from pyrovae.staged.routes.comparison_schedule import ComparisonSchedule
from pyrovae.staged.routes.step_route import StepRoute


def outcome(**changed) -> Outcome:
    values = {
        "figures": torch.tensor([3.0, -3.0, 1.0, 2.0]),
        "gradients": {"weight": torch.tensor([1.0, 0.0]), "small": torch.tensor([1e-8])},
        "buffers": {"0": torch.tensor([1.0])},
        "state": {"baseline": torch.tensor([1.0])},
        "random": torch.tensor([1, 2, 3]),
    }
    return Outcome(**{**values, **changed})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"gradients": {"weight": torch.tensor([1.0, 1e-6]), "small": torch.tensor([3e-8])}}, None),  # rounding
        ({"figures": torch.tensor([3.01, -3.0, 1.0, 2.0])}, "the loss is 3.01 and should be 3"),
        ({"figures": torch.tensor([3.0, -3.0, 1.0, 2.01])}, "the distortion is 2.01 and should be 2"),
        ({"figures": torch.tensor([math.nan, -3.0, 1.0, 2.0])}, "the loss"),
        ({"gradients": {"weight": torch.tensor([1.0, 1e-3]), "small": torch.tensor([1e-8])}}, "gradient of 'weight'"),
        ({"gradients": {"weight": torch.tensor([1.0, 0.0])}}, "gradients of small come and go"),
        ({"buffers": {"0": torch.tensor([1.01])}}, "the buffer '0'"),
        ({"state": {"baseline": torch.tensor([1.01])}}, "the loss's own 'baseline'"),
        ({"random": torch.tensor([1, 2, 4])}, "another number of random numbers"),
    ],
)
def test_whatever_differs_is_found(changed, words):
    found = difference(outcome(), outcome(**changed))
    assert found is None if words is None else words in (found or "")


def test_three_steps_in_a_row_are_compared_and_some_later_ones(monkeypatch):
    compared, original = [], StepRoute.compared
    monkeypatch.setattr(
        StepRoute, "compared", lambda self, *found: compared.append(self.count) or original(self, *found)
    )
    pv.fit(small(), X, steps=90, batch_size=20, seed=0, staged="traced", **QUIET)
    assert compared == [2, 3, 4, 20, 68]
    comparisons, due = ComparisonSchedule(), []
    for comparisons.since in range(1, 5_000):
        due += [comparisons.since] * comparisons.due()
    assert due == [16, 64, 256, 1_024, 2_048, 3_072, 4_096]


@pytest.mark.slow
def test_a_change_that_cannot_be_seen_is_caught_later_and_traced_again():
    def losses_of(staged):
        pyro.clear_param_store()
        held, losses = array("d", [0.0]), []  # whose entries nobody looks at
        for step in pv.steps(pair_of(lambda loc: held[-1]), X, steps=120, batch_size=20, seed=0, staged=staged):
            held[-1] = 1.0 if step.index >= 10 else 0.0
            losses.append(step.loss)
        return losses

    plain = losses_of(False)
    with pytest.warns(pv.PyrovaeWarning, match="the pair is not what it was") as caught:
        losses = losses_of("traced")
    assert len(caught) == 1
    assert losses[:10] == pytest.approx(plain[:10], rel=1e-5)
    # Ten steps or so were made with the old structure; from then on the two train the same pair.
    assert sum(losses[-20:]) == pytest.approx(sum(plain[-20:]), rel=0.05)


@pytest.mark.parametrize("off", [0.0, 1.0])
@pytest.mark.slow
def test_kernels_are_replayed_where_they_give_what_the_pass_gives(off, monkeypatch, caplog):
    class Recording:
        """What stands on a device; here the function itself, and something added."""

        def __init__(self, function, examples, moving):
            made.append(self)
            self.function, self.calls = function, 0

        def __call__(self, *inputs):
            self.calls += 1
            figures, *rest = self.function(*inputs)
            return [figures + off, *rest]

    made: list[Recording] = []
    gradients: list[torch.Tensor | None] = []
    monkeypatch.setattr("pyrovae.staged.graph_step.Replayed", Recording)
    monkeypatch.setattr(StepRoute, "wants_recording", lambda self, batch: self._comparisons.just_trusted)
    with caplog.at_level(logging.INFO, logger="pyrovae"):
        both_ways(small, lambda vae, step: gradients.extend(p.grad for p in vae.parameters()))
    assert made
    assert all((one.calls > 1) == (off == 0) for one in made)
    assert any("kernels are not replayed (the loss is" in record.message for record in caplog.records) == (off != 0)
    assert not any(gradient is not None for gradient in gradients)
