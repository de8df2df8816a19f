"""A pair described by plain values, so that a later command can build it again and read its weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv
from pyrovae.cli.advice import Advice, Facts, spread_rows
from pyrovae.data.read_as import read_as
from pyrovae.errors import ArgumentError
from pyrovae.models.nets import Chain
from pyrovae.models.units.standard_columns import center_and_spread

# Rows from which mean and spread of a column are measured; more would not move them where it matters.
_MEASURED = 100_000

# Components of a mixture as guide, and numbers that a flow as guide is told of the row.
_MODES, _CONTEXT = 5, 16


@dataclass(frozen=True)
class Blueprint:
    """What a pair is made of.

    Examples:
        >>> import numpy as np
        >>> from pyrovae.cli import advice
        >>> rows = np.random.default_rng(0).normal(size=(100, 4))
        >>> facts = advice.look(rows, "table")
        >>> plan = Blueprint.of(facts, advice.advise(facts))
        >>> plan.build(plan.prepare(rows)).blank(3)[0].shape
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

    @classmethod
    def of(
        cls, facts: Facts, advice: Advice, *, prior: str = "standard", components: int = 50, guide: str = "normal"
    ) -> Blueprint:
        """The blueprint of what was chosen for the data."""
        values = (choice.value for choice in advice)
        return cls(*values, shape=facts.shape, top=facts.top or 1.0, prior=prior, components=components, guide=guide)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Blueprint:
        """The inverse of `to_json`."""
        return read_as(cls, document, "the blueprint")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

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

    def build(self, rows: np.ndarray | None = None) -> pv.VAE:
        """The pair; without rows (of prepared data) its scaling is a blank that a file fills."""
        scaled = Scaled(self._function, *self._moments(rows))
        posterior = self._posterior(scaled)
        return pv.VAE(self._prior(rows, posterior), self._likelihood(scaled), posterior)

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
        seen = _FUNCTIONS[self._function](torch.from_numpy(spread_rows(rows, _MEASURED).astype(np.float64)))
        return center_and_spread(seen, 0 if shape else tuple(range(seen.dim())))

    def _posterior(self, scaled: Scaled) -> Any:
        d = self.latent
        if self.guide == "full":
            return pv.FullNormal(self._encoder(scaled, d * (d + 3) // 2))
        if self.guide == "mixture":
            return pv.MixtureNormal(self._encoder(scaled, 2 * _MODES * d), _MODES)
        if self.guide == "iaf":
            return pv.IAF(self._encoder(scaled, 2 * d + _CONTEXT), d, context=_CONTEXT)
        return pv.DiagNormal(self._encoder(scaled, 2 * d))

    def _encoder(self, scaled: Scaled, outputs: int) -> Any:
        if self.net == "conv":
            return Chain(scaled, pv.ConvEncoder(self.shape, outputs, channels=self.hidden))
        return Chain(scaled, pv.MLP(self.shape, self.hidden, outputs))

    def _decoder(self, count: int) -> Any:
        """A network that gives `count` numbers an element."""
        wide = (count * self.shape[0], *self.shape[1:])
        if self.net == "conv":
            return pv.ConvDecoder(self.latent, wide, channels=self.hidden[::-1])
        return pv.MLP(self.latent, self.hidden[::-1], wide)

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

    def _likelihood(self, scaled: Scaled) -> Any:
        if self.likelihood in ("bernoulli", "continuous-bernoulli"):
            return (pv.Bernoulli if self.likelihood == "bernoulli" else pv.ContinuousBernoulli)(self._decoder(1))
        if self.likelihood == "discretized-logistic":
            return pv.DiscretizedLogistic(self._decoder(2), levels=self.levels, highest=self.top)
        if self.likelihood == "beta":
            return pv.Beta(self._decoder(2))
        # One noise scale a column; pixels share one, so that an always black one does not take it to nothing.
        noise = pv.LearnedScale(self.shape if len(self.shape) == 1 else ())
        if self.likelihood == "poisson":
            return pv.Poisson(_Shifted(self._decoder(1), scaled))
        if self.likelihood == "negative-binomial":
            return pv.NegativeBinomial(_Shifted(self._decoder(1), scaled), noise)
        family = {"normal": pv.Normal, "laplace": pv.Laplace, "student-t": pv.StudentT, "log-normal": pv.LogNormal}
        return InUnits(family[self.likelihood](self._decoder(1), scale=noise), scaled)


def _log(x: Tensor) -> Tensor:
    # Zeros stand for data where only the shape counts, see VAE.blank; no data that a log-normal takes are that small.
    return x.clamp_min(torch.finfo(x.dtype).tiny).log()


_FUNCTIONS = {"identity": lambda x: x, "log": _log, "log1p": torch.log1p}


class Scaled(nn.Module):
    """A function of the data, less a centre, by a spread; in double precision where these are."""

    center: Tensor
    spread: Tensor
    kind: Tensor

    def __init__(self, function: str, center: Tensor, spread: Tensor):
        super().__init__()
        self.function = function
        self.takes_double = center.dtype == torch.float64
        self.register_buffer("center", center)
        self.register_buffer("spread", spread)
        self.register_buffer("kind", torch.zeros(()), persistent=False)  # the networks' type: it follows .double()

    def forward(self, x: Tensor) -> Tensor:
        """The scaled data, of the same shape."""
        scaled = (_FUNCTIONS[self.function](x.to(self.center.dtype)) - self.center) / self.spread
        return scaled.to(self.kind.dtype)


class InUnits(pv.Conditional):
    r"""A family of location and scale, moved to the units of the raw data: \( m + c\mu,\ c\sigma \)."""

    def __init__(self, likelihood: Any, scaled: Scaled):
        super().__init__()
        self.likelihood, self.scaled = likelihood, scaled

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        family = self.likelihood(*given)
        base, center, spread = family.base_dist, self.scaled.center, self.scaled.spread
        loc, scale = center + spread * base.loc, spread * base.scale
        moved = dist.StudentT(base.df, loc, scale) if isinstance(base, dist.StudentT) else type(base)(loc, scale)
        return moved.to_event(len(family.event_shape))


class _Shifted(nn.Module):
    """A network that gives the log of a mean, counted from the data's own level."""

    def __init__(self, network: Any, scaled: Scaled):
        super().__init__()
        self.network, self.scaled = network, scaled
        self.input_dims, self.output_shape = network.input_dims, network.output_shape

    def forward(self, *given: Tensor) -> Tensor:
        level = self.network(*given)
        return self.scaled.center.to(level.dtype) + level


def bits_per_element(distortion_and_rate: float, shape: tuple[int, ...]) -> float:
    """Nats per datum as bits per pixel or column: \\( n / (\\log 2 \\cdot \\prod_i s_i) \\)."""
    return distortion_and_rate / (math.log(2) * math.prod(shape))
