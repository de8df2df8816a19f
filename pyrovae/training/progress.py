"""How training goes, as one line: it moves on a terminal and in a notebook, and comes once a minute anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from pyrovae.training.step import Step, progress_figures

# Ten times a second looks continuous; a line costs about a millisecond, so that is under 1% of the time.
_INTERVAL = 0.1

_UNWATCHED = 60.0  # seconds between lines that nobody sees come: of a run under nohup, in a log

_WIDTH = 30  # characters of the bar in a notebook


class Display(Protocol):
    """What the training loop talks to."""

    def update(self, *, step: int, epoch: int, loss: Any, elbo: Any, rate: Any) -> None:
        """Shows the state after `step` steps; figures may be tensors, and are read only when a line is due."""


def show(line: Display, step: Step) -> None:
    """Show a step that is complete."""
    line.update(step=step.index + 1, epoch=step.epoch + 1, **progress_figures(step))


class _Silent:
    def update(self, *, step: int, epoch: int, loss: Any, elbo: Any, rate: Any) -> None:
        pass


class _Shown(NamedTuple):
    step: int
    epoch: int
    loss: Any
    elbo: Any
    rate: Any

    def words(self, epochs: int | None) -> str:
        total = "" if epochs is None else f"/{epochs}"
        figures = f"loss {_short(self.loss)}  ELBO {_short(self.elbo)}  rate {_short(self.rate)}"
        return f"epoch {self.epoch}{total}  {figures}"

    def done(self, steps: int | None) -> int:
        """Steps where their number is known; otherwise whole epochs, the one under way not among them."""
        return self.step if steps else self.epoch - 1


def _short(figure: Any) -> str:
    return f"{float(figure):,.4g}" if abs(float(figure)) < 1e4 else f"{float(figure):,.0f}"


class ProgressLine:
    """Keeps the last state, and shows it when the last time is long enough ago."""

    def __init__(
        self,
        show: Callable[[_Shown], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        interval: float | None = None,
        wait: float = 0.0,
    ):
        self._show = show
        self._clock = clock
        self._interval = _INTERVAL if interval is None else interval
        self._due = clock() + wait
        self._waiting: _Shown | None = None

    def update(self, *, step: int, epoch: int, loss: Any, elbo: Any, rate: Any) -> None:
        """Takes the state after `step` steps."""
        self._waiting = _Shown(step, epoch, loss, elbo, rate)
        if self._clock() >= self._due:
            self.flush()
            self._due = self._clock() + self._interval

    def flush(self) -> None:
        """Shows the last state, if it was not shown yet."""
        if self._waiting is not None:
            self._show(self._waiting)
            self._waiting = None


@contextmanager
def display(
    enabled: bool = True, *, epochs: int | None = None, steps: int | None = None, console: Any = None
) -> Iterator[Display]:
    """A line with epoch, loss, ELBO, rate and time left, which goes with the training loop.

    Args:
        enabled: False shows nothing.
        epochs: how many epochs are to come in all, where that is known.
        steps: how many steps are to come in all, where that is known; it gives the time left.
        console: a rich `Console`; left out, standard error, so that what is piped from standard output stays clean.

    Yields:
        An object with `update(step=, epoch=, loss=, elbo=, rate=)`, to be called after each step.

    Examples:
        >>> with display(False, epochs=2) as bar:
        ...     bar.update(step=1, epoch=1, loss=3.0, elbo=-3.0, rate=0.5)
    """
    console = _console(console) if enabled else None
    if console is None:
        yield _unwatched(epochs) if enabled else _Silent()
        return
    opened = _notebook if console.is_jupyter else _terminal
    with opened(console, epochs=epochs, steps=steps) as show:
        line = ProgressLine(show)
        try:
            yield line
        finally:
            line.flush()


def _console(given: Any) -> Any:
    """A console that somebody is looking at, or None."""
    from rich.console import Console

    console = given or Console(stderr=True)
    if console.is_jupyter:
        return console
    # Some services set variables that make rich treat any output as a terminal; a pipe is one nevertheless.
    watched = console.is_terminal if given else sys.stderr is not None and sys.stderr.isatty()
    return console if watched and not console.is_dumb_terminal else None


def _unwatched(epochs: int | None) -> Display:
    """Plain lines on standard error, the first after a minute: what is short says nothing, and needs to say nothing."""
    started = time.monotonic()

    def show(state: _Shown) -> None:
        if sys.stderr is not None:
            line = f"{_duration(time.monotonic() - started)}  step {state.step:,}  {state.words(epochs)}"
            print(line, file=sys.stderr, flush=True)

    return ProgressLine(show, interval=_UNWATCHED, wait=_UNWATCHED)


@contextmanager
def _terminal(console: Any, *, epochs: int | None, steps: int | None) -> Iterator[Callable[[_Shown], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,  # no second thread that competes with the training loop
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),  # what is piped away stays away
        redirect_stderr=False,
    )
    task = progress.add_task("", total=steps or epochs)

    def show(state: _Shown) -> None:
        progress.update(task, description=state.words(epochs), completed=state.done(steps), refresh=True)

    with progress:
        yield show


@contextmanager
def _notebook(console: Any, *, epochs: int | None, steps: int | None) -> Iterator[Callable[[_Shown], None]]:
    """One output that is replaced; unlike rich's own, it needs no widgets."""
    # Part of every notebook, and of no list of requirements.
    from IPython.display import display as show_output

    output: Any = show_output({"text/plain": ""}, raw=True, display_id=True)
    first: list[tuple[float, int]] = []

    def show(state: _Shown) -> None:
        done = state.done(steps)
        first[:] = first or [(time.monotonic(), done)]
        bar = _bar(done, steps or epochs, seconds=time.monotonic() - first[0][0], before=first[0][1])
        output.update({"text/plain": f"{state.words(epochs)}  {bar}"}, raw=True)

    yield show


def _bar(done: int, total: int | None, *, seconds: float, before: int) -> str:
    """A bar, the time taken, the time left at the speed since `before` steps were done."""
    filled = round(_WIDTH * min(done / total, 1.0)) if total else 0
    left = _duration(seconds * (total - done) / (done - before)) if total and done > before else "-:--:--"
    return f"{'━' * filled}{'─' * (_WIDTH - filled)}  {_duration(seconds)} left {left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
