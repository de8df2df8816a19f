"""The recorder of rate and distortion, around any pair, from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyro.poutine.block_messenger import BlockMessenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import PairError
from pyrovae.objectives.figures import Figures, Tally, data_size, is_data
from pyrovae.pairs.looks.isolation import IsolationBlock
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.trace import Traces, batch_rows, samples


def record(pair: HasPair, *, data_plate: str | None = None) -> Recorded:
    """Read rate and distortion off the passes that a loss makes anyway.

    Args:
        pair: any pair.
        data_plate: the plate whose size is the number of data; left out, the one that holds all observed sites.

    Returns:
        A pair with `figures()`: the ELBO, rate and distortion per datum without temper, averaged over the passes
        since the last call. Sums are kept, not passes: a recorder that nobody reads does not grow.

    Examples:
        >>> import pyro, torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> recorded = pv.record(vae)
        >>> svi = pyro.infer.SVI(recorded.model, recorded.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
        >>> loss = svi.step(torch.zeros(8, 5))
        >>> bool((recorded.figures().elbo + loss / 8).abs() < 1e-5)
        True
    """
    return Recorded(pair, data_plate=data_plate)


class Recorded(Wrapped):
    """A pair whose passes are recorded; see `record`."""

    def __init__(self, pair: HasPair, *, data_plate: str | None = None):
        self.pair = pair
        self.data_plate = data_plate
        self._tally = Tally()
        self._size = 1
        self._guide: Trace | None = None
        self._pass: tuple[Traces, int | None] | None = None

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Keep the guide's trace for the model's, and both once the model has run."""
        trace = enclosing_trace()
        if side == "guide":
            self.tally()  # the pass before is complete by now
            self._guide = trace
            yield
            return
        guide, self._guide = self._guide, None
        yield
        if trace is not None and guide is not None:
            self._pass = (Traces(trace, guide), batch_rows(args, kwargs))

    def tally(self) -> Tally:
        """The sums over the passes since `figures` was called, the last one included."""
        if self._pass is not None:
            (run, rows), self._pass = self._pass, None
            try:
                self._tally.add(run)
            except ValueError:
                if all("log_prob_sum" in node for trace in run for _, node in samples(trace)):
                    raise
                return self._tally  # the loss raised at this pass, before it had all log-probabilities
            self._size = self._size_of(run, rows)
        return self._tally

    def forget(self) -> None:
        """Leave a pass that was broken off out of all figures."""
        self._pass = self._guide = None

    def last_run(self) -> Traces | None:
        """The traces of a pass whose figures were not asked for yet."""
        return None if self._pass is None else self._pass[0]

    def figures(self) -> Figures:
        """ELBO, rate and distortion per datum of the passes since the last call, averaged over particles."""
        tally = self.tally()
        if not tally.particles:
            raise PairError(
                "no pass was recorded: run the loss on `recorded.model` and `recorded.guide` before asking."
            )
        self._tally, self._guide = Tally(), None
        return tally.figures(self._size)

    def size(self) -> int:
        """The size of the data plate in the last pass; the number of rows where it has none."""
        self.tally()
        return self._size

    def _size_of(self, run: Traces, rows: int | None) -> int:
        nodes = [node for _, node in samples(run.model) if node["is_observed"]]
        data = [node["cond_indep_stack"] for node in nodes if is_data(node)]
        return data_size(data or [node["cond_indep_stack"] for node in nodes], rows, self.data_plate)


def enclosing_trace() -> Trace | None:
    """The trace that is being made around the caller; None in a pass that an ELBO makes to guess shapes."""
    # What stands outside a wall of our own has nothing to do with the loss that runs inside it.
    walls = [place for place, handler in enumerate(_PYRO_STACK) if isinstance(handler, IsolationBlock)]
    inside = _PYRO_STACK[walls[-1] + 1 if walls else 0 :]
    if any(isinstance(handler, BlockMessenger) for handler in inside):
        return None
    # The outermost: enumeration puts tracers of its own inside the one that the ELBO reads.
    return next((h.trace for h in inside if isinstance(h, TraceMessenger) and not h.param_only), None)
