"""The command line on labels and conditions: pairs, what is asked of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pytest
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli.annotation import Annotation
from pyrovae.cli.commands import app
from pyrovae.cli.measures import labels_told
from pyrovae.cli.trained_run import open_run

ROWS = 240
TINY = "--hidden 8 --latent 1 --no-report --staged false"

LEARNT = "--epochs 40 --batch-size 240 --learning-rate 0.05 --patience 0"


def run(line: str):
    pyro.clear_param_store()
    return CliRunner().invoke(app, line.split())


def succeeds(line: str) -> str:
    found = run(line)
    assert found.exit_code == 0, found.output
    return found.output


def refuses(line: str) -> str:
    found = run(line)
    assert found.exit_code == 2, found.output
    return " ".join(found.output.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table whose columns go with a class, known for some rows, and the same numbers as arrays."""
    place, random = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    code = np.arange(ROWS) % 3
    job = pd.Series(np.array(["clerk", "cook", "smith"])[code])
    frame = pd.DataFrame({"size": random.normal(4.0 * code, 1).round(4), "form": np.where(code == 1, "flat", "round")})
    frame["age"] = random.normal(40, 9, ROWS).round(2)
    frame.assign(job=job).to_csv(place / "full.csv", index=False)
    frame.loc[::9, "size"] = np.nan
    frame.assign(job=job.where(np.arange(ROWS) % 4 != 0)).to_csv(place / "some.csv", index=False)
    x = random.normal(4.0 * code[:, None], 1, (ROWS, 3)).astype(np.float32)
    known = np.where(np.arange(ROWS) % 3 == 0, code, -1)
    np.savez(place / "arrays.npz", x=x, label=np.where(np.arange(ROWS) < 60, code, -1), c=x[:, :2] + 100.0)
    np.save(place / "x.npy", x)
    np.save(place / "of_x.npy", np.where(np.arange(ROWS) < 90, code, -1))
    np.save(place / "short.npy", known[:-1])
    return place


@pytest.fixture(autouse=True)
def _inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def labelled(folder):
    succeeds(f"train {folder}/some.csv --labels job {LEARNT} --out {folder}/labelled {TINY} --quiet")
    return folder / "labelled"


@pytest.fixture(scope="module")
def under(folder):
    said = succeeds(f"train {folder}/full.csv --condition job,age {LEARNT} --out {folder}/under {TINY}")
    assert "Under the condition of" in said
    return folder / "under"


@pytest.mark.slow
def test_labels_of_some_rows_are_learned_and_told_of_the_others(labelled):
    found = labels_told(open_run(labelled, pair=None, data="full.csv", command="evaluate"))
    assert found["rows"] == ROWS
    assert found["value"] > 0.9
    assert found["most_frequent"] == pytest.approx(1 / 3)
    frame = pd.read_csv("full.csv")
    frame.loc[: ROWS // 4, "job"] = "cook"
    frame.to_csv("wrong.csv", index=False)
    wrong = labels_told(open_run(labelled, pair=None, data="wrong.csv", command="evaluate"))
    share = wrong["value"]
    assert 0.7 < share < 0.9
    assert wrong["error"] == pytest.approx((share * (1 - share) / (ROWS - 1)) ** 0.5)
    succeeds(f"encode {labelled} full.csv --out told.csv")
    told = pd.read_csv("told.csv")
    classes = ["y.mean[clerk]", "y.mean[cook]", "y.mean[smith]"]
    assert (told[classes].to_numpy().argmax(1) == np.arange(ROWS) % 3).mean() > 0.9


@pytest.mark.slow
def test_rows_of_a_chosen_class_are_drawn(labelled):
    assert run(f"sample {labelled} -n 30 --where job=cook --out cook.csv --seed 0").exit_code == 0
    made = pd.read_csv("cook.csv")
    assert (made["job"] == "cook").all()
    assert (made["form"] == "flat").mean() > 0.8
    succeeds(f"sample {labelled} -n 60 --out any.csv --seed 0")
    drawn = pd.read_csv("any.csv")
    assert set(drawn["job"]) == {"clerk", "cook", "smith"}
    assert ((drawn["job"] == "cook") == (drawn["form"] == "flat")).mean() > 0.8


@pytest.mark.slow
def test_other_commands_take_a_run_with_labels(labelled):
    succeeds(f"reconstruct {labelled} some.csv -n 3 --out again.csv")
    assert list(pd.read_csv("again.csv")) == ["size", "form", "age"]
    succeeds(f"impute {labelled} some.csv --out whole.csv")
    filled = pd.read_csv("whole.csv")
    assert not filled["size"].isna().any()
    assert filled["job"].isna().sum() == ROWS / 4  # a label is no hole
    opened = pv.load_run(labelled)
    assert set(opened.labels) <= {"clerk", "cook", "smith", "no label"}
    assert pv.log_evidence(opened.pair, opened.data, draws=5).value.shape == (24,)


@pytest.mark.slow
def test_data_under_a_condition(under):
    succeeds(f"sample {under} -n 40 --where job=smith --where age=40 --out smith.csv --seed 0")
    made = pd.read_csv("smith.csv")
    assert (made["job"] == "smith").all()
    assert (made["age"] == 40).all()
    assert made["size"].mean() == pytest.approx(8, abs=1.5)
    succeeds(f"sample {under} -n 24 --out held.csv --seed 0")
    drawn = pd.read_csv("held.csv").groupby("job")["size"].mean()
    assert drawn["clerk"] < drawn["cook"] < drawn["smith"]
    opened = pv.load_run(under)
    rows, condition = opened.data
    assert list(rows) == ["size", "form"]
    assert pv.log_evidence(opened.pair, rows, condition, draws=5).value.shape == (24,)
    moved = condition.clone()
    moved[:, 0] = (moved[:, 0] + 1) % 3  # another class than that of the rows
    other = pv.log_evidence(opened.pair, rows, moved, draws=50).value.mean()
    assert pv.log_evidence(opened.pair, rows, condition, draws=50).value.mean() > other + 1
    succeeds(f"reconstruct {under} full.csv -n 3 --out again_under.csv")


@pytest.mark.slow
def test_reports_and_figures_of_both(labelled, under):
    for place, told in ((labelled, True), (under, False)):
        succeeds(f"report {place} --out {place.name}.html")
        assert ("labels told" in succeeds(f"evaluate {place} --rows 10 --evidence-draws 25")) == told
        succeeds(f"export {place} {place.name}.nc --draws 3")


@pytest.mark.slow
def test_arrays_and_files_of_labels():
    succeeds(f"train arrays.npz --key x --labels label --epochs 2 --out npz {TINY} --quiet")
    assert labels_told(open_run(Path("npz"), pair=None, data=None, command="evaluate"))["rows"] < 20
    assert "say which array is meant, --key" in refuses(f"train arrays.npz --labels label --out none {TINY}")
    succeeds(f"train x.npy --labels of_x.npy --epochs 2 --out npy {TINY} --quiet --net mlp --prior student")
    assert labels_told(open_run(Path("npy"), pair=None, data="x.npy", command="evaluate")) is None
    assert "is of 239 rows" in refuses(f"train x.npy --labels short.npy --out none {TINY}")
    succeeds(f"train arrays.npz --key x --condition c --epochs 2 --out beside {TINY} --quiet --guide full")
    assert "no 'c' beside its rows" in refuses("evaluate beside x.npy")
    opened = pv.load_run("beside")
    assert [one.shape for one in opened.data] == [(24, 3), (24, 2)]
    assert "--where: give c[1], too" in refuses("sample beside --where c[0]=101")
    succeeds("sample beside -n 2 --where c[0]=101 --where c[1]=99 --out made.csv")
    assert list(pd.read_csv("made.csv"))[-2:] == ["c[0]", "c[1]"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train some.csv --labels job --condition age", "leave one out"),
        ("train some.csv --labels job --pair own.py:make", "--labels is for the built-in pair"),
        ("train some.csv --labels job --likelihood normal --prior vamp", "--prior vamp is a mixture"),
        ("train some.csv --labels work", "has no 'work': it has 'size', 'form', 'age', 'job'"),
        ("train some.csv --labels age", "Numbers go into --condition"),
        ("train some.csv --condition size", "is missing in line 2"),
        ("train some.csv --condition age,", "takes names of columns"),
        ("train x.npy --labels none.npy", "has no 'none.npy'"),
    ],
)
def test_refusals(line, words):
    assert words in refuses(line)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sample labelled --where job=pilot", "no row had in training: its classes are clerk, cook, smith"),
        ("sample labelled --where size=3", "none is that"),
        ("sample under --where job=cook", "give age, too"),
        ("sample under --where job=cook --where age=old", "holds 'old'"),
        ("evaluate under some.csv", "--condition job is missing in line 2"),
        ("outliers under full.csv", "looks at whole rows"),
        ("train --resume --out labelled --labels form", "--labels was job"),
    ],
)
def test_refusals_of_runs(labelled, under, line, words):
    assert words in refuses(line)


def test_one_epoch_of_each(folder):
    for option in ("--labels job", "--condition job,age"):
        place = option[2:5]
        succeeds(f"train full.csv {option} --epochs 1 --batch-size 240 --out {place} {TINY} --quiet")
        wanted = "--where job=cook" + (" --where age=40" if place == "con" else "")
        succeeds(f"sample {place} -n 2 {wanted} --out {place}.csv")
        assert pd.read_csv(f"{place}.csv")["job"].tolist() == ["cook", "cook"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([None, None, None], "all labels are missing"),
        (["a", "a", None], "all labels are a"),
        ([0.5, 1.0, 2.0], "holds 0.5"),
        (pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]), "holds dates"),
        ([f"name {n}" for n in range(40)], "40 different values"),
    ],
)
def test_labels_that_are_none(values, words):
    with pytest.raises(pv.DataError, match=words):
        Annotation.of("labels", pd.DataFrame({"who": values}))


@pytest.mark.slow
def test_a_class_that_no_row_had_in_training_is_refused(labelled):
    pd.read_csv("full.csv").assign(job="pilot").to_csv("pilots.csv", index=False)
    assert "'job' holds pilot, which no row had in training" in refuses(f"evaluate {labelled} pilots.csv")


def test_a_class_of_which_all_rows_are_held_out_is_refused():
    frame = pd.read_csv("full.csv")
    frame.loc[frame.index[0], "job"] = "pilot"
    frame.to_csv("rare.csv", index=False)
    seed = next(seed for seed in range(50) if 0 in np.random.default_rng(seed).permutation(ROWS)[: round(0.1 * ROWS)])
    assert "has the label pilot" in refuses(f"train rare.csv --labels job --seed {seed} --out rare {TINY}")


@pytest.mark.parametrize("values", [[0, 1, -1] * 4, np.array([0, 1, 255] * 4, np.uint8), [True, False, None] * 4])
def test_codes_of_labels_are_those_of_their_classes(values):
    frame = pd.DataFrame({"y": values})
    found = Annotation.of("labels", frame)
    codes = found.codes(frame)
    assert found.frame(codes)["y"].isna().tolist() == frame["y"].isna().tolist()
    kept = ~frame["y"].isna()
    assert (found.frame(codes)["y"][kept].astype(int) == frame["y"][kept].astype(int)).all()


def test_a_run_that_is_over_says_that_there_is_nothing_to_do(tmp_path):
    succeeds(f"train x.npy --epochs 2 --out {tmp_path}/run {TINY} --quiet")
    assert "Nothing to do" not in succeeds(f"train --resume --epochs 3 --out {tmp_path}/run --no-report")
    said = " ".join(succeeds(f"train --resume --epochs 2 --out {tmp_path}/run --no-report").split())
    assert "Nothing to do" in said
    assert "over after 3 epochs" in said
