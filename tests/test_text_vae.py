"""Lines of tokens: densities are exact, padding counts nowhere, and what is read in training alone enters no figure."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from staged_pairs import steps_alone

import pyrovae as pv
from pyrovae.data.grouped_order import grouped_order

LINES = ["a cat sat", "a dog ran", "the cat ran", "a bird sat on a mat", "no", "dogs ran at it"] * 4
WORDS = pv.text.vocabulary(LINES)
X = WORDS.encode(LINES)
QUIET = {"seed": 0, "progress": False}


@pytest.fixture(autouse=True)
def _same_numbers():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def made(words=WORDS, *, latent=2, **options):
    torch.manual_seed(0)
    return pv.recipes.text_vae(words, latent, hidden=8, embedding=4, **options)


def tiny(steps=4):
    """A decoder of two tokens and the end."""
    torch.manual_seed(3)
    return pv.TokenDecoder(3, 1, steps, hidden=6, embedding=3)


def by_hand(decoder, z, line):
    """The log-probability of one line, token by token, with nothing but the decoder's weights."""
    hidden, before, total = decoder.start_of(z).tanh(), decoder.first, 0.0
    cell = torch.nn.GRUCell(3 + 1, 6)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in decoder.network.state_dict().items()})
    for place, token in enumerate(line):
        hidden = cell(torch.cat([decoder.embedding.weight[before], z])[None], hidden[None])[0]
        weights = decoder.head(hidden).exp()
        if place == 0:
            weights = weights * torch.tensor([0.0, 1.0, 1.0])  # no line is empty
        total, before = total + torch.log(weights[token] / weights.sum()), token
        if token == 0:
            break
    return float(total)


# --- densities ----------------------------------------------------------------------------------------
@torch.no_grad()
def test_the_density_of_all_lines_is_that_by_hand_and_sums_to_one():
    decoder, z = tiny(), torch.tensor([0.7])
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))
    found = decoder(z.expand(len(rows), 1)).log_prob(rows)
    lawful = [line[0] != 0 and all(b == 0 for a, b in itertools.pairwise(line) if a == 0) for line in rows.tolist()]
    assert sum(lawful) == 2 + 4 + 8 + 16  # of one to three tokens and an end, and of four without
    assert bool((found[~torch.tensor(lawful)] == -math.inf).all())
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
    for line, density in zip(rows[torch.tensor(lawful)].tolist(), found[torch.tensor(lawful)].tolist(), strict=True):
        assert density == pytest.approx(by_hand(decoder, z, line), abs=1e-5)


@torch.no_grad()
def test_draws_are_as_often_as_their_densities_say():
    decoder = tiny()
    line = decoder(torch.tensor([0.7]))
    rows = torch.tensor(list(itertools.product(range(3), repeat=4)))
    expected = decoder(torch.full((len(rows), 1), 0.7)).log_prob(rows).exp()
    drawn = line.sample((20_000,))
    counts = torch.bincount((drawn * torch.tensor([27, 9, 3, 1])).sum(-1), minlength=81) / len(drawn)
    error = (expected * (1 - expected) / len(drawn)).sqrt()
    assert bool(((counts - expected).abs() <= 4.5 * error + 1e-9).all())


@torch.no_grad()
def test_the_mode_takes_the_likeliest_token_at_each_step():
    decoder = tiny(5)
    for z in torch.randn(6, 1):
        line = []
        while len(line) < 5:
            scores = [by_hand(decoder, z, [*line, token]) for token in range(3)]
            line.append(int(np.nanargmax(scores)))
            if line[-1] == 0:
                break
        assert decoder(z).mode.tolist() == line + [0] * (5 - len(line))


def test_the_evidence_is_that_of_an_integral_over_z():
    torch.manual_seed(1)
    guide = pv.DiagNormal(pv.TokenReader(3, 2, hidden=4))
    with torch.no_grad():
        guide.network.head.weight.mul_(0.1)
        guide.network.head.bias.copy_(torch.tensor([0.0, 0.4]))  # wider than the posterior, so that weights are light
    vae = pv.TextVAE(pv.StandardNormal(1), tiny(), guide)
    with torch.no_grad():
        vae.likelihood.start_of.weight.mul_(4.0)  # so that z matters
    x = torch.tensor([[1, 2, 0, 0], [2, 2, 2, 0], [1, 0, 0, 0], [2, 1, 2, 1]])
    grid = torch.linspace(-8, 8, 4001)
    with torch.no_grad():
        inside = vae.likelihood(grid[:, None, None].expand(-1, 4, 1)).log_prob(x).double()
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid).double()
    exact = (inside + prior[:, None]).logsumexp(0) + math.log(16 / 4000)
    found = pv.log_evidence(vae, x, draws=4_000, seed=0)
    assert float((inside.max(0).values - inside.min(0).values).min()) > 0.3
    assert bool(((found.value - exact).abs() <= 4 * found.error + 1e-4).all())


def test_the_perplexity_of_a_decoder_that_knows_nothing_is_the_number_of_tokens():
    pair = made()
    with torch.no_grad():
        for head in (pair.pair.likelihood.head, pair.pair.posterior.network.head):  # the guide is then the prior
            for parameter in head.parameters():
                parameter.zero_()
    found, tokens = pv.text.perplexity(pair, LINES, draws=3), sum(map(len, LINES)) + len(LINES)
    # The first token has one possibility less: no line is empty.
    nats = (tokens - len(LINES)) * math.log(WORDS.size) + len(LINES) * math.log(WORDS.size - 1)
    assert found.tokens == tokens
    assert found.value == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert found.nats == pytest.approx(nats / len(LINES), rel=1e-5)
    with pytest.raises(pv.ArgumentError, match="carries a vocabulary"):
        pv.text.perplexity(pv.recipes.vector_vae(3, 2), LINES)


# --- padding ------------------------------------------------------------------------------------------
def padded(x, more):
    return torch.cat([x, x.new_zeros(len(x), more)], 1)


@pytest.mark.parametrize("ask", [pv.log_evidence, pv.elbo])
def test_padding_enters_no_figure(ask):
    pair = made()
    expected = ask(pair, X[:6], draws=20, seed=3).value
    assert torch.allclose(ask(pair, padded(X[:6], 37), draws=20, seed=3).value, expected, atol=1e-5)
    short = X[4:5, :3]
    assert WORDS.decode(short) == ["no"]
    # Alone, and beside longer ones: the noise is the same, as row for row there are as many.
    beside = ask(pair, torch.cat([X[4:5], X[3:4]]), draws=20, seed=3).value[0]
    alone = ask(pair, padded(short, 0), draws=20, seed=3).value[0]
    wide = ask(pair, padded(short, 50), draws=20, seed=3).value[0]
    assert torch.allclose(alone, wide, atol=1e-5)
    assert torch.allclose(beside, ask(pair, torch.cat([X[4:5], X[4:5]]), draws=20, seed=3).value[0], atol=1e-5)


@torch.no_grad()
def test_each_line_has_one_density_and_one_code_whatever_stands_beside_it():
    vae, z = made().pair, torch.randn(len(X), 2)
    density, code = vae.likelihood(z).log_prob(X), vae.posterior(X).mean
    for row in range(6):
        end = int((X[row] != 0).sum()) + 1
        alone = X[row : row + 1, :end]
        assert float(vae.likelihood(z[row : row + 1], steps=end).log_prob(alone)) == pytest.approx(
            float(density[row]), abs=1e-5
        )
        assert torch.allclose(vae.posterior(alone).mean[0], code[row], atol=1e-5)


def test_gradients_do_not_see_padding():
    found = []
    for more in (0, 21):
        vae = made().pair
        pyro.set_rng_seed(1)
        Trace_ELBO().loss_and_grads(vae.model, vae.guide, padded(X[:6], more))
        found.append(torch.cat([one.grad.flatten() for one in vae.parameters() if one.grad is not None]))
    assert float(found[0].norm()) > 0
    assert torch.allclose(*found, atol=1e-4)


# --- word dropout -------------------------------------------------------------------------------------
@pytest.mark.slow
def test_word_dropout_is_of_training_alone():
    plain, dropping = made(), made(word_dropout=0.7)
    dropping.pair.load_state_dict(plain.pair.state_dict())
    for ask in (pv.elbo, pv.log_evidence):
        assert torch.equal(ask(dropping, X).value, ask(plain, X).value)
    assert pv.rate_distortion(dropping, X) == pv.rate_distortion(plain, X)
    options = {"validation": X, "epochs": 1, "learning_rate": 1e-9, "batch_size": 24, **QUIET}
    runs = [pv.fit(one, X, **options) for one in (plain, dropping)]
    one, other = (run.history[0] for run in runs)
    assert other.validation_elbo == pytest.approx(one.validation_elbo, abs=1e-4)
    assert other.distortion != pytest.approx(one.distortion, abs=1e-2)


@torch.no_grad()
def test_of_what_is_dropped_nothing_is_read():
    vae = made(word_dropout=1.0).pair
    vae.train()

    def density(x, z):
        trace = pyro.poutine.trace(pyro.poutine.condition(vae.model, {"z": z})).get_trace(x)
        trace.compute_log_prob()
        return trace.nodes["x"]["log_prob"]

    z = torch.randn(1, 2)
    one, other = torch.tensor([[1, 2, 3, 0]]), torch.tensor([[2, 2, 3, 0]])
    blind = density(one, z) - density(other, z)
    step = vae.likelihood.logits(z, one)[0, 0].log_softmax(-1)
    assert float(blind) == pytest.approx(float(step[1] - step[2]), abs=1e-5)  # the first token alone differs
    vae.eval()
    assert float(density(one, z) - density(other, z)) != pytest.approx(float(blind), abs=1e-4)


@pytest.mark.parametrize("share", [-0.1, 1.1, "a", True, None, math.nan])
def test_shares_that_cannot_be_are_refused(share):
    with pytest.raises(pv.ArgumentError, match="word_dropout"):
        made(word_dropout=share)


# --- training -----------------------------------------------------------------------------------------
@pytest.mark.slow
def test_training_learns_these_lines():
    pair = made(latent=2)
    before = pv.text.perplexity(pair, LINES, draws=20).value
    run = pv.fit(pair, LINES, steps=60, batch_size=8, learning_rate=3e-2, **QUIET)
    assert pv.text.perplexity(pair, LINES, draws=20).value < before / 2
    drawn = pv.generate(pair, 20, seed=0)
    assert all(isinstance(line, str) and line for line in drawn)
    assert run.step == 60


@pytest.mark.slow
@pytest.mark.parametrize("staged", [False, "traced"])
def test_a_run_goes_on_exactly(tmp_path, staged):
    options = {"batch_size": 8, "learning_rate": 1e-2, "staged": staged, **QUIET}
    whole = made(word_dropout=0.4)
    with steps_alone():
        pv.fit(whole, LINES, epochs=4, **options)
    pyro.clear_param_store()
    half = made(word_dropout=0.4)
    with steps_alone():
        pv.fit(half, LINES, epochs=2, checkpoint=tmp_path / "run", **options)
        pyro.clear_param_store()
        again = made(word_dropout=0.4)
        pv.fit(again, LINES, epochs=4, checkpoint=tmp_path / "run", resume=True, **options)
    for one, other in zip(whole.pair.parameters(), again.pair.parameters(), strict=True):
        assert torch.equal(one, other) if staged is False else torch.allclose(one, other, atol=1e-5)
    strange = made(WORDS._replace(symbols=WORDS.symbols[::-1]), word_dropout=0.4)
    with pytest.raises(pv.DataError, match="argument 'x' of the data"):
        pv.fit(strange, LINES, epochs=5, checkpoint=tmp_path / "run", resume=True, **options)


def test_a_saved_pair_carries_its_vocabulary(tmp_path):
    pair = made()
    pv.save(pair, tmp_path / "pair.safetensors")
    words = pv.text.read_vocabulary(tmp_path / "pair.safetensors")
    assert words == WORDS
    pyro.clear_param_store()
    torch.manual_seed(5)
    again = pv.recipes.text_vae(words, 2, hidden=8, embedding=4)
    pv.load(again, tmp_path / "pair.safetensors")
    assert torch.equal(pv.encode(again, LINES)["z"].mean, pv.encode(pair, LINES)["z"].mean)
    other = pv.recipes.text_vae(words._replace(symbols=words.symbols[::-1]), 2, hidden=8, embedding=4)
    with pytest.raises(pv.FileError, match=r"another schema.*text_vae\(pv\.text\.read_vocabulary\("):
        pv.load(other, tmp_path / "pair.safetensors")


# --- lines of about one length -------------------------------------------------------------------------
def test_lines_of_a_batch_are_of_about_one_length():
    lengths, order = torch.randint(1, 200, (1_003,)), torch.randperm(1_003)
    grouped = grouped_order(order, lengths, 10, torch.Generator().manual_seed(0))
    assert sorted(grouped.tolist()) == list(range(1_003))
    assert torch.equal(grouped[1_000:], order[1_000:])
    spread = lengths[grouped[:1_000]].reshape(-1, 10).float().std(1).mean()
    assert float(spread) < 0.2 * float(lengths[order[:1_000]].reshape(-1, 10).float().std(1).mean())
    few = grouped_order(torch.arange(3), lengths[:3], 10, torch.Generator())
    assert few.tolist() == [0, 1, 2]


def test_fit_groups_them_and_meets_each_line_once():
    seen = []

    class Watching(pv.TextVAE):
        def check_data(self, x):
            seen.append(x)

    torch.manual_seed(0)
    decoder = pv.TokenDecoder(WORDS.size, 2, WORDS.steps, hidden=8)
    vae = Watching(pv.StandardNormal(2), decoder, pv.DiagNormal(pv.TokenReader(WORDS.size, 4, hidden=8)))
    many = X.repeat(4, 1)
    running = pv.steps(vae, many, epochs=1, batch_size=8, seed=0, staged=False)
    batches = [seen[-1] for _ in running]
    lengths = [(batch != 0).sum(1) for batch in batches]
    assert sorted(torch.cat(batches).tolist()) == sorted(many.tolist())
    assert sum(float(one.float().std()) for one in lengths) < 12 * 0.5 * float((many != 0).sum(1).float().std())
