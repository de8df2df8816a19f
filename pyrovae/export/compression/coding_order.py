"""In which order sites go onto the stack, so that as few bits as can be have to be there first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from pyrovae.errors import PairError

Source = int | str | tuple[str]  # an argument by place or name; a latent site as (name,)


class CodingStep(NamedTuple):
    """One site of one side: of the guide it is popped where data are coded, of the model pushed."""

    side: Literal["guide", "model"]
    site: str


class Reads(NamedTuple):
    """What a site of one side depends on, and what it says.

    Attributes:
        step: the site.
        reads: latent values and arguments that move its distribution.
        says: what is known once it is popped.
    """

    step: CodingStep
    reads: frozenset[Source]
    says: frozenset[Source]


def coding_order(guide: Sequence[Reads], model: Sequence[Reads]) -> list[CodingStep]:
    """The order for encoding; decoding takes it backwards, push for pop.

    A site of the model is pushed as soon as nothing that is left depends on its value, which from then on is on the
    stack and no longer known to who decodes. Of a chain z2 -> z1 -> x whose guide climbs it step by step that is
    Bit-Swap's order: pop z1, push x, pop z2, push z1, push z2.

    Args:
        guide: its sites in the order in which they run.
        model: the latent and observed sites of the model in theirs.

    References:
        Kingma, Abbeel and Ho, "Bit-Swap" (2019); Townsend, Bird and Barber, "BB-ANS" (2019).
    """
    waiting, left, order = list(guide), list(model), []
    known: set[Source] = set().union(*(one.says for one in model if one.step.site not in _sites(guide)))
    while waiting or left:
        one = _ready(left, waiting, known)
        if one is not None:
            left.remove(one)
        elif waiting:
            one = waiting.pop(0)
            known |= one.says
        else:
            names = ", ".join(repr(one.step.site) for one in left)
            raise PairError(
                f"the sites {names} of the model depend on one another in a circle, through what they observe, so that "
                "none of them can be decoded first. Let a site depend on sites before it, not on the argument that "
                "they observe."
            )
        order.append(one.step)
    return order


def _sites(several: Sequence[Reads]) -> Collection[str]:
    return [one.step.site for one in several]


def _ready(left: list[Reads], waiting: list[Reads], known: set[Source]) -> Reads | None:
    for one in reversed(left):
        others = [other for other in (*left, *waiting) if other is not one]
        if one.says | one.reads <= known and not any(other.reads & one.says for other in others):
            return one
    return None


def in_runs(
    steps: Sequence[CodingStep], reads: Mapping[CodingStep, frozenset[Source]], says: Mapping[str, frozenset[Source]]
) -> list[list[CodingStep]]:
    """Neighbouring steps of one side that one run of it can do: none reads an argument that another one brings."""
    runs: list[list[CodingStep]] = []
    for step in steps:
        brought: set[Source] = set().union(*(says[one.site] for one in runs[-1])) if runs else set()
        arguments = {one for one in reads[step] if not isinstance(one, tuple)}
        if runs and runs[-1][0].side == step.side and not arguments & brought:
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs
