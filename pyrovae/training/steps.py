"""`steps`: training with the loop in the caller's hands."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import fields
from types import TracebackType
from typing import Any, Unpack

from pyrovae.errors import ArgumentError
from pyrovae.pairs.argument_names import asked
from pyrovae.pairs.looks.isolation import IsolationBlock, RandomState, forked_random
from pyrovae.pairs.pair import HasPair
from pyrovae.training.epoch import Epoch
from pyrovae.training.fit_options import FitKeywords, FitOptions
from pyrovae.training.fit_result import Fit
from pyrovae.training.parallel.team import SingleProcess
from pyrovae.training.session import Session, training_turn
from pyrovae.training.step import Step


class Steps(Generator[Step, None, Fit]):
    """A training under way: an iterator of its steps, or of its epochs, and what it has come to so far."""

    def __init__(self, session: Session):
        self._session = session
        self._running = _closed(session)
        self._result: Fit | None = None

    @property
    def history(self) -> tuple[Epoch, ...]:
        """The epochs that are finished, those of a resumed run among them."""
        return self._session.trainer.history

    @property
    def identity(self) -> str | None:
        """A digest of seed, arguments, data and pair, which tells the checkpoints of this run from those of others."""
        return self._session.resumption.identity

    @property
    def team(self) -> SingleProcess:
        """The processes that make the steps together."""
        return self._session.team

    @property
    def result(self) -> Fit:
        """The `Fit`, once the last step is made.

        Raises:
            ArgumentError: there are steps left.
        """
        if self._result is None:
            raise ArgumentError("there are steps left, so that there is no Fit yet; history holds the epochs so far.")
        return self._result

    def epochs(self) -> Iterator[Epoch]:
        """Make the steps that are left, and give back control after each epoch."""
        return (done for done in self._events() if isinstance(done, Epoch))

    def _events(self) -> Iterator[Step | Epoch]:
        while self._result is None:
            try:
                yield self._next()
            except StopIteration:
                return

    def _next(self) -> Step | Epoch:
        try:
            return next(self._running)
        except StopIteration as end:
            self._result = end.value or self._result
            raise

    def send(self, value: Any, /) -> Step:
        """The next step, as `next` gives it."""
        while not isinstance(done := self._next(), Step):
            pass
        return done

    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None, /) -> Any:
        """Raise an error where the training stands, as in any generator."""
        error = kind if isinstance(kind, BaseException) else value if value is not None else kind()
        return self._running.throw(error.with_traceback(traceback) if traceback else error)

    def close(self) -> None:
        """Leave the training; the last checkpoint is written, if there is a folder."""
        self._running.close()
        self._session.close()  # also where no step was ever asked for


def steps(pair: HasPair, data: Any = (), **options: Unpack[FitKeywords]) -> Steps:
    """Train as `fit` does, and give back control after each optimiser step.

    Args:
        pair: any pair.
        data: as in `fit`.
        **options: all other arguments of `fit`; nothing is displayed.

    Returns:
        A generator of `Step`s. Its `history` holds the epochs that are finished, `epochs()` gives back control
        after each epoch in place of each step, and its `result` is the `Fit` when the last step is made. Leaving the
        loop early is fine: the last checkpoint is written, if there is a folder. The caller's random state is in
        force between steps.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> for step in pv.steps(vae, torch.randn(64, 5), steps=100, seed=0):
        ...     if step.rate > 0.5:
        ...         break
        >>> step.index < 100
        True
        >>> [row.epoch for row in pv.steps(vae, torch.randn(64, 5), epochs=3, seed=0).epochs()]
        [1, 2, 3]
    """
    unknown = sorted(set(options) - {field.name for field in fields(FitOptions)})
    if unknown:
        raise TypeError(f"steps() got an unexpected argument {unknown[0]!r}; it takes those of fit")
    with training_turn(), asked(pair):
        return Steps(Session(pair, data, FitOptions(**{**options, "progress": False})))


def _closed(session: Session) -> Generator[Step | Epoch, None, Fit]:
    """Run a session to its end, and let go of its folder."""
    with closing(session), session.telling():
        return (yield from _swapping(session))


def _swapping(session: Session) -> Generator[Step | Epoch, None, Fit]:
    """Run a session with random states of its own, and the caller's in force while it is paused."""
    with training_turn(), forked_random():
        session.begin()
        own = RandomState.capture()
    running, pair = session.run(), session.trainer.plan.pair
    try:
        while True:
            if session.draws_from_torch_alone():  # numpy's states are large, and cost as much as a small step
                with training_turn(), asked(pair), IsolationBlock():
                    callers, _ = own.capture_torch(), own.restore_torch()
                    try:
                        done = next(running, None)
                        own = own.capture_torch()
                    finally:
                        callers.restore_torch()
            else:
                with training_turn(), asked(pair), IsolationBlock(), forked_random():
                    own.restore()
                    done = next(running, None)
                    own = RandomState.capture()
            if done is None:
                break
            yield done
    except GeneratorExit:
        with training_turn(), forked_random():
            own.restore()
            session.leave()
        raise
    with training_turn(), IsolationBlock(), forked_random():
        own.restore()
        return session.finish()
