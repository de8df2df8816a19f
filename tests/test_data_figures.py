"""Figures of data and encodings: what is drawn where, in any form that functions return, and words for what is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyrovae as pv

PICTURES = torch.rand(5, 6, 4, generator=torch.Generator().manual_seed(0))


def gray(figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_pictures_stand_row_by_row_in_their_own_values():
    pictures = torch.stack([torch.full((4, 4), value) for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)])
    sheet = gray(pv.plots.samples(pictures, columns=3))
    side = (sheet.shape[1] - 4) // 3
    places = [(line, place) for line in (0, 1) for place in range(3)]
    middle = [int(sheet[4 + line * side + side // 2, 4 + place * side + side // 2]) for line, place in places]
    assert middle == [0, 51, 102, 153, 204, 255]


@pytest.mark.parametrize("given", [PICTURES, {"x": PICTURES}, PICTURES.flatten(1), PICTURES.double().numpy()])
def test_data_come_as_functions_return_them(given):
    same = gray(pv.plots.samples(PICTURES, shape=(6, 4)))
    assert np.array_equal(gray(pv.plots.samples(given, shape=(6, 4))), same)


def test_data_that_are_no_pictures_are_curves_and_numbers_a_histogram():
    x = torch.randn(7, 5)
    curves = pv.plots.samples(x).axes[0].lines
    assert [curve.get_ydata().tolist() for curve in curves] == x.tolist()
    bars = pv.plots.samples(torch.tensor([1.0, 1.0, torch.nan, 3.0])).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == 3


def test_reconstructions_stand_below_their_data():
    sheet = gray(pv.plots.reconstructions(torch.zeros(3, 4, 4), torch.ones(3, 4, 4)))
    above, below = np.split(sheet, 2)
    assert above.shape == below.shape
    assert above.min() == 0
    assert (below[8:-8, 8:-8] == 255).all()
    panels = pv.plots.reconstructions(torch.zeros(30, 5), torch.ones(30, 5)).axes
    assert len(panels) == 12
    assert [panels[0].lines[place].get_ydata()[0] for place in (0, 1)] == [0, 1]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_encodings_are_points(dims):
    means = torch.randn(9, dims)
    axis = pv.plots.latent({"code": pv.Encoding(means, torch.full((9, dims), 0.5))}).axes[0]
    points = np.asarray(axis.collections[0].get_offsets())
    if dims == 3:
        centred = (means - means.mean(0)).double()
        kept = torch.linalg.svdvals(centred)[:2].square()
        assert np.square(points).sum(0) == pytest.approx(kept.numpy(), rel=1e-4)
    else:
        expected = torch.cat([means, torch.full((9, 1), 0.5)], 1)[:, :2]
        assert points == pytest.approx(expected.numpy())
        assert axis.get_xlabel() == ("mean of code" if dims == 1 else "code[0]")


def test_classes_have_a_colour_each_and_numbers_a_scale():
    figure = pv.plots.latent(torch.randn(6, 2), labels=["b", "a", "b", "a", "c", "c"])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b", "c"]
    assert [len(points.get_offsets()) for points in figure.axes[0].collections] == [2, 2, 2]
    assert len(pv.plots.latent(torch.randn(50, 2), labels=torch.rand(50)).axes) == 2


def test_the_first_dimension_of_a_plane_goes_right_and_the_second_up():
    levels = torch.tensor([[0.0, 0.25], [0.5, 1.0]])  # [first, second]
    values = levels[:, :, None, None, None].expand(2, 2, 1, 4, 4)
    sheet = gray(pv.plots.plane(values, moved=(-1, 1)))
    half = len(sheet) // 2
    corners = [sheet[half // 2 + down * half, half // 2 + right * half] for down in (0, 1) for right in (0, 1)]
    assert corners == [64, 255, 0, 128]


def test_each_dimension_has_a_line_of_its_values():
    sheet = gray(pv.plots.traversal(torch.linspace(0, 1, 6).reshape(2, 3, 1, 1, 1).expand(2, 3, 1, 4, 4)))
    assert sheet.shape[0] < sheet.shape[1]
    figure = pv.plots.traversal(torch.arange(12.0).reshape(2, 3, 1, 2), moved=(-1, 0, 1))
    assert [curve.get_ydata().tolist() for curve in figure.axes[1].lines] == [[6, 7], [8, 9], [10, 11]]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["-1", "0", "1"]


def test_parts_of_uncertainty_share_a_scale_and_what_is_unknown_is_left_out():
    x = PICTURES[:3].bernoulli().flatten(1)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 24)), pv.DiagNormal(pv.MLP(24, [], 4)))
    found = pv.uncertainty(vae, x, draws=10)
    figure = pv.plots.uncertainty_maps(x, found, shape=(6, 4))
    words = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert words == ["data", "total", "noise", "latent", "entropy"]
    maps = [axis.images[0] for axis in figure.axes[3:12]]
    top = float(found["x"].total.max())
    assert [image.get_clim() for image in maps] == [(0.0, pytest.approx(top))] * 9
    assert np.asarray(maps[0].get_array()) == pytest.approx(found["x"].total[0].reshape(6, 4).numpy())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pv.plots.samples({"x": PICTURES, "y": PICTURES}), "site=None is none of 'x', 'y'"),
        (lambda: pv.plots.samples(PICTURES, shape=(5, 5)), "another number of cells"),
        (lambda: pv.plots.samples(np.array(["a", "b"])), "draws numbers"),
        (lambda: pv.plots.samples(torch.zeros(0, 4)), "holds no rows"),
        (lambda: pv.plots.reconstructions(PICTURES, PICTURES[:2]), "of the same rows"),
        (lambda: pv.plots.latent(torch.randn(5, 2), labels=[0, 1]), "labels of shape"),
        (lambda: pv.plots.traversal(PICTURES[0]), r"\(dims, values, rows, \*event\)"),
        (lambda: pv.plots.traversal(torch.zeros(2, 3, 1, 5), moved=(1, 2)), "2 numbers in moved="),
        (lambda: pv.plots.plane(torch.zeros(2, 3, 1, 4, 4)), "together=True"),
        (lambda: pv.plots.plane(torch.zeros(3, 3, 1, 7)), "no pictures"),
        (lambda: pv.plots.uncertainty_maps(PICTURES, PICTURES), "pv.uncertainty"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(call, words):
    with pytest.raises(pv.ArgumentError, match=words):
        call()
