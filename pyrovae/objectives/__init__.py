"""What is minimised: which objective is right for which pair, and the multi-sample ones that Pyro lacks or gets wrong.

`IWAE(k)` and `DReG(k)` are `pyro.infer.ELBO`s: give them to `fit(loss=...)` or to `pyro.infer.SVI`.
"""

from pyrovae.objectives.losses import Loss
from pyrovae.objectives.multi_sample import IWAE, DReG

__all__ = ["IWAE", "DReG", "Loss"]
