"""Downloads that end early, wrongly, or with their process: nothing is kept that is not whole."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ending_early import hooked, in_a_child, killed

from pyrovae.data.datasets.downloads import Download, cached, is_sound
from pyrovae.errors import FileError

WHOLE = gzip.compress(bytes(range(256)) * 8, mtime=0)
SOURCE_HASH = {"file": hashlib.sha256(bytes(range(256)) * 8).hexdigest()}


class Server(ThreadingHTTPServer):
    """A mirror that answers with `body`, which it says to be `promised` bytes long."""

    body, promised, status = WHOLE, len(WHOLE), 200


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.server.status)
        if self.server.promised is not None:
            self.send_header("Content-Length", str(self.server.promised))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *given):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "cache"))
    with Server(("127.0.0.1", 0), Answer) as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield found
        found.shutdown()


def asked(server: Server):
    source = Download((f"http://127.0.0.1:{server.server_port}/",), SOURCE_HASH)
    return cached("set", source, "file", download=True)


@pytest.mark.parametrize("says", ["its length", "nothing of its length", "the length that it has"])
def test_cut_at_any_byte_it_is_not_kept_and_the_next_one_is_whole(server, tmp_path, says):
    for end in (0, 1, 9, 10, *range(11, len(WHOLE), 13), len(WHOLE) - 8, len(WHOLE) - 1):
        server.body = WHOLE[:end]
        server.promised = {"its length": len(WHOLE), "the length that it has": end}.get(says)
        with pytest.raises(FileError, match="could not be downloaded"):
            asked(server)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], end
    server.body, server.promised = WHOLE, len(WHOLE)
    assert is_sound(asked(server).read_bytes(), SOURCE_HASH["file"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>Not found</html>", 404),
        (b"<html>Sign in to this network</html>", 200),
        (gzip.compress(b"other", mtime=0), 200),
    ],
    ids=["an error", "a page", "another file"],
)
def test_another_answer_is_not_kept(server, tmp_path, body, status):
    server.body, server.promised, server.status = body, len(body), status
    with pytest.raises(FileError, match="could not be downloaded"):
        asked(server)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_write_it_leaves_nothing_that_counts_as_whole(server, tmp_path):
    def killed_at(number: int) -> int:
        hooked(number, killed)
        return 0 if is_sound(asked(server).read_bytes(), SOURCE_HASH["file"]) else 1

    ends = [in_a_child(partial(killed_at, number)) for number in range(1, 12) if _nothing_or_whole(tmp_path)]
    assert len(ends) == 11
    assert ends[0] == 9
    assert ends[-1] == 0  # more writes than a download has
    assert set(ends) == {0, 9}
    assert is_sound(asked(server).read_bytes(), SOURCE_HASH["file"])


def _nothing_or_whole(tmp_path) -> bool:
    """What stands under the name of the file, if anything does, is whole; it is then taken away for the next try."""
    place = tmp_path / "cache" / "set" / "file.gz"
    sound = not place.exists() or is_sound(place.read_bytes(), SOURCE_HASH["file"])
    place.unlink(missing_ok=True)
    return sound
