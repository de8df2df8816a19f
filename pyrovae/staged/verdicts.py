"""What the choice of a route says downwards and hears upwards."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Task(enum.Enum):
    """How a step is to be made."""

    PLAIN = "by Pyro's own pass"
    EXAMINED = "by Pyro's own pass, with a look at what it reads and changes"
    COMPARED = "by Pyro's own pass, which the graph has to repeat"
    STAGED = "by the graph"
    UNREAD = "by the graph, whose figures wait on the device"


class Outlook(NamedTuple):
    """What counts for a change of route besides the route itself."""

    steps_left: float  # on batches of this shape
    main: bool  # whether no other route was taken as often: not that of a first step whose weight is 0, say
    known: str | None  # the route of such batches in the run that this one goes on with


class Verdict(NamedTuple):
    """What a route has to say; nothing, where both are None."""

    refused: str | None = None  # why the pair cannot be staged
    warning: str | None = None
