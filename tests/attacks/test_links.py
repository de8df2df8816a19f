"""A link in a folder from a stranger: what it points to is neither read nor written, whatever command is typed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from commands import OVER_A_RUN, OVER_A_TABLE, contents, in_words, train, train_table, typed

import pyrovae as pv
from pyrovae.data.whole_file import remove_partial

IN_CHECKPOINTS = ("checkpoints/checkpoint-history.jsonl", "checkpoints/checkpoint-0000000002.safetensors")
LOCK = "checkpoints/checkpoint.lock"
RESULTS = {
    "samples.csv": "sample",
    "samples.npy": "sample",
    "reconstructions.csv": "reconstruct",
    "encoded.csv": "encode",
    "explorer.html": "explore",
}


def quick(*few: str, many: tuple[str, ...]):
    """Names to try, of which a few are tried whenever the tests run."""
    return pytest.mark.parametrize("name", [*few, *(pytest.param(name, marks=pytest.mark.trial) for name in many)])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def replaced_by_link(run: Path, name: str, make) -> Path:
    """Move what is there out of the folder, to a file or folder that is the owner's, and leave a link."""
    owners = Path("owners")
    if owners.is_dir():
        shutil.rmtree(owners)
    owners.mkdir()
    there = owners / Path(name).name
    if (run / name).exists():
        shutil.move(run / name, there)
    else:
        there.write_text("the owner's")
    make(there.resolve(), run / name)
    return there


def commands_for(name: str) -> dict[str, str]:
    wanted = [RESULTS[name]] if name in RESULTS else ["train", "report", "sample", "evaluate --seeds"]
    return {command: OVER_A_RUN[command] for command in wanted}


@quick(
    "metrics.jsonl", *RESULTS, many=("config.json", "model.safetensors", "report.html", "checkpoints", *IN_CHECKPOINTS)
)
def test_a_link_in_a_run_folder_is_refused(name):
    train("first", "--hidden 4")
    for command, line in commands_for(name).items():
        run = Path(shutil.copytree("first", "run"))
        there = replaced_by_link(run, name, lambda target, place: place.symlink_to(target))
        before = contents(there)
        result = typed(line.format(run=run))
        assert in_words(result), (command, result.output)
        reads_it = name not in IN_CHECKPOINTS or command == "train"
        assert (result.exit_code == 2) == reads_it, (command, result.output)
        assert not reads_it or "is a link to" in result.output, (command, result.output)
        assert contents(there) == before, command
        shutil.rmtree(run)


@pytest.mark.parametrize(("name", "command"), [("imputed.csv", "impute"), ("clean.csv", "outliers")])
@pytest.mark.slow
def test_a_link_in_the_place_of_a_table_is_refused(name, command):
    run = train_table("run")
    there = replaced_by_link(run, name, lambda target, place: place.symlink_to(target))
    result = typed(OVER_A_TABLE[command].format(run=run))
    assert result.exit_code == 2
    assert "is a link to" in result.output
    assert there.read_text() == "the owner's"


@quick("metrics.jsonl", LOCK, many=("model.safetensors", "report.html", *IN_CHECKPOINTS))
@pytest.mark.slow
def test_a_second_name_of_the_owners_file_leaves_it_as_it_is(name):
    train("first", "--hidden 4")
    for command in ("train", "report"):
        run = Path(shutil.copytree("first", "run"))
        there = replaced_by_link(run, name, os.link)
        before = contents(there)
        result = typed(OVER_A_RUN[command].format(run=run))
        assert result.exit_code in (0, 2), (command, result.output)
        assert contents(there) == before, command
        shutil.rmtree(run)


@pytest.mark.slow
def test_a_run_folder_that_the_user_reaches_by_a_link_is_one():
    run = train("first", "--hidden 4")
    Path("mine").symlink_to(run.resolve())
    for line in (OVER_A_RUN["train"], OVER_A_RUN["report"]):
        result = typed(line.format(run="mine"))
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", ["checkpoint-0000000004.safetensors", "checkpoint-history.jsonl"])
def test_a_link_among_the_checkpoints_of_fit_is_refused(name, tmp_path):
    (tmp_path / "owners").write_text("the owner's")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "owners")
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
    for resume in (False, True):
        with pytest.raises(pv.FileError, match="is a link to"):
            pv.fit(vae, torch.randn(16, 3), epochs=2, checkpoint=tmp_path / "run", resume=resume, progress=False)
    assert (tmp_path / "owners").read_text() == "the owner's"


def test_what_is_removed_as_half_written_is_no_link(tmp_path):
    """A folder behind a link that bears the name of something half-written stays whole."""
    (tmp_path / "owners").mkdir()
    (tmp_path / "owners" / "a").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f".x.{'0' * 32}.partial").symlink_to(tmp_path / "owners")
    remove_partial(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    assert (tmp_path / "owners" / "a").exists()


@quick("metrics.jsonl", many=("config.json", "model.safetensors", "report.html", "checkpoints", *IN_CHECKPOINTS))
def test_a_pipe_in_a_run_folder_is_refused_and_not_waited_for(name):
    run = train("run", "--hidden 4")
    shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    for command in ("train", "report"):
        result = typed(OVER_A_RUN[command].format(run=run))
        assert in_words(result), (command, result.output)
        assert name in IN_CHECKPOINTS or "pipe" in result.output or "no config.json" in result.output, result.output


def test_a_model_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
    for use in (pv.load, pv.save):
        with pytest.raises(pv.FileError, match="is a pipe"):
            use(vae, tmp_path / "model.safetensors")
