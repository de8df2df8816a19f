"""The line that shows how training goes: on a terminal, in a notebook, nowhere else, and at no cost."""

from __future__ import annotations

import io
import sys
import types

import pytest
import torch
from children import Child
from rich.console import Console

from pyrovae.training import progress


class Unreadable:
    """A figure that must not be read: on a GPU, reading one waits for the device."""

    def __float__(self) -> float:
        raise AssertionError("a figure was read although no line was due")


@pytest.fixture
def terminal():
    return Console(force_terminal=True, file=io.StringIO(), width=150, force_jupyter=False, color_system=None)


def figures(step: int, loss: float = 1.0) -> dict:
    return {"step": step, "epoch": 1, "loss": loss, "elbo": -1.0, "rate": 0.5}


def test_a_terminal_shows_every_figure(terminal):
    with progress.display(epochs=4, steps=400, console=terminal) as bar:
        bar.update(step=120, epoch=2, loss=torch.tensor(103.25), elbo=-98.5, rate=20.125)
    text = terminal.file.getvalue()
    for word in ("epoch 2/4", "loss 103.2", "ELBO -98.5", "rate 20.12", "left"):
        assert word in text


def test_the_last_state_is_shown_even_if_no_line_was_due(terminal):
    with progress.display(steps=5, console=terminal) as bar:
        for step in range(1, 6):
            bar.update(**figures(step, loss=step))
    assert "loss 5 " in terminal.file.getvalue()
    assert "loss 3 " not in terminal.file.getvalue()


def test_an_error_passes_through_and_leaves_the_terminal_as_it_was(terminal):
    with pytest.raises(ZeroDivisionError), progress.display(steps=5, console=terminal) as bar:
        bar.update(**figures(1 // 0))
    text = terminal.file.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


def test_nothing_without_length_or_when_asked_for_silence(terminal):
    with progress.display(False, epochs=3, console=terminal) as bar:
        bar.update(step=1, epoch=1, loss=Unreadable(), elbo=Unreadable(), rate=Unreadable())
    assert terminal.file.getvalue() == ""
    with progress.display(console=terminal) as bar:  # neither epochs nor steps are known: figures, no time left
        bar.update(**figures(7))
    assert "epoch 1  loss 1" in terminal.file.getvalue()


@pytest.mark.parametrize("console", [{"force_terminal": False}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_a_console_that_nobody_watches_or_that_cannot_move_its_cursor_stays_silent(console):
    silent = Console(file=io.StringIO(), force_jupyter=False, **console)
    with progress.display(steps=2, console=silent) as bar:
        bar.update(**figures(1))
    assert silent.file.getvalue() == ""


@pytest.mark.parametrize("variable", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
@pytest.mark.slow
def test_piped_output_stays_empty(variable):
    code = (
        "from pyrovae.training import progress\n"
        "with progress.display(epochs=1, steps=3) as bar:\n"
        "    for step in range(3): bar.update(step=step, epoch=1, loss=1.0, elbo=-1.0, rate=0.5)\n"
    )
    child = Child(code, environment=variable)
    assert child.communicate() == ("", "")
    assert child.returncode == 0


def test_lines_are_due_ten_times_a_second_and_figures_are_read_only_then():
    now, shown = [0.0], []
    line = progress.ProgressLine(shown.append, clock=lambda: now[0])
    for step in range(1000):  # a step a millisecond
        now[0] = step / 1000
        line.update(**figures(step))
    assert 9 <= len(shown) <= 11
    line.flush()
    line.flush()
    assert [state.step for state in shown].count(999) == 1


def test_between_lines_nothing_is_read(terminal):
    unread = figures(2, loss=Unreadable())
    with progress.display(steps=9, console=terminal) as bar:
        bar.update(**figures(1))
        bar.update(**unread)
        bar.update(**figures(3))
    with pytest.raises(AssertionError, match="was read"), progress.display(steps=9, console=terminal) as bar:
        bar.update(**unread)  # the first is due, so that a line is there from the start


def test_a_resumed_run_counts_its_own_speed(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    console = Console(
        force_terminal=True,
        file=io.StringIO(),
        width=150,
        force_jupyter=False,
        color_system=None,
        get_time=lambda: now[0],
    )
    with progress.display(steps=1000, console=console) as bar:
        bar.update(**figures(900))
        now[0] = 10.0
        bar.update(**figures(940))
    assert "0:00:10 left 0:00:15" in console.file.getvalue()


def test_a_notebook_counts_the_speed_since_the_first_line():
    assert progress._bar(940, 1000, seconds=10.0, before=900).endswith("0:00:10 left 0:00:15")
    assert progress._bar(5, None, seconds=3725.0, before=0).endswith("1:02:05 left -:--:--")
    assert progress._bar(5, 9, seconds=1.0, before=5).endswith("left -:--:--")


class Output:
    def __init__(self, shown: list[str]):
        self.shown = shown

    def update(self, data: dict, *, raw: bool) -> None:
        assert raw
        self.shown.append(data["text/plain"])


def test_a_notebook_replaces_one_output(monkeypatch, capsys):
    shown: list[str] = []
    outputs = []

    def display(data, *, raw, display_id):
        outputs.append((data, raw, display_id))
        return Output(shown)

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    console = Console(force_jupyter=True, file=io.StringIO())
    with progress.display(epochs=2, steps=10, console=console) as bar:
        bar.update(**figures(5))
        bar.update(**figures(10, loss=2.0))
    assert len(outputs) == 1
    assert "epoch 1/2  loss 1  ELBO -1  rate 0.5" in shown[0]
    assert "loss 2 " in shown[-1]
    assert shown[-1].count("━") == progress._WIDTH
    assert shown[0].count("━") == progress._WIDTH // 2
    assert console.file.getvalue() == ""
    assert capsys.readouterr() == ("", "")
