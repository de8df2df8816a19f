"""A VAE with a class for each row, known for some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.vaes.conditional_vae import ConditionalVAE, check_labels, one_hot
from pyrovae.models.vaes.three_parts import ThreeParts
from pyrovae.models.vaes.vae import as_distribution, as_part, compare_events
from pyrovae.pairs.may_read import may_read
from pyrovae.pairs.numbers import as_number, check_counts
from pyrovae.pairs.trace import INTERNAL

_SURE = -1e3  # exp(-1000) is 0 in any precision, and 0 times -1000 is 0 where 0 times -inf is no number


class LabelledVAE(ThreeParts):
    r"""The semi-supervised VAE ("M2"): classes y that are known for some rows, and summed out for the others.

    \[ y \sim \text{Categorical}(1/K), \quad z \sim p(z), \quad x \sim p(x \mid z, y), \qquad
    q(y \mid x)\, q(z \mid x, y) \]

    Model and guide take `(x)` or `(x, label)`: labels (rows,) of 0 to K - 1, and -1 where unknown; one batch may hold
    both. Where a label is known, q(y) is a point of mass 1 there, so that the evidence of that row is
    \( \log p(x, y) \); of the others it is \( \log p(x) \). `pv.encode(vae, x)["y"].mean` holds class probabilities.

    Args:
        prior: `prior()` is p(z).
        likelihood: `likelihood(z, y)` is p(x | z, y), y one-hot.
        posterior: `posterior(x, y)` is q(z | x, y).
        classifier: `classifier(x)` is q(y | x), a `pv.Categorical`.
        classes: K.
        classification: α, in nats a labelled row: the loss holds \( -\alpha \log q(y \mid x) \) beside the ELBO, or the
            classifier would learn from rows without a label only. A factor of the guide: no figure sees it.

    Train it by `pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)`, as `pv.fit` does where `loss` is left out: y is summed
    out exactly.

    References:
        Kingma et al., Semi-supervised learning with deep generative models, 2014.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.semi_supervised_vae(5, latent=2, classes=3)
        >>> x, label = torch.ones(6, 5), torch.tensor([0, 1, 2, -1, -1, -1])
        >>> pv.encode(vae, x, label)["y"].mean[1]
        tensor([0., 1., 0.])
    """

    def __init__(
        self,
        prior: Callable[[], Any],
        likelihood: Callable[[Tensor, Tensor], Any],
        posterior: Callable[[Tensor, Tensor], Any],
        classifier: Callable[[Tensor], Any],
        *,
        classes: int,
        classification: float = 10.0,
    ):
        super().__init__(prior, likelihood, posterior)
        self.classifier = as_part(classifier, "classifier")
        (self.classes,) = check_counts(classes=classes)
        alpha = as_number(classification)
        if alpha is None or not 0 <= alpha < float("inf"):
            raise ArgumentError(f"classification={classification!r}; give a weight of 0 or more, finite.")
        self.classification = alpha

    def check_data(self, x: Tensor, label: Tensor | None = None) -> None:
        """Refuse labels out of range, where the data come in."""
        if label is None:
            return
        check_labels(label, self.classes, least=-1)
        if len(label) != len(x):
            raise DataError(
                f"there are {len(x)} rows and {len(label)} labels: give one for each row, -1 where unknown."
            )

    def check_training_data(self, x: Tensor, label: Tensor | None = None) -> None:
        """Refuse data of which no row, or no row of some class, has a label, before the first step."""
        known = set() if label is None else set(label.reshape(-1).tolist())  # a tensor, or an array of any strides
        missing = [number for number in range(self.classes) if number not in known]
        if len(missing) == self.classes:
            raise DataError("all labels are missing: give some, or take pv.recipes.mixture_vae, which needs none.")
        if missing:
            raise DataError(
                f"no row has a label of class {', '.join(map(str, missing))}: nothing says what such a class is. Label "
                "some rows of each, or take fewer classes."
            )

    def model(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Sites `y`, `z` and `x` in the plate `data`; returns z."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=self.zeros(1, torch.Size([self.classes]))[0]))
            z = pyro.sample("z", as_distribution(self.prior(), "prior"))
            likelihood = as_distribution(self.likelihood(z, one_hot(y, self.classes)), "likelihood")
            compare_events(x, likelihood, "x holds data", "the likelihood", DataError)
            pyro.sample("x", likelihood, obs=x)
        return z

    def guide(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Sites `y` (enumerated) and `z` in the plate `data`; returns z."""
        self._registration(self)
        if may_read():
            self.check_data(x, label)  # of a pair that is called as it stands
        with pyro.plate("data", len(x)):
            said = self._classes(x)
            if label is not None:
                self._teach(said, label)
                sure = _SURE * (1 - one_hot(label, self.classes).to(said.logits))
                said = dist.Categorical(logits=torch.where((label >= 0).unsqueeze(-1), sure, said.logits))
            y = pyro.sample("y", said, infer={"enumerate": "parallel"})
            return pyro.sample("z", as_distribution(self.posterior(x, one_hot(y, self.classes)), "posterior"))

    def _classes(self, x: Tensor) -> Any:
        said = as_distribution(self.classifier(x), "classifier")
        found = said.logits.shape[-1] if isinstance(said, dist.Categorical) else None
        if found != self.classes:
            gave = type(said).__name__ if found is None else f"{found} classes"
            raise ArgumentError(
                f"the classifier gave {gave}, and classes={self.classes}: take pv.Categorical(network) whose network "
                f"gives {self.classes} numbers."
            )
        return said

    def _teach(self, said: Any, label: Tensor) -> None:
        loss = torch.where(label >= 0, -said.log_prob(label.clamp(min=0)), 0.0)
        factor = dist.Unit(self.classification * loss, has_rsample=True)
        mark: Any = {INTERNAL: None, "is_auxiliary": True}  # in the loss, and in no figure
        pyro.sample("classification", factor, obs=loss.new_empty(*loss.shape, 0), infer=mark)

    def conditional(self) -> ConditionalVAE:
        """The pair of p(x | y) of the same weights: `pv.generate(vae.conditional().under(3), 10)` draws of class 3."""
        return ConditionalVAE(self.prior, self.likelihood, self.posterior, classes=self.classes)

    def blank(self, n: int) -> tuple[Tensor]:
        """Zeros of (n, *event): generated rows are of classes drawn from the prior."""
        return self.conditional().under(0).blank(n)
