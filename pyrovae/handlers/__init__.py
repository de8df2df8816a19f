"""Effects around any pair, from outside: weights of the rate, free bits, and the recorder of figures.

Each is a pair around a pair, `.model` and `.guide` under a handler of its own, so that they nest, in `fit` as
well as in a loop around `SVI.step`.
"""

from __future__ import annotations

from pyrovae.handlers.freebits import FreeBits, free_bits
from pyrovae.handlers.recording import Recorded, record
from pyrovae.handlers.subsampling import FixedPlate
from pyrovae.handlers.tempering import Tempered, temper

__all__ = ["FixedPlate", "FreeBits", "Recorded", "Tempered", "free_bits", "record", "temper"]
