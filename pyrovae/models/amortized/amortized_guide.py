"""A guide made from a model, as Pyro's autoguides are, but amortised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.models.amortized.features import Features
from pyrovae.models.amortized.heads import FAMILIES, Head
from pyrovae.models.amortized.local_sites import LatentSite, data_plate_of, look_at
from pyrovae.models.amortized.row_layout import RowLayout, joined
from pyrovae.models.amortized.site_groups import SiteGroups, position
from pyrovae.pairs.numbers import check_count

_WAVES = 4  # pairs of sine and cosine by which a head knows the number of a site


class AmortizedGuide(PyroModule):
    r"""The guide of a model, whose local sites get their parameters from the data by networks.

    \[ q(w, z \mid x) = q(w) \prod_n \prod_k q\big(z_{nk} \mid h_n,\, z_{n,\operatorname{pa}(k)}\big),
    \qquad h_n = \text{encoder}(x)_n \]

    At its first call it runs the model on the batch and finds the latent sites: their supports, shapes, plates and,
    pa(k), which others each depends on. A small head then gives each site of a row its distribution from the row's
    features and from the values of the sites that it depends on. Sites whose names differ by a number (`z_1`, `z_2`, …)
    and whose shapes are alike share a head, which also sees the one before and the number. Sites that all rows share
    get an ordinary autoguide; those that the model enumerates are left to it. Masks and scales that stand around a
    site in the model stand around it here.

    Each call runs the model once more, without gradients and without drawing, to see the sites and masks of its
    batch, so that sequences of any length work.

    Args:
        model: any Pyro function whose rows stand in a plate.
        encoder: a module; of the model's own arguments it gives features (rows, numbers), or such for each site by its
            name: `{"z_1": ..., "z_2": ...}`.
        family: "normal", "full" (correlations inside a site) or "iaf" (inverse autoregressive flows); or one of them
            for each site by name, of sites that share a head by their name without the number.
        hidden: width of a head.
        shared: from the model, reduced to the sites that all rows share, their guide; left out, `AutoNormal`.
        data_plate: the plate of the rows, where several have their number.

    Raises:
        ArgumentError: the encoder gives other rows than the model has, or no latent site belongs to a row.
        PairError: a site takes separate values and is not enumerated; a mask or a support moves with a latent value.

    References:
        Webb et al., Faithful inversion of generative models for effective amortized inference, 2018; Kingma et al.,
        Improved variational inference with inverse autoregressive flow, 2016.

    Examples:
        >>> import pyro, pyro.distributions as dist, torch, pyrovae as pv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> guide = pv.AmortizedGuide(model, pv.MLP((), [8], 4))
        >>> run = pv.fit(pv.Pair(model, guide), torch.randn(64), epochs=1, seed=0, progress=False)
        >>> guide(torch.zeros(5))["z"].shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        encoder: nn.Module,
        *,
        family: str | Mapping[str, str] = "normal",
        hidden: int = 64,
        shared: Callable[[Callable[..., Any]], Callable[..., Any]] = AutoNormal,
        data_plate: str | None = None,
    ):
        super().__init__("amortized_guide")
        if not callable(model):
            raise ArgumentError(f"AmortizedGuide: model is {type(model).__name__}; give a Pyro function of the data.")
        if not isinstance(encoder, nn.Module):
            raise ArgumentError(
                f"AmortizedGuide: encoder is {type(encoder).__name__}; give a torch.nn.Module, whose weights are found."
            )
        self.encoder = encoder
        self._model = (model,)  # in a tuple: a module's own weights are not the guide's
        self._family, self._hidden = _families(family), check_count("hidden", hidden, where="AmortizedGuide: ")
        self.frequencies = nn.Buffer(4.0 ** -torch.arange(_WAVES), persistent=False)
        self._make_shared, self._data_plate = shared, data_plate
        self._groups: SiteGroups | None = None

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every site that is not enumerated; the values by name."""
        features = Features.of(self.encoder(*args, **kwargs))
        groups = self._groups
        if groups is None:
            groups = self._set_up(features, args, kwargs)
        look = look_at(self._model[0], args, kwargs, features.like)
        values = dict(self.shared(*args, **kwargs)) if groups.shared else {}
        local = groups.local(look)
        # Plates in which the sites of all rows stand have been made by their guide.
        made = getattr(self.shared, "plates", {}) if groups.shared else {}
        plates = _plates(local, made)
        if groups.plate in plates:
            with plates[groups.plate] as index:
                features = features if index is None else features.of_rows(len(index), index)
        heads, drawn = self.heads, {}
        depth = max((len(site.batch_shape) for site in local), default=0)
        for site in local:
            layout = RowLayout(_frame(site, groups.plate).dim, site.batch_shape, depth)
            values[site.name] = self._sample(site, groups, heads, features, layout, drawn, plates)
        return values

    def _sample(
        self,
        site: LatentSite,
        groups: SiteGroups,
        heads: nn.ModuleList,
        features: Features,
        layout: RowLayout,
        drawn: dict[str, Tensor],
        plates: Mapping[str, Any],
    ) -> Tensor:
        """Draw a site; `drawn` holds the last values of each group as rows."""
        group = groups.of(site)
        head: Any = heads[group.place]
        parts = [features.of_site(site.name)]
        parts += [_or_zeros(drawn.get(base), parts[0], size) for base, size in group.inputs]
        if group.numbered:
            parts.append(position(site.name, self.frequencies, parts[0]))
        raw = layout.from_rows(head(joined(parts)))
        with contextlib.ExitStack() as around:
            for frame in site.frames:
                around.enter_context(plates[frame.name])
            if site.mask is not None:
                around.enter_context(poutine.mask(mask=site.mask))
            if not isinstance(site.scale, float | int) or site.scale != 1:
                around.enter_context(poutine.scale(scale=site.scale))
            value = pyro.sample(site.name, head.distribution(raw, site.support, site.event_shape))
        drawn[group.base] = layout.to_rows(value, len(site.event_shape)).to(raw)
        return value

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As any module's, after the first call, at which the heads are made."""
        if self._groups is None:
            raise ArgumentError(
                "AmortizedGuide finds its sites at its first call, so that there is nothing to load weights into yet: "
                "call it on a batch once, guide(x), and load them then."
            )
        return super().load_state_dict(state_dict, *args, **kwargs)

    # --- at the first call ----------------------------------------------------------------------------

    def _set_up(self, features: Features, args: tuple, kwargs: Mapping[str, Any]) -> SiteGroups:
        """Find the sites, and make their heads and the guide of those that all rows share."""
        look = look_at(self._model[0], args, kwargs, features.like, tracked=True)
        plate = data_plate_of(look, features.rows, self._data_plate)
        groups = SiteGroups.of_look(look, plate)
        try:
            drawn = look_at(self._model[0], args, kwargs, features.like, drawn=True)
        except NotImplementedError as error:  # how distributions without draws say so
            raise ArgumentError(
                f"AmortizedGuide: a latent site of the model cannot be drawn: {str(error).splitlines()[0]}. Give it a "
                "distribution in place of dist.ImproperUniform or the like."
            ) from error
        groups.check(look, drawn)
        made = []
        _check_names(self._family, groups)
        for group in groups.groups.values():
            width = features.of_site(group.first).shape[-1]
            inputs = width + sum(size for _, size in group.inputs) + 2 * _WAVES * group.numbered
            family = self._family.get(group.base, self._family.get("", "normal"))
            made.append(Head(inputs, group.cells, group.size, family, self._hidden))
        self.heads = nn.ModuleList(made).to(features.like)
        if groups.shared:
            self.shared = self._make_shared(poutine.block(self._model[0], expose=list(groups.shared)))
        self._groups = groups
        return groups


def _families(family: str | Mapping[str, str]) -> dict[str, str]:
    named = {"": family} if isinstance(family, str) else dict(family)
    for one in named.values():
        if one not in FAMILIES:
            there = "; ".join(f"{name!r}, {known.words}" for name, known in FAMILIES.items())
            raise ArgumentError(f"AmortizedGuide: family={one!r}; there are {there}.")
    return named


def _check_names(family: Mapping[str, str], groups: SiteGroups) -> None:
    for name in family:
        if name and name not in groups.groups:
            raise ArgumentError(
                f"AmortizedGuide: family has {name!r}; the local sites are {', '.join(map(repr, groups.groups))} (of "
                "sites that share a head, the name without the number)."
            )


def _frame(site: LatentSite, plate: str) -> Any:
    return next(frame for frame in site.frames if frame.name == plate)


def _plates(sites: list[LatentSite], made: Mapping[str, Any]) -> dict[str, Any]:
    """The plates around these sites, as the model has them for this batch."""
    made = dict(made)
    for frame in (frame for site in sites for frame in site.frames):
        if frame.name not in made:
            full = frame.full_size or frame.size
            part = None if full == frame.size else frame.size
            made[frame.name] = pyro.plate(frame.name, None if full < 0 else full, subsample_size=part, dim=frame.dim)
    return made


def _or_zeros(rows: Tensor | None, like: Tensor, size: int) -> Tensor:
    return like.new_zeros((*like.shape[:-1], size)) if rows is None else rows
