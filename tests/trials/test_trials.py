"""Four users' ways through the package, each a script that runs in an empty folder, as they would run it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from children import Child

HERE = Path(__file__).parent

pytestmark = pytest.mark.trial


def ended(script: str, *words: str, folder: Path) -> str:
    child = Child(HERE / f"{script}.py", *words, folder=folder, strict=True)
    said, complained = child.communicate()
    assert child.returncode == 0, complained
    return said


@pytest.mark.parametrize("script", ["newcomer", "statistician", "data_scientist"])
def test_the_way_is_walked_to_its_end(script, tmp_path):
    if script == "data_scientist":
        pytest.importorskip("sklearn")
    assert ended(script, folder=tmp_path)


def together(folder: Path, **environment: str) -> list[tuple[int | None, str]]:
    """Two processes as torchrun starts them."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **environment}
    started = [
        Child(HERE / "engineer.py", "train", folder=folder, environment={**common, "RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]
    said = [child.communicate()[1] for child in started]
    return [(child.returncode, words) for child, words in zip(started, said, strict=True)]


def test_from_a_folder_of_parquet_to_a_service_with_a_kill_between(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    ended("engineer", "write", folder=tmp_path)
    (first, words), (second, _) = together(tmp_path, KILLED_AT="30")
    assert second == -9
    assert first not in (0, None)
    assert "ParallelError" in words
    assert not (tmp_path / "model.safetensors").exists()
    assert [code for code, _ in together(tmp_path)] == [0, 0]
    run = json.loads((tmp_path / "run.json").read_text())
    assert 1 < run["first"] <= 31  # it went on from where the other was killed
    assert len(run["elbo"]) == 4
    assert run["elbo"][-1] > run["elbo"][0]
    ended("engineer", "ship", folder=tmp_path)
