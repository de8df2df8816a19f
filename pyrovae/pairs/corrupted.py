"""A pair whose guide is shown corrupted data while it is trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.looks.state_keeper import kept
from pyrovae.pairs.masked import takes_holes
from pyrovae.pairs.numbers import as_number
from pyrovae.pairs.pair import HasPair, Wrapped, check_is_pair, guide_function, unwrapped


def corrupted(pair: HasPair, *, gaussian: float = 0.0, masking: float = 0.0, salt_and_pepper: float = 0.0) -> Corrupted:
    r"""A pair around a pair whose guide sees corrupted data in training, and the data themselves in every question.

    \[ \mathbb E_{c(\tilde x \mid x)}\, \mathbb E_{q(z \mid \tilde x)}
    \big[ \log p(x, z) - \log q(z \mid \tilde x) \big] \le \log p(x) \]

    The model observes what was given, so that this is a bound of the evidence for any noise c, and what evaluates a
    pair (`elbo`, `log_evidence`, `psis`, `impute`) is as it was. A guide that may not lean on single cells overfits
    less, and knows what to do where some are missing or wrong.

    Each floating argument, whose first dim is the rows, is corrupted element by element, in this order. What a column
    holds in the batch bounds it: noise leads neither below its smallest nor above its largest value, and whole numbers
    stay whole, so that counts, proportions and numbers of classes stay what they are.

    Args:
        pair: any pair; outside of `masked` and `tables.with_schema`.
        gaussian: the deviation of normal noise, in deviations of the column in the batch.
        masking: the share of elements that are hidden: holes (NaN) where the pair takes holes, else zeros.
        salt_and_pepper: the share that is put to the smallest or to the largest value of the column in the batch.

    Returns:
        The pair, with the same arguments, which shares all that is trained with the one inside.

    References:
        Vincent et al., "Extracting and composing robust features with denoising autoencoders" (2008); Im, Ahn,
        Memisevic and Bengio, "Denoising criterion for variational auto-encoding framework" (2017).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> noisy = pv.corrupted(vae, gaussian=0.5, masking=0.2)
        >>> run = pv.fit(noisy, torch.randn(40, 5), epochs=1, seed=0, progress=False)
        >>> x = torch.randn(3, 5)
        >>> torch.equal(pv.elbo(noisy, x, seed=0).value, pv.elbo(vae, x, seed=0).value)
        True
    """
    check_is_pair(pair)
    given = {"gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}
    numbers = {name: _checked(name, value) for name, value in given.items()}
    if not any(numbers.values()):
        raise ArgumentError(f"{argument('corrupted')} adds no noise; give one of {', '.join(map(argument, given))}.")
    return Corrupted(pair, Noise(**numbers, hole=math.nan if takes_holes(pair) else 0.0))


class Noise(nn.Module):
    """Corruption of rows, in train mode alone."""

    def __init__(self, gaussian: float, masking: float, salt_and_pepper: float, hole: float):
        super().__init__()
        self.gaussian, self.masking, self.salt_and_pepper, self.hole = gaussian, masking, salt_and_pepper, hole

    def forward(self, *leaves: Any) -> list[Any]:
        """Each of them corrupted, that is floating and has rows."""
        if not self.training:
            return list(leaves)
        return [self._corrupted(leaf) if _has_rows(leaf) else leaf for leaf in leaves]

    def _corrupted(self, x: Tensor) -> Tensor:
        seen = ~x.isnan()
        low = torch.where(seen, x, math.inf).amin(0)
        high = torch.where(seen, x, -math.inf).amax(0)
        found = x
        if self.gaussian:
            noisy = x + self.gaussian * _deviations(x, seen) * torch.randn_like(x)
            whole = (~seen | (x == x.round())).all(0)
            found = torch.where(whole, noisy.round(), noisy).clamp(low, high)
        if self.salt_and_pepper:
            end = torch.where(torch.rand_like(x) < 0.5, low, high)
            found = torch.where(torch.rand_like(x) < self.salt_and_pepper, end, found)
        if self.masking:
            found = torch.where(torch.rand_like(x) < self.masking, self.hole, found)
        return torch.where(seen, found, x)


class Corrupted(Wrapped):
    """A pair whose guide sees noisy data and whose model sees them as they are; see `corrupted`."""

    def __init__(self, pair: HasPair, noise: Noise):
        self.pair, self.noise = pair, noise

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """The pair's guide, on what the noise leaves."""
        found = self.noise(*args, *kwargs.values())
        named = dict(zip(kwargs, found[len(args) :], strict=True))
        with kept(unwrapped(self).guide):
            return guide_function(self.pair)(*found[: len(args)], **named)


def _deviations(x: Tensor, seen: Tensor) -> Tensor:
    """Of each column, over what is seen."""
    count = seen.sum(0).clamp(min=1)
    off = torch.where(seen, x - torch.where(seen, x, 0.0).sum(0) / count, 0.0)
    return (off.square().sum(0) / count).sqrt()


def _has_rows(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() > 0 and len(leaf) > 0


def _checked(name: str, value: Any) -> float:
    number = as_number(value)
    most = math.inf if name == "gaussian" else 1.0
    if number is None or not 0 <= number < most:
        wanted = "a finite number, 0 or more" if name == "gaussian" else "a share from 0 to below 1"
        raise ArgumentError(f"{argument(name, value)}; give {wanted}.")
    return number
