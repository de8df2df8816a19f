"""A pair described by plain values, so that a later command can build it again and read its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pyrovae as pv
from pyrovae.cli.advice import Advice, Facts, spread_rows
from pyrovae.cli.annotation import Annotation
from pyrovae.cli.networks import FUNCTIONS, InUnits, Networks, Scaled, Shifted
from pyrovae.errors import ArgumentError
from pyrovae.models.units.standard_columns import center_and_spread

# Rows from which mean and spread of a column are measured; more would not move them where it matters.
_MEASURED = 100_000

# Components of a mixture as guide, and numbers that a flow as guide is told of the row.
_MODES, _CONTEXT = 5, 16


@dataclass(frozen=True)
class ModelConfig:
    """What a pair is made of.

    Examples:
        >>> import numpy as np
        >>> from pyrovae.cli import advice
        >>> rows = np.random.default_rng(0).normal(size=(100, 4))
        >>> facts = advice.look(rows, "table")
        >>> config = ModelConfig.of(facts, advice.advise(facts))
        >>> config.build(config.prepare(rows)).blank(3)[0].shape
        torch.Size([3, 4])
    """

    likelihood: str
    scaling: str
    net: str
    hidden: tuple[int, ...]
    latent: int
    shape: tuple[int, ...]
    top: float
    prior: str = "standard"
    components: int = 50
    guide: str = "normal"
    annotation: Annotation | None = None

    @classmethod
    def of(cls, facts: Facts, advice: Advice, **chosen: Any) -> ModelConfig:
        """The configuration of what was chosen for the data."""
        values = (choice.value for choice in advice)
        return cls(*values, shape=facts.shape, top=facts.top or 1.0, **chosen)

    @property
    def levels(self) -> int:
        """How many grey levels there are."""
        return 256 if self.top == 1 else int(self.top) + 1

    @property
    def divided(self) -> bool:
        """Whether the pair takes values divided by the highest level, and not the raw ones."""
        return self.scaling == "binary" or (self.scaling == "unit" and self.likelihood != "discretized-logistic")

    def prepare(self, values: np.ndarray) -> np.ndarray:
        """Raw data `(rows, ...)` as the pair takes them, `(rows, *shape)`."""
        shaped = values.reshape(len(values), *self.shape)
        return (shaped / self.top).astype(np.float32) if self.divided else shaped

    def restore(self, values: np.ndarray) -> np.ndarray:
        """What the pair gives, in the units of the raw data."""
        return values * self.top if self.divided and self.scaling != "binary" else values

    def build(self, rows: np.ndarray | None = None) -> Any:
        """The pair; without rows (of prepared data) its scaling is a blank that a file fills."""
        scaled, annotation = Scaled(self._function, *self._moments(rows)), self.annotation
        networks = Networks(self.net, self.hidden, self.latent, self.shape, scaled, annotation)
        posterior = self._posterior(networks)
        parts = self._prior(rows, posterior), self._likelihood(networks), posterior
        if annotation is None:
            return pv.VAE(*parts)
        if annotation.role == "condition":
            return pv.ConditionalVAE(*parts, condition=len(annotation.names))
        classes = annotation.width
        return pv.LabelledVAE(*parts, pv.Categorical(networks.of_data(classes)), classes=classes)

    @property
    def _function(self) -> str:
        if self.scaling != "log":
            return "identity"
        return "log" if self.likelihood == "log-normal" else "log1p"

    def _moments(self, rows: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """Centre and spread: one a column for tables, one for all pixels of images."""
        shape = self.shape if len(self.shape) == 1 else ()
        if self.scaling not in ("standard", "log"):
            spread = self.top if self.scaling == "unit" and not self.divided else 1.0
            return torch.zeros(()), torch.tensor(float(spread))
        if rows is None:
            return torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        seen = FUNCTIONS[self._function](torch.from_numpy(spread_rows(rows, _MEASURED).astype(np.float64)))
        return center_and_spread(seen, 0 if shape else tuple(range(seen.dim())))

    def _posterior(self, networks: Networks) -> Any:
        d = self.latent
        if self.guide == "full":
            return pv.FullNormal(networks.encoder(d * (d + 3) // 2))
        if self.guide == "mixture":
            return pv.MixtureNormal(networks.encoder(2 * _MODES * d), _MODES)
        if self.guide == "iaf":
            return pv.IAF(networks.encoder(2 * d + _CONTEXT), d, context=_CONTEXT)
        return pv.DiagNormal(networks.encoder(2 * d))

    def _prior(self, rows: np.ndarray | None, posterior: Any) -> Any:
        if self.prior == "vamp":
            start = np.zeros((self.components, *self.shape), np.float32) if rows is None else rows
            if len(start) < self.components:
                raise ArgumentError(f"--components {self.components} is more than the {len(start)} rows to train on.")
            return pv.VampPrior(torch.from_numpy(start[: self.components].astype(np.float32)), posterior)
        if self.prior == "mixture":
            return pv.Mixture(self.components, self.latent)
        if self.prior == "flow":
            # One dim has no other that could bend it: a free curve.
            return pv.FlowPrior.coupling(self.latent) if self.latent > 1 else pv.FlowPrior.spline(1)
        if self.prior == "student":
            return pv.StudentPrior(self.latent, df=pv.LearnedScale(initial=5.0))
        return pv.LearnedNormal(self.latent) if self.prior == "learned" else pv.StandardNormal(self.latent)

    def _likelihood(self, networks: Networks) -> Any:
        if self.likelihood in ("bernoulli", "continuous-bernoulli"):
            return (pv.Bernoulli if self.likelihood == "bernoulli" else pv.ContinuousBernoulli)(networks.decoder(1))
        if self.likelihood == "discretized-logistic":
            return pv.DiscretizedLogistic(networks.decoder(2), levels=self.levels, highest=self.top)
        if self.likelihood == "beta":
            return pv.Beta(networks.decoder(2))
        # One noise scale a column; pixels share one, so that an always black one does not take it to nothing.
        noise = pv.LearnedScale(self.shape if len(self.shape) == 1 else ())
        if self.likelihood == "poisson":
            return pv.Poisson(Shifted(networks.decoder(1), networks.scaled))
        if self.likelihood == "negative-binomial":
            return pv.NegativeBinomial(Shifted(networks.decoder(1), networks.scaled), noise)
        family = {"normal": pv.Normal, "laplace": pv.Laplace, "student-t": pv.StudentT, "log-normal": pv.LogNormal}
        return InUnits(family[self.likelihood](networks.decoder(1), scale=noise), networks.scaled)


def bits_per_element(distortion_and_rate: float, shape: tuple[int, ...]) -> float:
    """Nats per datum as bits per pixel or column: \\( n / (\\log 2 \\cdot \\prod_i s_i) \\)."""
    return distortion_and_rate / (math.log(2) * math.prod(shape))
