"""Whether tracing and compiling repay themselves in the time that is left."""

from __future__ import annotations

from typing import NamedTuple

# What a graph saves of a plain step, and compiled code of a graph's step, at least: found on pairs of all styles.
_TRACING_SAVES = 0.25

_COMPILING_SAVES = 0.35

_SECONDS_TO_TRACE = 0.3  # of a pair with two networks; a first guess

_PLAIN_STEPS_TO_TRACE = 20.0  # each operation is traced in the time of some tens, and long loops have many

_CAUTION = 1.5  # a change has to earn that many times what it costs


class Outlook(NamedTuple):
    """What counts for a change of route besides the route itself."""

    steps_left: float  # on batches of this shape
    main: bool  # whether no other route was taken as often: not that of a first step whose weight is 0, say
    known: str | None  # the route of such batches in the run that this one goes on with


class Decision(NamedTuple):
    """Whether to go on to the next route, and the reason in words."""

    go: bool
    why: str


def worth_tracing(plain: float, steps_left: float, known: float | None = None) -> Decision:
    """Whether a graph repays the time to make it.

    Args:
        plain: seconds of a plain step.
        steps_left: on batches of this shape.
        known: seconds that tracing took for another batch.
    """
    cost = known or max(_SECONDS_TO_TRACE, _PLAIN_STEPS_TO_TRACE * plain)
    saved = _TRACING_SAVES * plain * steps_left
    if saved > _CAUTION * cost:
        return Decision(True, f"{steps_left:.0f} steps of {1e3 * plain:.2g} ms are left")
    return Decision(False, f"{steps_left:.0f} steps of {1e3 * plain:.2g} ms are left, too few to repay tracing")


def worth_compiling(staged: float, steps_left: float, cost: float) -> Decision:
    """Whether compiled code repays the time to compile it.

    Args:
        staged: seconds of a step by the graph.
        steps_left: on batches of this shape.
        cost: seconds that compiling takes.
    """
    left = staged * steps_left
    if _COMPILING_SAVES * left > _CAUTION * cost:
        return Decision(True, f"{left:.0f} s are left")
    return Decision(False, f"the {left:.3g} s left do not repay {cost:.0f} s of compiling")
