"""What guide and model draw at sites that a discriminator tells apart, and what of their KL is known."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.objectives.penalised import Draw, beside, by_row, depends_on
from pyrovae.pairs.implicit_draws import has_density


class ComparedSides:
    """What guide and model draw at the sites, side by side, (rows, numbers)."""

    def __init__(self, posterior: Mapping[str, Draw], prior: Mapping[str, Draw], plate: str, data: tuple[Tensor, ...]):
        self.posterior, self.prior, self.plate, self.data = posterior, prior, plate, data
        self.site = next(iter(posterior))  # by whose weight temper weights what stands in place of its KL
        for name in posterior:
            parent = depends_on(prior[name], prior, plate) if has_density(prior[name].fn) else None
            if parent is not None:
                raise ArgumentError(
                    f"adversarial: the model draws {name!r} given {parent!r}, so that its prior is not that of one "
                    "draw. Name sites that the model draws first: sites=[...]."
                )

    def compared(self, contrast: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws of the guide, draws to tell them from, and the part of the KL that is known."""
        z = self._beside({name: draw.value for name, draw in self.posterior.items()})
        if contrast:
            return self._contrasted(z, contrast)
        fresh = self._beside({name: draw.fn.sample() for name, draw in self.prior.items()})
        return z, fresh, self._prior_alone().to(z)

    def _contrasted(self, z: Tensor, contrast: int) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            drawn = {name: draw.fn.sample((contrast,)) for name, draw in self.posterior.items()}
            each = [self._beside({name: value[k] for name, value in drawn.items()}) for k in range(contrast)]
            scale, loc = torch.std_mean(torch.stack(each), 0)
            scale = scale + 1e-6
        normal = torch.distributions.Normal(loc, scale, validate_args=False)
        known = normal.log_prob(z).sum(-1).mean() - self._log_prior().mean()
        return (z - loc) / scale, torch.randn_like(z), known

    def _beside(self, values: Mapping[str, Tensor]) -> Tensor:
        return beside(values, self.posterior, self.plate)

    def _log_prior(self) -> Tensor:
        found = [by_row(draw.fn.log_prob(draw.value), draw, self.plate, 0) for draw in self.prior.values()]
        if not all(has_density(draw.fn) for draw in self.prior.values()):
            raise ArgumentError("adversarial: contrast needs a prior with a density; leave it out for an implicit one.")
        return torch.stack([one.flatten(1).sum(1) for one in found]).sum(0)

    def _prior_alone(self) -> Tensor:
        """Nothing, with the gradient by which the prior's own parameters follow the guide's draws."""
        total = torch.zeros(())
        for draw in self.prior.values():
            if has_density(draw.fn):
                score = draw.fn.log_prob(draw.value.detach())
                if score.requires_grad:
                    rows = by_row(score, draw, self.plate, 0).flatten(1).sum(1).mean()
                    total = total - (rows - rows.detach())
        return total
