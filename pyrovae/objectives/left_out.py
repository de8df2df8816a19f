"""Sites whose log-probability is left out of the loss, in a way that figures know of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyrovae.objectives.figures import TEMPERING, Tempering, is_data
from pyrovae.objectives.penalised import Draw


def leave_out(msg: Any) -> None:
    """Leave a site's log-probability out of the loss, as temper does at 0."""
    before = msg.get(TEMPERING, Tempering())
    if not before.dropped:
        msg[TEMPERING] = before._replace(dropped=True, mask=msg["mask"])
        msg["mask"] = False


class LeftOut(Messenger):
    """Leave some sites out, and note their draws and the plates around data."""

    def __init__(self, names: Sequence[str]):
        super().__init__()
        self.names = names
        self.draws: dict[str, Draw] = {}
        self.data: list[tuple] = []

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.names and not site_is_subsample(msg):
            leave_out(msg)

    def _pyro_post_sample(self, msg) -> None:
        if is_data(msg):
            self.data.append(msg["cond_indep_stack"])
        elif msg["name"] in self.names:
            self.draws[msg["name"]] = Draw(msg["fn"], msg["value"], msg["scale"], None, msg["cond_indep_stack"])
