"""The one registry of components: every conditional and prior, built anew by its id."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from pyro.distributions import transforms
from torch import Tensor, nn

import pyrovae as pv

ROWS = 4
GIVEN = 3


@dataclass(frozen=True)
class Component:
    """`make(network)` builds it around a network; `output` is what that network must give."""

    id: str
    make: Callable[..., nn.Module]
    output: int | tuple[int, ...]
    event: tuple[int, ...]

    def build(self, hidden: tuple[int, ...] = (8,)) -> nn.Module:
        return self.make(pv.MLP(GIVEN, list(hidden), self.output, activation=nn.Tanh))

    def given(self) -> Tensor:
        return torch.randn(ROWS, GIVEN, generator=torch.Generator().manual_seed(1))


ENDS = {
    "interval": ((-math.inf, -1.0), (-1.0, 0.5), (1.5, 2.0)),
    "positive_interval": ((0.0, 1.0), (1.0, 9.0), (9.0, math.inf)),
}
CLASSES = {"binary": 2, "categorical": 3, "ordinal": 4, **dict.fromkeys(ENDS, 3)}
SHARES = {"binary": (0.2, 0.8), "categorical": (0.5, 0.3, 0.2), "positive_or_zero": (0.4, 0.6)}

FAMILIES = [
    Component("DiagNormal", pv.DiagNormal, 2 * 4, (4,)),
    Component("DiagNormal-image", pv.DiagNormal, (2 * 2, 3, 5), (2, 3, 5)),
    Component("FullNormal", pv.FullNormal, 9, (3,)),
    Component("FullNormal-one", pv.FullNormal, 2, (1,)),
    Component("LowRankNormal", lambda net: pv.LowRankNormal(net, rank=2), 4 * 5, (5,)),
    Component("IAF", lambda net: pv.IAF(net, 3, context=4, hidden=[8]), 2 * 3 + 4, (3,)),
    Component("IAF-deep", lambda net: pv.IAF(net, 4, context=2, layers=3, hidden=[8, 6]), 2 * 4 + 2, (4,)),
    Component("MixtureNormal", lambda net: pv.MixtureNormal(net, 3), 2 * 3 * 2, (2,)),
    Component("MixtureNormal-one", lambda net: pv.MixtureNormal(net, 2), 2 * 2 * 1, (1,)),
    Component("Normal", pv.Normal, 2 * 4, (4,)),
    Component("Normal-fixed", lambda net: pv.Normal(net, scale=0.3), 4, (4,)),
    Component("Normal-shared", lambda net: pv.Normal(net, scale=pv.LearnedScale()), (2, 3), (2, 3)),
    Component("Normal-columns", lambda net: pv.Normal(net, scale=pv.LearnedScale(4, initial=2.0)), 4, (4,)),
    Component("Normal-scalar", lambda net: pv.Normal(net, scale=0.3), (), ()),
    Component("Laplace", pv.Laplace, 2 * 4, (4,)),
    Component("Laplace-shared", lambda net: pv.Laplace(net, scale=pv.LearnedScale()), 4, (4,)),
    Component("StudentT", lambda net: pv.StudentT(net, df=9.0), 2 * 4, (4,)),
    Component("StudentT-df", lambda net: pv.StudentT(net, 0.5, df=pv.LearnedScale(initial=9.0)), 4, (4,)),
    Component("LogNormal", lambda net: pv.LogNormal(net, scale=0.5), 4, (4,)),
    Component("LogNormal-net", pv.LogNormal, 2 * 4, (4,)),
    Component("Beta", pv.Beta, 2 * 4, (4,)),
    Component("Bernoulli", pv.Bernoulli, 4, (4,)),
    Component("Bernoulli-image", pv.Bernoulli, (1, 5, 3), (1, 5, 3)),
    Component("ContinuousBernoulli", pv.ContinuousBernoulli, 4, (4,)),
    Component("Categorical", pv.Categorical, 5, ()),
    Component("Categorical-several", lambda net: pv.Categorical(net, classes=5), (5 * 2, 3), (2, 3)),
    Component("Poisson", pv.Poisson, 4, (4,)),
    Component("NegativeBinomial", pv.NegativeBinomial, 2 * 4, (4,)),
    Component("NegativeBinomial-columns", lambda net: pv.NegativeBinomial(net, pv.LearnedScale(4)), 4, (4,)),
    Component("NegativeBinomial-fixed", lambda net: pv.NegativeBinomial(net, 2.0), 4, (4,)),
    Component("DiscretizedLogistic", pv.DiscretizedLogistic, 2 * 2, (2,)),
    Component("DiscretizedLogistic-unit", lambda net: pv.DiscretizedLogistic(net, highest=1.0), (2 * 1, 2), (1, 2)),
    Component("DiscretizedLogistic-fixed", lambda net: pv.DiscretizedLogistic(net, 3.0, levels=16), 2, (2,)),
]

EVERY_KIND = [
    pv.Column(kind, kind, classes=CLASSES.get(kind, 0), center=0.3, spread=1.5, shares=SHARES.get(kind, ()),
              ends=ENDS.get(kind, ()))
    for kind in ("real", "heavy", "positive", "positive_or_zero", "count", "inflated_count", "binary", "categorical",
                 "ordinal", "proportion", "categorical", "peaked", "interval", "positive_interval")
]  # fmt: skip
FAMILIES.append(
    Component("ByColumn", lambda net: pv.ByColumn(net, EVERY_KIND), pv.ByColumn.outputs(EVERY_KIND), (len(EVERY_KIND),))
)

PRIORS = [
    Component("StandardNormal", lambda: pv.StandardNormal(4), (), (4,)),
    Component("StandardNormal-image", lambda: pv.StandardNormal((2, 3)), (), (2, 3)),
    Component("LearnedNormal", lambda: pv.LearnedNormal((2, 3)), (), (2, 3)),
    Component("Mixture", lambda: pv.Mixture(5, 3), (), (3,)),
    Component("Mixture-image", lambda: pv.Mixture(2, (3, 1)), (), (3, 1)),
    Component(
        "VampPrior",
        lambda: pv.VampPrior(torch.rand(6, 7), pv.DiagNormal(pv.MLP(7, [8], 2 * 3, activation=nn.Tanh))),
        (),
        (3,),
    ),
    Component(
        "VampPrior-count",
        lambda: pv.VampPrior(
            6, pv.FullNormal(pv.MLP((2, 4), [8], 9, activation=nn.Tanh)), shape=(2, 4), activation=nn.Sigmoid()
        ),
        (),
        (3,),
    ),
    Component("StudentPrior", lambda: pv.StudentPrior((2, 3), df=4.0), (), (2, 3)),
    Component("StudentPrior-learned", lambda: pv.StudentPrior(3, df=pv.LearnedScale(3, initial=5.0)), (), (3,)),
    Component("StickBreakingMixture", lambda: pv.StickBreakingMixture(5, 3), (), (3,)),
    Component("FlowPrior-coupling", lambda: pv.FlowPrior.coupling(4, layers=2, hidden=[8]), (), (4,)),
    Component("FlowPrior-autoregressive", lambda: pv.FlowPrior.autoregressive(3, hidden=[8]), (), (3,)),
    Component("FlowPrior-spline", lambda: pv.FlowPrior.spline(3, hidden=[8]), (), (3,)),
    Component("FlowPrior-spline-one", lambda: pv.FlowPrior.spline(1), (), (1,)),
    Component(
        "FlowPrior-transforms",
        lambda: pv.FlowPrior(
            [
                transforms.affine_coupling(4, [8]),
                transforms.Permute(torch.tensor([2, 3, 1, 0])),
                transforms.Spline(4),
                transforms.AffineTransform(torch.ones(4), torch.full((4,), 2.0)),
            ],
            pv.LearnedNormal(4),
        ),
        (),
        (4,),
    ),
    Component("FlowPrior-rows", lambda: pv.FlowPrior([transforms.affine_coupling(3, [8])], (2, 3)), (), (2, 3)),
]


def components(entries: list[Component], *, only: str = ""):
    """A parametrisation by entry, with ids."""
    chosen = [entry for entry in entries if entry.id.startswith(only)]
    return pytest.mark.parametrize("entry", chosen, ids=[entry.id for entry in chosen])


class Constant(nn.Module):
    """A network that gives the same numbers whatever it is given: a wild first step."""

    def __init__(self, output: int | tuple[int, ...], values: Tensor | float):
        super().__init__()
        self.output_shape = (output,) if isinstance(output, int) else output
        start = torch.as_tensor(values, dtype=torch.get_default_dtype()).expand(self.output_shape)
        self.values = nn.Parameter(start.clone())

    def forward(self, *given: Tensor) -> Tensor:
        return self.values.expand(*given[0].shape[:-1], *self.output_shape)
