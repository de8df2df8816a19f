"""The explorer: what its steps compute against torch, what is refused, and what of the data is in the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from browser import needs_node, node
from components import FAMILIES, GIVEN
from registry.entries import REGISTRY, born
from torch import nn

import pyrovae as pv
from pyrovae.errors import ArgumentError, PairError
from pyrovae.pairs.trace import run
from pyrovae.report.explorer.constant_pool import ConstantPool
from pyrovae.report.explorer.explored_pair import explored_pair
from pyrovae.report.explorer.explored_sites import PageOptions
from pyrovae.report.explorer.explorer_page import SCRIPTS, script
from pyrovae.report.explorer.moved_places import moved_places, tables_of
from pyrovae.report.explorer.page_operations import HANDLERS
from pyrovae.report.explorer.page_program import compiled
from pyrovae.report.explorer.traced_graph import traced_graph
from pyrovae.sampling.sampler import Sampler

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
EXACT = 1e-6  # weights are doubles of single precision on either side: what remains is of constants folded before


def found_in(page: str) -> dict:
    """What a page holds, as its script reads it."""
    return json.loads(page.split('id="model">')[1].split("</script>")[0])


def computed(programs: list[dict], constants: list, text: str, places: list) -> list[np.ndarray]:
    """What the page's own script computes, each program at its place: all outputs in one row."""
    code = script("").replace("})();", "")
    code += (
        "const constants = readConstants(given.constants, given.text);\n"
        "const text = given.programs.map((program, number) => new Program(program, constants).run(given.places[number])"
        ".flatMap((output) => Array.from(output, String)));\nconsole.log(JSON.stringify(text));\n})();"
    )
    given = {"programs": programs, "constants": constants, "text": text, "places": places}
    return [np.array([float(one.replace("Infinity", "inf")) for one in row]) for row in node(code, given)]


def linear_pair():
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], 4), scale=0.5), pv.DiagNormal(pv.MLP(4, [8], 4)))


def explored(pair, *data, rows: int = 0, **named) -> dict:
    return explored_pair(Sampler.of(pair, data, named, seed=0), PageOptions("page", rows))


# --- the steps ----------------------------------------------------------------------------------------
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.layer = nn.Linear(3, 16), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x):
        return self.layer(self.start(x).unflatten(-1, (4, 4)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 5)

    def forward(self, x):
        state, states = x.new_zeros(1, 5), []
        for _ in range(3):
            state = self.cell(x, state)
            states.append(state)
        return torch.stack(states, 1)


class Various(nn.Module):
    def forward(self, x):
        parts = [x.cumsum(-1), x.cumprod(-1), x.max(-1, keepdim=True)[0], x.logsumexp(-1, keepdim=True), x.flip(-1)]
        parts += [x.std(-1, keepdim=True), x.clamp(-0.1, 0.2), x.roll(1, -1), torch.lgamma(x + 3), torch.digamma(x + 3)]
        parts += [(x.argmax(-1)[:, None] == torch.arange(4)).float(), torch.erf(4 * x), torch.erfc(4 * x)]
        parts += [torch.special.erfcx(2 * x), torch.special.log_ndtr(4 * x)]
        parts += [
            torch.where(x > 0, x, -2 * x),
            x.round(),
            (x * 3) // 2,
            (x * 7) % 2,
            x.unsqueeze(-1).expand(-1, 3, 2).flatten(1),
        ]
        return torch.cat(
            [*parts, torch.einsum("bi,bj->bij", x, x).flatten(1), torch.nn.functional.pad(x, (1, 2), value=2.0)], -1
        )


NETWORKS = {
    "perceptron": lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.Softplus()),
    "activations": lambda: nn.Sequential(
        nn.Linear(3, 8), nn.GELU(), nn.SiLU(), nn.ELU(), nn.LeakyReLU(), nn.Tanh(), nn.Hardswish(), nn.Mish(),
        nn.Sigmoid(), nn.LayerNorm(8), nn.BatchNorm1d(8), nn.Dropout(), nn.PReLU(), nn.Softmax(-1), nn.LogSoftmax(-1),
        nn.SELU(), nn.CELU(), nn.Hardtanh(), nn.GELU(approximate="tanh"), nn.LogSigmoid(), nn.Softsign(), nn.GLU(),
    ),
    "convolutions": lambda: nn.Sequential(
        nn.Linear(3, 32), nn.Unflatten(-1, (8, 2, 2)),
        nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2), nn.BatchNorm2d(6), 
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 3, padding=2, stride=2, dilation=2, groups=2), nn.GroupNorm(2, 4), nn.Upsample((5, 7)),
        nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 3, 3), nn.ConvTranspose2d(3, 2, (3, 2), stride=(2, 1)),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Flatten(),
    ),
    "one dimension": lambda: nn.Sequential(
        nn.Linear(3, 32), nn.Unflatten(-1, (8, 4)), nn.Conv1d(8, 4, 3, padding=1),
        nn.ConvTranspose1d(4, 2, 4, stride=2, bias=False), nn.ReflectionPad1d(2), nn.InstanceNorm1d(2),
    ),
    "pixels": lambda: nn.Sequential(nn.Linear(3, 32), nn.Unflatten(-1, (8, 2, 2)), nn.PixelShuffle(2), nn.ZeroPad2d(1)),
    "attention": Attention, "recurrent": Recurrent, "various": Various,
}  # fmt: skip


def listing(network):
    return lambda u: [network(u)]


@pytest.mark.slow
@needs_node
def test_the_pages_steps_compute_what_torch_does():
    pool, programs, places, wanted = ConstantPool(), [], [], []
    for make in NETWORKS.values():
        torch.manual_seed(0)
        network, x = make().eval(), torch.randn(2, 1, 3)
        with torch.no_grad():
            made = compiled(traced_graph(listing(network), x[0]), x[0], pool, HANDLERS)
            wanted.append(network.double()(x[1].double()).flatten().numpy())
        programs.append({"inputs": 3, **made.plain()})
        places.append(x[1].flatten().tolist())
    for name, one, other in zip(NETWORKS, computed(programs, pool.listed, pool.text(), places), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=EXACT, atol=EXACT, err_msg=name)


def test_places_are_tables_where_they_are_sums():
    shape = torch.Size([2, 3, 4])
    for move in (
        lambda x: x.permute(2, 0, 1),
        lambda x: x[:, 1:],
        lambda x: x.repeat_interleave(2, -1),
        lambda x: x.flip(0),
    ):
        places = moved_places(move, shape)
        tables = tables_of(places)
        assert tables is not None
        total = torch.tensor(tables["first"])
        for table in tables["tables"]:
            total = total.unsqueeze(-1) + torch.tensor(table)
        assert torch.equal(total + 1, places)
    assert tables_of(moved_places(lambda x: x.reshape(-1)[torch.tensor([0, 5, 3])], shape)) is not None
    assert tables_of(moved_places(lambda x: torch.diag_embed(x), torch.Size([2]))) is None


# --- pairs --------------------------------------------------------------------------------------------
PAIRS = [
    "plain_functions",
    "clusters",
    "hierarchical",
    "images_by_view",
    "constrained_params",
    "time_steps",
    "masked_rows",
]


@pytest.mark.slow
@needs_node
def test_pairs_however_they_are_written_answer_in_the_page_as_in_pyro():
    pool_of, programs, places, wanted, names = [], [], [], [], []
    for name in PAIRS:
        pyro.clear_param_store()
        pair, args, kwargs = born(REGISTRY[name])
        found = explored(pair, *args, **kwargs)
        for program, check in zip(found["programs"], found["checks"], strict=True):
            names.append(name)
            programs.append(program)
            places.append(check["at"])
            wanted.append(numbers(found, check["wanted"]))
            pool_of.append((found["constants"], found["bytes"]))
    for name, program, place, other, (constants, text) in zip(names, programs, places, wanted, pool_of, strict=True):
        (one,) = computed([program], constants, text, [place])
        np.testing.assert_allclose(one, other, rtol=EXACT, atol=EXACT, err_msg=name)
    pyro.clear_param_store()


def numbers(found: dict, number: int) -> np.ndarray:
    kind, start, count = found["constants"][number]
    return np.frombuffer(base64.b64decode(found["bytes"]), f"<{kind}", count, start)


# Draws have a mean of no closed form there, or none at all.
WITHOUT_MEAN = {"IAF", "IAF-deep", "FlowPrior"}


@pytest.mark.slow
@needs_node
def test_every_family_of_likelihoods_is_shown_by_mean_and_noise_or_by_classes():
    shown = 0
    for component in FAMILIES:
        if component.id in WITHOUT_MEAN:
            continue
        torch.manual_seed(0)
        likelihood = component.build()

        def model(x, likelihood=likelihood):
            pyro.module("likelihood", likelihood)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(GIVEN), 1.0).to_event(1))
                fn = likelihood(z)
                pyro.sample("x", fn, obs=fn.sample().detach())

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x[:, :GIVEN], 0.1).to_event(1))

        pyro.clear_param_store()
        found = explored(pv.Pair(model, guide), X)
        (program,), (check,) = found["programs"], found["checks"]
        (one,) = computed([program], found["constants"], found["bytes"], [check["at"]])
        fn = likelihood(torch.tensor([check["at"]]))
        mean, scale = expected(fn)
        np.testing.assert_allclose(one[: mean.size], mean, rtol=1e-4, atol=1e-4, err_msg=component.id)
        if scale is not None:
            np.testing.assert_allclose(one[mean.size :], scale, rtol=2e-3, atol=1e-4, err_msg=component.id)
        shown += 1
    assert shown > 25
    pyro.clear_param_store()


def expected(fn) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean and scale of a distribution, or the probabilities of its classes, by torch."""
    base = getattr(fn, "base_dist", fn)
    if type(base).__name__ == "SideBySide":
        labels = torch.distributions.Categorical
        parts = [part.probs if isinstance(part, labels) else part for _, part in base.parts]
        flat = []
        for part in parts:
            if isinstance(part, torch.Tensor):
                flat.append(part)
            elif "Bernoulli" in type(part).__name__:
                flat.append(torch.stack([1 - part.probs, part.probs], -1))
            else:
                flat += [part.mean, part.variance.sqrt()]
        return torch.cat([one.detach().double().reshape(-1) for one in flat]).numpy(), None
    if "Categorical" in type(base).__name__:
        return base.probs.detach().double().reshape(-1).numpy(), None
    mean, scale = fn.mean, fn.variance.sqrt()
    return mean.detach().double().reshape(-1).numpy(), scale.detach().double().reshape(-1).numpy()


@needs_node
def test_a_row_is_reconstructed_as_python_does_it(tmp_path):
    torch.manual_seed(0)
    pair = linear_pair()
    found = explored(pair, X, rows=3)
    codes = numbers(found, found["rows"]["means"]).reshape(3, 2)
    (one,) = computed(found["programs"], found["constants"], found["bytes"], [codes[1].tolist()])
    np.testing.assert_allclose(
        one[:4], pv.variations(pair, X, draws=1, scale=0.0)["x"][0, 1].numpy(), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(one[4:], 0.5)


@pytest.mark.slow
def test_images_are_in_the_unit_that_the_guide_finds_in_them():
    """Of a pair that has met no image yet, it does not know it from the model alone."""
    torch.manual_seed(0)
    pair = pv.recipes.image_vae((1, 4, 4), 2, channels=(4,))
    x = torch.randint(0, 256, (12, 1, 4, 4)).to(torch.uint8)
    x[0, 0, 0, 0] = 255
    found = explored(pair, x)
    mean = numbers(found, found["checks"][0]["wanted"])[:16]
    drawn = pv.variations(pair, x, draws=1, scale=0.0)["x"].numpy()
    assert list(found["sites"][0]["limits"]) == [0.0, 255.0]
    assert drawn.min() - 60 < mean.min() < mean.max() < drawn.max() + 60
    assert mean.max() > 2


@pytest.mark.slow
def test_a_classs_program_is_that_of_its_class():
    x, y = X.sigmoid(), torch.arange(12) % 3
    torch.manual_seed(0)
    pair = pv.recipes.semi_supervised_vae(4, 2, classes=3, classification=0.0, hidden=[8])
    found = explored(pair, x, torch.full((12,), -1))
    assert [choice["words"] for choice in found["choices"]] == [["0", "1", "2"]]
    assert len({tuple(numbers(found, check["wanted"])) for check in found["checks"]}) == 3
    conditional = pv.recipes.conditional_vae(4, 2, condition=1, hidden=[8])
    found = explored(conditional, x, y[:, None].float(), rows=4)
    assert found["choices"] == [{"name": "given", "words": ["0", "1", "2"]}]
    assert found["rows"]["situations"] == [0, 1, 2, 0]


# --- what is refused ----------------------------------------------------------------------------------
def pair_with(likelihood, latent=None):
    encoder = nn.Linear(4, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", latent or dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", likelihood(z, x).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", latent or dist.Normal(encoder(x), 0.5).to_event(1))

    pyro.clear_param_store()
    run(pair := pv.Pair(model, guide), (X,), {})
    return pair


def branching(z, x):
    return dist.Normal(z.sum(-1, keepdim=True).expand(-1, 4) * (2.0 if (0 * z).sum().item() < 1 else 1.0), 1.0)


REFUSED = {
    "reads the data": lambda z, x: dist.Normal(x.roll(1, -1) + z[..., :1], 1.0),
    "draws": lambda z, x: dist.Normal(z[..., :1] + torch.randn(4), 1.0),
    "cannot be traced": branching,
    "sort": lambda z, x: dist.Normal(torch.cat([z, z.sort(-1)[0]], -1), 1.0),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_page_cannot_do_is_refused_with_the_reason(words, tmp_path):
    with pytest.raises(PairError, match=words):
        pv.explore(pair_with(REFUSED[words]), X, path=tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_pairs_without_a_latent_space_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Poisson(3.0))
            pyro.sample("x", dist.Normal(k[..., None].expand(-1, 4), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Poisson(2.0))

    with pytest.raises(PairError, match="no latent space"):
        explored(pv.Pair(model, guide), X)


def test_covariates_that_are_all_different_need_rows(tmp_path):
    torch.manual_seed(0)
    pair = pv.recipes.conditional_vae(4, 2, condition=1, hidden=[8])
    x, c = torch.rand(40, 4), torch.arange(40.0)[:, None]
    with pytest.raises(ArgumentError, match="rows=8"):
        pv.explore(pair, x, c, path=tmp_path / "page.html")
    assert len(explored(pair, x, c, rows=3)["programs"]) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rows": 13}, "there are 12"),
        ({"rows": -1}, "rows=-1"),
        ({"labels": [1, 2], "rows": 3}, "labels"),
        ({"path": "page.pdf"}, "page.html"),
    ],
)
def test_what_cannot_be_is_said(given, words, tmp_path):
    with pytest.raises(ArgumentError, match=re.escape(words)):
        pv.explore(linear_pair(), X, **{"path": tmp_path / "page.html", **given})


# --- what is in the page ------------------------------------------------------------------------------
def rows_in(found: dict) -> int:
    """How many rows of X, or numbers of one next to each other, the page's constants hold."""
    held = base64.b64decode(found["bytes"])
    return sum(row.numpy().tobytes() in held or row.double().numpy().tobytes() in held for row in X)


def test_rows_are_in_the_page_only_when_asked_for(tmp_path):
    torch.manual_seed(0)
    pair = linear_pair()
    without = found_in(pv.explore(pair, X, path=tmp_path / "a.html").read_text())
    assert (rows_in(without), without["rows"]) == (0, None)
    some = found_in(pv.explore(pair, X, path=tmp_path / "b.html", rows=3, labels=np.arange(12)).read_text())
    assert (rows_in(some), some["rows"]["labels"]) == (3, ["0", "1", "2"])
    # Where the pair has nothing learned, codes are the rows themselves: they are not in it, either.
    codes = pv.encode(pair, X)["z"].mean.float()
    assert not any(code.numpy().tobytes() in base64.b64decode(without["bytes"]) for code in codes)


HOSTILE = "</script><script>self.attacked = 1</script><img src=x onerror='self.attacked = 1'>\u2028 & \"'"


def test_names_are_texts_whatever_they_hold(tmp_path):
    page = pv.explore(
        linear_pair(), X, path=tmp_path / "page.html", rows=3, title=HOSTILE, names=[HOSTILE] * 4, labels=[HOSTILE] * 12
    ).read_text()
    assert page.count("<script") == 2
    assert "<img" not in page
    assert found_in(page)["sites"][0]["names"] == [HOSTILE] * 4
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        text = page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|innerHTML|eval\(|document\.write", page)


def test_every_file_of_the_script_is_in_it():
    from importlib.resources import files

    there = {
        path.name.removesuffix(".js")
        for path in files("pyrovae.report.explorer").iterdir()
        if path.name.endswith(".js")
    }
    assert there == {*SCRIPTS, "notebook"}  # which is the widget's alone


def test_the_pair_and_the_caller_are_as_before(tmp_path):
    torch.manual_seed(0)
    pair = linear_pair().train()
    state, weights = torch.get_rng_state(), {name: one.clone() for name, one in pair.state_dict().items()}
    pv.explore(pair, X, path=tmp_path / "page.html", rows=2)
    assert torch.equal(state, torch.get_rng_state())
    assert pair.training
    assert all(torch.equal(one, weights[name]) for name, one in pair.state_dict().items())
    assert torch.distributions.Distribution._validate_args
