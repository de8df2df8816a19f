"""Lines of text and their tokens: what becomes of them, in every question, and what is refused in words."""

from __future__ import annotations

import json
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from test_frames import flat
from test_text_vae import _same_numbers  # noqa: F401 - the fixture is taken by every test

import pyrovae as pv
from pyrovae.tables.text import foreign_tokens

LINES = ["a cat sat", "a dog ran", "the cat ran", "no", "a bird sat", "dogs ran"] * 2
WORDS = pv.text.vocabulary(LINES)
ROWS = WORDS.encode(LINES)
QUIET = {"seed": 0, "progress": False}


def made(words=WORDS):
    torch.manual_seed(0)
    return pv.recipes.text_vae(words, 2, hidden=8, embedding=4)


# --- tokens -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lines", [LINES, ["äöü ß", "日本", '"quoted"\\', "tab\there", "\x7f\x01"], ["x"]])
def test_lines_come_back(lines, tmp_path):
    words = pv.text.vocabulary(lines)
    assert words.decode(words.encode(lines)) == list(lines)
    words.save(tmp_path / "vocabulary.toml")
    assert pv.text.read_vocabulary(tmp_path / "vocabulary.toml") == words


@pytest.mark.parametrize("kind", [tuple, np.array, pd.Series])
def test_lines_may_stand_in_any_column_of_texts(kind):
    assert torch.equal(WORDS.encode(kind(LINES)), ROWS)
    assert torch.equal(pv.encode(made(), kind(LINES))["z"].mean, pv.encode(made(), ROWS)["z"].mean)


def test_characters_that_are_not_known(caplog):
    with pytest.raises(pv.DataError, match=r"line 2 \('a cow'\) holds 'w', character 5.*unknown='\?'"):
        WORDS.encode(["a cat", "a cow"])
    words = pv.text.vocabulary(LINES, unknown="?")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        assert words.decode(words.encode(["a cow", "a cat"])) == ["a co?", "a cat"]
    assert "'w' (1)" in caplog.text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: WORDS.encode(["a cat", ""]), r"line 2 \(''\) is empty"),
        (lambda: pv.text.vocabulary(["", "a"]), r"line 1 \(''\) is empty"),
        (lambda: WORDS.encode([]), "there are no lines"),
        (lambda: WORDS.encode("a cat"), "one text; give a list of lines"),
        (lambda: WORDS.encode(3), "lines are a list of texts"),
        (lambda: WORDS.encode(["a cat", None]), "line 2 is NoneType"),
        (lambda: WORDS.encode(["a cat a cat a cat"]), r"17 tokens, and there is room for 11.*longest=17"),
        (lambda: WORDS.decode(torch.tensor([[99]])), "tokens are whole numbers of 0 to"),
        (lambda: WORDS.decode(torch.tensor([[0.5]])), "tokens are whole numbers"),
        (lambda: pv.text.vocabulary(LINES, unknown="??"), "give one character"),
        (lambda: pv.text.vocabulary(LINES, longest=0), "longest=0"),
        (lambda: pv.text.vocabulary(LINES, tokenizer=3), "tokenizers.Tokenizer"),
        (lambda: pv.recipes.text_vae(LINES), "text_vae takes a vocabulary"),
        (lambda: pv.recipes.text_vae(WORDS, 0), "latent=0"),
        (lambda: pv.encode(pv.recipes.vector_vae(3, 2), LINES), "this pair has no vocabulary"),
        (lambda: pv.fit(pv.recipes.vector_vae(3, 2), LINES, epochs=1), "this pair has no vocabulary"),
        (lambda: pv.encode(made(), ["a cow"]), "does not know"),
        (lambda: pv.fit(made(), ["a cow", "a cat"], epochs=1), "does not know"),
        (lambda: pv.elbo(made(), ROWS.float()), "lines are whole numbers"),
        (lambda: pv.elbo(made(), ROWS + 30), r"row 0 holds a token that does not exist"),
        (lambda: pv.elbo(made(), torch.cat([ROWS[:2], 0 * ROWS[:1]])), "the line in row 2 is empty"),
        (lambda: pv.elbo(made(), ROWS.flip(1)), "the line in row 0 (is empty|goes on behind 0)"),
        (lambda: pv.elbo(made(), ROWS[:, 0]), r"lines are of shape \(rows, steps\)"),
        (lambda: pv.elbo(made(), torch.tensor([[1, 0, 2]])), "row 0 goes on behind 0"),
        (lambda: pv.TextVAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 3)), pv.DiagNormal(pv.MLP(3, [], 4))),
         "is a pv.TokenDecoder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(call, words):
    with pytest.raises(pv.PyrovaeError, match=words):
        call()


def test_longer_lines_are_for_the_same_weights():
    pair, longer = made(), WORDS._replace(longest=60)
    wide = pv.tables.with_schema(pair, longer)
    assert torch.allclose(pv.elbo(wide, LINES).value, pv.elbo(pair, LINES).value, atol=1e-5)
    assert pv.elbo(wide, ["a cat sat and a dog ran".replace("and", "ran")]).value.isfinite().all()


# --- files --------------------------------------------------------------------------------------------
def test_files_are_read_in_utf8(tmp_path, caplog):
    path = tmp_path / "lines.txt"
    path.write_bytes("\ufeffein Bär\r\n\n  \n\tzwei  \n".encode())
    with caplog.at_level(logging.INFO, "pyrovae"):
        assert pv.text.read_lines(path) == ["ein Bär", "zwei"]
    assert "2 of 4 lines are blank" in caplog.text
    path.write_bytes(b"one\ntwo\nB\xe4r\n")
    with pytest.raises(pv.FileError, match=r"not UTF-8: line 3 holds the byte 0xe4.*iconv"):
        pv.text.read_lines(path)
    path.write_bytes(b" \n\n")
    with pytest.raises(pv.DataError, match="no line that is not blank"):
        pv.text.read_lines(path)
    path.write_bytes(b"")
    with pytest.raises(pv.FileError, match="empty"):
        pv.text.read_lines(path)
    with pytest.raises(pv.FileError, match=r"Did you mean 'lines\.txt'"):
        pv.text.read_lines(tmp_path / "linse.txt")


@pytest.mark.parametrize(
    "text",
    ["", "x", "[other]\n", "[vocabulary]\nlongest = 3\n", '[vocabulary]\nlongest = 3\nsymbols = ["a", "a"]\n',
     '[vocabulary]\nlongest = 3\nsymbols = ["ab"]\n', "[vocabulary]\nlongest = 3\nsymbols = []\n",
     '[vocabulary]\nlongest = 0\nsymbols = ["a"]\n', '[vocabulary]\nlongest = "3"\nsymbols = ["a"]\n',
     '[vocabulary]\nlongest = 3\nsymbols = ["a"]\nunknown = "b"\n',
     '[vocabulary]\nlongest = 3\nsymbols = ["a"]\nmore = 1\n'],
)  # fmt: skip
def test_files_that_hold_no_vocabulary_are_refused(tmp_path, text):
    (tmp_path / "vocabulary.toml").write_text(text)
    with pytest.raises(pv.FileError, match="vocabulary"):
        pv.text.read_vocabulary(tmp_path / "vocabulary.toml")


# --- tokenizers ---------------------------------------------------------------------------------------
class Syllables:
    """What the library `tokenizers` offers, of words."""

    def __init__(self, words):
        self.words = words

    def get_vocab(self):
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, line):
        return SimpleNamespace(ids=[self.words.index(word) for word in line.split()])

    def decode(self, ids):
        return " ".join(self.words[number] for number in ids)

    def to_str(self):
        return json.dumps(self.words)


def test_tokens_of_a_tokenizer(monkeypatch, tmp_path):
    module = sys.modules["pyrovae.tables.text.vocabulary"]
    monkeypatch.setattr(module, "tokenizer_from", lambda written: Syllables(json.loads(written)))
    words = pv.text.vocabulary(LINES, tokenizer=Syllables(sorted({one for line in LINES for one in line.split()})))
    assert words.longest == 3
    assert words.decode(words.encode(LINES)) == LINES
    words.save(tmp_path / "vocabulary.toml")
    assert pv.text.read_vocabulary(tmp_path / "vocabulary.toml") == words
    assert "tokens of a tokenizer" in str(words)
    pair = made(words)
    pv.fit(pair, LINES, steps=2, **QUIET)
    assert len(pv.generate(pair, 3, seed=0)) == 3


def test_a_real_tokenizer_is_carried_as_json():
    tokenizers = pytest.importorskip("tokenizers", reason="the library tokenizers is not installed")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    words = pv.text.vocabulary(LINES, tokenizer=tokenizer)
    assert words.decode(words.encode(LINES)) == LINES
    with pytest.raises(pv.FileError, match="cannot be read"):
        foreign_tokens.tokenizer_from("{")


# --- every question -----------------------------------------------------------------------------------
ASKED = {
    "ais": lambda pair, x: pv.ais(pair, x, chains=2, steps=2),
    "active_units": lambda pair, x: pv.active_units(pair, x)["z"].shares,
    "check_pair": lambda pair, x: pv.check_pair(pair, x),
    "elbo": lambda pair, x: pv.elbo(pair, x),
    "encode": lambda pair, x: pv.encode(pair, x),
    "fit": lambda pair, x: pv.fit(pair, x, validation=x, epochs=1, batch_size=4, **QUIET).history[-1][:4],
    "inference_gap": lambda pair, x: pv.inference_gap(pair, x, draws=4, steps=2, seed=0),
    "log_evidence": lambda pair, x: pv.log_evidence(pair, x, draws=8),
    "mutual_information": lambda pair, x: pv.mutual_information(pair, x, queries=3),
    "novelty": lambda pair, x: pv.novelty(pair, x, calibration=x, draws=3),
    "posterior_predictive": lambda pair, x: pv.posterior_predictive(pair, x, draws=3),
    "psis": lambda pair, x: pv.psis(pair, x, draws=40),
    "rate_distortion": lambda pair, x: pv.rate_distortion(pair, x),
    "to_arviz": lambda pair, x: pv.to_arviz(pair, x, draws=4)["observed_data"]["x"].values,
}


SLOW = ("ais", "psis", "fit", "to_arviz", "inference_gap")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in ASKED])
def test_every_function_takes_lines(name):
    of_rows = flat(ASKED[name](made(), ROWS))
    pyro.clear_param_store()
    of_lines = flat(ASKED[name](made(), LINES))
    assert len(of_rows) == len(of_lines)
    assert all(torch.equal(one, other) for one, other in zip(of_rows, of_lines, strict=True))
    assert name == "check_pair" or sum(one.numel() for one in of_rows)


def test_what_is_made_comes_as_lines():
    pair = made()
    assert [type(line) for line in pv.generate(pair, 3, seed=0)] == [str] * 3
    assert [len(lines) for lines in pv.generate(pair, 3, draws=2, seed=0)] == [3, 3]
    rebuilt, tokens = pv.reconstruct(pair, LINES), pv.reconstruct(pair, ROWS)["x"]
    assert rebuilt == WORDS.decode(tokens)
    way = pv.interpolate(pair, [LINES[0], LINES[3]], points=5)
    assert len(way) == 5
    with torch.no_grad():
        ends = pair.pair.likelihood(pv.encode(pair, LINES)["z"].mean[[0, 3]], steps=WORDS.steps).mode
    assert [way[0], way[-1]] == WORDS.decode(ends)
    assert pv.interpolate(pair, ROWS[:2], points=3)["x"].shape == (3, WORDS.steps)


def test_check_pair_finds_nothing():
    assert pv.check_pair(made(), LINES) == ()
