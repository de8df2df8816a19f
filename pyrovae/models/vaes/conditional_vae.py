"""A VAE of data under a condition: labels, or any covariates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.vaes.three_parts import ThreeParts
from pyrovae.models.vaes.vae import VAE, as_distribution, compare_events
from pyrovae.pairs.may_read import may_read
from pyrovae.pairs.numbers import check_counts


class ConditionalVAE(ThreeParts):
    r"""A VAE of p(x | c): nothing is said of the condition c itself.

    \[ z \sim p(z), \quad x \sim p(x \mid z, c), \qquad q(z \mid x, c) \]

    Args:
        prior: `prior()` is p(z).
        likelihood: `likelihood(z, c)` is p(x | z, c).
        posterior: `posterior(x, c)` is q(z | x, c).
        condition: how many numbers c has, (rows, condition); or with `classes` left out.
        classes: instead, how many classes: c is then a class number for each row, (rows,), which networks see one-hot.

    Model and guide take `(x, c)`. Evidence is that of x given c. `pv.generate(vae, x, c)` draws under the condition of
    each row (of x only the shape counts); `vae.under(c)` is the pair of x under one condition, which knows its shapes:
    `pv.generate(vae.under(3), 10)`.

    References:
        Sohn et al., Learning structured output representation using deep conditional generative models, 2015.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.conditional_vae(5, latent=2, classes=3)
        >>> pv.generate(vae.under(1), 4, seed=0)["x"].shape
        torch.Size([4, 5])
    """

    def __init__(
        self,
        prior: Callable[[], Any],
        likelihood: Callable[[Tensor, Tensor], Any],
        posterior: Callable[[Tensor, Tensor], Any],
        *,
        condition: int | None = None,
        classes: int | None = None,
    ):
        super().__init__(prior, likelihood, posterior)
        if (condition is None) == (classes is None):
            raise ArgumentError(
                f"pv.ConditionalVAE takes {argument('condition')} (numbers a row) or "
                f"{argument('classes')} (of labels): one of "
                "both."
            )
        (self.width,) = check_counts(condition=condition) if classes is None else check_counts(classes=classes)
        self.labelled = classes is not None

    def check_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Refuse conditions of the wrong width, and labels out of range, where the data come in."""
        if c is None:
            raise DataError("the pair is of data under a condition: give both, (x, c), one condition for each row.")
        if self.labelled:
            check_labels(c, self.width, least=0)
        elif c.dim() != 2 or c.shape[1] != self.width:
            raise DataError(f"the condition is {self.width} numbers a row, (rows, {self.width}); got {tuple(c.shape)}.")
        elif not c.isfinite().all():
            row = int((~c.isfinite()).any(1).nonzero()[0])
            raise DataError(
                f"the condition of row {row} holds NaN or infinity: nothing is said under a condition that is not "
                "known. Fill it, or leave such rows out."
            )
        if len(c) != len(x):
            raise DataError(f"there are {len(x)} rows and {len(c)} conditions: give one for each row.")

    def model(self, x: Tensor, c: Tensor) -> Tensor:
        """Sites `z` and `x` in the plate `data`; returns z."""
        self._registration(self)
        c = self._seen(x, c)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", as_distribution(self.prior(), "prior"))
            likelihood = as_distribution(self.likelihood(z, c), "likelihood")
            compare_events(x, likelihood, "x holds data", "the likelihood", DataError)
            pyro.sample("x", likelihood, obs=x)
        return z

    def guide(self, x: Tensor, c: Tensor) -> Tensor:
        """Site `z` in the plate `data`; returns z."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", as_distribution(self.posterior(x, self._seen(x, c)), "posterior"))

    def under(self, condition: Any) -> VAE:
        """The VAE of x alone under one condition, of the same weights: a class number, or a vector (condition,)."""
        try:
            one = torch.as_tensor(condition).unsqueeze(0)
        except (TypeError, ValueError, RuntimeError):
            wanted = f"a class number, 0 to {self.width - 1}" if self.labelled else f"{self.width} numbers"
            raise ArgumentError(f"under({condition!r}): give {wanted}.") from None
        self.check_data(one, one)
        seen = (one_hot(one, self.width) if self.labelled else one)[0].to(self.zeros(0, torch.Size()))
        return VAE(self.prior, AtCondition(self.likelihood, seen), AtCondition(self.posterior, seen))

    def _seen(self, x: Tensor, c: Tensor) -> Tensor:
        if may_read():
            self.check_data(x, c)  # of a pair that is called as it stands
        return one_hot(c, self.width) if self.labelled else c


class AtCondition(Conditional):
    """A conditional of two things, of which the second is the same for all rows."""

    condition: Tensor

    def __init__(self, part: Any, condition: Tensor):
        super().__init__()
        self.part = part
        self.register_buffer("condition", condition)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        return self.part(*given, self.condition)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Class numbers of any shape as zeros and ones, with a last axis for the classes."""
    numbers = torch.arange(classes, device=labels.device)
    return (labels.long().unsqueeze(-1) == numbers).to(torch.get_default_dtype())


def check_labels(labels: Tensor, classes: int, *, least: int) -> None:
    """Refuse what is no class number for each row; -1 is one that is unknown, where `least` is -1."""
    known = "; -1 where unknown" if least < 0 else ""
    if labels.dim() != 1:
        raise DataError(
            f"labels are one number a row, (rows,), of 0 to {classes - 1}{known}; got {tuple(labels.shape)}."
        )
    numbers = labels.double()  # bytes and truth values are not compared with -1 as numbers are
    wrong = ~((numbers >= least) & (numbers < classes) & (numbers == numbers.round()))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise DataError(
            f"label {float(numbers[row]):g} in row {row} is out of range: classes are 0 to {classes - 1}{known}."
        )
