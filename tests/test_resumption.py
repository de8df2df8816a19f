"""A run that was stopped goes on as if it never had been."""

from __future__ import annotations

import shutil
import signal
import time
import warnings
from pathlib import Path

import pyro
import pytest
import torch
from children import Child
from histories import untimed
from pyro.infer import Trace_ELBO
from pyro.optim import Adam, ExponentialLR
from registry import ROWS, pairs
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae.pairs.pair import owner
from pyrovae.training.saved import files
from pyrovae.training.saved.checkpoints import checkpoints_in, newest_checkpoint

BATCH = 16
OPTIONS = {"progress": False, "device": "cpu", "staged": False}


def fresh(entry):
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    return entry.make()


def train(entry, *, epochs, folder, resume=False, stop_after=None, **options):
    """Train a fresh pair of the entry; leave after some steps where asked to."""
    pair, data = fresh(entry)
    size = ROWS if entry.traits & {"full_data", "local_autoguide"} else BATCH
    options = {"seed": 3, "batch_size": size, "loss": entry.loss(), "device": "cpu", "average": 0.9, **options}
    with warnings.catch_warnings():
        if "unvalidated" in entry.traits:
            warnings.simplefilter("ignore", pv.PyrovaeWarning)
        running = pv.steps(pair, data, epochs=epochs, checkpoint=folder, resume=resume, staged=False, **options)
        losses = []
        for step in running:
            losses.append(step.loss)
            if stop_after is not None and len(losses) == stop_after:
                running.close()
                break
    return losses, _weights(folder)


def _weights(folder) -> dict[str, torch.Tensor]:
    _, weights, state, _ = newest_checkpoint(Path(folder))
    return {**weights, **{f"average.{k}": v for k, v in state["averages"].items()}}


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


@pytest.mark.parametrize("entry", pairs())
@pytest.mark.filterwarnings("ignore:.author-scale")
def test_resumed_bit_for_bit(entry, tmp_path):
    """Every style of pair and of loss, stopped within an epoch and at its end, in a process that forgot all."""
    whole, expected = train(entry, epochs=3, folder=tmp_path / "whole")
    stop = max(len(whole) // 2, 1)
    before, _ = train(entry, epochs=3, folder=tmp_path / "parts", stop_after=stop)
    after, weights = train(entry, epochs=3, folder=tmp_path / "parts", resume=True)
    assert before + after == whole
    assert_same(weights, expected)


VAE = pairs(having={"building", "mean_field"})[0].values[0]


@pytest.mark.parametrize("optim", [
    lambda: Adam({"lr": 1e-2}),
    lambda: pyro.optim.ClippedAdam({"lr": 1e-2, "lrd": 0.99}),
    lambda: ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "gamma": 0.5}),
    lambda: lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9),
    lambda: None,
], ids=["adam", "clipped", "scheduler", "momentum", "fused"])  # fmt: skip
def test_every_optimiser_goes_on(optim, tmp_path):
    _, expected = train(VAE, epochs=4, folder=tmp_path / "whole", optim=optim())
    train(VAE, epochs=2, folder=tmp_path / "parts", optim=optim())
    _, weights = train(VAE, epochs=4, folder=tmp_path / "parts", optim=optim(), resume=True)
    assert_same(weights, expected)


@pytest.mark.slow
def test_a_target_rate_and_patience_go_on(tmp_path):
    def run(folder, epochs, **options):
        pair, data = fresh(VAE)
        options |= {"batch_size": 8, "validation": data, "patience": 50, "checkpoint": folder, "seed": 0, **OPTIONS}
        rate = pv.linear(1e-2, 1e-3, steps=40)
        return pv.fit(pair, data, epochs=epochs, temper=pv.TargetRate(0.5), learning_rate=rate, **options)

    whole = run(tmp_path / "whole", 8)
    run(tmp_path / "parts", 3)
    resumed = run(tmp_path / "parts", 8, resume=True)
    assert untimed(whole.history) == untimed(resumed.history)
    assert whole.step == resumed.step
    assert whole.weights == resumed.weights == "best"


@pytest.mark.parametrize("generator", [False, True], ids=["global", "own"])
def test_a_loader_goes_on_within_an_epoch(generator, tmp_path):
    def loader():
        data = TensorDataset(torch.arange(200.0).reshape(40, 5) / 100)
        own = torch.Generator().manual_seed(9) if generator else None
        return DataLoader(data, batch_size=8, shuffle=True, generator=own)

    def vae():
        torch.manual_seed(0)
        return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))

    def run(folder, stop=None, **options):
        losses = []
        running = pv.steps(vae(), loader(), epochs=3, seed=1, device="cpu", staged=False, checkpoint=folder, **options)
        for step in running:
            losses.append(step.loss)
            if len(losses) == stop:
                running.close()
                break
        return losses

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "parts", stop=7) + run(tmp_path / "parts", resume=True) == whole


def test_more_epochs_may_be_asked_for(tmp_path):
    _, expected = train(VAE, epochs=5, folder=tmp_path / "whole")
    train(VAE, epochs=2, folder=tmp_path / "parts")
    losses, weights = train(VAE, epochs=5, folder=tmp_path / "parts", resume=True)
    assert len(losses) == 3 * 2
    assert_same(weights, expected)


def test_nothing_is_left_to_do(tmp_path):
    train(VAE, epochs=2, folder=tmp_path)
    pair, data = fresh(VAE)
    options = {"batch_size": BATCH, "average": 0.9, "loss": VAE.loss(), "checkpoint": tmp_path, **OPTIONS}
    run = pv.fit(pair, data, epochs=2, resume=True, **options)
    assert run.step == 4
    assert len(run.history) == 2


def test_without_a_checkpoint_it_starts_afresh(tmp_path):
    losses, _ = train(VAE, epochs=1, folder=tmp_path / "new", resume=True)
    assert len(losses) == 2


# --- what may not change ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 8}, "batch_size"),
        ({"loss": Trace_ELBO(num_particles=2)}, "loss"),
        ({"temper": 0.5}, "temper"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"average": 0.5}, "average"),
        ({"clip_norm": 1.0}, "clip_norm"),
        ({"seed": 4}, "seed"),
        ({"optim": Adam({"lr": 0.5})}, "optim"),
        ({"transform": lambda x: x}, "transform"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_argument_is_an_error_that_names_it(change, named, tmp_path):
    train(VAE, epochs=1, folder=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(pv.ArgumentError, match=rf"^{named} was"):
        train(VAE, epochs=2, folder=tmp_path, resume=True, **change)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_data_are_an_error(tmp_path):
    train(VAE, epochs=1, folder=tmp_path)
    pair, data = fresh(VAE)
    with pytest.raises(pv.DataError, match="argument 'x' of the data was"):
        pv.fit(pair, 1 - data, epochs=2, batch_size=BATCH, average=0.9, loss=VAE.loss(), checkpoint=tmp_path,
               resume=True, **OPTIONS)  # fmt: skip


def test_another_model_is_an_error_and_it_stays_as_it_was(tmp_path):
    train(VAE, epochs=1, folder=tmp_path)
    _, data = fresh(VAE)
    other = pv.VAE(pv.StandardNormal(3), pv.Bernoulli(pv.MLP(3, [16], 12)), pv.DiagNormal(pv.MLP(12, [16], 6)))
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(pv.ArgumentError, match=r"parameter .* was \(4, 16\)"):
        pv.fit(other, data, epochs=2, batch_size=BATCH, average=0.9, loss=VAE.loss(), checkpoint=tmp_path,
               resume=True, **OPTIONS)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


def test_an_earlier_run_is_never_overwritten(tmp_path):
    train(VAE, epochs=1, folder=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(pv.FileError, match="earlier run"):
        train(VAE, epochs=1, folder=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_resume_needs_a_folder():
    with pytest.raises(pv.ArgumentError, match="checkpoint="):
        pv.fit(*fresh(VAE), epochs=1, resume=True, **OPTIONS)


# --- damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(harm, tmp_path):
    _, expected = train(VAE, epochs=3, folder=tmp_path / "whole")
    train(VAE, epochs=2, folder=tmp_path / "parts")
    newest = checkpoints_in(tmp_path / "parts")[0]
    content = bytearray(newest.read_bytes())
    if harm == "flip":
        content[-100] ^= 1
    newest.write_bytes({"cut": content[:-50], "flip": content, "empty": b""}[harm])
    with pytest.warns(pv.PyrovaeWarning, match=newest.name):
        _, weights = train(VAE, epochs=3, folder=tmp_path / "parts", resume=True)
    assert_same(weights, expected)


def test_a_checkpoint_of_a_later_version_is_not_passed_over(tmp_path, monkeypatch):
    train(VAE, epochs=1, folder=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(files, "VERSION", files.VERSION + 1)
        train(VAE, epochs=2, folder=tmp_path, resume=True)
    with pytest.raises(pv.FileError, match="install the newer one"):
        train(VAE, epochs=3, folder=tmp_path, resume=True)


def test_two_checkpoints_are_kept(tmp_path):
    train(VAE, epochs=4, folder=tmp_path)
    assert [path.name for path in checkpoints_in(tmp_path)] == [
        "checkpoint-0000000008.safetensors",
        "checkpoint-0000000006.safetensors",
    ]
    assert len(list(tmp_path.iterdir())) == 3, "and the history of all epochs"


# --- kill -9, Ctrl-C ----------------------------------------------------------------------------------

SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
import pyrovae as pv
from registry import REGISTRY
torch.manual_seed(0)
pair, data = REGISTRY["built_in"].make()
run = pv.fit(pair, data, epochs={epochs}, batch_size=8, seed=5, device="cpu", staged=False, progress=False,
             average=0.99, checkpoint={folder!r}, checkpoint_every=0.01, resume=True)
print(run.reason, run.step)
"""


def start(folder, epochs):
    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder), epochs=epochs)
    return Child(code)


def wait_for(folder, count):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        newest = checkpoints_in(folder)[:1] if folder.exists() else []
        if newest and int(newest[0].stem.split("-")[1]) >= count:
            return
        time.sleep(0.005)
    raise AssertionError("no checkpoint appeared")


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    reference = start(whole, 60)
    for steps in (40, 100):
        process = start(parts, 60)
        wait_for(parts, steps)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert start(parts, 60).communicate()[0].split() == ["finished", "240"]
    assert reference.communicate()[0].split() == ["finished", "240"]
    assert_same(_weights(parts), _weights(whole))
    assert not [path for path in parts.iterdir() if not path.name.startswith("checkpoint-")]


@pytest.mark.slow
def test_an_interrupt_saves_and_says_so(tmp_path):
    process = start(tmp_path / "run", 100_000)
    wait_for(tmp_path / "run", 10)
    process.send_signal(signal.SIGINT)
    reason, step = process.communicate()[0].split()
    assert reason == "interrupted"
    assert checkpoints_in(tmp_path / "run")[0].name == f"checkpoint-{int(step):010d}.safetensors"


# --- save and load ------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs(without={"local_autoguide"}))
def test_saved_and_loaded_any_pair(entry, tmp_path):
    """Into a fresh pair whose parameters may not exist yet; then it means the same."""
    pair, data = fresh(entry)
    size = ROWS if "full_data" in entry.traits else BATCH
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pv.PyrovaeWarning)
        pv.fit(pair, data, epochs=1, batch_size=size, loss=entry.loss(), seed=0, learning_rate=0.05, **OPTIONS)
        pv.save(pair, tmp_path / "model.safetensors")
        expected = figures_of(entry, pair, data, size)
        other, _ = fresh(entry)
        before = None
        if "lazy" not in entry.traits:  # a pair that was never run is refused: tests/test_sampling.py
            before = figures_of(entry, other, data, size)
        assert pv.load(other, tmp_path / "model.safetensors") is other
        after = figures_of(entry, other, data, size)
    assert after == expected
    assert before != expected


def figures_of(entry, pair, data, size):
    args, kwargs = _arguments(data)
    if "point" in entry.traits:  # its guide has no rate
        return pv.log_evidence(pair, *args, **kwargs, draws=2).value.tolist()
    return pv.rate_distortion(pair, *args, **kwargs, batch_size=size)


def _arguments(data):
    return ((), data) if isinstance(data, dict) else (data if isinstance(data, tuple) else (data,), {})


def vae() -> pv.VAE:
    return pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [4], 5)), pv.DiagNormal(pv.MLP(5, [4], 4)))


def test_a_torch_state_dict_and_pyros_store_can_be_read(tmp_path):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", pyro.distributions.Normal(pyro.param("loc", torch.zeros(())), 1.0), obs=x)

    pair = pv.Pair(model, lambda x: None)
    pv.fit(pair, torch.ones(8), epochs=5, learning_rate=0.1, seed=0, **OPTIONS)
    trained = pyro.param("loc").detach().clone()
    pyro.get_param_store().save(tmp_path / "store.pt")
    pyro.clear_param_store()
    pv.load(pair, tmp_path / "store.pt", torch.ones(8))
    assert torch.equal(pyro.param("loc"), trained)
    torch.save({"loc": trained * 2}, tmp_path / "state.pt")
    pv.load(pair, tmp_path / "state.pt", torch.ones(8))
    assert torch.equal(pyro.param("loc"), trained * 2)


def test_the_state_dict_of_the_module_itself(tmp_path):
    one, two = vae(), vae()
    torch.save(one.state_dict(), tmp_path / "state.pt")
    pv.load(two, tmp_path / "state.pt")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_another_models_file_is_refused_and_nothing_is_changed(tmp_path):
    pv.save(vae(), tmp_path / "small.safetensors")
    other = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [9], 5)), pv.DiagNormal(pv.MLP(5, [4], 4)))
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(pv.FileError, match="other shapes"):
        pv.load(other, tmp_path / "small.safetensors")
    deeper = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [4, 4], 5)), pv.DiagNormal(pv.MLP(5, [4], 4)))
    with pytest.raises(pv.FileError, match="missing in the file"):
        pv.load(deeper, tmp_path / "small.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


def test_a_pair_that_never_ran_needs_a_batch(tmp_path):
    pair = pv.Pair(lambda x: None, lambda x: None)
    with pytest.raises(pv.PairError, match="Give a few rows"):
        pv.save(pair, tmp_path / "model.safetensors")


def test_a_missing_file_and_a_pickle(tmp_path):
    with pytest.raises(pv.FileError, match=r"none\.safetensors"):
        pv.load(vae(), tmp_path / "none.safetensors")
    torch.save({"x": Path}, tmp_path / "evil.pt")
    with pytest.raises(pv.FileError, match=r"pickle|tensors only|objects"):
        pv.load(vae(), tmp_path / "evil.pt")


def test_no_name_of_an_object_reaches_a_file(tmp_path):
    pair = vae()
    pv.save(pair, tmp_path / "one.safetensors")
    shutil.copy(tmp_path / "one.safetensors", tmp_path / "copy.safetensors")
    pv.save(pair, tmp_path / "one.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "copy.safetensors").read_bytes()
    assert b"@" not in (tmp_path / "one.safetensors").read_bytes().split(b"}}")[0]
    assert owner(pair) is pair
