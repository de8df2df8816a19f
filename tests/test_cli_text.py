"""The command line on lines of text: from a .txt file to a run, its samples, codes, figures and report."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli.main import app

LINES = [f"{one} {two}" for one in ("the cat", "a dog") for two in ("sat", "ran", "slept")] * 6


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def asked(*words) -> str:
    done = run(*words)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    (folder / "lines.txt").write_text("\n".join(LINES[:20]) + "\n\n" + "\n".join(LINES[20:]) + "\n")
    said = asked("train", folder / "lines.txt", "--out", folder / "run", "--epochs", 3, "--hidden", 8, "--latent", 2,
                 "--learning-rate", 0.02, "--batch-size", 8)  # fmt: skip
    assert "36 lines: 14 characters" in said
    return folder / "run"


@pytest.mark.slow
def test_a_run_of_lines_holds_what_it_is_asked_for(trained):
    written = {"config.json", "model.safetensors", "vocabulary.toml", "report.html"}
    assert {path.name for path in trained.iterdir()} >= written
    words = pv.text.read_vocabulary(trained / "vocabulary.toml")
    assert words == pv.text.vocabulary(LINES) == pv.text.read_vocabulary(trained / "model.safetensors")
    config = json.loads((trained / "config.json").read_text())
    assert config["text"]["latent"] == 2
    report = (trained / "report.html").read_text()
    for heading in ("What is strange to it", "Reconstructions", "Samples", "A way between two lines", "Latent space"):
        assert f"<h2>{heading}</h2>" in report
    assert any(f"<td>{line}</td>" in report for line in LINES)


@pytest.mark.slow
def test_lines_and_codes_come_as_files(trained, tmp_path):
    asked("sample", trained, "-n", 4, "--seed", 0, "--out", tmp_path / "new.txt")
    assert len((tmp_path / "new.txt").read_text().splitlines()) == 4
    again = run("sample", trained, "-n", 4, "--seed", 0, "--out", tmp_path / "again.txt")
    assert again.exit_code == 0
    assert (tmp_path / "again.txt").read_text() == (tmp_path / "new.txt").read_text()
    asked("reconstruct", trained, "-n", 2)
    assert all("\t" in line for line in (trained / "reconstructions.txt").read_text().splitlines())
    (tmp_path / "other.txt").write_text("a cat sat\nthe dog slept\n")
    asked("encode", trained, tmp_path / "other.txt", "--out", tmp_path / "codes.csv")
    codes = pd.read_csv(tmp_path / "codes.csv")
    assert list(codes["line"]) == ["a cat sat", "the dog slept"]
    assert {"z.mean[0]", "z.mean[1]", "z.scale[0]"} <= set(codes.columns)
    loaded = pv.load_run(trained)
    mean = pv.encode(loaded.pair, ["a cat sat", "the dog slept"])["z"].mean
    assert codes["z.mean[0]"].tolist() == pytest.approx(mean[:, 0].tolist(), abs=1e-5)
    assert set(loaded.data) <= set(LINES)
    assert pv.log_evidence(loaded.pair, loaded.data, draws=5).value.isfinite().all()


@pytest.mark.slow
def test_figures_of_lines_are_of_their_tokens(trained):
    found = json.loads(asked("evaluate", trained, "--json").splitlines()[-1])
    loaded = pv.load_run(trained)
    expected = pv.text.perplexity(loaded.pair, loaded.data, draws=200)
    assert found["perplexity"]["value"] == pytest.approx(expected.value, rel=1e-6)
    assert found["perplexity"]["tokens"] == expected.tokens
    assert found["log_evidence"]["value"] == pytest.approx(-expected.nats, rel=1e-6)
    assert "coverage" not in found
    assert "resemblance" not in found
    assert "perplexity" in asked("evaluate", trained)


@pytest.mark.slow
def test_a_run_of_lines_goes_on(trained):
    assert "Nothing to do" not in asked("train", "--resume", "--out", trained, "--epochs", 4, "--no-report")
    assert json.loads((trained / "config.json").read_text())["fit"]["epochs"] == 4


BAD = {
    "nothing": (b"", "is empty"),
    "blank": (b"\n \n", "no line that is not blank"),
    "latin-1": (b"one\ntw\xe4\n", "is not UTF-8: line 2 holds the byte 0xe4"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_files_that_are_no_lines_are_refused_in_words(tmp_path, name):
    content, words = BAD[name]
    (tmp_path / "bad.txt").write_bytes(content)
    done = run("train", tmp_path / "bad.txt", "--out", tmp_path / "run")
    assert done.exit_code != 0
    assert words in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_options_and_data_of_other_kinds_are_refused_in_words(trained, tmp_path):
    lines = trained.parent / "lines.txt"
    (tmp_path / "strange.txt").write_text("the cat sat\nthe zebra sat\n")
    for words, command in {
        "--likelihood means nothing for lines of text": ("train", lines, "--likelihood", "bernoulli"),
        "networks of text have one width": ("train", lines, "--hidden", "8,8"),
        "whole numbers, 1 at least": ("train", lines, "--latent", 0),
        "means nothing for": ("train", lines, "--columns", "a"),
        "line 2 ('the zebra sat') holds 'z'": ("evaluate", trained, tmp_path / "strange.txt"),
        "give it a .txt file": ("evaluate", trained, "digits"),
        "was trained on no table": ("impute", trained),
    }.items():
        done = run(*command, *(["--out", tmp_path / "none"] if command[0] == "train" else []))
        assert done.exit_code != 0
        assert words in " ".join(done.output.split()), done.output
    with pytest.raises(pv.FileError, match="is no array"):
        pv.datasets.load(lines)


def test_the_lines_are_as_many_as_they_seem():
    assert len(LINES) == 36
    assert len(set(itertools.chain.from_iterable(LINES))) == 14
