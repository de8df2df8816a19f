"""`pyrovae explore`: the page of a run, in the units, columns and conditions of its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from test_explore import found_in, numbers
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli.commands import app

TINY = "--hidden 8 --latent 2 --epochs 1 --no-report --staged false --quiet"


def typed(line: str):
    pyro.clear_param_store()
    return CliRunner().invoke(app, line.split())


def explored(line: str) -> dict:
    result = typed(f"explore {line}")
    assert result.exit_code == 0, result.output
    return found_in(Path(result.output.strip().splitlines()[-1]).read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place, random = tmp_path_factory.mktemp("explored"), np.random.default_rng(0)
    np.save(place / "bytes.npy", random.integers(1, 255, (60, 6, 6)).astype(np.uint8))
    kind = np.array(["a", "b"])[np.arange(60) % 2]
    frame = pd.DataFrame(
        {"size": random.normal(4, 1, 60), "kind": kind, "day": pd.date_range("2020-01-01", periods=60)}
    )
    frame.assign(job=np.array(["cook", "clerk"])[np.arange(60) // 30]).to_csv(place / "table.csv", index=False)
    return place


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def images(folder):
    result = typed(f"train {folder}/bytes.npy --likelihood continuous-bernoulli --out {folder}/bytes {TINY}")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_picture_is_in_the_units_of_the_data(images):
    found, run = explored("bytes --rows 3"), pv.load_run("bytes")
    (site,) = found["sites"]
    assert (site["picture"], site["units"], site["limits"]) == ([1, 6, 6], [255.0, 0.0], [0.0, 255.0])
    data = numbers(found, found["rows"]["data"][0]).reshape(3, 36)
    np.testing.assert_allclose(255 * data, run.restore(run.data[:3]).reshape(3, 36), atol=1e-3)


def test_what_cannot_be_is_said(images):
    assert "its name must end in .html" in " ".join(typed("explore bytes -o page.pdf").output.split())
    assert "give 0 to" in " ".join(typed("explore bytes --rows 61").output.split())
    assert "give 0 to" in " ".join(typed("explore bytes --rows -1").output.split())


@pytest.mark.slow
def test_a_table_has_its_columns_classes_and_dates():
    assert typed(f"train table.csv --condition job --out under {TINY}").exit_code == 0
    found = explored("under -o under.html --rows 4")
    assert Path("under.html").exists()
    (site,) = found["sites"]
    assert site["names"] == ["size", "kind", "day"]
    assert (site["levels"], site["dates"]) == ([[], ["a", "b"], []], [False, False, True])
    (choice,) = found["choices"]
    assert choice["name"] == "given"
    assert set(choice["words"]) == {"job cook", "job clerk"}
    assert len(found["programs"]) == 2
    first, other = (numbers(found, check["wanted"]) for check in found["checks"])
    assert not np.allclose(first, other)
    assert torch.isfinite(torch.tensor(first)).all()
