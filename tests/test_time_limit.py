"""A test that never ends is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from time_limit import SECONDS, children, limited

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarm")


def test_every_test_has_a_limit():
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < left <= SECONDS


def test_what_sleeps_too_long_ends_with_words():
    start = time.monotonic()
    with (
        pytest.raises(pytest.fail.Exception, match=r"a nap took longer than 0\.1 s, and was ended"),
        limited(0.1, "a nap"),
    ):
        time.sleep(60)
    assert time.monotonic() - start < 30


def test_the_limit_around_it_goes_on():
    with limited(0.05, "a glance"):
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 1
    time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="the system lists no children")
def test_its_children_end_and_those_of_others_stay():
    before = children()
    own = subprocess.Popen(["sleep", "60"])
    with (
        pytest.raises(pytest.fail.Exception),
        limited(0.2, "a wait"),
        subprocess.Popen(["sh", "-c", "sleep 60; true"]) as child,
    ):
        os.waitpid(child.pid, 0)
    assert own.poll() is None
    assert children() == before | {own.pid}
    own.kill()
    own.wait()
