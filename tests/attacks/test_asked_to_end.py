"""Ctrl-C and SIGTERM end a training after a step, with a checkpoint; after its last step they say what is written."""

from __future__ import annotations

import gc
import os
import signal
import time

import pytest
import torch
from children import Child
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli import outputs
from pyrovae.cli.commands import app
from pyrovae.training.session import Session

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _ctrl_c():
    """A suite started in the background inherits an ignored SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def vae():
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))


def fit(folder, **options):
    options = {"epochs": 5, "batch_size": 16, "seed": 0, "device": "cpu", "staged": False, "progress": False, **options}
    return pv.fit(vae(), X, checkpoint=folder, **options)


def sending(number, step):
    """A transform that sends this process a signal in the midst of a step."""
    calls = []

    def transform(x):
        calls.append(x)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return x

    return transform


def test_ctrl_c_in_a_step_ends_after_it_with_a_checkpoint_and_a_word(tmp_path, caplog):
    before = [signal.getsignal(one) for one in SIGNALS]
    run = fit(tmp_path, transform=sending(signal.SIGINT, 12))
    assert run.reason == "interrupted"
    assert 0 < run.step < 20
    assert run.checkpoint == tmp_path / f"checkpoint-{run.step:010d}.safetensors"
    assert run.checkpoint.exists()
    assert [signal.getsignal(one) for one in SIGNALS] == before
    assert f"interrupted after step {run.step}, and the last checkpoint is {run.checkpoint}" in caplog.text


ASKED = """
import os, signal, sys
import torch
import pyrovae as pv
calls = []
def transform(x):
    calls.append(x)
    if len(calls) == 12:
        os.kill(os.getpid(), signal.SIGTERM)
    return x
vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
folder = sys.argv[1] if len(sys.argv) > 1 else None
pv.fit(vae, torch.randn(64, 3), epochs=5, batch_size=16, staged=False, progress=False, transform=transform,
       checkpoint=folder)
print("went on with a pair that is not trained")
"""


@pytest.mark.parametrize("saved", [True, False])
def test_a_request_to_end_saves_and_ends_the_process(saved, tmp_path):
    """A scheduler's. A program that went on behind it would take a pair of eleven steps for a trained one."""
    child = Child(ASKED, *[str(tmp_path / "run")] * saved)
    said, words = child.communicate()
    assert (child.returncode, said) == (-signal.SIGTERM, "")
    assert "training was interrupted after step" in words
    written = [path.name for path in tmp_path.glob("run/*.safetensors")]
    assert bool(written) == saved
    assert not saved or max(written) in words


STOPPED = {
    "ensemble": lambda options: pv.epistemic.ensemble(vae, X, members=3, **options),
    "fit_best": lambda options: pv.fit_best(vae, X, restarts=2, trial_epochs=2, progress=False, **options),
    "over_seeds": lambda options: pv.over_seeds(vae, X, held_out=X, seeds=3, **options),
    "choose_latent": lambda options: pv.choose_latent(lambda _: vae(), X, [1, 2], **options),
}


@pytest.mark.parametrize("name", STOPPED)
def test_ctrl_c_in_one_of_several_trainings_ends_them_all(name):
    """Else the one that was stopped would count as one that was trained."""
    options = {"epochs": 4, "batch_size": 16, "staged": False, "transform": sending(signal.SIGINT, 6)}
    with pytest.raises(KeyboardInterrupt, match="stopped after step"):
        STOPPED[name](options)


def test_ctrl_c_after_the_last_step_says_what_is_written(tmp_path, monkeypatch, caplog):
    finish = Session.finish

    def late(self):
        os.kill(os.getpid(), signal.SIGINT)
        return finish(self)

    monkeypatch.setattr(Session, "finish", late)
    run = fit(tmp_path)
    assert (run.reason, run.step) == ("finished", 20)
    assert f"the last checkpoint is {run.checkpoint}" in caplog.text
    assert "no checkpoint was asked for" not in caplog.text
    fit(None)
    assert "no checkpoint was asked for" in caplog.text


def test_a_handler_of_the_users_own_is_left_alone(tmp_path):
    got = []
    before = signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    try:
        assert fit(tmp_path, transform=sending(signal.SIGTERM, 12)).reason == "finished"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [1]


@pytest.mark.parametrize("where", ["in training", "while the model is written", "while the report is written"])
@pytest.mark.slow
def test_the_command_line_says_what_is_written(where, tmp_path, monkeypatch):
    if where == "in training":
        sent = sending(signal.SIGTERM, 12)
        monkeypatch.setattr("pyrovae.cli.train.show", lambda line, step: sent(step))
    elif where == "while the model is written":
        from pyrovae.cli.run_folder import RunFolder

        saved = RunFolder.save
        monkeypatch.setattr(RunFolder, "save", lambda *both: os.kill(os.getpid(), signal.SIGINT) or saved(*both))
    else:
        monkeypatch.setattr(outputs, "write_report", lambda run: os.kill(os.getpid(), signal.SIGINT) or time.sleep(5))
    words = ["train", "digits", "--latent", "2", "--epochs", "2", "--staged", "false", "--out", str(tmp_path / "run")]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 130, ended.output
    said = " ".join(ended.output.split())
    if where == "in training":
        assert "everything is saved. Go on with: pyrovae train --resume" in said
    else:
        assert "when training was over" in said
        assert "pyrovae report" in said
    assert (tmp_path / "run" / "model.safetensors").exists()


# --- what is left behind ------------------------------------------------------------------------------
LEAVING = """
import sys, threading, warnings
import pyrovae as pv
import torch
torch.set_num_threads(1)
vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
truth, x = pv.truth.GammaPoisson(2.0, 1.0), torch.randn(64, 3)
threads, filters = set(threading.enumerate()), list(warnings.filters)
assert "sympy" not in sys.modules
pv.fit(vae, x, steps=20, batch_size=16, staged="traced", device="cpu", progress=False)
pv.check_guide(truth, truth.sample(10), draws=10, warmup=10)
left = [one for one in warnings.filters if one not in filters]
print(set(threading.enumerate()) - threads, left, "sympy" in sys.modules)
"""


@pytest.mark.slow
def test_no_thread_and_no_filter_of_warnings_is_left():
    said, words = Child(LEAVING).communicate()
    assert said.split("\n")[0] == "set() [] True", words


def test_a_second_ctrl_c_says_what_there_is_to_go_on_from(tmp_path, monkeypatch):
    from commands import train, typed

    from pyrovae.cli import train as command

    monkeypatch.chdir(tmp_path)
    train("run")

    def urgent(line, step):
        if step.index > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "show", urgent)
    result = typed("train --resume --out run --epochs 4 --quiet")
    assert result.exit_code == 130
    assert "Stopped: at once, after the checkpoint checkpoint-0000000003.safetensors. Go on with: pyrovae train" in (
        result.output
    )
    assert "nothing was under way" not in result.output
    del result
    gc.collect()  # the training that was left writes its last checkpoint here, and not where the next test stands
