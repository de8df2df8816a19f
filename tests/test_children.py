"""A child is a process of its own that has imported the heavy packages already."""

from __future__ import annotations

import signal

import pytest
from children import Child


def test_it_begins_with_the_heavy_packages_and_a_state_of_its_own(tmp_path):
    code = (
        "import os, sys, warnings; print('torch' in sys.modules, 'pyrovae.training.fit' in sys.modules)\n"
        "import torch, pyro; print(os.getcwd(), sys.argv[1:], os.environ['GIVEN'], len(pyro.get_param_store()))\n"
        "print('a fault', file=sys.stderr); warnings.warn('never mind'); sys.exit(3)"
    )
    child = Child(code, "some", "words", folder=tmp_path, environment={"GIVEN": "value"})
    out, err = child.communicate()
    assert out.splitlines() == ["True True", f"{tmp_path} ['some', 'words'] value 0"]
    assert err == "a fault\n"
    assert child.returncode == 3


def test_each_draws_for_itself():
    code = "import random, numpy, torch; print(random.random(), numpy.random.rand(), float(torch.rand(())))"
    one, other = [Child(code) for _ in range(2)]
    assert set(one.communicate()[0].split()).isdisjoint(other.communicate()[0].split())


def test_what_goes_wrong_is_told():
    child = Child("import warnings\nwarnings.warn('mind')", strict=True)
    assert "UserWarning: mind" in child.communicate()[1]
    assert child.returncode == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 7)])
def test_it_can_be_killed_and_interrupted(number, code, tmp_path):
    waiting = (
        "import sys, time, pathlib\n"
        "try:\n    pathlib.Path('there').touch()\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(7)"
    )
    child = Child(waiting, folder=tmp_path)
    while not (tmp_path / "there").exists():
        assert child.returncode is None
    child.send_signal(number)
    child.communicate()
    assert child.returncode == code


def test_one_that_does_not_end_is_told_of():
    child = Child("import time; print('here', flush=True); time.sleep(60)")
    with pytest.raises(TimeoutError, match=r"not ended after 1 s; it wrote .*here"):
        child.communicate(timeout=1)
