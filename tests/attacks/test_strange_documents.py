"""config.json, metrics.jsonl and model files that hold strange things: our error, or what an undamaged part says."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import safetensors.torch
import torch
from commands import OVER_A_RUN, in_words, train, typed
from damage import damaged, strange_documents

import pyrovae as pv
from pyrovae.cli.run_config import sealed
from pyrovae.cli.run_folder import RunFolder
from pyrovae.cli.trained_run import open_run
from pyrovae.data.read_as import read_as
from pyrovae.errors import PyrovaeError
from pyrovae.training.saved import containers, files
from pyrovae.training.saved.checkpoints import newest_checkpoint

CASES = pytest.mark.parametrize("cases", [30, pytest.param(400, marks=pytest.mark.trial)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("strange"))
        return train("run", "--hidden 4").resolve()


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, "run"))


def ours(use, *given) -> bool:
    """Whether it was refused by an error of this package; whatever else comes is a defect."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(*given)
    except PyrovaeError:
        return True
    return False


def opened(run: Path) -> None:
    open_run(run, pair=None, data=None, command="report").rows(2)


@CASES
def test_a_strange_configuration_is_refused_in_words(run, cases):
    config, chance = json.loads((run / "config.json").read_text()), random.Random(0)
    refused = 0
    for document in strange_documents(config, chance, cases):
        (run / "config.json").write_text(json.dumps(document))
        refused += ours(opened, run)
    for _ in range(cases):
        (run / "config.json").write_bytes(damaged(json.dumps(config, indent=2).encode(), chance))
        refused += ours(opened, run)
    assert refused > 1.2 * cases


@CASES
def test_a_damaged_line_of_metrics_costs_that_line(run, cases):
    folder, chance = RunFolder(run), random.Random(0)
    whole = folder.read_metrics()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    documents = [json.dumps(one).encode() for one in strange_documents(json.loads(lines[0]), chance, cases)]
    for bad in [*documents, *(damaged(lines[0].encode(), chance) for _ in range(cases))]:
        (run / "metrics.jsonl").write_bytes(bad + b"\n" + lines[1].encode() + b"\n")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rows = folder.read_metrics()
        assert rows[-1] == whole[1], bad
        assert len(rows) >= 2 or [one for one in caught if "damaged lines are left out" in str(one.message)], bad


@pytest.mark.parametrize("change", [{"hidden": [10**9, 10**9]}, {"latent": 2**40}, {"hidden": [4] * 100_000}])
def test_a_pair_that_is_too_large_is_not_built(run, change):
    """Whoever wrote the folder can write its digest, too; `train` once took all of the memory."""
    config = json.loads((run / "config.json").read_text())
    config["model_config"].update(change)
    (run / "config.json").write_text(json.dumps(sealed(config)))
    for command in ("train", "evaluate --seeds", "report"):
        result = typed(OVER_A_RUN[command].format(run=run))
        assert result.exit_code == 2, (command, result.output)
        assert in_words(result), (command, result.output)
        assert "and the limit is" in result.output or "no pair of that kind" in result.output, command


def signed(path: Path, tensors: dict[str, torch.Tensor], text: str, version: str = "1") -> None:
    """A file of ours by its digest, which says whatever one likes."""
    metadata = {"format": "pyrovae", "format_version": version, "document": text}
    metadata["digest"] = containers.digest(text, tensors)
    safetensors.torch.save_file(tensors, path, metadata)


def written(path: Path) -> tuple[dict[str, torch.Tensor], list]:
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["document"])  # noqa: SIM118


@CASES
def test_a_model_with_a_strange_document_is_refused_in_words(run, cases):
    path = run / "model.safetensors"
    tensors, document = written(path)
    vae = open_run(run, pair=None, data=None, command="report").pair
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    for strange in strange_documents(document, random.Random(0), cases):
        signed(path, tensors, json.dumps(strange))
        ours(pv.load, vae, path)
        ours(opened, run)
        assert all(torch.equal(vae.state_dict()[name], tensor) for name, tensor in before.items())


@CASES
def test_a_checkpoint_with_a_strange_document_is_refused_in_words(run, cases):
    (path,) = (one for one in (run / "checkpoints").glob("*2.safetensors"))
    tensors, document = written(path)
    for strange in strange_documents(document, random.Random(0), cases):
        signed(path, tensors, json.dumps(strange))
        ours(newest_checkpoint, run / "checkpoints")
        ours(files.read, path)


@pytest.mark.parametrize("cases", [2, pytest.param(40, marks=pytest.mark.trial)])
@pytest.mark.filterwarnings("default::pyrovae.PyrovaeWarning")
def test_a_training_is_not_gone_on_with_from_a_strange_checkpoint(trained, tmp_path, monkeypatch, cases):
    monkeypatch.chdir(tmp_path)
    for number, chance in enumerate(map(random.Random, range(cases))):
        run = Path(shutil.copytree(trained, f"run-{number}"))
        for path in (run / "checkpoints").glob("*.safetensors"):
            tensors, document = written(path)
            signed(path, tensors, json.dumps(next(strange_documents(document, chance, 1))))
        result = typed(OVER_A_RUN["train"].format(run=run))
        assert in_words(result), (number, result.output, result.exception)


def test_a_training_whose_checkpoints_are_all_damaged_is_not_begun_afresh(run):
    for path in (run / "checkpoints").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = typed(OVER_A_RUN["train"].format(run=run))
    assert result.exit_code == 2
    assert "no other checkpoint to go on from" in result.output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["model", "fit"])
def test_what_a_part_should_be_is_said_in_words_of_the_file(name):
    """And not by the name of a class."""

    class Named(NamedTuple):
        shape: int

    with pytest.raises(pv.FileError, match=f"{name} is damaged: 'strange' stands where names with values or null is"):
        read_as(Named | None, "strange", f"config.json, {name}")
