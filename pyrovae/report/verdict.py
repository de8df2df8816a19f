"""What the curves of a training say, for the head of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pyrovae.training.results import Epoch, active_verdict, curve_verdict

# What each kind of verdict means for the reader: good, worth a look, bad.
_MOODS = {
    "Levelled off": "good",
    "Still improving": "look",
    "Overfitting": "look",
    "Too short": "look",
    "Weighted": "look",
}


class Verdict(NamedTuple):
    """What the curves say: the kind in a word or two, its mood, and the sentences."""

    kind: str
    mood: str
    sentences: tuple[str, ...]


def judge(history: tuple[Epoch, ...], active: Mapping[str, Any], outcome: Mapping[str, Any]) -> Verdict:
    """The verdict on a run: diverged and collapsed before all else."""
    curve = [outcome["words"]] if outcome.get("reason") == "diverged" else curve_verdict(history)
    latents = [active_verdict(site, units) for site, units in active.items()]
    kind = "Diverged" if outcome.get("reason") == "diverged" else _kind(curve[0])
    if kind != "Diverged" and any(sentence.startswith("Collapsed") for sentence in latents):
        kind = "Collapsed"
    kept = ["The weights kept are those of the best epoch."] if outcome.get("weights") == "best" else []
    if outcome.get("reason") == "interrupted":
        kept.append("The run was interrupted; train --resume goes on with it.")
    return Verdict(kind, _MOODS.get(kind, "bad"), (*curve, *kept, *latents))


def _kind(sentence: str) -> str:
    if sentence.startswith("The rate was weighted"):
        return "Weighted"
    known = ("Diverged", "Overfitting", "Still improving", "Levelled off")
    return next((kind for kind in known if sentence.startswith(kind)), "Too short")
