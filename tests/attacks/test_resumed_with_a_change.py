"""A run is gone on with only where nothing has changed: data, pair, arguments; what has is named."""

from __future__ import annotations

import array
import copy
import decimal
import enum
import functools
import itertools
import os
import tempfile
import types
from pathlib import Path

import numpy as np
import pandas
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from row_by_row import Rows
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli.commands import app

ROWS = 3_000  # more than a sample of them would hold
X = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
HELD_OUT = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
SCALE = {0: 0.5}


class Mine(nn.Module):
    """A pair with every kind of thing that is no parameter and counts nevertheless."""

    def __init__(self):
        super().__init__()
        pyro.clear_param_store()  # which would hand it the weights of the one before
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.BatchNorm1d(8), nn.Linear(8, 4))
        self.decoder = nn.Linear(2, 3)
        self.fixed = nn.Linear(3, 3).requires_grad_(False)
        self.register_buffer("offset", torch.full((3,), 0.1))
        self.register_buffer("hidden", torch.full((3,), 0.1), persistent=False)
        self.settings = {"scale": 1.0, "weights": [1.0, 2.0]}
        self.rows_seen = 0
        self.last = None

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = self.decoder(z) + self.offset + self.hidden + self.fixed(self.offset)
            scale = self.settings["scale"] * self.settings["weights"][1] * SCALE[0]
            pyro.sample("x", dist.Normal(loc, scale).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        self.rows_seen += len(x)
        loc, log_scale = self.last = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Stream(IterableDataset):
    """Rows in an order of their own."""

    def __init__(self, values):
        self.values = values

    def __iter__(self):
        return iter(self.values)


def run(folder, pair, data=X, **options):
    options = {"steps": 2, "seed": 0, "device": "cpu", "staged": False, "progress": False, **options}
    return pv.fit(pair, data, checkpoint=folder, **options)


def changed(values, row=1_234):
    values = copy.deepcopy(values)
    values[row] += 1e-3
    return values


@pytest.mark.parametrize("kind", [
    lambda x: x, lambda x: x.numpy(), lambda x: (x,), lambda x: x.T.contiguous().T, Rows, TensorDataset,
    lambda x: DataLoader(Rows(x), batch_size=64), lambda x: DataLoader(TensorDataset(x), batch_size=64, shuffle=True),
], ids=["tensor", "array", "tuple", "strided", "dataset", "tensors", "loader", "shuffled"])  # fmt: skip
def test_one_changed_row(kind, tmp_path):
    run(tmp_path, Mine(), kind(X))
    with pytest.raises(pv.DataError, match="argument 'x' of the data was"):
        run(tmp_path, Mine(), kind(changed(X)), resume=True, steps=4)
    assert run(tmp_path, Mine(), kind(X), resume=True, steps=4).step == 4


@pytest.mark.parametrize("kind", [lambda x: x, Rows], ids=["tensor", "dataset"])
def test_one_changed_row_of_the_validation_data(kind, tmp_path):
    run(tmp_path, Mine(), validation=kind(HELD_OUT))
    for other in (changed(HELD_OUT, 77), HELD_OUT[:-1]):
        with pytest.raises(pv.DataError, match="the validation data was"):
            run(tmp_path, Mine(), validation=kind(other), resume=True, steps=4)
    with pytest.raises(pv.DataError, match="the validation data was given"):
        run(tmp_path, Mine(), resume=True, steps=4)
    assert run(tmp_path, Mine(), validation=kind(HELD_OUT), resume=True, steps=4).step == 4


def test_rows_fewer_and_in_another_order(tmp_path):
    run(tmp_path, Mine())
    with pytest.raises(pv.DataError, match=r"number of rows of the data was 3000 .* is 2999 now"):
        run(tmp_path, Mine(), X[:-1], resume=True)
    with pytest.raises(pv.DataError, match="argument 'x' of the data"):
        run(tmp_path, Mine(), X.flip(0), resume=True)
    with pytest.raises(pv.DataError, match="shapes of the data"):
        run(tmp_path, Mine(), X.double(), resume=True)


def test_another_order(tmp_path):
    def loader(**options):
        return DataLoader(TensorDataset(X), batch_size=64, **options)

    run(tmp_path, Mine(), loader(shuffle=True))
    for other in ({}, {"shuffle": True, "generator": torch.Generator()}):
        with pytest.raises(pv.DataError, match=r"the order of the data was RandomSampler"):
            run(tmp_path, Mine(), loader(**other), resume=True, steps=4)
    assert run(tmp_path, Mine(), loader(shuffle=True), resume=True, steps=4).step == 4


def test_a_stream_is_compared_as_far_as_it_can_be_and_says_so(tmp_path, caplog):
    run(tmp_path, Mine(), Stream(X))
    with pytest.raises(pv.DataError, match="argument 'x' of the data"):
        run(tmp_path, Mine(), Stream(changed(X, 3)), resume=True, steps=4)
    assert run(tmp_path, Mine(), Stream(X), resume=True, steps=4).step == 4
    assert (
        "the first 128 rows, because it can be read in its own order alone of the data could be compared" in caplog.text
    )


def test_a_long_dataset_is_compared_as_far_as_time_allows(tmp_path, monkeypatch, caplog):
    from pyrovae.data import data_digest

    with monkeypatch.context() as hurried:
        hurried.setattr(data_digest, "_BEARABLE", -1.0)
        run(tmp_path, Mine(), Rows(X))
    run(tmp_path, Mine(), Rows(X), resume=True, steps=4)
    assert "128 of 3,000 rows" in caplog.text
    with pytest.raises(pv.DataError, match="argument 'x' of the data"):
        run(tmp_path, Mine(), Rows(X + 1), resume=True, steps=4)


def test_a_dataset_that_never_gives_the_same_is_gone_on_with_and_says_so(tmp_path):
    class Noisy(Rows):
        def __getitem__(self, row):
            noisy = row > 1_000  # not where it is tried
            return self.values[row] + noisy * 1e-3 * next(counted)

    counted = itertools.count()

    run(tmp_path, Mine(), Noisy(X))
    with pytest.warns(pv.PyrovaeWarning, match="other values when it is asked again"):
        run(tmp_path, Mine(), Noisy(X), resume=True, steps=4)


# --- the pair -----------------------------------------------------------------------------------------
def rate(pair):
    pair.encoder[1].p = 0.9


def scale(pair):
    pair.settings["scale"] = 1.0001


def weight(pair):
    pair.settings["weights"][1] = 2.0001


def buffer(pair):
    pair.offset += 1e-4


def hidden(pair):
    pair.hidden += 1e-4


def frozen(pair):
    pair.fixed.weight.data += 1e-4


def part(pair):
    pair.encoder[1] = nn.Identity()


def mode(pair):
    pair.encoder[2].eval()


@pytest.mark.parametrize(
    ("change", "named"),
    [(rate, "Dropout.p was 0.1 .* is 0.9"), (scale, "scale.* was 1.0 .* is 1.0001"), (weight, "weights.* was .*2.0001"),
     (buffer, "buffer .*offset"), (hidden, "Mine.hidden was"), (frozen, "Linear.weight was"),
     (part, "the parts of Mine|Dropout"), (mode, "the modes of Mine")],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_another_pair(change, named, tmp_path):
    run(tmp_path, Mine())
    other = Mine()
    change(other)
    with pytest.raises(pv.ArgumentError, match=named):
        run(tmp_path, other, resume=True, steps=4)


def test_a_constant_outside_the_pair(tmp_path, monkeypatch):
    run(tmp_path, Mine())
    monkeypatch.setitem(SCALE, 0, 0.5001)
    with pytest.raises(pv.ArgumentError, match=r"SCALE.0 was 0.5 "):
        run(tmp_path, Mine(), resume=True, steps=4)


def test_the_same_pair_goes_on_and_so_does_one_that_was_trained_meanwhile(tmp_path):
    pair = Mine()
    run(tmp_path, pair)
    pv.fit(pair, X, steps=3, seed=9, device="cpu", progress=False)  # counters, caches, averages of batch norm
    assert run(tmp_path, pair, resume=True, steps=4).step == 4
    assert run(tmp_path, Mine(), resume=True, steps=6).step == 6


@pytest.mark.parametrize("scales", [(1.0, 1.0005), (0.1, 0.2)])
def test_the_fixed_scale_of_a_likelihood(scales, tmp_path):
    def vae(scale):
        return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=scale), pv.DiagNormal(pv.MLP(3, [], 4)))

    run(tmp_path, vae(scales[0]))
    with pytest.raises(pv.ArgumentError, match="scale was"):
        run(tmp_path, vae(scales[1]), resume=True, steps=4)
    assert run(tmp_path, vae(scales[0]), resume=True, steps=4).step == 4


def test_numbers_in_the_code_of_plain_functions(tmp_path):
    def pair(deviation):
        source = f"""
def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), {deviation}).expand([len(x), 3]).to_event(1), obs=x)

def guide(x):
    loc = pyro.param("loc", torch.zeros(2))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
"""
        space = {"pyro": pyro, "dist": dist, "torch": torch, "__name__": "theirs"}
        exec(source, space)
        return pv.Pair(space["model"], space["guide"])

    run(tmp_path, pair(1.0))
    with pytest.raises(pv.ArgumentError, match="the numbers in model was"):
        run(tmp_path, pair(1.00001), resume=True, steps=4)
    assert run(tmp_path, pair(1.0), resume=True, steps=4).step == 4


class Kind(enum.Enum):
    ONE, OTHER = 1.0, 1.00001


def _default(value):
    return lambda scale=value: scale


def _named_default(value):
    return lambda *, scale=value: scale


def _beside_an_iterator(value):
    held, counted = [value], iter(range(10**6))
    return lambda: held[0] if next(counted) >= 0 else None


def _key_of_a_table(value):
    table, key = {"one": value, "other": 2.00001 - value}, "".join(["o", "ne"])
    return lambda: table[key]


def _place_in_a_list(value):
    many = [value, *[0.0] * 10_000, 2.00001 - value]
    return lambda: many[0]


class _Asked:
    """A number that only a method which remembers what it gave asks for."""

    def __init__(self, value):
        self.number_of_its_own = value

    @functools.lru_cache(maxsize=4)  # noqa: B019 - it is this that is tried
    def __call__(self):
        return self.number_of_its_own


def _read_once(value):
    """From a file, by a function that is never run again."""
    path = Path(tempfile.gettempdir()) / f"number-{os.getpid()}"
    path.write_text(str(value))
    return functools.cache(lambda: float(path.read_text()))


@pytest.mark.parametrize("make", [
    lambda v: functools.cache(lambda: v), lambda v: functools.lru_cache(lambda s=v: s),
    lambda v: functools.partial(functools.cache(lambda name: {"s": v}[name]), "s"),
    lambda v: functools.cache(functools.partial(lambda s: s, s=v)), _Asked, _read_once,
    _default, _named_default, lambda v: functools.partial(float, v), lambda v: functools.partial(lambda s: s, s=v),
    lambda v: (lambda kind: lambda: kind.value)(Kind.ONE if v == 1 else Kind.OTHER),
    lambda v: (lambda held: lambda: held["s"])(types.MappingProxyType({"s": v})),
    lambda v: (lambda held: lambda: float(held))(decimal.Decimal(v)),
    lambda v: (lambda held: lambda: len(held) / 1e5)(range(100_000 if v == 1 else 100_001)),
    lambda v: (lambda held: lambda: held[0])(array.array("d", [v])),
    lambda v: (lambda held: lambda: float(held.iloc[0]))(pandas.Series([v])),
    _beside_an_iterator, _key_of_a_table, _place_in_a_list,
], ids=["cached", "cached default", "cached argument", "cached partial", "cached method", "read once",
        "default", "named default", "partial", "partial by name", "enum", "proxy", "decimal", "range", "array",
        "pandas", "iterator", "table", "list"])  # fmt: skip
def test_a_number_wherever_it_is_held(make, tmp_path):
    def pair(number):
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                loc = z.sum(-1, keepdim=True).expand(len(x), 3)
                pyro.sample("x", dist.Normal(loc, torch.as_tensor(number(), dtype=loc.dtype)).to_event(1), obs=x)

        def guide(x):
            loc = pyro.param("loc", torch.zeros(2))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

        pyro.clear_param_store()
        return pv.Pair(model, guide)

    few = X[:64]
    run(tmp_path, pair(make(1.0)), few)
    with pytest.raises(pv.ArgumentError, match=r" was .* in the run of"):
        run(tmp_path, pair(make(1.00001)), few, resume=True, steps=4)
    assert run(tmp_path, pair(make(1.0)), few, resume=True, steps=4).step == 4


def test_cached_functions_that_make_what_is_trained_are_gone_on_with(tmp_path):
    def pair():
        @functools.cache
        def net():
            return nn.Linear(2, 3)  # other weights each time

        loc, kept = nn.Parameter(torch.randn(2)), {}
        guide_loc = functools.lru_cache(lambda: kept.setdefault("loc", loc))

        def model(x):
            pyro.module("net", net())
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(net()(z), 1.0).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(pyro.param("loc", guide_loc()), 1.0).to_event(1))

        pyro.clear_param_store()
        return pv.Pair(model, guide)

    torch.manual_seed(0)
    run(tmp_path, pair(), X[:64])
    assert run(tmp_path, pair(), X[:64], resume=True, steps=4).step == 4


def test_free_bits(tmp_path):
    run(tmp_path, pv.free_bits(Mine(), {"z": 0.1}))
    with pytest.raises(pv.ArgumentError, match="FreeBits around Mine was"):
        run(tmp_path, pv.free_bits(Mine(), {"z": 0.2}), resume=True, steps=4)


# --- the arguments ------------------------------------------------------------------------------------
class Weighted(Trace_ELBO):
    """A loss with a setting of its user's own."""

    def __init__(self, weight):
        super().__init__()
        self._weight = weight


class Warm:
    """A schedule with a state that its text does not show."""

    def __init__(self, weights):
        self._weights = weights

    def __call__(self, step):
        return self._weights[0]

    def __repr__(self):
        return "Warm()"


def scheduler(optimizer=torch.optim.Adam, gamma=0.9):
    return pyro.optim.ExponentialLR({"optimizer": optimizer, "optim_args": {"lr": 0.01}, "gamma": gamma})


def _noise(scales):
    table = {"scales": scales}
    return lambda x: x + table["scales"][0] * torch.rand_like(x)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("optim", lambda v: (lambda rates: lambda p: torch.optim.Adam(p, **rates))({"lr": v})),
        ("optim", lambda v: pyro.optim.Adam({"lr": v, "betas": (0.9, 0.99)})),
        ("optim", lambda v: pyro.optim.Adam(lambda *_: {"lr": [v][0]})),
        ("optim", lambda v: scheduler(gamma=v)),
        ("optim", lambda v: scheduler(optimizer=torch.optim.Adam if v < 0.015 else torch.optim.AdamW)),
        ("temper", lambda v: Warm([v])),
        ("temper", lambda v: (lambda weights: lambda step: weights[0])([v])),
        ("temper", lambda v: (lambda weights: lambda step: float(weights[0]))(np.array([v]))),
        ("temper", lambda v: {"z": v}),
        ("learning_rate", lambda v: {"encoder*": v, "*": 1e-3}),
        ("loss", lambda v: Weighted(v)),
        ("transform", lambda v: _noise([v])),
    ],
)  # fmt: skip
def test_another_argument_however_deep(name, make, tmp_path):
    run(tmp_path, Mine(), **{name: make(0.01)})
    with pytest.raises(pv.ArgumentError, match=rf"^{name} was"):
        run(tmp_path, Mine(), resume=True, steps=4, **{name: make(0.02)})
    assert run(tmp_path, Mine(), resume=True, steps=4, **{name: make(0.01)}).step == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda v: dist.Normal(torch.zeros(3), v).to_event(1),
        lambda v: torch.distributions.transforms.AffineTransform(torch.zeros(3), v),
        lambda v: torch.distributions.transforms.AffineTransform(torch.zeros(3), v).inv,
        lambda v: dist.constraints.independent(dist.constraints.greater_than(v), 1),
    ],
    ids=["independent", "transform", "inverse", "support"],
)
def test_a_number_inside_of_what_a_library_makes(make, tmp_path):
    class Holder(Mine):
        def __init__(self, value):
            super().__init__()
            self.made = make(torch.full((3,), value))

        def model(self, x):
            assert self.made is not None
            super().model(x)

    run(tmp_path, Holder(1.0))
    with pytest.raises(pv.ArgumentError, match="made was"):
        run(tmp_path, Holder(1.0001), resume=True, steps=4)
    assert run(tmp_path, Holder(1.0), resume=True, steps=4).step == 4


# --- the command line ---------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_changed_configuration_of_a_run(tmp_path):
    """Another seed makes training rows "held out", and another part held out does, too."""
    folder = tmp_path / "run"
    words = ["train", "digits", "--latent", "2", "--epochs", "1", "--seed", "0", "--out", str(folder)]
    assert CliRunner().invoke(app, words).exit_code == 0
    whole = (folder / "config.json").read_text()
    for old, new in (('"seed": 0', '"seed": 1'), ('"validation": 0.1', '"validation": 0.2')):
        assert old in whole
        (folder / "config.json").write_text(whole.replace(old, new))
        for command in (["evaluate", str(folder)], ["train", "--resume", "--out", str(folder), "--epochs", "2"]):
            ended = CliRunner().invoke(app, command)
            assert ended.exit_code == 2
            assert "is not as it was written" in " ".join(ended.output.split())
    (folder / "config.json").write_text(whole)
    assert CliRunner().invoke(app, ["evaluate", str(folder), "--draws", "4"]).exit_code == 0
