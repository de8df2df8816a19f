"""The report: one HTML file that needs nothing else, says the verdict, and shows what the pair does."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from torch import nn

import pyrovae as pv
from pyrovae.data.batch_sources import Batch
from pyrovae.pairs.trace import run
from pyrovae.plots import pictures
from pyrovae.report import svg as charts
from pyrovae.report.certainty import _altered_image, certainty_of, novelty_of
from pyrovae.report.page import render
from pyrovae.report.report_data import ReportData
from pyrovae.report.views import Latent, latent_of, traverse
from pyrovae.training.epoch import Epoch

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and gathers texts, headings and addresses."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def check_alone(html: str) -> Page:
    """The page parses, and nothing in it asks for anything outside."""
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.seen)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    style = html.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"https?:|//[a-z]", re.sub(r'src="data:image/png;base64,[^"]*"', "", html))
    return page


def history(elbos, validation=None) -> tuple[Epoch, ...]:
    held_out = validation or [None] * len(elbos)
    return tuple(
        Epoch(n, 10 * n, -e, e, 1.0, -e - 1, 1.0, 1e-3, v, v and 1.0, v and -v - 1, v, 0.5)
        for n, (e, v) in enumerate(zip(elbos, held_out, strict=True), start=1)
    )


def image_pair() -> pv.VAE:
    likelihood = pv.Bernoulli(pv.MLP(3, [8], (1, 6, 6)))
    return pv.VAE(pv.StandardNormal(3), likelihood, pv.DiagNormal(pv.MLP((1, 6, 6), [8], 6)))


def linear_pair(latent: int = 2) -> pv.VAE:
    likelihood = pv.Normal(pv.MLP(latent, [], 4), scale=1.0)
    return pv.VAE(pv.StandardNormal(latent), likelihood, pv.DiagNormal(pv.MLP(4, [], 2 * latent)))


def own_pair() -> pv.Pair:
    """As a Pyro user writes it: no blank, a global site, two local ones."""
    decoder, encoder = nn.Linear(3, 4), nn.Linear(4, 3)

    def model(x):
        pyro.module("decoder", decoder)
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
            w = pyro.sample("w", dist.Normal(0, 1))
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, w[:, None]], -1)) + shift, 1).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("shift", dist.Normal(pyro.param("shift_loc", torch.tensor(0.0)), 0.1))
        with pyro.plate("data", len(x)):
            loc = encoder(x)
            pyro.sample("z", dist.Normal(loc[:, :2], 0.5).to_event(1))
            pyro.sample("w", dist.Normal(loc[:, 2], 0.5))

    return begun(pv.Pair(model, guide))


def without_latents() -> pv.Pair:
    def model(x):
        loc = pyro.param("loc", torch.zeros(4))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1).to_event(1), obs=x)

    return begun(pv.Pair(model, lambda x: None))


def begun(pair: pv.Pair) -> pv.Pair:
    """Run once: parameters appear at the first call."""
    run(pair, (torch.zeros(2, 4),), {})
    return pair


def rendered(pair, rows, kind, **more) -> str:
    settings = {"history": history([-5.0, -4, -3, -2, -1]), "title": "a <run>", "data_words": "some rows"}
    return render(pair, Batch((rows,), {}), kind=kind, **{**settings, **more})


# --- pages --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_page_of_images():
    rows = (torch.rand(60, 1, 6, 6) > 0.5).float()
    labels = np.arange(60) % 3
    page = check_alone(rendered(image_pair(), rows, "images", labels=labels, settings={"epochs": 5, "a<b": "c&d"}))
    for heading in ("Learning curves", "Reconstructions", "Samples", "Latent space", "Traversal", "Settings"):
        assert heading in page.words
    # 8 most and 8 least certain; 3 made strange and the 5 most novel; 16 originals, their reconstructions and maps;
    # 48 samples; three dimensions in nine steps.
    assert page.seen.count("img") == 2 * 8 + 3 + 5 + 3 * 16 + 48 + 3 * 9
    assert page.seen.count("figcaption") == 9
    assert "a <run>" in page.words
    assert {"a<b", "c&d"} <= set(page.words)
    assert "3 classes" in page.text


def test_a_page_of_a_table():
    names = ("one", "two & more", "three", "<four>")
    html = rendered(linear_pair(), torch.randn(40, 4), "table", names=names)
    page = check_alone(html)
    assert "img" not in page.seen
    assert {"two & more", "<four>"} <= set(page.words)
    # Novelty, coverage and ranks, curves, a scatter and a histogram a column, the latent space, a chart a dimension.
    assert html.count('class="chart"') == 1 + 2 + 3 + 4 + 4 + 1 + 2
    assert {"every value at its largest", "nats"} <= set(page.words)


@pytest.mark.slow
def test_a_page_of_a_pair_of_ones_own():
    page = check_alone(rendered(own_pair(), torch.randn(40, 4), "table"))
    assert "Traversal" in page.words
    assert "z[1]" in page.text
    assert "which more data would narrow" in page.text  # it has a global site


def test_a_pair_without_latent_sites_has_a_page_too():
    page = check_alone(rendered(without_latents(), torch.randn(40, 4), "table"))
    assert "no latent vector" in page.text


def test_a_page_before_the_first_epoch():
    assert "No epoch was finished." in check_alone(rendered(linear_pair(), torch.randn(9, 4), "table", history=())).text


@pytest.mark.parametrize(
    ("curve", "validation", "outcome", "kind"),
    [
        ([-9.0, -7, -5, -3, -1], None, {}, "Still improving"),
        ([-9.0, -2, -1, -1, -1], None, {}, "Levelled off"),
        ([-9.0, -5, -3, -2, -1], [-9.0, -4, -5, -6, -7], {}, "Overfitting"),
        ([-1.0, -2, -3, -4, -5], None, {}, "Diverged"),
        ([-9.0, -7, -5, -3, -1], None, {"reason": "diverged", "words": "step 7: the loss is nan"}, "Diverged"),
        ([-9.0, -8], None, {}, "Too short"),
    ],
)
def test_the_verdict_is_the_first_thing_said(curve, validation, outcome, kind):
    pair = linear_pair()
    with torch.no_grad():  # an encoder that looks at the data, so that nothing is collapsed
        for parameter in pair.posterior.parameters():
            parameter.fill_(0.3)
    rows = history(curve, validation)
    page = check_alone(rendered(pair, torch.randn(40, 4), "table", history=rows, outcome=outcome))
    first = [words for words in page.words if words.strip()]
    assert first[first.index("Looked at with some rows.") + 1] == kind
    assert outcome.get("words", "") in page.text


def test_a_collapsed_posterior_is_said_before_the_curve():
    pair = linear_pair()
    with torch.no_grad():
        for parameter in pair.posterior.parameters():
            parameter.zero_()
    page = check_alone(rendered(pair, torch.randn(40, 4), "table"))
    assert "Collapsed" in page.words
    assert "none of the 2 latent dimensions" in page.text


def test_weights_of_the_best_epoch_are_said():
    page = check_alone(rendered(linear_pair(), torch.randn(40, 4), "table", outcome={"weights": "best"}))
    assert "The weights kept are those of the best epoch." in page.text


# --- what is known and what is not --------------------------------------------------------------------


def plane(noise: float = 0.5) -> pv.truth.LinearGaussian:
    return pv.truth.LinearGaussian(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), torch.zeros(4), noise)


def test_a_report_opens_with_the_most_and_the_least_certain():
    pair = linear_pair()
    look = report_data(pair, torch.randn(50, 4))
    found = certainty_of(look)
    known = pv.uncertainty(pair, look.rows, draws=50, seed=0)["x"]
    assert np.array_equal(found.rows, np.arange(50))
    assert np.allclose(found.nats, known.nats.numpy(), atol=1e-4)
    assert np.allclose(found.elements**2, known.total.numpy(), rtol=1e-4)
    html = rendered(pair, look.rows, "table")
    section = html.split("<h2>What the model is sure of</h2>")[1].split("</section>")[0]
    shown = [float(n) for n in re.findall(r"<tr><td>\d+</td><td>([^<]*)</td>", section.replace("−", "-"))]
    assert "how unsure the weights are is not known" in section
    ordered = np.sort(found.nats)
    assert np.allclose(shown, [*ordered[:5], *ordered[::-1][:5]], atol=0.006)
    headings = [words for words in check_alone(html).words if words in ("What the model is sure of", "Learning curves")]
    assert headings == ["What the model is sure of", "Learning curves"]


def test_what_is_strange_is_flagged_and_what_is_not_is_not():
    truth = plane()
    rows = truth.sample(400, seed=0)
    found = novelty_of(report_data(truth, rows), images=False)
    count = len(found.held_out)
    assert found.p_value[:count].min() > 0
    assert abs((found.p_value[:count] <= 0.05).mean() - 0.05) < 0.05
    assert found.names == ["each value from another row", "every value at its largest"]
    assert torch.equal(found.altered[1], rows.amax(0))
    assert found.p_value[-1] <= 0.05  # so far out in every direction
    assert np.allclose(found.score[:count], -truth.log_evidence(rows[found.held_out]).numpy(), atol=1e-3)
    # The other half calibrates, and no row is judged against itself.
    assert np.array_equal(found.held_out, np.arange(1, 400, 2))
    assert np.allclose(found.usual, np.sort(-truth.log_evidence(rows[::2]).numpy()), atol=1e-3)
    with pytest.raises(pv.DataError, match="39 rows are too few"):
        novelty_of(report_data(truth, rows[:39]), images=False)


def test_altered_image_are_made_of_the_images():
    rows = torch.randint(0, 17, (60, 1, 6, 6)).to(torch.uint8)
    inverted, scrambled, turned = (made for _, made in _altered_image(rows))
    one = turned.flip(-2)
    assert (rows == one).flatten(1).all(1).any()
    assert torch.equal(inverted.int(), 16 - one.int())
    assert inverted.dtype == scrambled.dtype == torch.uint8
    assert torch.equal(scrambled.flatten().sort().values, one.flatten().sort().values)


def test_intervals_that_are_too_narrow_are_called_so():
    truth, rows = plane(), plane().sample(400, seed=1)
    html = rendered(truth, rows, "table")
    assert "All levels together: uniform within the band." in check_alone(html).text
    assert "draws are too narrow" in check_alone(rendered(truth, 3 * rows, "table")).text


def test_weights_that_went_bad_have_a_page_too():
    pair = linear_pair()
    with torch.no_grad():
        for parameter in pair.likelihood.parameters():
            parameter.fill_(float("nan"))
    page = check_alone(rendered(pair, torch.randn(60, 4), "table", outcome={"reason": "diverged", "words": "nan"}))
    assert "Diverged" in page.words
    assert "cannot be run with these weights" in page.text
    assert "Learning curves" in page.words


def test_what_does_not_apply_is_said_in_its_place():
    page = check_alone(rendered(linear_pair(), torch.randn(9, 4), "table"))
    assert "Not for this pair and these rows: 9 rows are too few to tell what is usual" in page.text


# --- what is looked at --------------------------------------------------------------------------------


def report_data(pair, rows: torch.Tensor) -> ReportData:
    return ReportData(pair, Batch((rows,), {}), lambda values: values.numpy())


def test_a_traversal_moves_one_dimension_and_leaves_the_others():
    pair = linear_pair(3)
    look = report_data(pair, torch.randn(50, 4))
    latent = latent_of(look, 50)
    assert latent is not None
    found = traverse(look, latent)
    weight = pair.likelihood.network.layers[-1].weight.detach().numpy()
    means = latent.means
    for dim, values in zip(found.dims, found.values, strict=True):
        spread = np.sqrt(means[:, dim].var() + (latent.scales[:, dim] ** 2).mean())
        steps = np.diff(values, axis=0) / np.diff(found.places)[:, None]
        assert np.allclose(steps, spread * weight[:, dim], atol=1e-4)
    middle = means[0].copy()
    middle[found.dims[0]] = means[:, found.dims[0]].mean()
    bias = pair.likelihood.network.layers[-1].bias.detach().numpy()
    assert np.allclose(found.values[0, 4], weight @ middle + bias, atol=1e-4)


def test_a_traversal_of_one_of_several_sites_holds_the_others_still():
    look = report_data(own_pair(), torch.randn(20, 4))
    latent = latent_of(look, 20)
    assert latent is not None
    assert latent.site == "z"
    found = traverse(look, latent)
    assert np.allclose(np.diff(found.values, n=2, axis=1), 0, atol=1e-4)  # linear in z: nothing else moves


def test_reading_a_report_changes_nothing():
    pair, rows = linear_pair(), torch.randn(40, 4)
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    names, state = set(pyro.get_param_store().keys()), torch.get_rng_state()
    rendered(pair, rows, "table")
    assert torch.equal(state, torch.get_rng_state())
    assert set(pyro.get_param_store().keys()) == names
    assert all(torch.equal(before[name], tensor) for name, tensor in pair.state_dict().items())


def test_many_dimensions_are_seen_from_their_widest_directions():
    generator = np.random.default_rng(0)
    means = generator.normal(size=(400, 5)) * [0.1, 3, 0.1, 1, 0.1]
    points, (first, second) = Latent("z", means, np.ones_like(means)).plane()
    assert abs(np.corrcoef(points[:, 0], means[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(points[:, 1], means[:, 3])[0, 1]) > 0.99
    assert "90%" in first or "89%" in first
    assert "second" in second
    assert np.array_equal(Latent("z", means[:, :2], means[:, :2]).plane()[0], means[:, :2])
    assert Latent("z", means[:, :1], means[:, 1:2]).plane()[1] == ("mean of z", "scale of z")


# --- pictures and charts ------------------------------------------------------------------------------


def test_a_picture_has_the_right_greys():
    values = np.array([[0, 8], [16, 4]], dtype=np.uint8)
    limits = pictures.value_range(values)
    content = base64.b64decode(pictures.data_url(values, limits).split(",")[1])
    with Image.open(io.BytesIO(content)) as picture:
        assert np.array_equal(np.asarray(picture), [[0, 128], [255, 64]])
    with pictures.picture(np.zeros((3, 2, 5)), (0, 1)) as picture:
        assert (picture.mode, picture.size) == ("RGB", (5, 2))


@pytest.mark.parametrize(
    ("event", "shown"),
    [((8, 8), True), ((1, 8, 8), True), ((3, 8, 8), True), ((2, 8, 8), False), ((8,), False), ((1, 1), False)],
)
def test_what_can_be_shown_as_a_picture(event, shown):
    assert pictures.is_picture(event) == shown


def test_originals_stand_above_their_reconstructions():
    above, below = np.ones((3, 4, 4)), np.zeros((3, 4, 4))
    greys = np.asarray(pictures.paired(above, below, (0, 1)))
    height = greys.shape[0]
    assert greys[height // 4, greys.shape[1] // 4] == 255
    assert greys[height // 4 * 3, greys.shape[1] // 4] == 0


def test_a_curve_ends_where_its_numbers_say():
    line = charts.ChartLine("a & b", [1, 2, 3], [0.0, 5.0, 10.0])
    svg = charts.line_chart([line], title="t", x_label="epoch", y_label="y")
    Page(svg)
    places = re.findall(r"([\d.]+) ([\d.]+)", re.search(r'd="M([^"]*)"><title>a &amp; b', svg)[1])
    xs, ys = (np.array(part, dtype=float) for part in zip(*places, strict=True))
    assert np.allclose(np.diff(xs), (xs[-1] - xs[0]) / 2)
    assert np.all(np.diff(ys) < 0)
    assert ">2<" in svg
    assert ">1.5<" not in svg  # there is no half epoch


def test_a_far_start_does_not_flatten_the_rest():
    curve = [-1e6, *np.linspace(-100, -90, 20)]
    low, high = charts._shown([curve])
    assert -102 < low < -98
    assert -91 < high < -88


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 1e6), (0.9985, 0.9987), (-2e-9, 3e-9)])
def test_ticks_are_round_and_inside(low, high):
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 * abs(low) <= tick <= high * (1 + 1e-9) for tick in found)


def test_charts_take_constants_and_holes():
    for ys in ([1.0, 1.0], [float("nan"), 2.0], [0.0], [float("nan")]):
        Page(charts.line_chart([charts.ChartLine("a", range(len(ys)), ys)], title="", x_label="", y_label=""))
    Page(charts.histogram([("a", np.zeros(5), 0), ("b", np.zeros(3), 1)], title="t"))
    marked = charts.histogram([("a", np.arange(9.0), 0)], title="t", marks=[("far & out", 30.0, 2)])
    assert "far & out" in Page(marked).words
    one = charts.scatter_chart(np.ones((3, 2)), [0, 1, 2], ["x", "", "<"], title="", x_label="", y_label="")
    assert Page(one).seen.count("circle") == 3
