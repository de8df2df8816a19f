"""Lines of text and their tokens: what becomes of them, in every question, and what is refused in words."""

from __future__ import annotations

import json
import logging
import re
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
        (lambda: pv.elbo(made(), pd.DataFrame({"cat": LINES})), "this is a DataFrame; give one column of it"),
        (lambda: pv.fit(made(), pd.DataFrame({"cat": LINES}), epochs=1), "this is a DataFrame; give one column of it"),
        (lambda: pv.text.vocabulary({"cat": LINES}), "this is a dict; give a list"),
        (lambda: pv.text.vocabulary(set(LINES)), "this is a set; give a list"),
        (lambda: pv.text.vocabulary(["a", "b\ud800"]), r"line 2 .* holds '\\ud800', which is half of a character"),
        (lambda: pv.elbo(made(), "a cat"), "one text; give a list of lines"),
        (lambda: pv.interpolate(made(), "a cat", "no"), "one text; give a list of lines"),
        (lambda: pv.elbo(pv.fit(made(), LINES, steps=1, **QUIET), LINES), r"Fit is not a pair.*give its \.pair"),
        (lambda: pv.impute(made(), LINES), "impute is of tables, cell by cell"),
        (lambda: pv.tables.outliers(made(), LINES), "outliers is of tables, cell by cell"),
        (lambda: pv.counterfactual(made(), LINES[:2], calibration=LINES * 3), "a TokenSequence, has no mean"),
        (lambda: pv.counterfactual(made(), LINES[:2], calibration=LINES, toward="certain"), "has no mean"),
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


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
def test_tokens_are_whole_numbers_of_any_width(kind):
    assert torch.equal(pv.elbo(made(), ROWS.to(kind)).value, pv.elbo(made(), ROWS).value)


def test_lines_that_were_drawn_can_be_read_again():
    words = pv.text.vocabulary(["ab", "b"])  # of an untrained pair many draws have not ended by then
    pair = made(words)
    lines = pv.generate(pair, 50, seed=0)
    assert {len(line) for line in lines} == {1, 2}
    assert pv.log_evidence(pair, lines, draws=3).value.isfinite().all()
    assert words.decode(torch.tensor([[1, 2, 1]])) == ["ab"]


def test_lines_of_one_length_are_explained_token_by_token():
    pytest.importorskip("captum", reason="the extra explain is not installed")
    lines = ["a cat", "a dog", "a bat"]
    found = pv.explain(made(pv.text.vocabulary(lines)), lines, of="elbo", draws=2, repeats=2)
    assert found.contribution.shape == (3, 6)
    assert float(found.completeness.abs().max()) < 1e-3
    with pytest.raises(pv.ArgumentError, match="of which any mixture is one"):
        pv.explain(made(), LINES[:4], of="elbo", draws=2, repeats=2)
    with pytest.raises(pv.ArgumentError, match="what absent cells of its rows could be"):
        pv.explain(made(), LINES[:4], of="elbo", absent="imputed", draws=2, repeats=2)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    pair = made()
    with torch.no_grad():
        pair.pair.likelihood.head.bias[1] = 1e5
    found = pv.text.perplexity(pair, LINES, draws=2)
    assert found.value == np.inf
    assert np.isfinite(found.nats)


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
    path.write_bytes("one".encode("utf-16"))
    with pytest.raises(pv.FileError, match="of UTF-16, as its first bytes say, by: iconv -f utf-16"):
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
    """What the library `tokenizers` offers, of words: some stand for no text, and lines may be filled up or cut."""

    def __init__(self, words, *, padded=0, cut=None, unknown="[UNK]"):
        self.words, self.padded, self.cut, self.unknown = words, padded, cut, unknown

    @classmethod
    def from_str(cls, written):
        document = json.loads(written)
        return cls(document["words"], **document["options"], unknown=document["model"]["unk_token"])

    def to_str(self):
        options = {"padded": self.padded, "cut": self.cut}
        return json.dumps({"words": self.words, "options": options, "model": {"unk_token": self.unknown}})

    def no_padding(self):
        self.padded = 0

    def no_truncation(self):
        self.cut = None

    def token_to_id(self, word):
        return self.get_vocab().get(word)

    def get_vocab(self):
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, line, add_special_tokens=True):
        found = [(self._number(one.group()), one.span()) for one in re.finditer(r"\S+", line)][: self.cut]
        marks = [(self.words.index("[END]"), (0, 0))] if add_special_tokens else []
        found += marks + [(self.words.index("[PAD]"), (0, 0))] * max(self.padded - len(found), 0)
        found = [(number, span) for number, span in found if number is not None]
        return SimpleNamespace(ids=[number for number, _ in found], offsets=[span for _, span in found])

    def _number(self, word):
        if word in self.words or self.unknown:
            return self.get_vocab().get(word, self.token_to_id(self.unknown))
        if word == "refused":
            raise Exception("missing [UNK]")  # as the library does
        return None

    def decode(self, ids, skip_special_tokens=True):
        return " ".join(self.words[one] for one in ids if not (skip_special_tokens and self.words[one][0] == "["))


KNOWN = ["[UNK]", "[PAD]", "[END]", *sorted({one for line in LINES for one in line.split()})]


@pytest.fixture
def library(monkeypatch):
    """The library `tokenizers`, as if it were installed."""
    monkeypatch.setitem(sys.modules, "tokenizers", SimpleNamespace(Tokenizer=Syllables))
    foreign_tokens.tokens_from.cache_clear()
    yield
    foreign_tokens.tokens_from.cache_clear()


def test_tokens_of_a_tokenizer(library, tmp_path):
    words = pv.text.vocabulary(LINES, tokenizer=Syllables(KNOWN))
    assert words.longest == 3
    assert words.decode(words.encode(LINES)) == LINES
    words.save(tmp_path / "vocabulary.toml")
    assert pv.text.read_vocabulary(tmp_path / "vocabulary.toml") == words
    assert "tokens of a tokenizer" in str(words)
    pair = made(words)
    pv.fit(pair, LINES, steps=2, **QUIET)
    assert len(pv.generate(pair, 3, seed=0)) == 3


@pytest.mark.parametrize("options", [{"padded": 9}, {"cut": 2}])
def test_what_a_tokenizer_fills_up_cuts_or_marks_is_no_token_of_a_line(library, options):
    plain, odd = (pv.text.vocabulary(LINES, tokenizer=Syllables(KNOWN, **one)) for one in ({}, options))
    assert odd.longest == plain.longest == 3  # no mark of the end either, which every line would have
    assert torch.equal(odd.encode(LINES), plain.encode(LINES))
    one, other = (pv.text.perplexity(made(words), LINES, draws=3) for words in (plain, odd))
    assert one == other
    assert one.tokens == sum(len(line.split()) + 1 for line in LINES)


def test_what_a_tokenizer_does_not_know_is_said(library, caplog):
    strange = ["a cow sat"]
    with caplog.at_level(logging.WARNING, "pyrovae"):
        words = pv.text.vocabulary(LINES, tokenizer=Syllables(KNOWN))
        assert not caplog.records
        assert words.decode(words.encode(strange)) == ["a [UNK] sat"]
    assert "'cow' (1)" in caplog.text
    caplog.clear()
    dropping = pv.text.vocabulary(LINES, tokenizer=Syllables(KNOWN, unknown=None))
    with caplog.at_level(logging.WARNING, "pyrovae"):
        assert dropping.decode(dropping.encode(strange)) == ["a sat"]
    assert "'cow' (1)" in caplog.text
    with pytest.raises(pv.DataError, match="does not take 'refused'"):
        dropping.encode(["refused"])


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
        foreign_tokens.tokens_from("{")


def test_a_real_tokenizer_pads_cuts_and_marks_nothing(caplog):
    tokenizers = pytest.importorskip("tokenizers", reason="the library tokenizers is not installed")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    marks = ["[UNK]", "[PAD]", "[END]"]
    tokenizer.train_from_iterator(LINES, tokenizers.trainers.WordLevelTrainer(special_tokens=marks))
    plain = pv.text.vocabulary(LINES, tokenizer=tokenizer)
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(2)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", 2)]
    )
    assert torch.equal(pv.text.vocabulary(LINES, tokenizer=tokenizer).encode(LINES), plain.encode(LINES))
    with caplog.at_level(logging.WARNING, "pyrovae"):
        assert plain.decode(plain.encode(["a cow sat"])) == ["a [UNK] sat"]
    assert "'cow' (1)" in caplog.text


def of_latent(latent):
    return pv.recipes.text_vae(WORDS, latent, hidden=8, embedding=4)


STUDY = {"folds": 2, "epochs": 1, "draws": 4}


# --- every question -----------------------------------------------------------------------------------
ASKED = {
    "ais": lambda pair, x: pv.ais(pair, x, chains=2, steps=2),
    "active_units": lambda pair, x: pv.active_units(pair, x)["z"].shares,
    "check_pair": lambda pair, x: pv.check_pair(pair, x),
    "choose_latent": lambda pair, x: [one.folds for one in pv.choose_latent(of_latent, x, [1, 2], **STUDY).trials],
    "elbo": lambda pair, x: pv.elbo(pair, x),
    "encode": lambda pair, x: pv.encode(pair, x),
    "fit": lambda pair, x: pv.fit(pair, x, validation=x, epochs=1, batch_size=4, **QUIET).history[-1][:4],
    "inference_gap": lambda pair, x: pv.inference_gap(pair, x, draws=4, steps=2, seed=0),
    "log_evidence": lambda pair, x: pv.log_evidence(pair, x, draws=8),
    "mutual_information": lambda pair, x: pv.mutual_information(pair, x, queries=3),
    "novelty": lambda pair, x: pv.novelty(pair, x, calibration=x, draws=3),
    "over_seeds": lambda pair, x: pv.over_seeds(lambda: of_latent(1), x, held_out=x, seeds=2, epochs=1).evidence,
    "posterior_predictive": lambda pair, x: pv.posterior_predictive(pair, x, draws=3),
    "psis": lambda pair, x: pv.psis(pair, x, draws=40),
    "rate_distortion": lambda pair, x: pv.rate_distortion(pair, x),
    "rate_distortion_curve": lambda pair, x: pv.rate_distortion_curve(lambda: of_latent(1), x, [1.0], epochs=1),
    "to_arviz": lambda pair, x: pv.to_arviz(pair, x, draws=4)["observed_data"]["x"].values,
}


SLOW = ("choose_latent", "over_seeds", "rate_distortion_curve", "ais", "psis", "fit", "to_arviz", "inference_gap")


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
