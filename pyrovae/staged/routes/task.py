"""How one step of a training is to be made."""

from __future__ import annotations

import enum


class Task(enum.Enum):
    """How a step is to be made."""

    PLAIN = "by Pyro's own pass"
    EXAMINED = "by Pyro's own pass, with a look at what it reads and changes"
    COMPARED = "by Pyro's own pass, which the graph has to repeat"
    STAGED = "by the graph"
    UNREAD = "by the graph, whose figures wait on the device"
