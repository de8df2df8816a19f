"""Figures from arrays: what each shows, and that nothing in the room knows more than arrays."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrovae
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.calibration_curves import draw_coverage, draw_ranks, draw_reliability
from pyrovae.plots.distortion_over_rate import plot_distortion_over_rate
from pyrovae.plots.learning_curves import plot_learning_curves
from pyrovae.plots.risk_over_coverage import plot_risk_over_coverage
from pyrovae.plots.score_histograms import draw_score_histograms
from pyrovae.plots.tried_settings import plot_tried_settings


def test_the_room_imports_no_other():
    for path in (Path(pyrovae.__file__).parent / "plots").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            allowed = ("pyrovae.plots", "pyrovae.errors")
            assert not module.startswith("pyrovae") or module.startswith(allowed), path.name


def test_a_figure_leaves_pyplot_alone():
    sys.modules.pop("matplotlib.pyplot", None)
    figure, axes = blank_figure(2)
    assert len(axes) == len(figure.axes) == 2
    assert figure.get_size_inches().tolist() == pytest.approx([6.8, 3.2])
    assert "matplotlib.pyplot" not in sys.modules


def test_learning_curves_with_and_without_validation():
    training = {"ELBO": [-3.0, -2.0, -1.0], "rate": [1.0, 2.0, 3.0]}
    alone = plot_learning_curves([1, 2, 3], training)
    assert [len(axis.lines) for axis in alone.axes] == [1, 1]
    both = plot_learning_curves([1, 2, 3], training, [2, 3], {"ELBO": [-4.0, -5.0], "rate": [0.5, 0.25]})
    assert [axis.get_title() for axis in both.axes] == ["ELBO", "rate"]
    dashed = both.axes[1].lines[1]
    assert (dashed.get_linestyle(), dashed.get_xdata().tolist(), dashed.get_ydata().tolist()) == (
        "--",
        [2, 3],
        [0.5, 0.25],
    )


def test_numbers_that_were_tried_stand_in_their_order():
    (axis,) = plot_tried_settings([1, 8, 2], [-3.0, -2.5, -2.0], [0.1, 0.2, 0.3]).axes
    assert axis.lines[0].get_xdata().tolist() == [1, 2, 8]
    assert axis.lines[0].get_ydata().tolist() == [-3.0, -2.0, -2.5]
    assert list(axis.lines[-1].get_xdata()) == [2, 2]  # the best


def test_other_settings_stand_as_they_were_tried():
    figure = plot_tried_settings([(2, 1), "b"], [-3.0, -2.0], [0.1, 0.2])
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["(2, 1)", "b"]


def test_distortion_over_rate_has_the_line_of_the_best_elbo():
    (axis,) = plot_distortion_over_rate([0.1, 1.0], [4.0, 2.0], [3.0, 3.5]).axes
    line = axis.lines[1]
    assert np.add(line.get_xdata(), line.get_ydata()) == pytest.approx([5.5, 5.5])
    assert [text.get_text() for text in axis.texts] == ["β = 0.1", "β = 1"]


def test_risk_without_confidence_is_that_of_all():
    coverage, risk = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 0.25])
    (axis,) = plot_risk_over_coverage(coverage, risk, risk, area=0.1, perfect_area=0.1).axes
    assert list(axis.lines[2].get_ydata()) == [0.25, 0.25]
    assert axis.get_title() == "area 0.1000 (perfect 0.1000)"


def test_intervals_and_probabilities_stand_beside_the_diagonal():
    _, (coverage, reliability) = blank_figure(2)
    numbers = torch.tensor([0.5, 0.9]), torch.tensor([0.4, 0.8]), torch.tensor([0.1, 0.0])
    draw_coverage(coverage, *numbers)
    draw_reliability(reliability, *numbers, title="of classes")
    for axis in (coverage, reliability):
        assert [list(ends) for ends in axis.lines[0].get_data()] == [[0, 1], [0, 1]]
        assert axis.lines[1].get_ydata().tolist() == pytest.approx([0.4, 0.8])
        bars = axis.collections[0].get_segments()[0]
        assert bars[:, 1].tolist() == pytest.approx([0.2, 0.6])  # two standard errors
    assert (coverage.get_title(), reliability.get_title()) == ("coverage", "of classes")


def test_ranks_are_drawn_less_the_uniform_ones():
    _, (axis,) = blank_figure()
    points = torch.tensor([0.25, 0.75])
    draw_ranks(axis, points, torch.tensor([[0.5, 0.25], [0.75, 1.0]]), points - 0.1, points + 0.1)
    assert [line.get_ydata().tolist() for line in axis.lines[:2]] == [[0.25, 0.0], [0.0, 0.25]]


def test_scores_far_out_are_gathered_in_the_last_bin():
    _, (axis,) = blank_figure()
    usual = torch.tensor([0.0, 1.0, torch.inf])
    draw_score_histograms(axis, usual, torch.tensor([0.5, 100.0, torch.nan, torch.inf]), title="evidence")
    heights = [patch.get_height() for patch in axis.patches]
    assert heights[-1] == pytest.approx(0.75)
    assert sum(heights) == pytest.approx(2)  # each set adds up to one
