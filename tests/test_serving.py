"""The service that the documentation shows, asked as a server asks it: through ASGI, without a network."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyrovae as pv

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PAGE = Path(__file__).parents[1] / "docs" / "serving.md"


def code() -> str:
    (service,) = (
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "FastAPI" in block
    )
    return service


def asked(app: Any, method: str, path: str, content: Any = None, query: str = "") -> tuple[int, Any]:
    """Status and content of an answer."""
    sent: list[dict] = []
    body = json.dumps(content).encode()

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "headers": headers, "root_path": "",
        "client": ("here", 1), "server": ("here", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(b"".join(one.get("body", b"") for one in sent[1:]))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(4), pv.Bernoulli(pv.MLP(4, [8], 64)), pv.DiagNormal(pv.MLP(64, [8], 8)))


@pytest.fixture(scope="module")
def app(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    pv.to_onnx(vae, torch.ones(3, 64), folder=folder / "served")
    namespace: dict[str, Any] = {"__name__": "service"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code(), "service", "exec"), namespace)
    return namespace["app"]


X = torch.rand(5, 64, generator=torch.Generator().manual_seed(1)).gt(0.5).float()


def test_the_service_is_forty_lines():
    lines = [line for line in code().splitlines() if line.strip()]
    assert len(lines) <= 43
    assert "torch" not in code()


@pytest.mark.slow
def test_codes_are_those_of_the_pair(app, vae):
    status, said = asked(app, "POST", "/encode", {"rows": X.tolist()})
    assert status == 200
    np.testing.assert_allclose(said["mean"], pv.encode(vae, X)["z"].mean, atol=1e-5)
    np.testing.assert_allclose(said["scale"], pv.encode(vae, X)["z"].scale, atol=1e-5)


@pytest.mark.slow
def test_bounds_are_those_of_the_pair(app, vae):
    status, said = asked(app, "POST", "/bound", {"rows": X.tolist()}, query="draws=2000")
    wanted = pv.elbo(vae, X, draws=2000)
    assert status == 200
    assert (abs(np.array(said) - wanted.value.numpy()) < 4 * 2**0.5 * wanted.error.numpy()).all()


@pytest.mark.slow
def test_another_seed_generates_other_rows(app):
    one, other = (asked(app, "GET", "/generate", query=f"count=2&seed={seed}")[1] for seed in (1, 2))
    assert np.shape(one) == (2, 64)
    assert one != other


@pytest.mark.slow
def test_what_the_pair_does_not_take_is_refused(app):
    assert asked(app, "POST", "/encode", {"rows": [[0.5] * 64]})[0] == 422
    assert asked(app, "POST", "/encode", {"rows": [[1.0]]})[0] == 422
