"""After which steps a graph is compared with the plain path."""

from __future__ import annotations

_FIRST = 3  # consecutive steps that are compared before a graph is trusted

_LATER = (16, 64, 256)  # steps after which it is compared again; then every _EVERY

_EVERY = 1_024


class ComparisonSchedule:
    """Counts the steps of a graph, and says which of them are compared.

    Attributes:
        since: steps since the route changed, or since the first comparisons were passed.
    """

    def __init__(self):
        self.since = 0
        self._left = 0  # of the first ones

    def begin(self) -> None:
        """Another function runs from now on, which nobody trusts yet."""
        self.since, self._left = 0, _FIRST

    @property
    def trusted(self) -> bool:
        """Whether the first ones are passed."""
        return not self._left

    @property
    def just_trusted(self) -> bool:
        """Whether they are, and no step was made since."""
        return self.trusted and self.since == 0

    def due(self) -> bool:
        """Whether the step of now is compared."""
        return not self.trusted or self.since in _LATER or self.since % _EVERY == 0

    def passed(self) -> bool:
        """Take in a comparison that found nothing; whether it was the last of the first ones."""
        if self.trusted:
            return False
        self._left -= 1
        if self.trusted:
            self.since = 0
        return self.trusted
