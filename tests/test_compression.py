"""Compression: the length is the bound's, what comes back is what went in, and nothing damaged comes back at all."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import REGISTRY, born
from torch import nn

import pyrovae as pv
from pyrovae.export.compression import exact_functions, exact_products
from pyrovae.export.compression.coding_order import CodingStep, Reads, coding_order
from pyrovae.export.compression.compressed_file import FileReader
from pyrovae.export.compression.exact_arithmetic import exact_arithmetic

STORED = Path(__file__).parent / "stored_rows.pv"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rows.pv"


def net(inputs: int, outputs: int, *, seed: int = 7919) -> nn.Sequential:
    """A network whose weights are the same everywhere: quotients of whole numbers."""
    made = nn.Sequential(nn.Linear(inputs, 12), nn.Softplus(), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, outputs))
    for parameter in made.parameters():
        numbers = (torch.arange(parameter.numel()) * seed + 13) % 101
        parameter.data = ((numbers - 50) / 60.0).reshape(parameter.shape)
    return made


def chain():
    """Two levels of latents whose guide climbs, as Bit-Swap's does, over pixels and counts."""
    up, top, down, pixels, counts = net(9, 6), net(3, 4, seed=31), net(2, 6), net(3, 2 * 4), net(3, 5, seed=31)

    def model(x, y):
        for name, part in {"down": down, "pixels": pixels, "counts": counts}.items():
            pyro.module(name, part)
        with pyro.plate("data", len(x)):
            high = pyro.sample("high", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc, scale = down(high).chunk(2, -1)
            low = pyro.sample("low", dist.Normal(loc, scale.exp()).to_event(1))
            pyro.sample("x", dist.Categorical(logits=pixels(low).reshape(-1, 4, 2)).to_event(1), obs=x)
            pyro.sample("y", dist.Poisson(counts(low).exp()).to_event(1), obs=y)

    def guide(x, y):
        for name, part in {"up": up, "top": top}.items():
            pyro.module(name, part)
        with pyro.plate("data", len(x)):
            loc, scale = up(torch.cat([x.to(y.dtype), y], -1)).chunk(2, -1)
            low = pyro.sample("low", dist.Normal(loc, (scale - 1).exp()).to_event(1))
            loc, scale = top(low).chunk(2, -1)
            pyro.sample("high", dist.Normal(loc, (scale - 1).exp()).to_event(1))

    return pv.Pair(model, guide)


def chain_rows(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.arange(9 * count).reshape(count, 9) * 7919 % 101
    return numbers[:, :4] % 2, (numbers[:, 4:] % 4).float()


def binary_vae(latent: int = 3):
    return pv.VAE(
        pv.StandardNormal(latent),
        pv.Bernoulli(pv.MLP(latent, [16], 20)),
        pv.DiagNormal(pv.MLP(20, [16], 2 * latent)),
    )


@pytest.fixture(scope="module")
def stripes():
    """Rows with a pattern to learn, 1 where a wave is above noise."""
    generator = torch.Generator().manual_seed(0)
    phase = torch.rand(1500, 1, generator=generator) * 6
    wave = torch.sin(torch.arange(20) / 3 + phase)
    return (wave > torch.randn(1500, 20, generator=generator) / 2).float()


@pytest.fixture(scope="module")
def stripes_vae(stripes):
    torch.manual_seed(0)
    pair = binary_vae()
    pv.fit(pair, stripes, epochs=3, learning_rate=5e-3, seed=0, progress=False, staged=False)
    return pair


def payload_bits(file) -> float:
    """Bits of the stacks alone, without the first ones."""
    with FileReader(file) as reader:
        return sum(32.0 * (len(chunk.words) - chunk.first) for chunk in reader.chunks())


# --- the length -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("portable", [True, False])
def test_under_the_exact_posterior_a_row_costs_its_evidence(file, portable):
    """Then log q(z | x) - log p(x, z) is -log p(x) whatever z: no draw is left in the sum, but a word of the coder."""
    truth = pv.truth.DiscreteMixture(torch.tensor([0.2, 0.5, 0.3]), torch.rand(3, 8, generator=torch.manual_seed(1)))
    x = truth.sample(4000)
    pv.compress(truth, x, file=file, portable=portable, verify=False)
    exact = -float(truth.log_evidence(x).double().sum()) / math.log(2)
    assert payload_bits(file) == pytest.approx(exact, abs=70)


def with_mixture():
    return pv.VAE(pv.Mixture(4, 3), pv.Bernoulli(pv.MLP(3, [16], 20)), pv.DiagNormal(pv.MLP(20, [16], 6)))


@pytest.mark.slow
@pytest.mark.parametrize("mixture", [False, True])
def test_a_row_costs_its_negative_elbo(stripes, stripes_vae, mixture, file):
    pair = with_mixture() if mixture else stripes_vae
    done = pv.compress(pair, stripes, file=file, verify=False)
    one_draw = torch.stack([pv.elbo(pair, stripes, draws=1, seed=seed).value for seed in range(12)])
    nats, error = one_draw.mean(), one_draw.std(0).mean() / math.sqrt(len(stripes))
    found = payload_bits(file) / len(stripes)
    # Bins are finite: what they add is far below the error of the draws.
    assert abs(found + float(nats) / math.log(2)) < 4 * float(error) / math.log(2)
    assert done.size * 8 < 1.02 * found * len(stripes) + 6000
    assert done.bits == pytest.approx(8 * done.size / 1500)
    assert done.raw_size == 1500 * 80


def test_first_bits_are_those_of_one_row(stripes_vae, stripes, file):
    few = pv.compress(stripes_vae, stripes[:1], file=file).first_bits
    assert pv.compress(stripes_vae, stripes, file=file.with_name("all.pv")).first_bits <= few + 320


# --- the order --------------------------------------------------------------------------------------------------
def reads(side, site, *sources, says=None):
    return Reads(CodingStep(side, site), frozenset(sources), frozenset([(site,) if says is None else says]))


def test_a_chain_is_coded_in_the_order_of_bit_swap():
    guide = [reads("guide", "z1", 0), reads("guide", "z2", ("z1",)), reads("guide", "z3", ("z2",))]
    model = [
        reads("model", "z3"),
        reads("model", "z2", ("z3",)),
        reads("model", "z1", ("z2",)),
        reads("model", "x", ("z1",), says=0),
    ]
    order = [f"{side[0]} {site}" for side, site in coding_order(guide, model)]
    assert order == ["g z1", "m x", "g z2", "m z1", "g z3", "m z2", "m z3"]


def test_what_a_later_site_of_the_guide_reads_stays_until_then():
    guide = [reads("guide", "z1", 0), reads("guide", "z2", ("z1",), 0)]
    model = [reads("model", "z2"), reads("model", "z1", ("z2",)), reads("model", "x", ("z1",), says=0)]
    order = [f"{side[0]} {site}" for side, site in coding_order(guide, model)]
    assert order == ["g z1", "g z2", "m x", "m z1", "m z2"]


def test_sites_in_a_circle_are_refused():
    model = [reads("model", "x", 1, says=0), reads("model", "y", 0, says=1)]
    with pytest.raises(pv.PairError, match="depend on one another in a circle"):
        coding_order([], model)


@pytest.mark.slow
def test_the_chain_of_a_pair_is_seen(file):
    pv.compress(chain(), *chain_rows(), file=file)
    with FileReader(file) as reader:
        order = [f"{side[0]} {site}" for side, site in reader.header["order"]]
    assert order == ["g low", "m y", "m x", "g high", "m low", "m high"]


# --- there and back ---------------------------------------------------------------------------------------------
def same(given, found) -> bool:
    if isinstance(given, dict):
        return given.keys() == found.keys() and all(same(given[key], found[key]) for key in given)
    if isinstance(given, tuple):
        return len(given) == len(found) and all(map(same, given, found))
    return given.dtype == found.dtype and torch.equal(given, found)


# Each of these has no code, and a sentence that says why.
WORDS = {
    "continuous data have no last digit": pv.DataError,
    "the model sums out": pv.PairError,
    "its elements depend on one another": pv.PairError,
    "a mask hides a part of": pv.PairError,
    "beside its latent sites": pv.PairError,
    "all rows share the latent site": pv.PairError,
    "for the rows of its own data": pv.PairError,
    "is a pyro.factor": pv.PairError,
    "which is no value that its distribution gives a probability": pv.DataError,
}
CODED = {
    "enumerated_guide", "enumerated_guide_sequential", "score_function", "score_function_average_baseline",
    "score_function_neural_baseline", "ladder", "two_levels_with_pseudo_inputs", "some_labels", "under_a_condition",
    "enumerated_guide_beside_a_code", "mixture_prior", "batch_norm_and_dropout", "frozen_layer", "negative_binomial",
    "hierarchical", "built_in", "subsample_by_index", "images_by_view", "plain_functions", "bound_methods",
    "nested_plates", "scaled_by_author", "likelihood_scaled_by_author", "constrained_params", "own_entries",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REGISTRY)
def test_every_style_of_pair_comes_back_or_is_refused_in_words(name, file):
    pair, args, kwargs = born(REGISTRY[name])
    refusal = None
    try:
        pv.compress(pair, *args, **kwargs, file=file, verify=False)
    except (pv.PairError, pv.DataError) as error:
        refusal = error
    if refusal is None:
        assert same(kwargs or (args if len(args) > 1 else args[0]), pv.decompress(pair, file))
        return
    assert name not in CODED, refusal
    assert not file.exists()
    known = [words for words, kind in WORDS.items() if words in str(refusal) and type(refusal) is kind]
    assert known or len(str(refusal)) > 80, refusal


@pytest.mark.slow
def test_chunks_and_blocks_of_any_size_come_back(file):
    x, y = chain_rows(11)
    for chunk in (1, 6, 1000):
        done = pv.compress(chain(), x, y, file=file.with_name(f"{chunk}.pv"), chunk=chunk)
        assert done.rows == 11
        assert same((x, y), pv.decompress(chain(), file.with_name(f"{chunk}.pv")))


def one_of_everything():
    """Sites that are coded by tables of masses; a covariate; a latent number above 0, and one of a class."""
    two, one, three, wide_one, kinds = net(1, 2), net(1, 1), net(1, 3), net(1, 1, seed=31), net(1, 3, seed=31)
    family = {
        "levels": pv.DiscretizedLogistic(two, levels=256),
        "counts": lambda z: dist.NegativeBinomial(3.0, logits=one(z)).to_event(1),
        "shares": lambda z: dist.BetaBinomial(1 + z.exp(), 2.0, 9).to_event(1),
        "one_hot": lambda z: dist.OneHotCategorical(logits=three(z)),
    }

    def model(levels, counts, shares, one_hot, beside):
        given = {"levels": levels, "counts": counts, "shares": shares, "one_hot": one_hot}
        with pyro.plate("data", len(levels)):
            wide = pyro.sample("wide", dist.Gamma(2.0, torch.ones(1)).to_event(1))
            kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
            z = wide.log() + beside + kind.unsqueeze(-1)
            for name, likelihood in family.items():
                pyro.sample(name, likelihood(z), obs=given[name])

    def guide(levels, counts, shares, one_hot, beside):
        with pyro.plate("data", len(levels)):
            pyro.sample("wide", dist.LogNormal(wide_one(counts / 8), 0.3).to_event(1))
            pyro.sample("kind", dist.Categorical(logits=kinds(shares / 9)))

    return pv.Pair(model, guide)


@pytest.mark.slow
@pytest.mark.parametrize("portable", [True, False])
def test_every_kind_of_site_is_coded_by_its_own_distribution(file, portable):
    count = 50
    numbers = torch.arange(count).unsqueeze(-1)
    data = {
        "levels": (numbers * 37 % 256).to(torch.uint8),
        "counts": (numbers * 7 % 12).float(),
        "shares": (numbers % 10).float(),
        "one_hot": torch.eye(3)[numbers[:, 0] % 3],
        "beside": torch.linspace(-1, 1, count).unsqueeze(-1),
    }
    pv.compress(one_of_everything(), **data, file=file, portable=portable)
    assert same(data, pv.decompress(one_of_everything(), file))


@pytest.mark.slow
def test_streams_are_coded_in_the_memory_of_a_batch(stripes_vae, stripes, file):
    rows = torch.utils.data.TensorDataset(stripes[:50])  # of which nobody asks for all
    assert pv.compress(stripes_vae, rows, file=file, chunk=20).rows == 50
    assert same(stripes[:50], pv.decompress(stripes_vae, file))


# --- the same bits everywhere -----------------------------------------------------------------------------------
def test_the_functions_are_those_of_the_library():
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    above = x[x > 0]
    for found, expected, bound in (
        (exact_functions.exp(x), x.exp(), 1e-14),
        (exact_functions.log(above), above.log(), 1e-14),
        (exact_functions.expm1(x), x.expm1(), 1e-14),
        (exact_functions.log1p(above), above.log1p(), 1e-14),
        (exact_functions.sigmoid(x), x.sigmoid(), 1e-14),
        (exact_functions.tanh(x), x.tanh(), 1e-14),
        (exact_functions.atan(x), x.atan(), 1e-14),
        (exact_functions.softplus(x), nn.functional.softplus(x), 1e-8),
        (exact_functions.normal_tails(x).below, torch.special.ndtr(x), 1e-8),
        (exact_functions.erf(x), x.erf(), 1e-8),
        (exact_functions.lgamma(above), above.lgamma(), 1e-12),
    ):
        assert torch.allclose(found, expected, rtol=bound, atol=1e-13)
    bent = torch.tensor([-torch.inf, torch.inf, torch.nan, 1e4, -1e4, 0.0], dtype=torch.float64)
    assert torch.equal(exact_functions.exp(bent).nan_to_num(7.0, 8.0), torch.tensor([0, 8.0, 7, 8, 0, 1]).double())
    assert torch.equal(exact_functions.log(bent[[1, 5, 0]]).nan_to_num(7, 8, -8), torch.tensor([8.0, -8, 7]).double())


def test_what_is_left_as_it_is_is_rounded_correctly():
    """torch's own square root is not: a mathematical library's, that takes another way on another processor."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 20_000)) * np.exp(random.normal(size=(2, 20_000)) * 10)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    with exact_arithmetic():
        for found, expected in (
            (x + y, a + b),
            (x - y, a - b),
            (x * y, a * b),
            (x / y, a / b),
            (x.abs().sqrt(), np.sqrt(np.abs(a))),
            (x.abs().float().sqrt(), np.sqrt(np.abs(a).astype(np.float32))),
            (x.abs() ** 0.5, np.sqrt(np.abs(a))),
            (x.reciprocal(), 1 / a),
            (x.abs().rsqrt(), 1 / np.sqrt(np.abs(a))),
            (x.round(), np.round(a)),
            (x.floor(), np.floor(a)),
            (torch.frexp(x)[0], np.frexp(a)[0]),
        ):
            assert found.numpy().tobytes() == expected.tobytes()
    roots = exact_functions.sqrt(x.abs())
    assert roots.tolist() == [math.sqrt(one) for one in np.abs(a)]


def test_a_product_is_the_same_in_any_order_and_any_company():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, 700, generator=generator), torch.randn(700, 30, generator=generator)
    order, found = torch.randperm(700, generator=generator), exact_products.product(a, b)
    assert torch.equal(exact_products.product(a[:, order], b[order]), found)
    assert torch.equal(exact_products.product(a[5:6], b), found[5:6])
    assert not torch.equal(a[:, order] @ b[order], a @ b), "in single precision the order shows"
    assert torch.allclose(found, a.double() @ b.double(), atol=1e-3)
    assert torch.equal(exact_products.total(a[:, order], [1]), exact_products.total(a, [1]))


NETWORKS = {
    "dense": (
        lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4), nn.Tanh()),
        (5, 8),
    ),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.SiLU(), nn.ConvTranspose2d(4, 2, 4, 2, 1)
        ),
        (3, 1, 6, 6),
    ),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    "recurrence": (lambda: nn.GRU(4, 6, batch_first=True), (2, 5, 4)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_what_they_give_to_single_precision(name):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    made, x = make().eval(), torch.randn(shape)
    with torch.no_grad():
        expected = made(x)
        with exact_arithmetic():
            found, alone = made(x), made(x[:1])
    found, expected, alone = (one[0] if isinstance(one, tuple) else one for one in (found, expected, alone))
    assert found.dtype == expected.dtype
    assert torch.allclose(found, expected, atol=2e-6)
    assert not torch.equal(found, expected), "ordinary sums are rounded otherwise"
    assert torch.equal(alone, found[:1])


def test_an_operation_without_an_exact_form_is_refused(stripes, file):
    class Wavy(nn.Module):
        def forward(self, z):
            return torch.sin(z @ torch.ones(3, 20))

    pair = pv.VAE(pv.StandardNormal(3), pv.Bernoulli(Wavy()), pv.DiagNormal(pv.MLP(20, [], 6)))
    with pytest.raises(pv.PairError, match=r"portable=True: the pair uses torch's 'sin'.*portable=False"):
        pv.compress(pair, stripes[:20], file=file)
    assert not file.exists()
    pv.compress(pair, stripes[:20], file=file, portable=False)
    assert same(stripes[:20], pv.decompress(pair, file))


def test_random_numbers_outside_of_sites_are_refused(stripes, file):
    class Noisy(nn.Module):
        def forward(self, z):
            return (z + torch.randn_like(z)) @ torch.ones(3, 20)

    pair = pv.VAE(pv.StandardNormal(3), pv.Bernoulli(Noisy()), pv.DiagNormal(pv.MLP(20, [], 6)))
    with pytest.raises(pv.PairError, match="draws random numbers outside of its sites"):
        pv.compress(pair, stripes[:20], file=file)
    with pytest.raises(pv.PairError, match="the pair computes another thing each time"):
        pv.compress(pair, stripes[:20], file=file, portable=False)


@pytest.mark.slow
def test_threads_and_libraries_change_no_byte(stripes_vae, stripes, tmp_path):
    threads, library = torch.get_num_threads(), torch._C._get_mkldnn_enabled()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch._C._set_mkldnn_enabled(number == 1)
            pv.compress(stripes_vae, stripes[:700], file=tmp_path / f"{number}.pv", verify=False)
            assert same(stripes[:700], pv.decompress(stripes_vae, tmp_path / "1.pv"))
    finally:
        torch.set_num_threads(threads)
        torch._C._set_mkldnn_enabled(library)
    first, second = (FileReader(tmp_path / f"{number}.pv") for number in (1, 2))
    with first, second:
        for one, other in zip(first.chunks(), second.chunks(), strict=True):
            assert one.words.tobytes() == other.words.tobytes()


def test_a_file_of_another_machine_is_decoded():
    """Written once, where this test was written; weights and rows follow from whole numbers."""
    assert same(chain_rows(), pv.decompress(chain(), STORED))


def test_a_file_for_one_machine_says_where_it_was_made(stripes_vae, stripes, file, monkeypatch):
    pv.compress(stripes_vae, stripes[:40], file=file, portable=False)
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x.relu() * (1 + 2**-20))  # sums that are rounded otherwise
    with pytest.raises(pv.FileError, match=r"portable=False on torch .*threads.*rounded otherwise.*portable=True"):
        pv.decompress(stripes_vae, file)


# --- what does not fit ------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_no_damage_comes_back_as_rows(tmp_path):
    """Every byte flipped, every length cut, something behind the end, chunks swapped: refused before decoding."""
    path, bent = tmp_path / "whole.pv", tmp_path / "bent.pv"
    pv.compress(chain(), *chain_rows(8), file=path, chunk=4)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)

    def refused(content: bytes) -> None:
        bent.write_bytes(content)
        with pytest.raises(pv.FileError, match=r"damaged|cut off|no file of pyrovae|format"):
            read(bent)

    def read(path):
        with FileReader(path) as reader:
            return list(reader.chunks())

    for place in range(len(whole)):
        refused(whole[:place] + bytes([whole[place] ^ int(generator.integers(1, 256))]) + whole[place + 1 :])
        refused(whole[:place])
    refused(whole + b"\0")
    starts = [whole.index(b"rows"), whole.rindex(b"rows"), whole.rindex(b"end.")]
    first, second = whole[starts[0] : starts[1]], whole[starts[1] : starts[2]]
    refused(whole[: starts[0]] + second + first + whole[starts[2] :])
    refused(whole[: starts[0]] + first + whole[starts[2] :])
    bent.write_bytes(whole)
    assert len(read(bent)) == 2
    bent.write_bytes(whole[:-60] + bytes([whole[-60] ^ 1]) + whole[-59:])
    with pytest.raises(pv.FileError, match="is damaged"):
        pv.decompress(chain(), bent)


def test_other_files_and_other_pairs_are_named(stripes_vae, stripes, file):
    pv.compress(stripes_vae, stripes[:30], file=file)
    with pytest.raises(
        pv.FileError, match=r"made with another pair: VAE \(z, x; 842 parameters\).*This one is VAE \(z, x"
    ):
        pv.decompress(binary_vae(), file)
    with pytest.raises(pv.FileError, match=r"made with (another pair: )?VAE"):
        pv.decompress(chain(), file)
    file.write_bytes(b"PK\3\4 something else, and long enough")
    with pytest.raises(pv.FileError, match=r"no file of pyrovae\.compress"):
        pv.decompress(stripes_vae, file)
    with pytest.raises(pv.FileError, match="cannot be read"):
        pv.decompress(stripes_vae, file.with_name("missing.pv"))


def test_a_model_whose_code_has_changed_is_found_out(stripes, file):
    pair = binary_vae()
    pv.compress(pair, stripes[:30], file=file)
    pair.likelihood.network.layers[1] = nn.Tanh()  # the same weights, another function
    with pytest.raises(
        pv.FileError, match=r"decodes to other rows than were coded.*code of model or guide has changed"
    ):
        pv.decompress(pair, file)


def test_a_later_format_asks_for_a_later_version(stripes_vae, stripes, file):
    pv.compress(stripes_vae, stripes[:3], file=file)
    content = bytearray(file.read_bytes())
    content[12] = 9
    file.write_bytes(bytes(content))
    with pytest.raises(pv.FileError, match=r"format 9.*install a newer one") as caught:
        pv.decompress(stripes_vae, file)
    assert caught.value.newer


def test_without_the_library_the_extra_is_named(stripes_vae, stripes, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    for ask in (lambda: pv.compress(stripes_vae, stripes, file=file), lambda: pv.decompress(stripes_vae, file)):
        with pytest.raises(pv.ArgumentError, match=r"pip install 'pyrovae\[compress\]'"):
            ask()


def reading_its_data():
    """A decoder that looks at what it is to say."""
    head = net(4, 4)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=head(z) + 0.1 * x.roll(1, -1)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    return pv.Pair(model, guide)


def rescaling():
    """What it observes is made of its argument."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(torch.ones(4)).to_event(1), obs=2 * x)

    return pv.Pair(model, lambda x: None)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (reading_its_data, "moves with the argument that it observes"),
        (rescaling, "the pair computes what it observes at 'x'"),
    ],
)
def test_what_cannot_be_had_back_is_refused(make, words, file):
    with pytest.raises(pv.PairError, match=words):
        pv.compress(make(), chain_rows()[0].float(), file=file)


def test_a_pair_without_latents_is_an_ordinary_coder(file):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(torch.tensor([1.0, 2, 3])).to_event(1), obs=x)

    x = torch.arange(60).reshape(20, 3) % 6
    assert pv.compress(pv.Pair(model, lambda x: None), x, file=file).first_bits == 128
    assert same(x, pv.decompress(pv.Pair(model, lambda x: None), file))
