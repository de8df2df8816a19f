"""A linear-Gaussian state space model: exact evidence and posterior of series of any lengths, with gaps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.models.sequences.seen_cells import check_series, seen_cells
from pyrovae.models.truth.linear_chain import LinearChain
from pyrovae.pairs.may_read import may_read
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.part_observed import observing


class LinearStateSpace:
    r"""A linear-Gaussian state space model of series of any lengths, with gaps.

    \[ z_1 \sim \mathcal N(0, P), \quad z_t \sim \mathcal N(A z_{t-1}, \operatorname{diag}(q^2)), \quad
    x_t \sim \mathcal N(C z_t, \operatorname{diag}(r^2)) \]

    Evidence and posterior are those of the Kalman filter and smoother. Cells that are missing (NaN), or lie behind the
    length of their series, count nowhere.

    Args:
        transition: A, (k, k).
        weight: C, (d, k).
        drift: q, a positive number or one for each dim of z.
        noise: r, a positive number or one for each dim of x.
        initial: P, (k, k); left out, the covariance that the chain keeps, where A has such a one.

    Model and guide take `(x)` or `(x, lengths)`, x of shape (rows, steps, d). Sites: `z` (local), of event shape
    (steps, k), and `x`, in the plate `data`.

    References:
        Kalman, A new approach to linear filtering and prediction problems, 1960; Rauch, Tung and Striebel, Maximum
        likelihood estimates of linear dynamic systems, 1965.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearStateSpace(torch.tensor([[0.9]]), torch.ones(2, 1), 0.4, 0.5)
        >>> x = truth.sample(3, 10, seed=0)
        >>> x[0, 4:7] = float("nan")
        >>> truth.log_evidence(x, lengths=torch.tensor([10, 8, 3])).shape
        torch.Size([3])
        >>> truth.posterior(x).mean.shape
        torch.Size([3, 10, 1])
    """

    takes_holes = True

    def __init__(
        self,
        transition: Tensor,
        weight: Tensor,
        drift: float | Tensor = 1.0,
        noise: float | Tensor = 1.0,
        *,
        initial: Tensor | None = None,
    ):
        self.transition, self.weight = transition, weight
        k = transition.shape[-1]
        if transition.shape != (k, k) or weight.dim() != 2 or weight.shape[1] != k:
            raise ArgumentError(
                "LinearStateSpace takes a transition (k, k) and a weight (d, k), got shapes "
                f"{tuple(transition.shape)} and {tuple(weight.shape)}"
            )
        self.drift, self.noise = _spread("drift", drift, k, weight), _spread("noise", noise, len(weight), weight)
        self.initial = self._kept() if initial is None else initial.to(weight)

    def sample(self, count: int, steps: int, *, seed: int = 0) -> Tensor:
        """Series (count, steps, d) that leave the global random state alone."""
        count, steps = check_counts(count=count, steps=steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            z = self._prior(steps).expand([count]).sample()
            return dist.Normal(z @ self.weight.T, self.noise).sample()

    def log_evidence(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """log p(x), shape (rows,): of the cells that are there."""
        return self._filtered(x, lengths).log_evidence

    def posterior(self, x: Tensor, lengths: Tensor | None = None) -> LinearChain:
        r"""p(z | x), batch shape (rows,), event shape (steps, k).

        It goes backward, \( p(z_t \mid z_{t+1}, x_{1:t}) \); its `mean`, `variance` and `covariance` are the smoothed
        ones of each step.
        """
        found = self._filtered(x, lengths)
        gain, loc, covariance = torch.zeros_like(found.covariance), found.loc.clone(), found.covariance.clone()
        gain[:, :-1] = torch.linalg.solve(found.predicted[:, 1:], self.transition @ found.covariance[:, :-1]).mT
        loc[:, :-1] -= (gain[:, :-1] @ self.transition @ found.loc[:, :-1].unsqueeze(-1)).squeeze(-1)
        covariance[:, :-1] -= gain[:, :-1] @ found.predicted[:, 1:] @ gain[:, :-1].mT
        return LinearChain(gain, loc, torch.linalg.cholesky(covariance), backward=True)

    def cells(self, x: Tensor, lengths: Tensor | None = None) -> Any:
        """p(x_t | what is there) of each cell by itself, seen ones drawn anew: normals of event shape (steps, d)."""
        z = self.posterior(x, lengths)
        variance = torch.einsum("dk,rtkl,dl->rtd", self.weight, z.covariance, self.weight) + self.noise.square()
        return dist.Normal(z.mean @ self.weight.T, variance.sqrt()).to_event(2)

    def check_data(self, x: Tensor, lengths: Tensor | None = None) -> None:
        """Refuse what is no series of this width, or of no lengths that can be."""
        check_series(x, lengths, self.weight.shape[:1])

    def model(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Sites `z` and `x`; returns z."""
        seen = self._seen(x, lengths)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self._prior(x.shape[1]))
            emitted: TorchDistribution = dist.Normal(z @ self.weight.T, self.noise)
            pyro.sample("x", observing(emitted.to_event(2), seen, "x"), obs=x)
        return z

    def guide(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Site `z`, from the exact posterior."""
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(x, lengths))

    def _seen(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if may_read():
            self.check_data(x, lengths)  # of a pair that is called as it stands
        return seen_cells(x, lengths)

    def _prior(self, steps: int) -> LinearChain:
        gain = torch.cat([torch.zeros_like(self.transition)[None], self.transition.expand(steps - 1, -1, -1)])
        first, later = torch.linalg.cholesky(self.initial), torch.diag(self.drift)
        scales = torch.cat([first[None], later.expand(steps - 1, -1, -1)])
        return LinearChain(gain, gain.new_zeros(steps, len(self.drift)), scales)

    def _filtered(self, x: Tensor, lengths: Tensor | None) -> _Filtered:
        """What the Kalman filter knows after each step."""
        seen = self._seen(x, lengths)
        loc, covariance = x.new_zeros(len(x), len(self.drift)), self.initial.expand(len(x), -1, -1)
        steps: list[tuple[Tensor, ...]] = []
        for t in range(x.shape[1]):
            if t:
                loc = loc @ self.transition.T
                covariance = self.transition @ covariance @ self.transition.T + torch.diag(self.drift.square())
            predicted = covariance
            loc, covariance, log_prob = self._updated(loc, covariance, x[:, t], seen[:, t])
            steps.append((loc, covariance, predicted, log_prob))
        locs, covariances, before, log_probs = (torch.stack(part, 1) for part in zip(*steps, strict=True))
        return _Filtered(locs, covariances, before, log_probs.sum(-1))

    def _updated(self, loc: Tensor, covariance: Tensor, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The state after a step's cells, and what these add; a cell that is not there has no weight and noise 1."""
        weight = torch.where(seen.unsqueeze(-1), self.weight, 0.0)
        off = torch.where(seen, torch.where(seen, x, 0.0) - loc @ self.weight.T, 0.0)
        spread = weight @ covariance @ weight.mT + torch.diag_embed(torch.where(seen, self.noise.square(), 1.0))
        factor = torch.linalg.cholesky(spread)
        gain = torch.cholesky_solve(weight @ covariance, factor).mT
        whitened = torch.linalg.solve_triangular(factor, off.unsqueeze(-1), upper=False).squeeze(-1)
        logs = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * math.log(2 * math.pi) * seen.sum(-1).to(loc)
        rest = covariance - gain @ weight @ covariance
        return (
            loc + (gain @ off.unsqueeze(-1)).squeeze(-1),
            (rest + rest.mT) / 2,
            -0.5 * whitened.square().sum(-1) - logs,
        )

    def _kept(self) -> Tensor:
        """P = A P A' + diag(q²)."""
        k = len(self.drift)
        if not bool(torch.linalg.eigvals(self.transition).abs().max() < 1):
            raise ArgumentError(
                "LinearStateSpace: this transition has no covariance that it keeps (an eigenvalue is 1 or more in "
                "size): say what z has at first, initial=torch.eye(k), or give another."
            )
        around = torch.eye(k * k).to(self.weight) - torch.kron(self.transition, self.transition)
        return torch.linalg.solve(around, torch.diag(self.drift.square()).flatten()).reshape(k, k)


class _Filtered(NamedTuple):
    """After each step: mean and covariance of its state, and its covariance before; the evidence of all."""

    loc: Tensor
    covariance: Tensor
    predicted: Tensor
    log_evidence: Tensor


def _spread(name: str, value: float | Tensor, size: int, like: Tensor) -> Tensor:
    spread = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if spread.shape not in ((), (size,)) or not bool((spread > 0).all()):
        raise ArgumentError(f"LinearStateSpace: {name}= takes a positive number, or one for each of the {size} dims.")
    return spread.expand(size)
