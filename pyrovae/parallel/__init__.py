"""Data-parallel training: several processes under torchrun, each with its share of every batch."""

from pyrovae.parallel.alike import Alike
from pyrovae.parallel.shares import Share, Shares, Weighted, share_of
from pyrovae.parallel.team import Alone, Team, agreed, find_team

__all__ = ["Alike", "Alone", "Share", "Shares", "Team", "Weighted", "agreed", "find_team", "share_of"]
