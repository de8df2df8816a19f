"""A folder from a stranger: nothing that lies in it, and nothing that it names, is ever executed."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import OVER_A_RUN, OVER_A_TABLE, PAIR, command_names, in_words, train, train_table, typed

from pyrovae.cli.run_config import sealed

OTHER_KINDS = (".npz", ".csv", ".parquet", "-ubyte", ".pt", ".pkl")

CANARY = "from pathlib import Path\nPath({there!r}).touch()\n"


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch) -> Path:
    """A file that exists once something was executed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # as `python -m pyrovae` has it
    return tmp_path / "executed"


class Touch:
    """What its pickle does when it is opened."""

    def __init__(self, there: Path):
        self.there = there

    def __reduce__(self):
        return Path.touch, (self.there,)


def poison(run: Path, there: Path) -> None:
    """Name a module that leaves a trace wherever a folder says what a pair, a net or a file is called."""
    for place in (Path("evil.py"), run / "evil.py", run / "own.py", run / "config.py", run / "conftest.py"):
        place.write_text(CANARY.format(there=str(there)) + PAIR)
    config = json.loads((run / "config.json").read_text())
    config["pair"] = "evil.py:make"
    (run / "config.json").write_text(json.dumps(sealed(config)))


def test_every_command_is_walked():
    assert {name.split()[0] for name in (*OVER_A_RUN, *OVER_A_TABLE)} == command_names() - {"demo"}


@pytest.mark.slow
def test_no_command_over_a_table_imports_what_a_folder_names(there):
    run = train_table("run")
    clean = (run / "config.json").read_text()
    for command, line in {**OVER_A_RUN, **OVER_A_TABLE}.items():
        poison(run, there)
        result = typed(line.format(run=run))
        assert result.exit_code == 2, (command, result.output)
        assert in_words(result), (command, result.output)
        assert not there.exists(), command
    (run / "config.json").write_text(clean)
    pickled(Touch(there), run / "model.safetensors")
    for command, line in OVER_A_TABLE.items():
        result = typed(line.format(run=run))
        assert result.exit_code == 2, (command, result.output)
        assert in_words(result), (command, result.output)
        assert not there.exists(), command


@pytest.mark.parametrize("pair", ["", " --pair own.py:make"], ids=["not named", "named"])
@pytest.mark.slow
def test_no_command_imports_what_a_folder_names(pair, there):
    run = train("run", "--pair own.py:make")
    for command, line in OVER_A_RUN.items():
        poison(run, there)
        result = typed(line.format(run=run) + pair)
        assert in_words(result), (command, result.output)
        answers = bool(pair) and "compress" not in command  # which takes no data without a last digit
        assert (result.exit_code == 0) == answers, (command, result.output)
        assert "'evil.py:make'" in result.output or pair
        assert not there.exists(), command
    assert typed("evaluate run --pair evil.py:make").exit_code == 0  # it would be seen
    assert there.exists()


@pytest.mark.trial
def test_a_built_in_pair_stays_one(there):
    run = train("run", "--hidden 4")
    for command, line in OVER_A_RUN.items():
        poison(run, there)
        assert in_words(typed(line.format(run=run))), command
        assert not there.exists(), command


def pickled(value, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


@pytest.mark.filterwarnings("default::pyrovae.PyrovaeWarning")
@pytest.mark.parametrize("save", [torch.save, pytest.param(pickled, marks=pytest.mark.trial)])
def test_no_command_opens_a_pickle(save, there):
    run = train("run", "--hidden 4")
    for name in ("model.safetensors", *(f"checkpoints/{path.name}" for path in (run / "checkpoints").glob("*.saf*"))):
        save({"weight": Touch(there)}, run / name)
    for command, line in OVER_A_RUN.items():
        result = typed(line.format(run=run))
        assert in_words(result), (command, result.output)
        assert not there.exists(), command


@pytest.mark.parametrize("suffix", [".npy", *(pytest.param(one, marks=pytest.mark.trial) for one in OTHER_KINDS)])
def test_no_command_opens_data_that_are_a_pickle(suffix, there):
    run = train("run", "--hidden 4")
    name = f"data{suffix}"
    if suffix in (".npy", ".npz"):
        with Path(name).open("wb") as stream:
            save = np.save if suffix == ".npy" else np.savez
            save(stream, np.array([[Touch(there)]], dtype=object), allow_pickle=True)
    else:
        Path(name).write_bytes(pickle.dumps(Touch(there)))
    config = json.loads((run / "config.json").read_text())
    config["data"]["name"] = str(Path(name).resolve())
    (run / "config.json").write_text(json.dumps(sealed(config)))
    for command, line in OVER_A_RUN.items():
        result = typed(line.format(run=run))
        assert result.exit_code == 2, (command, result.output)
        assert in_words(result), (command, result.output)
        assert not there.exists(), command
